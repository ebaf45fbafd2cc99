//! An upstream whose every answer the test writes, step by step, and a client that reads streams as they come.
//!
//! A request waits until the test answers it; the next event is sent when the test says so, mostly once the client has
//! the last. So order is shown by waiting for it, never by time. That the client, or the gate, has left is a state
//! too: nobody takes events any more.
//!
//! Never here: an answer that the test did not write.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::daemon::Daemon;
use crate::wire::{Answer, Call, PATIENCE};

type Sent = Either<Full<Bytes>, Pieces>;

/// A body of what the test sends.
pub(crate) struct Pieces(Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The upstream; it ends when it is dropped.
pub(crate) struct Scripted {
    pub(crate) url: &'static str,
    came: UnboundedReceiver<Came>,
    task: JoinHandle<()>,
}

/// A request that waits for its answer.
pub(crate) struct Came {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    reply: oneshot::Sender<Response<Sent>>,
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).leak();
        let (tell, came) = unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let tell = tell.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let (reply, replied) = oneshot::channel();
                        let (method, target) = (head.method.to_string(), head.uri.to_string());
                        let _ = tell.send(Came { method, target, headers: head.headers, body, reply });
                        let unanswered = || Response::new(Either::Left(Full::default()));
                        Ok::<_, Infallible>(replied.await.unwrap_or_else(|_| unanswered()))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { url, came, task }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Came {
        timeout(PATIENCE, self.came.recv()).await.expect("a request reaches the upstream").unwrap()
    }

    /// Makes a call and answers what comes of it with JSON and these headers.
    pub(crate) async fn answering(
        &mut self,
        daemon: &Daemon,
        call: &Call,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (Answer, Came) {
        tokio::join!(daemon.call(call), self.answers(status, headers, body))
    }

    /// Answers the next request with JSON and these headers.
    async fn answers(&mut self, status: u16, headers: &[(&str, &str)], body: &str) -> Came {
        let mut came = self.next().await;
        came.reply_json(status, headers, body);
        came
    }

    /// Whether nothing has come that no test took.
    pub(crate) fn is_untouched(&mut self) -> bool {
        self.came.try_recv().is_err()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Answers, once.
    fn reply(&mut self, status: u16, headers: &[(&str, &str)], body: Sent) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let reply = std::mem::replace(&mut self.reply, oneshot::channel().0);
        let _ = reply.send(response.body(body).unwrap());
    }

    pub(crate) fn reply_json(&mut self, status: u16, headers: &[(&str, &str)], body: &str) {
        let typed = [&[("content-type", "application/json")], headers].concat();
        let sent = Either::Left(Full::from(body.to_owned()));
        self.reply(status, if body.is_empty() { headers } else { &typed }, sent);
    }

    /// Opens an event stream.
    pub(crate) fn reply_events(&mut self, headers: &[(&str, &str)]) -> Events {
        let (events, coming) = channel(1);
        let typed = [&[("content-type", "text/event-stream")], headers].concat();
        self.reply(200, &typed, Either::Right(Pieces(coming)));
        Events(events)
    }
}

/// The upstream's end of a stream; dropped, it ends the stream.
pub(crate) struct Events(Sender<Bytes>);

impl Events {
    pub(crate) async fn send(&self, events: &str) {
        let sent = self.0.send(Bytes::copy_from_slice(events.as_bytes()));
        timeout(PATIENCE, sent).await.expect("the stream goes on").expect("the stream is taken");
    }

    /// Waits until nobody takes events any more.
    pub(crate) async fn are_unwanted(&self) {
        timeout(PATIENCE, self.0.closed()).await.expect("the request at the upstream ends");
    }
}

/// An answer at the client, its body still coming.
pub(crate) struct Coming {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    got: Vec<u8>,
    connection: JoinHandle<()>,
}

/// Sends a request and takes its answer's head.
pub(crate) async fn open(address: SocketAddr, call: &Call) -> Coming {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let answer =
        timeout(PATIENCE, sender.send_request(call.request(address))).await.expect("an answer").unwrap();
    let (head, body) = answer.into_parts();
    // The sender goes, and with it the connection once the body is done.
    Coming { status: head.status.as_u16(), headers: head.headers, body, got: Vec::new(), connection }
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Whole,
    CutOff,
}

impl Coming {
    /// Reads until a text is there; gives what stands in front of it, and it.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.got.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
                return String::from_utf8(self.got.drain(..at + wanted.len()).collect()).unwrap();
            }
            let so_far = String::from_utf8_lossy(&self.got).into_owned();
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("{wanted:?} does not come; so far: {so_far}"));
            let Some(Ok(frame)) = frame else { panic!("ended before {wanted:?} came; so far: {so_far}") };
            self.got.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// Reads on to the end; gives what came and how it ended.
    pub(crate) async fn end(&mut self) -> (String, End) {
        loop {
            match timeout(PATIENCE, self.body.frame()).await.expect("the stream ends") {
                Some(Ok(frame)) => self.got.extend_from_slice(&frame.into_data().unwrap()),
                ended => {
                    let end = if ended.is_none() { End::Whole } else { End::CutOff };
                    return (String::from_utf8(std::mem::take(&mut self.got)).unwrap(), end);
                }
            }
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
