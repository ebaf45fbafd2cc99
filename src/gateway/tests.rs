//! The gate's far side, against an upstream that records what reaches it, over a pipe in memory and over TCP.
//!
//! Every upstream here ends with its test. What an upstream must never see is looked for in the raw bytes
//! that it got.
//!
//! Never here: a wait for a state by sleeping.

mod log;
mod pass;
// Said again for each, for readers of the sources (`tests/tidy.rs`).
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod tethers;
#[cfg(test)]
mod upgrades;

use super::*;
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::http::body::{self, Body, BodyError, Relayed};
use crate::http::server::{ServerOptions, serve};
use crate::http::{Response, answer};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use pass::{granted, granted_to, open};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_mins(1);
const KEY_HEADERS: &[String] = &[];

fn outgoing(request: Request<Body>) -> Outgoing<'static> {
    let (head, body) = request.into_parts();
    Outgoing {
        head,
        body,
        arrival: Arrival {
            address: Some([192, 0, 2, 7].into()),
            is_secure: false,
            request_id: HeaderValue::from_static("req-1"),
        },
        key_headers: KEY_HEADERS,
        encodings: Encodings::AsAsked,
        upgrades: Upgrades::Dropped,
        stay: Stay::Exchange,
    }
}

fn get(path: &str) -> Outgoing<'static> {
    outgoing(Request::get(path).header("host", "api.example").body(Body::Empty).unwrap())
}

/// What an upstream in raw bytes does with one connection: takes a request head, says its piece, ends.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, piece: &[u8]) -> String {
    let mut got = Vec::new();
    while !got.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut some = [0; 1024];
        let read = stream.read(&mut some).await.unwrap();
        if read == 0 {
            break;
        }
        got.extend_from_slice(&some[..read]);
    }
    stream.write_all(piece).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(got).unwrap()
}

fn in_memory(options: UpstreamOptions) -> (Upstream, mpsc::Receiver<DuplexStream>) {
    let (dialer, arriving) = MemoryDialer::new();
    (Upstream::memory(dialer, options), arriving)
}

async fn on_tcp(options: UpstreamOptions) -> (Upstream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (server_at(&format!("http://{address}"), options), listener)
}

fn server_at(url: &str, options: UpstreamOptions) -> Upstream {
    let server = UpstreamServer { options, ..UpstreamServer::at(ServerAddress::parse(url).unwrap()) };
    Upstream::server(&server).unwrap()
}

async fn text(response: Response) -> Result<String, BodyError> {
    let whole = body::read(response.into_body(), 1024 * 1024, LONG).await?;
    Ok(String::from_utf8(whole.to_vec()).unwrap())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn spoofing() -> Outgoing<'static> {
    let request = Request::post("/v1/a?b=%20c&b=d")
        .header("host", "api.example:8080")
        .header("authorization", "Bearer hidden-key")
        .header("connection", "keep-alive, x-keyward-key-id, x-hop")
        .header("x-hop", "hidden-hop")
        .header("x-keyward-key-id", "hidden-id")
        .header("x_keyward_plan", "hidden-plan")
        .header("x-forwarded-for", "203.0.113.66")
        .header("x-forwarded-host", "hidden-host")
        .header("true-client-ip", "203.0.113.66")
        .header("content_length", "hidden-length")
        .header("x-http-method-override", "DELETE")
        .header("te", "trailers")
        .header("upgrade", "websocket")
        .header("content-length", "999")
        .header("accept", "application/json")
        .body(Body::from(Bytes::from_static(b"{}")))
        .unwrap();
    outgoing(request)
}

fn check_what_arrived(got: &str, host: &str) {
    assert!(got.starts_with("POST /v1/a?b=%20c&b=d HTTP/1.1\r\n"), "{got}");
    for absent in
        ["hidden", "203.0.113.66", "override", "upgrade", "trailers", ": 999", "authorization", "connection:"]
    {
        assert!(!got.to_ascii_lowercase().contains(absent), "{absent} in {got}");
    }
    let key = KeyId::from_u128(1).to_string();
    let workspace = WorkspaceId::from_u128(2).to_string();
    for (name, value) in [
        ("x-keyward-key-id", key.as_str()),
        ("x-keyward-workspace", &workspace),
        ("x-keyward-plan", "pro"),
        ("x-keyward-scopes", "posts:read posts:write"),
        ("x-keyward-request-id", "req-1"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-host", "api.example:8080"),
        ("x-forwarded-proto", "http"),
        ("host", host),
        ("content-length", "2"),
        ("accept", "application/json"),
    ] {
        let lines = got.lines().filter(|line| line.split(':').next() == Some(name)).collect::<Vec<_>>();
        assert_eq!(lines, [format!("{name}: {value}")], "{got}");
    }
}

#[tokio::test]
async fn the_upstream_sees_our_identity_and_nothing_of_the_callers_over_memory() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let far = tokio::spawn(async move { say(arriving.recv().await.unwrap(), OK).await });
    let response = upstream.forward(granted(), spoofing()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "ok");
    check_what_arrived(&far.await.unwrap(), "sandbox");
}

#[tokio::test]
async fn the_upstream_sees_our_identity_and_nothing_of_the_callers_over_tcp() {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    let host = listener.local_addr().unwrap().to_string();
    let far = tokio::spawn(async move { say(listener.accept().await.unwrap().0, OK).await });
    let response = upstream.forward(granted(), spoofing()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "ok");
    check_what_arrived(&far.await.unwrap(), &host);
}

#[tokio::test]
async fn an_open_pass_carries_no_identity() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let far = tokio::spawn(async move { say(arriving.recv().await.unwrap(), OK).await });
    upstream.forward(open(), spoofing()).await.unwrap();
    let got = far.await.unwrap();
    for absent in ["x-keyward-key-id", "x-keyward-workspace", "x-keyward-plan", "x-keyward-scopes"] {
        assert!(!got.contains(absent), "{got}");
    }
    assert!(got.contains("x-keyward-request-id: req-1"));
}

#[tokio::test]
async fn a_redirect_and_any_status_pass_through_without_hops_or_our_names() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let far = tokio::spawn(async move {
        let piece = b"HTTP/1.1 302 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\nx-keyward-plan: free\r\n\
            connection: close, x-hop\r\nx-hop: a\r\ncontent-length: 0\r\n\r\n";
        say(arriving.recv().await.unwrap(), piece).await
    });
    let response = upstream.forward(granted(), get("/a")).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    let names = response.headers().keys().map(http::HeaderName::as_str).collect::<Vec<_>>();
    assert_eq!(names, ["location", "content-length"]);
    far.await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_unreachable() {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    drop(listener);
    let refused = upstream.forward(granted(), get("/a")).await.unwrap_err();
    assert_eq!(refused, Refusal::Failed(Fault::UpstreamUnreachable));
    let (upstream, arriving) = in_memory(UpstreamOptions::default());
    drop(arriving);
    let refused = upstream.forward(granted(), get("/a")).await.unwrap_err();
    assert_eq!(refused, Refusal::Failed(Fault::UpstreamUnreachable));
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_late() {
    let options = UpstreamOptions { answer_max: Duration::from_millis(20), ..UpstreamOptions::default() };
    let (upstream, mut arriving) = in_memory(options);
    let refused = upstream.forward(granted(), get("/a")).await.unwrap_err();
    assert_eq!(refused, Refusal::Failed(Fault::UpstreamLate));
    // Its request was dropped with the wait.
    let mut all = Vec::new();
    arriving.recv().await.unwrap().read_to_end(&mut all).await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_or_nothing_is_broken_and_asked_once() {
    for piece in [
        &b""[..],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
        let far = tokio::spawn(async move {
            say(arriving.recv().await.unwrap(), piece).await;
            arriving
        });
        let refused = upstream.forward(granted(), get("/a")).await.unwrap_err();
        assert_eq!(refused, Refusal::Failed(Fault::UpstreamBroken), "{piece:?}");
        assert!(far.await.unwrap().try_recv().is_err(), "{piece:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    for piece in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
    ] {
        let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
        let far = tokio::spawn(async move { say(arriving.recv().await.unwrap(), piece).await });
        let response = upstream.forward(granted(), get("/a")).await.unwrap();
        assert!(matches!(text(response).await, Err(BodyError::Broken(_))));
        far.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_pauses_too_long_is_late() {
    let options = UpstreamOptions { pause_max: Duration::from_millis(20), ..UpstreamOptions::default() };
    let (upstream, mut arriving) = in_memory(options);
    let far = tokio::spawn(async move {
        let mut stream = arriving.recv().await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let response = upstream.forward(granted(), get("/a")).await.unwrap();
    assert!(matches!(text(response).await, Err(BodyError::Late)));
    far.await.unwrap();
}

#[tokio::test]
async fn exchanges_over_the_bound_are_told_to_come_back_and_a_read_answer_gives_its_place_back() {
    let options = UpstreamOptions { exchanges_max: 2, open_exchanges_max: 1, ..UpstreamOptions::default() };
    let (upstream, mut arriving) = in_memory(options);
    let far = tokio::spawn(async move {
        while let Some(stream) = arriving.recv().await {
            tokio::spawn(say(stream, OK));
        }
    });
    let busy = Refusal::Failed(Fault::Busy { retry_after_secs: 1 });
    let first = upstream.forward(open(), get("/a")).await.unwrap();
    assert_eq!(upstream.forward(open(), get("/a")).await.unwrap_err(), busy);
    let second = upstream.forward(granted(), get("/a")).await.unwrap();
    assert_eq!(upstream.forward(granted(), get("/a")).await.unwrap_err(), busy);
    assert_eq!(text(first).await.unwrap(), "ok");
    let third = upstream.forward(open(), get("/a")).await.unwrap();
    drop((second, third));
    upstream.forward(granted(), get("/a")).await.unwrap();
    drop(upstream);
    far.await.unwrap();
}

#[tokio::test]
async fn slow_exchanges_of_one_workspace_leave_the_others_their_places() {
    let options =
        UpstreamOptions { exchanges_max: 4, workspace_exchanges_max: 2, ..UpstreamOptions::default() };
    let (upstream, mut arriving) = in_memory(options);
    let (first, second) = (WorkspaceId::from_u128(7), WorkspaceId::from_u128(8));
    let busy = Refusal::Failed(Fault::Busy { retry_after_secs: 1 });
    let waiting = |workspace, upstream: Upstream| async move {
        upstream.forward(granted_to(workspace), get("/slow")).await.map(drop)
    };
    // Nobody answers these two: they hold their places from before the first byte.
    let mut slow = JoinSet::new();
    slow.spawn(waiting(first, upstream.clone()));
    slow.spawn(waiting(first, upstream.clone()));
    let unanswered = [arriving.recv().await.unwrap(), arriving.recv().await.unwrap()];
    assert_eq!(waiting(first, upstream.clone()).await.unwrap_err(), busy);
    let far = tokio::spawn(async move {
        while let Some(stream) = arriving.recv().await {
            tokio::spawn(say(stream, OK));
        }
    });
    waiting(second, upstream.clone()).await.unwrap();
    slow.shutdown().await;
    drop(unanswered);
    waiting(first, upstream.clone()).await.unwrap();
    drop(upstream);
    far.await.unwrap();
}

#[tokio::test]
async fn standing_streams_take_no_place_of_an_exchange_and_have_shares_of_their_own() {
    let options = UpstreamOptions {
        exchanges_max: 1,
        workspace_exchanges_max: 1,
        streams_max: 3,
        workspace_streams_max: 2,
        ..UpstreamOptions::default()
    };
    let (upstream, mut arriving) = in_memory(options);
    let far = tokio::spawn(async move {
        while let Some(stream) = arriving.recv().await {
            tokio::spawn(say(stream, OK));
        }
    });
    let (first, second) = (WorkspaceId::from_u128(7), WorkspaceId::from_u128(8));
    let busy = Refusal::Failed(Fault::Busy { retry_after_secs: 1 });
    let stream = |workspace| {
        let outgoing = Outgoing { stay: Stay::Stream, ..get("/events") };
        upstream.forward(granted_to(workspace), outgoing)
    };
    let mut held = vec![stream(first).await.unwrap(), stream(first).await.unwrap()];
    assert_eq!(stream(first).await.unwrap_err(), busy, "its share");
    held.push(stream(second).await.unwrap());
    assert_eq!(stream(second).await.unwrap_err(), busy, "all of them");
    let message = upstream.forward(granted_to(first), get("/message")).await.unwrap();
    assert_eq!(upstream.forward(granted_to(second), get("/message")).await.unwrap_err(), busy);
    drop((message, held));
    stream(first).await.unwrap();
    drop(upstream);
    far.await.unwrap();
}

/// A gate in front of `upstream` that takes bodies of at most 100,000 bytes, and says refusals by their
/// names.
async fn gate(upstream: Upstream) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let handler = move |request: crate::http::Request, _| {
        let upstream = upstream.clone();
        async move {
            let request = request.map(|body| Body::Relayed(Relayed::new(body, 100_000, LONG)));
            upstream.forward(granted(), outgoing(request)).await.unwrap_or_else(|refusal| {
                let mut refused = answer::json(StatusCode::IM_A_TEAPOT, format!("{refusal:?}"));
                answer::close(&mut refused);
                refused
            })
        }
    };
    let serving = tokio::spawn(serve(listener, ServerOptions::default(), shutdown.clone(), handler));
    (address, shutdown, serving)
}

#[tokio::test]
async fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let (address, near_end, near) = gate(upstream).await;
    let far = tokio::spawn(async move {
        let piece = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        say(arriving.recv().await.unwrap(), piece).await
    });
    let answer = exchange(address, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(far.await.unwrap().starts_with("HEAD / HTTP/1.1"));
    near_end.cancel();
    near.await.unwrap();
}

/// Sends bytes to a gate and reads to the end of the connection.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    all
}

async fn echo() -> (Upstream, CancellationToken, tokio::task::JoinHandle<()>) {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    let shutdown = CancellationToken::new();
    let handler = |request: crate::http::Request, _| async move {
        let trailing = format!("{:?}", request.headers().get("x-trailing"));
        match body::read(request.into_body(), 1024 * 1024, LONG).await {
            Ok(whole) => answer::json(StatusCode::OK, format!("{} {trailing}", whole.len())),
            Err(_) => answer::empty(StatusCode::BAD_REQUEST),
        }
    };
    let serving = tokio::spawn(serve(listener, ServerOptions::default(), shutdown.clone(), handler));
    (upstream, shutdown, serving)
}

#[tokio::test]
async fn bodies_of_every_framing_reach_the_upstream_whole_and_without_trailers() {
    let (upstream, far_end, far) = echo().await;
    let (address, near_end, near) = gate(upstream).await;
    let large = "x".repeat(100_000);
    let close = "host: a\r\nconnection: close\r\n";
    for (request, expected) in [
        (format!("POST / HTTP/1.1\r\n{close}content-length: 100000\r\n\r\n{large}"), "100000 None"),
        (
            format!("GET / HTTP/1.1\r\n{close}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            "3 None",
        ),
        (
            format!("POST / HTTP/1.1\r\n{close}transfer-encoding: chunked\r\ntrailer: x-trailing\r\n\r\n")
                + "3\r\nabc\r\n0\r\nx-trailing: a\r\nauthorization: b\r\n\r\n",
            "3 None",
        ),
        (format!("POST / HTTP/1.1\r\n{close}\r\n"), "0 None"),
        ("POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".to_owned(), "3 None"),
    ] {
        let answer = exchange(address, request.as_bytes()).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{answer}");
    }
    near_end.cancel();
    near.await.unwrap();
    far_end.cancel();
    far.await.unwrap();
}

#[tokio::test]
async fn a_body_that_the_caller_spoils_is_the_callers_refusal() {
    let (upstream, far_end, far) = echo().await;
    let (address, near_end, near) = gate(upstream).await;
    let too_large = format!("{:?}", Refusal::Denied(Denial::TooLarge { max_bytes: 100_000 }));
    let unreadable = format!("{:?}", Refusal::Denied(Denial::Invalid(Invalid::Framing)));
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let large = "x".repeat(100_001);
    for (request, expected) in [
        (format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100001\r\n\r\n{large}"), &too_large),
        (format!("{chunked}186a1\r\n{large}\r\n0\r\n\r\n"), &too_large),
        (format!("{chunked}3\r\nabc\r\nzz\r\n"), &unreadable),
    ] {
        let answer = exchange(address, request.as_bytes()).await;
        assert!(answer.ends_with(expected), "{answer}");
    }
    near_end.cancel();
    near.await.unwrap();
    far_end.cancel();
    far.await.unwrap();
}

#[tokio::test]
async fn events_reach_the_caller_one_by_one_as_they_are_sent() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let (address, near_end, near) = gate(upstream).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut far = arriving.recv().await.unwrap();
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    far.write_all(head).await.unwrap();
    for number in 0..5 {
        // The next is only sent once this one has arrived.
        let event = format!("data: {number}\n\n");
        far.write_all(event.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains(&event) {
            assert!(client.read_buf(&mut got).await.unwrap() > 0);
        }
    }
    drop(far);
    near_end.cancel();
    near.await.unwrap();
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_upstream_request_along() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let (address, near_end, near) = gate(upstream).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut far = arriving.recv().await.unwrap();
    far.read_exact(&mut [0; 16]).await.unwrap();
    drop(client);
    far.read_to_end(&mut Vec::new()).await.unwrap();
    near_end.cancel();
    near.await.unwrap();
}
