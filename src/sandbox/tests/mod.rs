//! The sandbox as the gateway sees it: requests over an in-memory connection, whole answers compared.
//!
//! Each test has its own file and a clock that it moves by hand.
//!
//! Never here: a socket, or a sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LlmOptions, RestShape, Sandbox, SandboxOptions, SandboxProduct};
use crate::dialect::Envelope;
use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;

mod chat;
mod collections;
mod files;
mod kept_tools;
mod llm;
mod mcp;
mod media;
mod publishing;
mod rest;
mod schema;
mod social_tools;
mod sse;
mod writing;

const NOON: i64 = 1_767_268_800; // 2026-01-01T12:00:00Z

/// A sandbox, its file and one connection to it.
struct Play {
    directory: TempDir,
    seconds: Arc<AtomicI64>,
    sandbox: Sandbox,
    connection: SendRequest<Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code and message of a REST error.
    fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        let text = |name: &str| json["error"][name].as_str().unwrap().to_owned();
        (self.status, text("code"), text("message"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Play {
    async fn start() -> Self {
        Self::start_before(None).await
    }

    /// One in whose place this model answers.
    async fn start_before(llm: Option<LlmOptions>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let seconds = Arc::new(AtomicI64::new(NOON));
        let sandbox = open(&directory, &seconds, llm);
        let connection = connect(&sandbox).await;
        Self { directory, seconds, sandbox, connection }
    }

    /// Closes the file and opens it again, as a restart would.
    async fn restart(self) -> Self {
        self.sandbox.close().await.unwrap();
        let sandbox = open(&self.directory, &self.seconds, None);
        let connection = connect(&sandbox).await;
        Self { sandbox, connection, ..self }
    }

    /// The same over a new connection.
    async fn reconnected(self) -> Self {
        Self { connection: connect(&self.sandbox).await, ..self }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Seen {
        self.connection.ready().await.unwrap();
        let (parts, body) = self.connection.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Seen {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// A REST request of workspace 1.
    async fn rest(&mut self, method: &str, path: &str, body: &str) -> Seen {
        self.rest_of(1, method, path, body).await
    }

    async fn rest_of(&mut self, workspace: u128, method: &str, path: &str, body: &str) -> Seen {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "upstream")
            .header("content-type", "application/json")
            .header("x-keyward-workspace", WorkspaceId::from_u128(workspace).to_string());
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    /// A new post of workspace 1; its id.
    async fn post(&mut self, body: &str) -> String {
        let seen = self
            .rest("POST", "/v1/posts", &json!({"body": body, "account_ids": ["acct_1"]}).to_string())
            .await;
        assert_eq!(seen.status, 201, "{seen:?}");
        seen.json()["id"].as_str().unwrap().to_owned()
    }

    /// The texts of workspace 1's posts as listed.
    async fn texts(&mut self, path: &str) -> Vec<String> {
        let seen = self.rest("GET", path, "").await;
        assert_eq!(seen.status, 200, "{seen:?}");
        let texts = seen.json()["data"].as_array().unwrap().clone();
        texts.iter().map(|post| post["body"].as_str().unwrap().to_owned()).collect()
    }

    /// A JSON-RPC message of workspace 1 in the era that a version header says (none: "").
    async fn rpc(&mut self, version: &str, body: &str) -> Seen {
        self.rpc_of(1, "/api/mcp-app", version, body).await
    }

    async fn rpc_of(&mut self, workspace: u128, path: &str, version: &str, body: &str) -> Seen {
        let mut request = Request::post(path)
            .header("host", "upstream")
            .header("content-type", "application/json")
            .header("x-keyward-workspace", WorkspaceId::from_u128(workspace).to_string());
        if !version.is_empty() {
            request = request.header("mcp-protocol-version", version);
        }
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    /// The tools that this endpoint lists.
    async fn listed(&mut self, path: &str) -> Vec<Value> {
        let seen = self.rpc_of(1, path, "", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
        assert_eq!(
            seen.json()["result"].as_object().unwrap().len(),
            1,
            "a legacy list has no modern members"
        );
        seen.json()["result"]["tools"].as_array().unwrap().clone()
    }

    /// The result of a call of a tool.
    async fn tool(&mut self, name: &str, arguments: Value) -> Value {
        self.tool_of(1, "/api/mcp-app", name, arguments).await
    }

    async fn tool_of(&mut self, workspace: u128, path: &str, name: &str, arguments: Value) -> Value {
        let message = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}
        });
        let seen = self.rpc_of(workspace, path, "2025-11-25", &message.to_string()).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        seen.json()["result"].clone()
    }
}

fn open(directory: &TempDir, seconds: &Arc<AtomicI64>, llm: Option<LlmOptions>) -> Sandbox {
    let seconds = Arc::clone(seconds);
    let wall = Arc::new(move || Wall::from_secs(seconds.load(Ordering::Relaxed)));
    let sandbox = Sandbox::open(SandboxOptions {
        file: directory.path().join("sandbox.redb"),
        uploads: directory.path().join("sandbox-files"),
        wall,
        llm,
    })
    .unwrap();
    let rest = RestShape { base: "/v1".to_owned(), envelope: Envelope::Error };
    sandbox.behind(SandboxProduct { rest: Some(rest), ..SandboxProduct::default() })
}

async fn connect(sandbox: &Sandbox) -> SendRequest<Full<Bytes>> {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(sandbox.clone().serve(far));
    let (sender, connection) = handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request of workspace 1 with a JSON body.
fn posted(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "upstream")
        .header("content-type", "application/json")
        .header("x-keyward-workspace", WorkspaceId::from_u128(1).to_string())
        .body(Full::from(body.to_string()))
        .unwrap()
}
