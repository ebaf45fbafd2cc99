//! The server over real sockets, spoken to in raw bytes.
//!
//! Every test listens on a free loopback port and ends with the server's own orderly end, so nothing is left
//! running.
//!
//! Never here: a wait for a state by sleeping, or an assertion about how fast something was.

use super::*;
use crate::http::body::{self, BodyError, Rest};
use crate::http::{Body, answer, framing};
use http::StatusCode;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most bytes of body that the test handler takes.
const TAKEN_MAX: u64 = 1024 * 1024;

pub(in crate::http) struct Running {
    pub(in crate::http) address: SocketAddr,
    pub(in crate::http) shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    pub(in crate::http) async fn with<S, F>(options: ServerOptions, handler: S) -> Self
    where
        S: Fn(Request, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, options, shutdown.clone(), handler));
        Self { address, shutdown, serving }
    }

    async fn start() -> Self {
        Self::with(ServerOptions::default(), handle).await
    }

    async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    pub(in crate::http) async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }
}

/// Says what the checks say, refuses `/early` without reading, panics at `/panic`, counts the body otherwise.
async fn handle(request: Request, peer: Peer) -> Response {
    assert!(peer.address.is_some_and(|address| address.is_ipv4()));
    if let Err(invalid) = framing::check(&request) {
        let mut refused = answer::json(StatusCode::BAD_REQUEST, format!("{invalid:?}"));
        answer::close(&mut refused);
        return refused;
    }
    let (head, received) = request.into_parts();
    match head.uri.path() {
        "/early" => {
            let mut refused = answer::json(StatusCode::UNAUTHORIZED, "early");
            let rest = body::drain(head.headers.get(http::header::EXPECT), received).await;
            answer::close_unless_read(&mut refused, rest);
            refused
        }
        "/panic" => panic!("as the test wants"),
        _ => match body::read(received, TAKEN_MAX, Duration::from_mins(1)).await {
            Ok(whole) => answer::json(StatusCode::OK, whole.len().to_string()),
            Err(error) => {
                let status = match error {
                    BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::Late | BodyError::Broken(_) | BodyError::Untethered(_) | BodyError::Event => {
                        StatusCode::BAD_REQUEST
                    }
                };
                let mut refused = answer::empty(status);
                answer::close_unless_read(&mut refused, Rest::More);
                refused
            }
        },
    }
}

struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Answer {
    status: u16,
    closes: bool,
    body: String,
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "closed after {head:?}");
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_ascii_lowercase());
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let closes = head.contains(&"connection: close".to_owned());
        Answer { status, closes, body: String::from_utf8(body).unwrap() }
    }

    async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_pipelined_ones_are_answered_in_order() {
    let server = Running::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.body, "0");
    client
        .send(
            "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nabGET / HTTP/1.1\r\nhost: a\r\n\r\n\
             POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .await;
    for body in ["2", "0", "3"] {
        assert_eq!(client.answer().await.body, body);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_writes_five_mebibytes_reads_its_refusal() {
    let server = Running::start().await;
    let five = 5 * 1024 * 1024;
    let declared = format!("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: {five}\r\n\r\n");
    let chunked = format!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{five:x}\r\n");
    let early = format!("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: {five}\r\n\r\n");
    for (head, status) in [(declared, 413), (chunked, 413), (early, 401)] {
        let mut client = server.connect().await;
        client.send(head).await;
        client.send(vec![b'x'; five]).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.closes), (status, true));
        assert!(client.is_closed().await);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_small_rest_is_drained_and_the_connection_goes_on() {
    let server = Running::start().await;
    let mut client = server.connect().await;
    let body = "x".repeat(40_000);
    let early = format!("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 40000\r\n\r\n{body}");
    for _ in 0..3 {
        let answer = client.ask(&early).await;
        assert_eq!((answer.status, answer.closes), (401, false));
    }
    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_rest_that_does_not_come_costs_the_connection_and_is_never_parsed() {
    let server = Running::start().await;
    let mut client = server.connect().await;
    let answer = client.ask("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc").await;
    assert_eq!((answer.status, answer.closes), (401, true));
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.is_closed().await);
    server.stop().await;
}

#[tokio::test]
async fn f05_who_waits_for_a_continue_gets_the_refusal_instead() {
    let server = Running::start().await;
    let mut client = server.connect().await;
    let early = "POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    assert_eq!(client.ask(early).await.status, 401);
    let mut client = server.connect().await;
    let wanted = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
    assert_eq!(client.ask(wanted).await.status, 100);
    assert_eq!(client.ask("abc").await.body, "3");
    server.stop().await;
}

#[tokio::test]
async fn what_can_be_read_two_ways_is_refused_on_the_wire() {
    let server = Running::start().await;
    let lines = |more: &str| format!("POST /a HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    for (bytes, said) in [
        (lines("content-length: 5\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n", "Framing"),
        (lines("transfer-encoding: chunked\r\ncontent-length: 5\r\n") + "0\r\n\r\n", "Framing"),
        (lines("content-length: 2\r\ncontent-length: 2\r\n") + "ab", "Framing"),
        (lines("transfer-encoding: gzip, chunked\r\n") + "0\r\n\r\n", "Framing"),
        (lines("host: a\r\n"), "Host"),
        ("GET /a HTTP/1.1\r\n\r\n".into(), "Host"),
        ("GET http://b/a HTTP/1.1\r\nhost: a\r\n\r\n".into(), "Host"),
        ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n".into(), "Target"),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n".into(), "Target"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n".into(), "Target"),
        (lines("expect: 200-ok\r\n"), "Expectation"),
    ] {
        // Behind an ordinary request on the same connection, so that each is judged by its own bytes.
        let mut client = server.connect().await;
        client.send(format!("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc{bytes}")).await;
        assert_eq!(client.answer().await.status, 200);
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (400, said), "{bytes}");
        assert!(client.is_closed().await, "{bytes}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_passes_behind_a_chunk_line_that_is_too_long_to_follow() {
    let server = Running::start().await;
    let long = "0".repeat(2 * BUFFER_BYTES_MAX);
    let blinding = format!(
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{long}3\r\nabc\r\n0\r\n\r\n"
    );
    let both =
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    for behind in [both, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut client = server.connect().await;
        assert_eq!(client.ask(&blinding).await.body, "3");
        let answer = client.ask(behind).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, "Framing"));
        assert!(client.is_closed().await);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_at_all_never_reaches_the_handler() {
    let server =
        Running::with(ServerOptions::default(), |_, _| async { answer::empty(StatusCode::OK) }).await;
    let lines = |more: &str| format!("POST /a HTTP/1.1\r\nhost: a\r\n{more}\r\n\r\n");
    for bytes in [
        lines("content-length: 5\r\ncontent-length: 6"),
        lines("content-length: 5, 5"),
        lines("content-length: +5"),
        lines("content-length: -1"),
        lines("transfer-encoding: chunked, gzip"),
        lines("a : b"),
        lines(" folded"),
        lines("a: b\rc"),
        lines("a: b\0c"),
        lines(": b"),
        "GET /a HTTP/2.0\r\nhost: a\r\n\r\n".into(),
        "GET /a HTTP/1.9\r\nhost: a\r\n\r\n".into(),
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        "POST /a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        lines(&format!("a: {}", "x".repeat(HEAD_BYTES_MAX))),
        lines(&"a: b\r\n".repeat(HEADERS_MAX)),
    ] {
        let mut client = server.connect().await;
        client.send(&bytes).await;
        let mut answer = String::new();
        let _ = client.0.read_to_string(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes}\n{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_old_version_is_answered_in_its_own_and_closed() {
    let server = Running::start().await;
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc").await;
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\n3"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn x02_a_head_that_does_not_come_is_not_waited_for() {
    let options = ServerOptions { head_time_max: Duration::from_millis(50), ..ServerOptions::default() };
    let server = Running::with(options, handle).await;
    for begun in ["", "G", "GET / HTTP/1.1\r\nhost: a\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut client = server.connect().await;
        client.send(begun).await;
        if begun.ends_with("\r\n\r\n") {
            assert_eq!(client.answer().await.status, 200);
        }
        assert!(client.is_closed().await, "{begun:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_panic_costs_its_own_connection_and_no_other() {
    let server = Running::start().await;
    let mut other = server.connect().await;
    assert_eq!(other.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    let mut client = server.connect().await;
    let answer = client.ask("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.closes, answer.body.as_str()), (500, true, ""));
    assert!(client.is_closed().await);
    assert_eq!(other.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_lets_the_request_in_flight_end_and_takes_no_other() {
    let (entered, mut handling) = tokio::sync::mpsc::channel(1);
    let go_on = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&go_on);
    let server = Running::with(ServerOptions::default(), move |_, _| {
        let (entered, gate) = (entered.clone(), Arc::clone(&gate));
        async move {
            entered.send(()).await.unwrap();
            gate.notified().await;
            answer::json(StatusCode::OK, "done")
        }
    })
    .await;
    let mut idle = server.connect().await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    handling.recv().await.unwrap();
    server.shutdown.cancel();
    assert!(idle.is_closed().await);
    go_on.notify_one();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str(), answer.closes), (200, "done", true));
    let address = server.address;
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let options = ServerOptions { drain_max: Duration::from_millis(20), ..ServerOptions::default() };
    let (entered, mut handling) = tokio::sync::mpsc::channel(1);
    let server = Running::with(options, move |_, _| {
        let entered = entered.clone();
        async move {
            entered.send(()).await.unwrap();
            std::future::pending::<Response>().await
        }
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    handling.recv().await.unwrap();
    server.stop().await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn connections_over_the_bound_wait_for_a_place() {
    let options = ServerOptions { places: Places::new(1), ..ServerOptions::default() };
    let server = Running::with(options, handle).await;
    let mut first = server.connect().await;
    assert_eq!(first.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    let mut second = server.connect().await;
    second.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // The first is served again while the second waits; the second's turn comes when the first is gone.
    assert_eq!(first.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    assert!(timeout(Duration::from_millis(20), second.0.fill_buf()).await.is_err());
    drop(first);
    assert_eq!(second.answer().await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn x03_a_client_that_does_not_read_its_answer_is_let_go() {
    // Without the stall limit the orderly end would wait an hour for this connection.
    let options = ServerOptions {
        stall_max: Duration::from_millis(50),
        drain_max: Duration::from_hours(1),
        ..ServerOptions::default()
    };
    let large = bytes::Bytes::from(vec![b'x'; 64 * 1024 * 1024]);
    let server = Running::with(options, move |_, _| {
        let large = large.clone();
        async { Response::new(Body::from(large)) }
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.0.fill_buf().await.unwrap();
    server.stop().await;
    let mut all = Vec::new();
    let _ = client.0.read_to_end(&mut all).await;
    assert!(all.len() < 64 * 1024 * 1024);
}

#[tokio::test]
async fn what_looks_like_the_preface_of_http2_and_is_not_is_no_request() {
    let server = Running::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("PRI /a HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200, "a method like any other");
    for bytes in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(bytes).await;
        let mut answer = Vec::new();
        let _ = client.0.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"), "{bytes}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_has_its_share_of_connections_gets_no_more_until_one_ends() {
    let options = ServerOptions { places: Places::new(4), ..ServerOptions::default() };
    let server = Running::with(options, handle).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
        held.push(client);
    }
    assert!(server.connect().await.is_closed().await);
    held.pop();
    // The server sees the end of one a moment later than its client.
    let until_served = async {
        loop {
            let mut client = server.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            if client.0.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(30), until_served).await.unwrap();
    server.stop().await;
}
