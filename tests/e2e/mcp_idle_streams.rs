//! A thousand event streams on which nobody says anything, at the real program: what each costs, and that they end
//! with their key.
//!
//! `cargo test --release --test e2e mcp_idle_streams -- --nocapture` prints the figure; without `--release` it is a
//! debug build's.
//!
//! Never here: a bound that is the figure; the one asserted is twice that of a debug build.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyward::config::shipped;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::daemon::Hidden;
use crate::program::{Program, text};
use crate::streaming::memory_kib;
use crate::upstreams::sse::Stream;
use crate::wire::{Call, PATIENCE};

const STREAMS: usize = 1_000;
/// What one stream may cost at most. Both its sockets are HTTP/1.1 connections, each with its buffers.
const STREAM_KIB_MAX: u64 = 96;
/// The promise.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

/// A server whose streams say where to post, if that is asked, and then nothing. Gives how many are open.
async fn silent_server() -> (String, Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut got = Vec::new();
                while !got.windows(4).any(|four| four == b"\r\n\r\n") {
                    if socket.read_buf(&mut got).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let event = "event: endpoint\ndata: /messages\n\n";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let said = format!("{head}{:x}\r\n{event}\r\n", event.len());
                socket.write_all(said.as_bytes()).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                while socket.read_buf(&mut got).await.unwrap_or(0) > 0 {}
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, open, task)
}

#[expect(clippy::disallowed_methods, reason = "the time is what is promised here")]
fn now() -> Instant {
    Instant::now()
}

/// Both ends of every stream are this process's.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(8_192, |most| most.min(8_192));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_streams_cost_little_and_end_with_their_key() {
    raise_descriptors();
    let (url, open, task) = silent_server().await;
    let dir = tempfile::tempdir().unwrap();
    let profile = shipped("shingleai").unwrap().replacen("limit = 100", "limit = 100_000", 1);
    std::fs::write(dir.path().join("many.toml"), profile.replacen("\"shingleai\"", "\"socialcrm\"", 1))
        .unwrap();
    let config = format!(
        r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        file = "many.toml"
        upstream = {{ url = "{url}", streams = 4096, workspace_streams = 4096 }}
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["socialcrm"]
        "#
    );
    std::fs::write(dir.path().join("keyward.toml"), config).unwrap();
    let program = Program::serve(dir.path()).await;
    let wanted = json!({"name": "Acme", "profile": "socialcrm", "plan": "enterprise"});
    let made = program.admin_json(Call::post("/api/v1/workspaces", &wanted)).await;
    let wanted = json!({"workspace_id": made["workspace"]["id"], "permissions": ["*:*"]});
    let other = program.admin_json(Call::post("/api/v1/keys", &wanted)).await;
    let key = Hidden(text(&made["default_key"]["key"]));
    let key_id = text(&made["default_key"]["id"]);
    // Once, so that everything that a stream needs is there; and one of another key, which stays.
    drop(Stream::open(program.data(), &key).await);
    let (mut staying, _) = Stream::open(program.data(), &Hidden(text(&other["key"]))).await;
    let settled = async |streams: usize| {
        let settling = async {
            while open.load(Ordering::SeqCst) != streams {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, settling).await.expect("the server's side follows");
    };
    settled(1).await;
    let before = memory_kib(program.child.id(), "VmRSS");

    let mut streams = Vec::new();
    while streams.len() < STREAMS {
        let mut asked = JoinSet::new();
        for _ in 0..50 {
            let (data, key) = (program.data(), key.clone());
            asked.spawn(async move { Stream::open(data, &key).await.0 });
        }
        streams.extend(asked.join_all().await);
    }
    settled(1 + STREAMS).await;
    let after = memory_kib(program.child.id(), "VmRSS");
    // In tenths.
    let each = after.saturating_sub(before) * 10 / STREAMS as u64;
    println!(
        "{STREAMS} idle streams: {before} KiB before, {after} KiB with them, {}.{} KiB each",
        each / 10,
        each % 10
    );
    assert!(each < STREAM_KIB_MAX * 10, "from {before} to {after} KiB");

    let mut ending = JoinSet::new();
    for stream in streams {
        ending.spawn(async move { (stream.ends_cut().await, now()) });
    }
    let revoked = program.admin(Call::post(&format!("/api/v1/keys/{key_id}/revoke"), &json!({}))).await;
    let acknowledged = now();
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let ended = tokio::time::timeout(PATIENCE, ending.join_all()).await.expect("every stream ends");
    assert!(ended.iter().all(|(is_cut, _)| *is_cut), "a stream looks whole");
    let last = ended.iter().map(|(_, at)| *at).max().unwrap();
    let took = last.saturating_duration_since(acknowledged);
    println!("the last of them ended {took:.0?} after its key was revoked");
    assert!(took < ENDED_WITHIN, "{took:?}");
    settled(1).await;
    // Nobody else's ends, until the daemon does; then at once, as if all had been said.
    let (status, said) = {
        let stopping = program.end_by("TERM");
        let ending = async { while staying.next().await.is_some() {} };
        tokio::join!(stopping, ending).0
    };
    assert_eq!(status.code(), Some(0), "{said}");
    task.abort();
}
