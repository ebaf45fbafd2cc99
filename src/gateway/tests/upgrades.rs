//! Tunnels: when one is opened, what passes through it, and all the ways in which it ends.
//!
//! The far side speaks in raw bytes behind its 101, as the client does.
//!
//! Never here: the words of WebSocket, which nobody here reads.

use super::pass::granted_until;
use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

const ASK: &str = "GET /v1/live HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
    sec-websocket-key: abc\r\nsec-websocket-version: 13\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: def\r\nx-keyward-plan: hidden\r\n\r\n";
/// Far above every tick here.
const SOON: Duration = Duration::from_secs(10);

/// A gate that lets callers ask for a WebSocket, and its upstream.
struct Live {
    upstream: Upstream,
    listener: TcpListener,
    address: SocketAddr,
    over: Arc<AtomicBool>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Live {
    async fn start(options: UpstreamOptions, upgrades: Upgrades) -> Self {
        let (upstream, listener) = on_tcp(options).await;
        let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = near.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (pass, over) = granted_until();
        let pass = Arc::new(Mutex::new(Some(pass)));
        let behind = upstream.clone();
        let handler = move |request: crate::http::Request, _| {
            let (upstream, pass) =
                (behind.clone(), pass.lock().unwrap_or_else(PoisonError::into_inner).take());
            async move {
                // There is one pass: whatever comes behind the first request is refused.
                let Some(pass) = pass else { return answer::empty(StatusCode::UNAUTHORIZED) };
                let outgoing = Outgoing {
                    upgrades,
                    ..outgoing(request.map(|body| {
                        let relayed = Relayed::new(body, 1000, LONG);
                        if relayed.is_end() { Body::Empty } else { Body::Relayed(relayed) }
                    }))
                };
                upstream.forward(pass, outgoing).await.unwrap_or_else(|refusal| {
                    let mut refused = answer::json(StatusCode::IM_A_TEAPOT, format!("{refusal:?}"));
                    answer::close(&mut refused);
                    refused
                })
            }
        };
        let options = ServerOptions { drain_max: Duration::from_millis(50), ..ServerOptions::default() };
        let serving = tokio::spawn(serve(near, options, shutdown.clone(), handler));
        Self { upstream, listener, address, over, shutdown, serving }
    }

    /// A client that asked, with `early` right behind, and what its upstream got of that.
    async fn asked(&self, early: &str) -> (TcpStream, TcpStream, String) {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(format!("{ASK}{early}").as_bytes()).await.unwrap();
        let mut far = self.listener.accept().await.unwrap().0;
        let got = head_of(&mut far).await;
        (client, far, got)
    }

    /// A tunnel that stands.
    async fn open(&self) -> (TcpStream, TcpStream) {
        let (mut client, mut far, _) = self.asked("").await;
        far.write_all(AGREE.as_bytes()).await.unwrap();
        head_of(&mut client).await;
        (client, far)
    }

    async fn finish(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.serving).await.expect("it stops").unwrap();
    }
}

/// Everything up to the empty line, and what came with it.
async fn head_of(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    while !got.windows(4).any(|four| four == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
    }
    String::from_utf8(got).unwrap()
}

async fn ends(stream: &mut TcpStream) {
    // A side that is cut off may see a reset.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
}

#[tokio::test]
async fn a_tunnel_passes_bytes_both_ways_once_the_upstream_has_agreed() {
    let options = UpstreamOptions { exchanges_max: 1, ..UpstreamOptions::default() };
    let live = Live::start(options, Upgrades::WebSocket).await;
    let (mut client, mut far, got) = live.asked("early").await;
    let lines = got.split("\r\n").map(str::to_ascii_lowercase).collect::<Vec<_>>();
    assert_eq!(lines[0], "get /v1/live http/1.1");
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: abc",
        "sec-websocket-extensions: permessage-deflate",
        "x-keyward-plan: pro",
    ] {
        assert_eq!(lines.iter().filter(|other| *other == line).count(), 1, "{line} in {got}");
    }
    assert!(got.ends_with("\r\n\r\n"), "nothing early: {got}");
    // The 101 and the first bytes behind it in one piece.
    far.write_all(format!("{AGREE}first").as_bytes()).await.unwrap();
    let mut seen = head_of(&mut client).await.into_bytes();
    while !seen.ends_with(b"first") {
        assert!(client.read_buf(&mut seen).await.unwrap() > 0);
    }
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && !seen.contains("hidden"), "{seen}");
    assert!(seen.contains("sec-websocket-accept: def\r\n"), "{seen}");
    let mut early = [0; 5];
    far.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    // It holds the only place.
    let busy = Refusal::Failed(Fault::Busy { retry_after_secs: 1 });
    assert_eq!(live.upstream.forward(granted(), get("/a")).await.unwrap_err(), busy);
    // More than all buffers hold, both ways at once.
    let many = vec![b'a'; 1 << 20];
    let (mut client_reader, mut client_writer) = client.into_split();
    let (mut far_reader, mut far_writer) = far.into_split();
    let (mut at_client, mut at_far) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let passed = tokio::join!(
        client_writer.write_all(&many),
        far_writer.write_all(&many),
        client_reader.read_exact(&mut at_client),
        far_reader.read_exact(&mut at_far),
    );
    assert!(passed.0.is_ok() && passed.1.is_ok() && passed.2.is_ok() && passed.3.is_ok());
    assert!(at_client == many && at_far == many);
    // Either side may end it.
    drop((far_reader, far_writer));
    client_reader.read_to_end(&mut Vec::new()).await.unwrap();
    drop((client_reader, client_writer));
    let Live { upstream, listener, shutdown, serving, .. } = live;
    let far = tokio::spawn(async move { say(listener.accept().await.unwrap().0, OK).await });
    let free = async {
        while upstream.forward(granted(), get("/a")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, free).await.expect("its place is free again");
    far.await.unwrap();
    shutdown.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn f14_bytes_behind_a_wish_that_was_not_granted_are_no_request_upstream() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\nok",
    ] {
        let live = Live::start(UpstreamOptions::default(), Upgrades::WebSocket).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let (mut client, mut far, got) = live.asked(smuggled).await;
        assert!(!got.contains("smuggled"), "{got}");
        far.write_all(answer.as_bytes()).await.unwrap();
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        if answer.contains(" 101 ") {
            assert!(seen.ends_with("Failed(UpstreamBroken)"), "{answer}: {seen}");
        } else {
            assert!(seen.contains("\r\n\r\nokHTTP/1.1 401 "), "each is a request of its own: {seen}");
        }
        let mut rest = Vec::new();
        far.shutdown().await.unwrap();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "{answer}");
        live.finish().await;
    }
}

#[tokio::test]
async fn f14_no_other_upgrade_is_asked_for_and_none_where_the_route_does_not_say_so() {
    let h2c = ASK
        .replace("WebSocket", "h2c")
        .replace("Upgrade\r\n", "Upgrade, HTTP2-Settings\r\nhttp2-settings: a\r\n");
    let posted = ASK.replace("GET", "POST").replace("host: a", "host: a\r\ncontent-length: 0");
    for (asked, upgrades) in [
        (ASK.to_owned(), Upgrades::Dropped),
        (h2c, Upgrades::WebSocket),
        (posted, Upgrades::WebSocket),
        (ASK.replace("WebSocket", "websocket, h2c"), Upgrades::WebSocket),
    ] {
        let live = Live::start(UpstreamOptions::default(), upgrades).await;
        let mut client = TcpStream::connect(live.address).await.unwrap();
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut far = live.listener.accept().await.unwrap().0;
        let got = head_of(&mut far).await.to_ascii_lowercase();
        assert!(
            !got.contains("\r\nupgrade:") && !got.contains("\r\nconnection:") && !got.contains("http2"),
            "{got}"
        );
        far.write_all(AGREE.as_bytes()).await.unwrap();
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert!(seen.ends_with("Failed(UpstreamBroken)"), "{seen}");
        live.finish().await;
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_its_key_whether_it_is_silent_or_not() {
    for speaks in [false, true] {
        let live = Live::start(UpstreamOptions::default(), Upgrades::WebSocket).await;
        let (mut client, mut far) = live.open().await;
        live.over.store(true, Ordering::SeqCst);
        if speaks {
            client.write_all(b"late").await.unwrap();
        }
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(SOON, far.read_to_end(&mut rest)).await.expect("it ends");
        assert_eq!(rest, b"", "nothing passes any more");
        ends(&mut client).await;
        live.finish().await;
    }
}

#[tokio::test]
async fn a_tunnel_ends_in_silence_at_a_close_of_either_side_and_at_a_stop() {
    let brief = UpstreamOptions { quiet_max: Duration::from_millis(30), ..UpstreamOptions::default() };
    let live = Live::start(brief, Upgrades::WebSocket).await;
    let (mut client, mut far) = live.open().await;
    ends(&mut client).await;
    ends(&mut far).await;
    live.finish().await;

    let live = Live::start(UpstreamOptions::default(), Upgrades::WebSocket).await;
    let (client, mut far) = live.open().await;
    drop(client);
    ends(&mut far).await;
    live.finish().await;

    let live = Live::start(UpstreamOptions::default(), Upgrades::WebSocket).await;
    let (mut client, mut far) = live.open().await;
    live.finish().await;
    ends(&mut client).await;
    ends(&mut far).await;
}
