//! A stop under load: what is in flight ends well, what was counted is exact, and the next start has nothing to repair.
//!
//! That clean stops sell exactly the limit, many times over, is shown by `e2e kills::e04_…`.
//!
//! Never here: a kill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::Database;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::counting::rewrite;
use crate::harness::program::{Program, configured, new_workspace, text};
use crate::harness::wire::{Call, Connection, PATIENCE};

/// Requests in flight when the daemon is told to stop.
const IN_FLIGHT: usize = 8;

/// An upstream that answers nobody until it is told to.
struct HeldUpstream {
    url: String,
    arrived: watch::Receiver<usize>,
    is_let_go: watch::Sender<bool>,
}

impl HeldUpstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (is_let_go, (count, arrived)) = (watch::Sender::new(false), watch::channel(0));
        let (count, held) = (Arc::new(count), is_let_go.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hold(stream, Arc::clone(&count), held.clone()));
            }
        });
        Self { url, arrived, is_let_go }
    }

    async fn has(&mut self, requests: usize) {
        let arrived = self.arrived.wait_for(|arrived| *arrived >= requests);
        tokio::time::timeout(PATIENCE, arrived).await.expect("the requests arrive").unwrap();
    }
}

async fn hold(mut stream: TcpStream, arrived: Arc<watch::Sender<usize>>, mut held: watch::Receiver<bool>) {
    let mut bytes = Vec::new();
    loop {
        while !bytes.ends_with(b"}") {
            if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
        bytes.clear();
        arrived.send_modify(|arrived| *arrived += 1);
        if held.wait_for(|is_let_go| *is_let_go).await.is_err() {
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let _ = stream.write_all(answer).await;
    }
}

#[tokio::test]
async fn d17_a_stop_lets_what_is_in_flight_end_counts_it_exactly_and_leaves_nothing_to_repair() {
    let mut upstream = HeldUpstream::start().await;
    let dir = configured();
    let path = dir.path().join("keyward.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("\"sandbox\"", &format!("\"{}\"", upstream.url))).unwrap();
    let daemon = Program::serve(dir.path()).await;
    let made = daemon.admin_json(new_workspace()).await;
    let (workspace, key) = (text(&made["workspace"]["id"]), text(&made["default_key"]["key"]));
    let mut in_flight = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let mut connection = Connection::open(daemon.data).await.unwrap();
        let call = rewrite(&key);
        in_flight.spawn(async move { connection.call(&call).await.status });
    }
    upstream.has(IN_FLIGHT).await;
    let (admin, address) = (daemon.admin, daemon.data);
    let stopping = tokio::spawn(daemon.end_by("TERM"));
    // It takes no other, and ends none.
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("it takes no other connection");
    assert!(!stopping.is_finished() && in_flight.try_join_next().is_none());
    upstream.is_let_go.send_replace(true);
    assert_eq!(in_flight.join_all().await, [200; IN_FLIGHT]);
    let (ended, said) = stopping.await.unwrap();
    assert_eq!(ended.code(), Some(0), "{said}");
    assert!(TcpStream::connect(admin).await.is_err());

    let is_repaired = Arc::new(AtomicBool::new(false));
    let repaired = Arc::clone(&is_repaired);
    let mut file = Database::builder();
    file.set_repair_callback(move |_| repaired.store(true, Ordering::Relaxed));
    file.open(dir.path().join("data/keyward.redb")).unwrap().close().unwrap();
    assert!(!is_repaired.load(Ordering::Relaxed), "a clean stop leaves something to repair");
    let daemon = Program::serve(dir.path()).await;
    let meters = daemon.admin_json(Call::get(&format!("/api/v1/workspaces/{workspace}/meters"))).await;
    let meter = meters["data"].as_array().unwrap().iter().find(|meter| meter["name"] == "ai").unwrap();
    assert_eq!((&meter["used"], &meter["burnt"]), (&json!(IN_FLIGHT), &json!(0)), "{meter}");
}
