//! Bodies pass through as they come: however large they are the daemon holds little of them, a piece is there
//! before the next one is sent, and who breaks off breaks off at the other end as well.
//!
//! Bodies here are blocks that each repeat a byte of their own, so that what is lost, doubled or moved shows.
//! Pieces are sent only once the one before was seen at the other end: a gate that keeps them back would stand
//! still, and the test with it.
//!
//! Never here: a wait for time to pass.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keyward::config::shipped;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::daemon::{Daemon, Hidden, Options, call_tool};
pub(crate) use crate::harness::program::memory_kib;
use crate::program::{Program, text};
use crate::wire::{Call, PATIENCE, call_once};

const BLOCK_BYTES: u64 = 64 << 10;
/// The size of a large body.
const LARGE_BYTES: u64 = 256 << 20;
/// How much more memory the daemon may ever have had for it.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// Whether a body's length is told in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Length {
    Told,
    Open,
}

/// A body that is made as it is sent.
struct Blocks {
    at: u64,
    end: u64,
    length: Length,
    /// Told once nothing more will be sent.
    left: Option<UnboundedSender<Seen>>,
}

/// What the upstream saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// A request's body came to its end, after so many bytes.
    Whole(u64),
    /// A request's body began.
    Begun,
    /// A request's body broke off.
    Broken,
    /// An answer's body was sent up to there, and nobody wants more.
    Sent(u64),
}

fn block(number: u64) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 251).unwrap(); usize::try_from(BLOCK_BYTES).unwrap()])
}

impl Blocks {
    fn new(end: u64, length: Length) -> Self {
        Self { at: 0, end, length, left: None }
    }
}

impl Body for Blocks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let number = self.at / BLOCK_BYTES;
        self.at += BLOCK_BYTES;
        Poll::Ready(Some(Ok(Frame::data(block(number)))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Told => SizeHint::with_exact(self.end - self.at),
            Length::Open => SizeHint::new(),
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if let Some(left) = &self.left {
            let _ = left.send(Seen::Sent(self.at));
        }
    }
}

/// Reads a body of blocks to its end; gives its length, or nothing when it broke off.
async fn read_blocks(mut body: Incoming, mut begun: impl FnMut()) -> Option<u64> {
    let mut at = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap();
        begun();
        let mut rest = &data[..];
        while !rest.is_empty() {
            let here = rest.len().min(usize::try_from(BLOCK_BYTES - at % BLOCK_BYTES).unwrap());
            let (piece, behind) = rest.split_at(here);
            assert!(*piece == block(at / BLOCK_BYTES)[..here], "the bytes from {at} on are others");
            (rest, at) = (behind, at + here as u64);
        }
    }
    Some(at)
}

/// An upstream that reads and sends blocks.
struct Far {
    url: &'static str,
    seen: UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

impl Far {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).leak();
        let (tell, seen) = unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                let service = service_fn(move |request| answer(request, tell.clone()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { url, seen, task }
    }

    async fn next(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("the upstream sees it").unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    tell: UnboundedSender<Seen>,
) -> Result<Response<http_body_util::Either<Full<Bytes>, Blocks>>, Infallible> {
    use http_body_util::Either::{Left, Right};
    if request.method() == "GET" {
        let length = if request.uri().path().ends_with("open") { Length::Open } else { Length::Told };
        let blocks = Blocks { left: Some(tell), ..Blocks::new(LARGE_BYTES, length) };
        return Ok(Response::new(Right(blocks)));
    }
    let mut has_begun = false;
    let begun = || {
        if !std::mem::replace(&mut has_begun, true) {
            let _ = tell.send(Seen::Begun);
        }
    };
    let seen = read_blocks(request.into_body(), begun).await.map_or(Seen::Broken, Seen::Whole);
    let _ = tell.send(seen);
    Ok(Response::new(Left(Full::from("{}"))))
}

/// A client's request; gives its status and its answer's body, which goes on.
async fn send(address: SocketAddr, key: &str, method: &str, target: &str, body: Blocks) -> (u16, Incoming) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Blocks>(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {key}"))
        .body(body)
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    (head.status.as_u16(), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarter_of_a_gibibyte_passes_either_way_and_the_daemon_stays_small() {
    let mut far = Far::start().await;
    let dir = tempfile::tempdir().unwrap();
    let profile = shipped("socialcrm").unwrap().replacen("max_body = \"1MiB\"", "max_body = \"512MiB\"", 1);
    std::fs::write(dir.path().join("large.toml"), profile).unwrap();
    let config = format!(
        r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        file = "large.toml"
        upstream = "{}"
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["socialcrm"]
        "#,
        far.url
    );
    std::fs::write(dir.path().join("keyward.toml"), config).unwrap();
    let program = Program::serve(dir.path()).await;
    let made = program.admin_json(crate::program::new_workspace()).await;
    let key = Hidden(text(&made["default_key"]["key"]));
    // Once small, so that everything that a request needs is there.
    let small = send(program.data, &key, "PATCH", "/v1/posts/a", Blocks::new(0, Length::Told)).await;
    assert_eq!((small.0, far.next().await), (200, Seen::Whole(0)));
    let before = memory_kib(program.child.id(), "VmRSS");
    for length in [Length::Told, Length::Open] {
        let body = Blocks::new(LARGE_BYTES, length);
        let (status, _) = send(program.data, &key, "PATCH", "/v1/posts/a", body).await;
        assert_eq!((status, far.next().await), (200, Seen::Begun), "{length:?}");
        assert_eq!(far.next().await, Seen::Whole(LARGE_BYTES), "{length:?}");
        let target = if length == Length::Open { "/v1/posts/open" } else { "/v1/posts/told" };
        let none = Blocks::new(0, Length::Told);
        let (status, body) = send(program.data, &key, "GET", target, none).await;
        let told = body.size_hint().exact();
        assert_eq!((status, told), (200, (length == Length::Told).then_some(LARGE_BYTES)));
        assert_eq!(read_blocks(body, || ()).await, Some(LARGE_BYTES), "{length:?}");
        assert_eq!(far.next().await, Seen::Sent(LARGE_BYTES), "{length:?}");
    }
    let most = memory_kib(program.child.id(), "VmHWM");
    assert!(most <= before + GROWTH_KIB_MAX, "{before} KiB before, {most} KiB at most");
    program.kill();
}

#[tokio::test]
async fn an_upload_that_breaks_off_breaks_off_at_the_upstream_and_is_never_whole() {
    let mut far = Far::start().await;
    let daemon = Daemon::start_with(Options { upstream: Some(far.url), ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(daemon.data()).await.unwrap();
        let head = format!(
            "PATCH /v1/posts/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{framing}\r\n\r\n",
            &*key.text
        );
        // The first bytes of the first block; in chunks, a whole chunk of them.
        let piece = if framing.starts_with('C') { "\0\0" } else { "2\r\n\0\0\r\n" };
        stream.write_all((head + piece).as_bytes()).await.unwrap();
        assert_eq!(far.next().await, Seen::Begun, "{framing}");
        drop(stream);
        assert_eq!(far.next().await, Seen::Broken, "{framing}");
        let body = Blocks::new(BLOCK_BYTES, Length::Told);
        assert_eq!(send(daemon.data(), &key.text, "PATCH", "/v1/posts/a", body).await.0, 200);
        assert_eq!(far.next().await, Seen::Begun);
        assert_eq!(far.next().await, Seen::Whole(BLOCK_BYTES), "{framing}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_download_that_nobody_reads_on_is_not_fetched_on() {
    let mut far = Far::start().await;
    let daemon = Daemon::start_with(Options { upstream: Some(far.url), ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for target in ["/v1/posts/told", "/v1/posts/open"] {
        let none = Blocks::new(0, Length::Told);
        let (status, mut body) = send(daemon.data(), &key.text, "GET", target, none).await;
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(status == 200 && first.iter().all(|byte| *byte == 0));
        drop(body);
        let Seen::Sent(sent) = far.next().await else { panic!("{target}: something else happened") };
        assert!(sent < LARGE_BYTES, "{target}: all of it was fetched");
    }
    daemon.finish().await;
}

/// Reads on until a text is there; what stands in front of it and itself are taken away.
async fn read_until(stream: &mut TcpStream, got: &mut Vec<u8>, wanted: &str) -> String {
    let reading = async {
        loop {
            if let Some(at) = got.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
                return String::from_utf8(got.drain(..at + wanted.len()).collect()).unwrap();
            }
            assert!(stream.read_buf(got).await.unwrap() > 0, "closed before {wanted:?} came");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{wanted:?} does not come"))
}

const EVENTS: usize = 50;

#[tokio::test]
async fn an_event_is_with_its_reader_before_the_next_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).leak();
    let daemon = Daemon::start_with(Options { upstream: Some(url), ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for call in [Call::get("/v1/posts/a").bearer(&key.text), call_tool(&key, "posts_list")] {
        let mut client = TcpStream::connect(daemon.data()).await.unwrap();
        client.write_all(&call.bytes(daemon.data())).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        read_until(&mut stream, &mut got, "\r\n\r\n").await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let head = read_until(&mut client, &mut got, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        for number in 0..EVENTS {
            let event = format!("data: {number}\n\n");
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
            read_until(&mut client, &mut got, &event).await;
            assert!(got.len() <= 2, "more came than was sent");
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        read_until(&mut client, &mut got, "0\r\n\r\n").await;
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_piece_of_an_upload_is_with_the_upstream_before_the_next_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).leak();
    let daemon = Daemon::start_with(Options { upstream: Some(url), ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let mut client = TcpStream::connect(daemon.data()).await.unwrap();
    let head = format!(
        "PATCH /v1/posts/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        &*key.text
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut got = Vec::new();
    read_until(&mut stream, &mut got, "\r\n\r\n").await;
    for number in 0..EVENTS {
        let piece = format!("piece {number};");
        client.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        read_until(&mut stream, &mut got, &piece).await;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, &mut got, "0\r\n\r\n").await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    let mut got = Vec::new();
    read_until(&mut client, &mut got, "\r\n\r\n{}").await;
    assert!(got.is_empty());
    let control = tokio::spawn({
        let (address, call) = (daemon.data(), Call::get("/v1/posts").bearer(&key.text));
        async move { call_once(address, &call).await }
    });
    let mut got = Vec::new();
    read_until(&mut stream, &mut got, "\r\n\r\n").await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    assert_eq!(control.await.unwrap().json(), json!({}), "the connection is good for another request");
    daemon.finish().await;
}
