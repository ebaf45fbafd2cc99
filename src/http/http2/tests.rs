//! Connections of HTTP/2 against a server with short limits.
//!
//! The client is hyper's, which answers pings whatever its user does, so that what ends here is ended by a
//! limit of ours.
//!
//! Never here: an assertion about how fast something was.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Frame;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::body::{Body, Relayed};
use super::super::server::ServerOptions;
use super::super::server::tests::Running;
use super::super::{Response, answer};

const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_hours(1);

type Sending = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A connection, and the task that ends when it does.
async fn connect(server: &Running, window: u32) -> (SendRequest<Sending>, JoinHandle<()>) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

fn get() -> Request<Sending> {
    Request::get("http://a/").body(Empty::new().boxed()).unwrap()
}

async fn ends(connection: JoinHandle<()>) {
    timeout(PATIENCE, connection).await.expect("the connection ends").unwrap();
}

#[tokio::test]
async fn streams_are_answered_side_by_side_and_the_shutdown_ends_the_connection() {
    let server = Running::with(ServerOptions::default(), |request, _| async move {
        assert_eq!(request.uri(), "/");
        assert_eq!(request.headers()["host"], "a");
        let mut response = answer::json(StatusCode::OK, "{}");
        answer::close(&mut response);
        response
    })
    .await;
    let (mut sender, connection) = connect(&server, 65_535).await;
    let (first, second) = (sender.send_request(get()), sender.clone().send_request(get()));
    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("connection"), "HTTP/2 has no such header");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{}");
    }
    server.stop().await;
    ends(connection).await;
}

#[tokio::test]
async fn x01_a_connection_without_a_stream_is_closed_and_one_with_a_stream_is_not() {
    let options = ServerOptions { head_time_max: Duration::from_millis(50), ..ServerOptions::default() };
    let server = Running::with(options, |_, _| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer::empty(StatusCode::OK)
    })
    .await;
    let (mut sender, connection) = connect(&server, 65_535).await;
    assert_eq!(sender.send_request(get()).await.unwrap().status(), 200);
    ends(connection).await;
    server.stop().await;
}

#[tokio::test]
async fn x03_an_answer_that_its_client_does_not_take_is_cut_off_and_others_go_on() {
    let options = ServerOptions { stall_max: Duration::from_millis(100), ..ServerOptions::default() };
    // Sends back what it is sent.
    let server = Running::with(options, |request, _| async move {
        Response::new(Body::Relayed(Relayed::new(request.into_body(), u64::MAX, LONG)))
    })
    .await;
    // A window of ten bytes, which only a client that reads opens again.
    let (mut sender, connection) = connect(&server, 10).await;
    let (fed, lazy) = fed("0123456789abcdef");
    let mut lazy = sender.send_request(lazy).await.unwrap().into_body();
    // What waits behind the window is one piece that was handed over, and another that was not.
    fed.send(Bytes::from_static(b"more")).await.unwrap();
    let (other_fed, other) = self::fed("01234");
    let mut other = sender.send_request(other).await.unwrap().into_body();
    timeout(PATIENCE, fed.closed()).await.expect("the stalled stream is reset");
    let mut cut = lazy.frame().await;
    while let Some(Ok(_)) = cut {
        cut = lazy.frame().await;
    }
    assert!(cut.is_some_and(|frame| frame.is_err()), "what was cut off does not look whole");
    assert_eq!(other.frame().await.unwrap().unwrap().into_data().unwrap(), "01234");
    other_fed.send(Bytes::from_static(b"more")).await.unwrap();
    assert_eq!(other.frame().await.unwrap().unwrap().into_data().unwrap(), "more");
    drop((sender, lazy, other, other_fed));
    ends(connection).await;
    server.stop().await;
}

#[tokio::test]
async fn x03_an_answer_that_was_in_hand_whole_is_cut_off_like_any_other_when_it_is_not_taken() {
    const WHOLE_BYTES: usize = 256 * 1024;
    let stall_max = Duration::from_millis(100);
    let server =
        Running::with(ServerOptions { stall_max, ..ServerOptions::default() }, |request, _| async move {
            if request.uri().path() == "/whole" {
                return Response::new(Body::from(Bytes::from(vec![7; WHOLE_BYTES])));
            }
            Response::new(Body::Relayed(Relayed::new(request.into_body(), u64::MAX, LONG)))
        })
        .await;
    let whole = || Request::get("http://a/whole").body(Empty::new().boxed()).unwrap();
    let (mut sender, connection) = connect(&server, 64 * 1024).await;
    // A stream that goes on keeps the connection from being idle.
    let (other_fed, other) = fed("01234");
    let mut other = sender.send_request(other).await.unwrap().into_body();
    let taken = sender.send_request(whole()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(taken.to_bytes().len(), WHOLE_BYTES, "who takes it gets all of it");
    let mut lazy = sender.send_request(whole()).await.unwrap().into_body();
    // Time itself is under test: in it, nothing of the answer is taken.
    tokio::time::sleep(stall_max * 10).await;
    let mut cut = lazy.frame().await;
    while let Some(Ok(_)) = cut {
        cut = lazy.frame().await;
    }
    assert!(cut.is_some_and(|frame| frame.is_err()), "what was cut off does not look whole");
    assert_eq!(other.frame().await.unwrap().unwrap().into_data().unwrap(), "01234");
    drop((sender, lazy, other, other_fed));
    ends(connection).await;
    server.stop().await;
}

#[tokio::test]
async fn x07_a_client_that_takes_all_its_requests_back_loses_its_connection_and_others_do_not() {
    let (entered, mut entering) = mpsc::channel(1);
    let server = Running::with(ServerOptions::default(), move |request, _| {
        let entered = entered.clone();
        async move {
            if request.uri().path() == "/answered" {
                return answer::empty(StatusCode::OK);
            }
            entered.send(()).await.unwrap();
            std::future::pending::<Response>().await
        }
    })
    .await;
    let answered = || Request::get("http://a/answered").body(Empty::new().boxed()).unwrap();
    let (mut good, good_connection) = connect(&server, 65_535).await;
    assert_eq!(good.send_request(answered()).await.unwrap().status(), 200);
    let (mut sender, connection) = connect(&server, 65_535).await;
    let mut begun = 0;
    while !connection.is_finished() && begun < 10_000 && sender.ready().await.is_ok() {
        let request = sender.send_request(get());
        tokio::select! {
            _ = entering.recv() => begun += 1,
            _ = request => break,
        }
    }
    assert!((100..1000).contains(&begun), "cut off after {begun}");
    ends(connection).await;
    assert_eq!(good.send_request(answered()).await.unwrap().status(), 200);
    drop(good);
    ends(good_connection).await;
    server.stop().await;
}

/// A request whose body goes on until the sender is dropped, and begins with `first`.
fn fed(first: &'static str) -> (mpsc::Sender<Bytes>, Request<Sending>) {
    let (sender, pieces) = mpsc::channel(4);
    sender.try_send(Bytes::from_static(first.as_bytes())).unwrap();
    (sender, Request::post("http://a/").body(Fed(pieces).boxed()).unwrap())
}

struct Fed(mpsc::Receiver<Bytes>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
