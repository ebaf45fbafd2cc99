//! An upstream that outlives each daemon in front of it: it counts what reaches it, says for whom, lists its tools, and
//! holds streams open.
//!
//! What it counts is what was let through, whatever else is said of it. It notes each request that tells nobody or two
//! who asks, or that brings a credential along.
//!
//! Never here: what should have been let through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The header of metered calls.
pub(crate) const METERED: &str = "x-metered";
/// What is listed; the last one is mapped by nobody.
pub(crate) const TOOLS: [&str; 8] = [
    "posts_list",
    "posts_get",
    "posts_create",
    "posts_update",
    "posts_delete",
    "ai_rewrite",
    "trending_list",
    "not_mapped",
];
/// Between two events of a stream.
const EVENT_EVERY: Duration = Duration::from_millis(200);

/// The upstream; it ends when it is dropped.
pub(crate) struct Upstream {
    pub(crate) url: String,
    counts: Arc<Mutex<Counts>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// Metered calls by workspace.
    metered: HashMap<String, u64>,
    all: u64,
    wrong: Vec<String>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::<Mutex<Counts>>::default();
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_all(stream, Arc::clone(&counted)));
            }
        });
        Self { url, counts, task }
    }

    /// Metered calls of a workspace.
    pub(crate) fn metered(&self, workspace: &str) -> u64 {
        self.counts.lock().unwrap().metered.get(workspace).copied().unwrap_or(0)
    }

    pub(crate) fn all(&self) -> u64 {
        self.counts.lock().unwrap().all
    }

    /// What should not have come as it came.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.counts.lock().unwrap().wrong.clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads requests until the peer is gone, and answers them.
async fn answer_all(mut stream: TcpStream, counts: Arc<Mutex<Counts>>) {
    let mut bytes = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut bytes).await {
        let key = count(&head, &counts);
        let is_stream = head.starts_with("GET ") && head.contains("text/event-stream");
        if is_stream {
            hold_open(&mut stream).await;
            return;
        }
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let answer = match message["method"].as_str() {
            Some("tools/list") => {
                let tools: Vec<_> =
                    TOOLS.iter().map(|name| json!({"name": name, "inputSchema": {}})).collect();
                json!({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}})
            }
            Some(_) => json!({"jsonrpc": "2.0", "id": message["id"], "result": {"key": key}}),
            None => json!({"key": key}),
        };
        let answer = answer.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        if stream.write_all(format!("{head}{}\r\n\r\n{answer}", answer.len()).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Notes a request; gives the key that asks.
fn count(head: &str, counts: &Mutex<Counts>) -> String {
    let values = |name: &'static str| {
        let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let one = |name: &'static str| {
        let mut values = values(name);
        values.next().filter(|_| values.next().is_none())
    };
    let mut counts = counts.lock().unwrap();
    counts.all += 1;
    let (Some(key), Some(workspace)) = (one("x-keyward-key-id"), one("x-keyward-workspace")) else {
        counts.wrong.push("a request that tells nobody, or two, who asks".to_owned());
        return String::new();
    };
    if values("authorization").chain(values("x-api-key")).next().is_some() {
        counts.wrong.push(format!("a request of {key} that brings a credential along"));
    }
    if values(METERED).next().is_some() {
        *counts.metered.entry(workspace).or_default() += 1;
    }
    key
}

async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(head_len) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let end = head_len + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if bytes.len() >= end {
                let body = bytes[head_len + 4..end].to_vec();
                bytes.drain(..end);
                return Some((head, body));
            }
        }
        if stream.read_buf(bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// Sends events until nobody takes them.
async fn hold_open(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
    let mut next = head;
    while stream.write_all(next.as_bytes()).await.is_ok() {
        next = event;
        tokio::time::sleep(EVENT_EVERY).await;
    }
}
