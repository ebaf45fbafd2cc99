//! A command behind the gate: an MCP server that speaks over its standard input and output is listed, filtered and
//! called like any other, is started again when it dies, and is gone when the daemon is.
//!
//! Never here: what only the bridge decides; its own tests have that.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, Key, Options};
use crate::wire::{Answer, Call, PATIENCE};

/// The tools of the server: two that a key may call here, and one that it may not.
const EDITS: &[(&str, &str)] = &[
    ("contacts_list = \"contacts:read\"", "pid = \"contacts:read\"\nslow = \"contacts:read\""),
    ("contacts_create = \"contacts:write\"", "hidden = \"contacts:write\""),
    ("    \"ping\",", "    \"ping\",\n    \"notifications/release\","),
];

struct Started {
    daemon: Daemon,
    key: Key,
    _dir: tempfile::TempDir,
}

async fn start(more: &str) -> Started {
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bridge/tests/server.sh");
    let log = dir.path().join("log");
    let table =
        format!("{{ command = [\"sh\", \"{script}\"], env = {{ TINY_LOG = \"{}\" }}{more} }}", log.display());
    let upstream = Some(&*table.leak());
    let options = Options { profile: Some("shingleai"), edits: EDITS, upstream, ..Options::default() };
    let daemon = Daemon::start_with(options).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["contacts:read"]).await;
    Started { daemon, key, _dir: dir }
}

impl Started {
    fn message(&self, message: &Value) -> Call {
        Call::post("/mcp", message).bearer(&self.key.text)
    }

    async fn post(&self, message: &Value) -> Answer {
        self.daemon.call(&self.message(message)).await
    }

    async fn pid(&self) -> Pid {
        let answer = self.post(&tool("pid")).await;
        pid_of(&answer)
    }
}

fn tool(name: &str) -> Value {
    let params = json!({"name": name, "arguments": {}, "_meta": {"progressToken": "mine"}});
    json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": params})
}

fn pid_of(answer: &Answer) -> Pid {
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("call")), "{answer:?}");
    let text = answer.json()["result"]["content"][0]["text"].as_str().unwrap().parse().unwrap();
    Pid::from_raw(text).unwrap()
}

fn initialize() -> Value {
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
}

#[tokio::test]
async fn a_command_is_listed_filtered_and_called_through_the_gate() {
    let started = start("").await;
    let greeted = started.post(&initialize()).await;
    assert_eq!(greeted.json()["result"]["protocolVersion"], "2025-06-18");
    let list = started.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    // What this key may call, each member as the server wrote it.
    assert!(list.text().contains(r#""tools":[{"name":"pid","x":1.50},{"name":"slow"}]"#), "{list:?}");
    let pid = started.pid().await;
    let hidden = started.post(&tool("hidden")).await;
    assert_eq!((hidden.status, hidden.rpc_error().0), (403, -32003));
    assert_eq!(started.daemon.call(&Call::post("/mcp", &tool("pid"))).await.status, 401);
    // Nobody's request ended or restarted it.
    assert_eq!(started.pid().await, pid);
    started.daemon.finish().await;
    assert!(test_kill_process(pid).is_err(), "the daemon has stopped, and its command has not");
}

#[tokio::test]
async fn a_command_that_is_killed_is_there_again_for_the_next_request() {
    let started = start("").await;
    let first = started.pid().await;
    kill_process(first, Signal::KILL).unwrap();
    let second = loop {
        let answer = started.post(&tool("pid")).await;
        // One that was on its way to the dead one is told so.
        if answer.status != 502 {
            break pid_of(&answer);
        }
        assert_eq!(answer.rpc_error().0, -32603);
    };
    assert_ne!(second, first);
    started.daemon.finish().await;
}

#[tokio::test]
async fn progress_passes_the_gate_before_the_end() {
    let started = start("").await;
    let address = started.daemon.data();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let call = started.message(&tool("slow")).header("Accept", "application/json, text/event-stream");
    stream.write_all(&call.bytes(address)).await.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "notifications/progress").await;
    assert!(seen.contains("\"progressToken\":\"mine\"") && !seen.contains("released"), "{seen}");
    let release = json!({"jsonrpc": "2.0", "method": "notifications/release"});
    assert_eq!(started.post(&release).await.status, 202);
    read_until(&mut stream, &mut seen, "released").await;
    started.daemon.finish().await;
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, what: &str) {
    let reading = async {
        while !seen.contains(what) {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it comes");
}

#[tokio::test]
async fn each_session_of_a_command_has_a_process() {
    let started = start(", process = \"session\", processes = 2").await;
    let mut pids = Vec::new();
    for _ in 0..2 {
        let greeted = started.post(&initialize()).await;
        let session = greeted.header("mcp-session-id").unwrap().to_owned();
        let call = started.message(&tool("pid")).header("Mcp-Session-Id", &session);
        pids.push(pid_of(&started.daemon.call(&call).await));
    }
    assert_ne!(pids[0], pids[1]);
    let over = started.post(&initialize()).await;
    assert_eq!((over.status, over.rpc_error().0), (503, -32603));
    started.daemon.finish().await;
    for pid in pids {
        assert!(test_kill_process(pid).is_err(), "the daemon has stopped, and a session has not");
    }
}

#[tokio::test]
async fn a_command_that_is_not_there_is_a_502_and_stops_nothing() {
    let upstream = Some("{ command = [\"keyward-no-such-command\"] }");
    let options = Options { profile: Some("shingleai"), edits: EDITS, upstream, ..Options::default() };
    let daemon = Daemon::start_with(options).await;
    let workspace = daemon.workspace("enterprise").await;
    let call = Call::post("/mcp", &tool("pid")).bearer(&workspace.default_key.text);
    let refused = daemon.call(&call).await;
    assert_eq!((refused.status, refused.rpc_error().0, &refused.json()["id"]), (502, -32603, &json!("call")));
    daemon.finish().await;
}
