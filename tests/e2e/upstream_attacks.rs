//! The whole gate before an upstream of raw bytes: what callers and upstreams try, end to end.
//!
//! The upstream tells each caller what it saw of that very request, so an answer that reached the wrong one
//! shows itself. What the gate does with broken answers is tested beside it, in `src/gateway/tests`.
//!
//! Never here: the sandbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::daemon::{Daemon, Key, Options, list_posts};
use crate::upstreams::recording::recording;
use crate::wire::{Call, Connection, PATIENCE};

/// Lets callers of `GET /v1/posts` ask for a `WebSocket`.
const LIVE: &[(&str, &str)] = &[(
    "method = \"GET\"\npath = \"/v1/posts\"\n",
    "method = \"GET\"\npath = \"/v1/posts\"\nwebsocket = true\n",
)];

/// An upstream that answers each request with the key id and the body that it saw, and counts both those that
/// came whole and those that broke off.
struct Echo {
    url: &'static str,
    whole: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).leak();
        let (whole, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&whole), Arc::clone(&broken));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (whole, broken) = counts.clone();
                tokio::spawn(async move { echo(stream, &whole, &broken).await });
            }
        });
        Self { url, whole, broken, task }
    }
}

async fn echo(mut stream: TcpStream, whole: &AtomicUsize, broken: &AtomicUsize) {
    let mut bytes = Vec::new();
    loop {
        if let Some(head_end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
            let of = |name: &str| {
                let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
                lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let end = head_end + 4 + of("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end {
                let body = String::from_utf8_lossy(&bytes[head_end + 4..end]).into_owned();
                let said = format!("{} {body}", of("x-keyward-key-id").unwrap_or_default());
                whole.fetch_add(1, Ordering::SeqCst);
                bytes.drain(..end);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
                // In two pieces, so that some callers leave between them.
                let (first, rest) = answer.split_at(answer.len() - 3);
                if stream.write_all(first.as_bytes()).await.is_err()
                    || stream.write_all(rest.as_bytes()).await.is_err()
                {
                    return;
                }
                continue;
            }
        }
        if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            if !bytes.is_empty() {
                broken.fetch_add(1, Ordering::SeqCst);
            }
            return;
        }
    }
}

/// One caller: requests of its own, every third broken off in its body and every fifth left before its answer
/// was read.
async fn call_often(address: std::net::SocketAddr, key: Key, caller: usize, requests: usize) -> usize {
    let mut connection = Connection::open(address).await.unwrap();
    let mut answered = 0;
    for number in 0..requests {
        let mine = format!("caller {caller} request {number}");
        let call = Call::new("POST", "/v1/posts").bearer(&key.text);
        if number % 3 == 1 {
            let length = (mine.len() + 50).to_string();
            connection
                .send(&call.header("Content-Length", &*length).body(mine.as_str()).bytes(address))
                .await;
            connection = Connection::open(address).await.unwrap();
            continue;
        }
        let bytes =
            call.header("Content-Length", &*mine.len().to_string()).body(mine.as_str()).bytes(address);
        connection.send(&bytes).await;
        if number % 5 == 2 {
            connection = Connection::open(address).await.unwrap();
            continue;
        }
        let answer = connection.answer_to("POST").await;
        assert_eq!((answer.status, answer.text()), (200, format!("{} {mine}", key.id)));
        answered += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_callers_who_break_off_in_the_middle_never_get_anothers_answer() {
    const CALLERS: usize = 20;
    const REQUESTS: usize = 500;
    let echo = Echo::start().await;
    let daemon = Daemon::start_with(Options { upstream: Some(echo.url), ..Options::default() }).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let workspace = daemon.workspace("enterprise").await;
        let key = daemon
            .key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 1_000_000, "window_s": 1}}));
        callers.spawn(call_often(daemon.data(), key.await, caller, REQUESTS));
    }
    let answered: usize = callers.join_all().await.into_iter().sum();
    // Of 15 in a row 5 break off, and 2 of the others are left.
    assert!(answered > CALLERS * REQUESTS / 2, "{answered}");
    assert!(echo.whole.load(Ordering::SeqCst) >= answered && echo.broken.load(Ordering::SeqCst) > 0);
    daemon.finish().await;
    echo.task.abort();
}

#[tokio::test]
async fn f10_a_trace_passes_and_what_names_another_request_does_not() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let call = Call::get("/v1/posts").bearer(&workspace.default_key.text).header("tracestate", "a=1");
    let call = call.header("baggage", "b=2").header("X-Forwarded-Prefix", "/spoofed");
    let call = call.header("X-Forwarded-Uri", "/spoofed").header("X_Original_URL", "/spoofed");
    for parents in [&[parent][..], &[parent, parent], &["nonsense"]] {
        let call = parents.iter().fold(call.clone(), |call, parent| call.header("traceparent", *parent));
        assert_eq!(daemon.call(&call).await.status, 200);
        let seen = recorded.lock().unwrap().last().unwrap().to_ascii_lowercase();
        let passes = parents == [parent];
        assert_eq!(seen.contains(&format!("traceparent: {parent}\r\n")), passes, "{seen}");
        assert_eq!(seen.contains("tracestate: a=1\r\n"), passes, "{seen}");
        assert!(seen.contains("baggage: b=2\r\n") && !seen.contains("spoofed"), "{seen}");
    }
    daemon.finish().await;
    task.abort();
}

/// Asks for a WebSocket over a connection of its own.
async fn ask(daemon: &Daemon, key: &str, behind: &str) -> TcpStream {
    let mut client = TcpStream::connect(daemon.data()).await.unwrap();
    let asked = format!(
        "GET /v1/posts HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: abc\r\n\r\n{behind}",
        daemon.data()
    );
    client.write_all(asked.as_bytes()).await.unwrap();
    client
}

async fn until(stream: &mut TcpStream, mark: &str) -> String {
    let mut got = Vec::new();
    let reading = async {
        while !got.windows(mark.len()).any(|window| window == mark.as_bytes()) {
            assert!(stream.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it comes");
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn f14_a_tunnel_is_opened_by_a_grant_and_a_101_and_ends_with_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: &str = format!("http://{}", listener.local_addr().unwrap()).leak();
    let daemon = Daemon::start_with(Options { upstream: Some(url), edits: LIVE, ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let none = daemon.key_for(&workspace, &[]).await;
    for refused in ["sk_live_wrong", &*none.text] {
        let mut client = ask(&daemon, refused, "").await;
        let seen = until(&mut client, "\r\n\r\n").await;
        assert!(seen.starts_with("HTTP/1.1 401 ") || seen.starts_with("HTTP/1.1 403 "), "{seen}");
    }
    let mut client = ask(&daemon, &key.text, "early").await;
    // The first that reaches the upstream.
    let (mut far, _) = listener.accept().await.unwrap();
    let got = until(&mut far, "\r\n\r\n").await;
    assert!(got.ends_with("\r\n\r\n") && got.contains(&key.id) && !got.contains(&*key.text), "{}", got.len());
    let agree = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello";
    far.write_all(agree.as_bytes()).await.unwrap();
    let seen = until(&mut client, "hello").await;
    assert!(seen.starts_with("HTTP/1.1 101 "), "{seen}");
    until(&mut far, "early").await;
    daemon.revoke(&key).await;
    for stream in [&mut far, &mut client] {
        // A side that is cut off may see a reset.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn f14_connect_opens_nothing_and_bytes_behind_a_refused_upgrade_need_a_key_of_their_own() {
    let (url, recorded, task) = recording().await;
    let daemon =
        Daemon::start_with(Options { upstream: Some(url.leak()), edits: LIVE, ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let smuggled =
        format!("GET /v1/accounts HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", daemon.data());
    let mut client = ask(&daemon, &key.text, &smuggled).await;
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200 ") && seen.contains("{}HTTP/1.1 401 "), "{seen}");
    assert_eq!(recorded.lock().unwrap().len(), 1, "only the first went on");
    let mut client = TcpStream::connect(daemon.data()).await.unwrap();
    let connect = format!(
        "CONNECT {0} HTTP/1.1\r\nhost: {0}\r\nauthorization: Bearer {1}\r\n\r\n",
        daemon.data(),
        &*key.text
    );
    client.write_all(format!("{connect}{smuggled}").as_bytes()).await.unwrap();
    let seen = until(&mut client, "\r\n\r\n").await;
    assert!(seen.starts_with("HTTP/1.1 4"), "{seen}");
    assert_eq!(recorded.lock().unwrap().len(), 1);
    assert_eq!(daemon.call(&list_posts(key)).await.status, 200);
    daemon.finish().await;
    task.abort();
}
