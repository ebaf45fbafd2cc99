//! An upstream that is a small MCP server: it lists what a test gives it, as JSON or as events, page by page, and keeps
//! what it was asked.
//!
//! Never here: an expectation about who asks.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What the upstream does.
pub(crate) struct Script {
    /// The tools of each page.
    pub(crate) pages: Vec<Value>,
    pub(crate) as_events: bool,
    /// The status and body of its answer to `tools/list`, in the place of a list.
    pub(crate) refuses: Option<(u16, String)>,
}

/// A head, and the message behind it.
pub(crate) type Seen = (String, Value);

/// An MCP server; it ends when it is dropped.
pub(crate) struct ToolServer {
    pub(crate) url: &'static str,
    script: Arc<Mutex<Script>>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Answers to `tools/list` that may go out.
    pub(crate) turns: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ToolServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn tool(name: &str, annotations: &Value) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}, "annotations": annotations, "x-own": 1.5})
}

impl ToolServer {
    pub(crate) async fn listing(pages: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).leak();
        let script = Arc::new(Mutex::new(Script { pages, as_events: false, refuses: None }));
        let (seen, turns) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(Semaphore::new(1 << 20)));
        let shared = (Arc::clone(&script), Arc::clone(&seen), Arc::clone(&turns));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, turns) = shared.clone();
                tokio::spawn(serve(stream, script, seen, turns));
            }
        });
        Self { url, script, seen, turns, task }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// The methods that were asked since the last look, and what each came with.
    pub(crate) fn asked(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub(crate) fn methods(&self) -> Vec<String> {
        self.asked().iter().map(|(_, message)| message["method"].as_str().unwrap_or("-").to_owned()).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    turns: Arc<Semaphore>,
) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
        if body.len() < head.lines().find_map(length).unwrap_or(0) {
            continue;
        }
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        seen.lock().unwrap().push((head.to_owned(), message.clone()));
        bytes.clear();
        if message["method"] == "tools/list" {
            turns.acquire().await.unwrap().forget();
        }
        let answer = answer(&script.lock().unwrap(), &message);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn answer(script: &Script, message: &Value) -> Vec<u8> {
    let written = |status: u16, kind: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes()
    };
    let lists = message["method"] == "tools/list";
    if let Some((status, body)) = script.refuses.as_ref().filter(|_| lists) {
        return written(*status, "application/json", body);
    }
    let result = match message["method"].as_str() {
        Some("tools/list") => {
            let page = message["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
            let mut result = json!({"tools": script.pages[page]});
            if page + 1 < script.pages.len() {
                result["nextCursor"] = json!((page + 1).to_string());
            }
            result
        }
        Some("initialize") => {
            let result = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
            let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
            return written(200, "application/json\r\nmcp-session-id: s1", &body);
        }
        Some("server/discover") => {
            let error =
                json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}});
            return written(400, "application/json", &error.to_string());
        }
        _ => json!({"content": [{"type": "text", "text": "done"}]}),
    };
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    if script.as_events && lists {
        let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
        return written(200, "text/event-stream", &format!(": hello\n\ndata: {note}\n\ndata: {body}\n\n"));
    }
    written(200, "application/json", &body)
}
