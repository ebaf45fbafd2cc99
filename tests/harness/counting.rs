//! An upstream that counts what reaches it, and a product whose metered calls go there.
//!
//! What the upstream counts is what was let through, whatever else is said of it: a request counts once its
//! head is whole, and it outlives each daemon in front of it. It tells its callers apart by the gate's own
//! identity headers, and metered calls from others by a header that its callers set.
//!
//! Never here: what a daemon believes to have counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keyward::config::shipped;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wire::{Call, PATIENCE};

/// The header of metered calls.
pub(crate) const METERED: &str = "X-Metered";
/// The query of a call that is answered by half and never to its end.
pub(crate) const HALF: &str = "?half";

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
const HALF_AN_ANSWER: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":";

/// Who called, and whether the call was metered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Seen {
    workspace: String,
    key: String,
    metered: bool,
}

/// The upstream; it ends when it is dropped.
pub(crate) struct CountingUpstream {
    pub(crate) url: String,
    counts: Arc<Mutex<HashMap<Seen, u64>>>,
    /// Requests so far.
    total: watch::Receiver<u64>,
    /// Connections of which not every byte was read yet.
    open: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

/// Where a connection's requests are counted.
#[derive(Clone)]
struct Counter {
    counts: Arc<Mutex<HashMap<Seen, u64>>>,
    total: Arc<watch::Sender<u64>>,
    open: Arc<watch::Sender<usize>>,
}

impl CountingUpstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Mutex::new(HashMap::new()));
        let ((total, seen_total), (open, seen_open)) = (watch::channel(0), watch::channel(0));
        let counter = Counter { counts: Arc::clone(&counts), total: Arc::new(total), open: Arc::new(open) };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.open.send_modify(|open| *open += 1);
                let counter = counter.clone();
                tokio::spawn(async move {
                    counter.count_all(stream).await;
                    counter.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, counts, total: seen_total, open: seen_open, task }
    }

    /// Waits until every connection is closed and read to its end, as they are once nobody is in front.
    pub(crate) async fn is_quiet(&self) {
        let mut open = self.open.clone();
        let quiet = open.wait_for(|open| *open == 0);
        tokio::time::timeout(PATIENCE, quiet).await.expect("the upstream's connections end").unwrap();
    }

    /// Waits until a key's requests are more than so many.
    pub(crate) async fn has_more_than(&self, key: &str, count: u64) {
        let mut total = self.total.clone();
        let more = total.wait_for(|_| self.sum(|seen| seen.key == key) > count);
        tokio::time::timeout(PATIENCE, more).await.expect("the request arrives").unwrap();
    }

    /// Metered calls of a workspace.
    pub(crate) fn metered(&self, workspace: &str) -> u64 {
        self.sum(|seen| seen.metered && seen.workspace == workspace)
    }

    /// Calls of a key.
    pub(crate) fn of_key(&self, key: &str) -> u64 {
        self.sum(|seen| seen.key == key)
    }

    fn sum(&self, wanted: impl Fn(&Seen) -> bool) -> u64 {
        self.counts.lock().unwrap().iter().filter(|(seen, _)| wanted(seen)).map(|(_, count)| count).sum()
    }
}

impl Drop for CountingUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counter {
    /// Reads requests until the peer is gone, and answers them.
    async fn count_all(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        // Where the body of a request that was counted ends; nothing, while its head is awaited.
        let mut body_end = None;
        loop {
            if body_end.is_none()
                && let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
                self.count(&head);
                let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                body_end = Some((head_end + 4 + length, head.contains(HALF)));
            }
            if let Some((end, half)) = body_end
                && bytes.len() >= end
            {
                bytes.drain(..end);
                body_end = None;
                let answer = if half { HALF_AN_ANSWER } else { ANSWER };
                // One that is gone had its requests counted all the same; what it sent before is read on.
                let _ = stream.write_all(answer.as_bytes()).await;
                continue;
            }
            if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    fn count(&self, head: &str) {
        let of = |name: &str| header(head, name).unwrap_or_default().to_owned();
        let (workspace, key) = (of("x-keyward-workspace"), of("x-keyward-key-id"));
        let seen = Seen { workspace, key, metered: header(head, METERED).is_some() };
        *self.counts.lock().unwrap().entry(seen).or_default() += 1;
        self.total.send_modify(|total| *total += 1);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A directory whose configuration puts SocialCRM in front of `upstream`, with a plan that has a grace of a
/// tenth (`graced`) and a tool that is metered (`ideas_make`).
pub(crate) fn in_front_of(upstream: &CountingUpstream) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let graced = "[[plan]]\nname = \"graced\"\npaid = true\ngrace = \"10%\"\nmeters = { ai = 1000 }\n\n";
    let tool = "[rpc.tools]\nideas_make = \"ai:generate\"\n";
    let profile = shipped("socialcrm").unwrap();
    let profile = profile.replacen("[rest]\n", &format!("{graced}[rest]\n"), 1);
    let profile = profile.replacen("[rpc.tools]\n", tool, 1);
    std::fs::write(dir.path().join("counted.toml"), profile).unwrap();
    let config = format!(
        r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        file = "counted.toml"
        upstream = "{}"
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["socialcrm"]
        [checkpoint]
        interval = "100ms"
        [log]
        level = "error"
        "#,
        upstream.url
    );
    std::fs::write(dir.path().join("keyward.toml"), config).unwrap();
    dir
}

/// A metered call at the REST door.
pub(crate) fn rewrite(key: &str) -> Call {
    Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(key).header(METERED, "yes")
}
