//! A bridge over a real process: a small server in `sh`, which every machine that builds this has.
//!
//! Never here: the gate in front of it; `tests/e2e/mcp_command.rs` has that.

use http_body_util::Full;
use hyper::client::conn::http1;
use rustix::process::Pid;
use tokio::time::sleep;

use super::*;

mod sessions;
mod shared;

/// The longest that something is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bridge, and where its server notes what it saw.
struct Served {
    bridge: Bridge,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    dir: tempfile::TempDir,
}

/// An answer that was read whole.
#[derive(Debug)]
struct Whole {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Whole {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The text that a tool gave.
    fn tool_text(&self) -> String {
        self.json()["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    fn error(&self) -> (u16, i64) {
        (self.status, self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("{self:?}")))
    }
}

const JSON: &[(&str, &str)] = &[("accept", "application/json")];
const BOTH: &[(&str, &str)] = &[("accept", "application/json, text/event-stream")];

impl Served {
    fn shared(mode: &str) -> Self {
        Self::start(mode, Processes::Shared, "sh")
    }

    fn start(mode: &str, processes: Processes, command: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bridge/tests/server.sh");
        let log = dir.path().join("log");
        std::fs::write(&log, "").unwrap();
        let environment = [("PATH", "/usr/bin:/bin"), ("TINY_LOG", log.to_str().unwrap())];
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let options = BridgeOptions {
            profile: "tiny".to_owned(),
            endpoint: "/mcp".to_owned(),
            command: command.into(),
            arguments: vec![script.into(), mode.into()],
            environment: environment.map(|(name, value)| (name.into(), value.into())).to_vec(),
            directory: None,
            processes,
            wait_max: PATIENCE,
        };
        let bridge = Bridge::start(options, &tasks, &shutdown);
        Self { bridge, tasks, shutdown, dir }
    }

    /// Ends it, and checks that no process is left.
    async fn finish(self) {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("everything ends");
        for line in self.noted() {
            match line.split_once(' ') {
                Some(("start", pid)) => assert!(!is_there(pid), "{pid} is left: {:?}", self.noted()),
                Some(("child", pid)) => until_dead(pid).await,
                _ => {}
            }
        }
    }

    /// What the server noted.
    fn noted(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the server noted something.
    async fn until_noted(&self, what: &str) -> String {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(line) = self.noted().into_iter().find(|line| line.contains(what)) {
                    return line;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{what} was not noted: {:?}", self.noted()))
    }

    /// Sends a request over a connection of its own and gives the answer's head, its body still coming. The
    /// connection lives as long as the body.
    async fn send(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<(Incoming, tokio::task::JoinHandle<()>)> {
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(self.bridge.clone().serve(far));
        let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(method).uri("/mcp").header("host", "bridge");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("an answer");
        answer.unwrap().map(|body| (body, connection))
    }

    async fn call(&self, method: &str, headers: &[(&str, &str)], body: &str) -> Whole {
        let (head, (body, _connection)) = self.send(method, headers, body).await.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a whole body").unwrap();
        let text = String::from_utf8(bytes.to_bytes().to_vec()).unwrap();
        Whole { status: head.status.as_u16(), headers: head.headers, text }
    }

    async fn post(&self, headers: &[(&str, &str)], body: &str) -> Whole {
        self.call("POST", headers, body).await
    }
}

/// Reads a stream until it holds `what`.
async fn read_until(body: &mut Incoming, what: &str) -> String {
    let mut read = String::new();
    let reading = async {
        while !read.contains(what) {
            let Some(frame) = body.frame().await else { panic!("it ended: {read}") };
            read.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    };
    // Over all frames: a silent stream says a comment now and then.
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {what}"));
    read
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

/// Whether a process is there, dead ones that nobody waited for included.
fn is_there(text: &str) -> bool {
    rustix::process::test_kill_process(pid(text)).is_ok()
}

/// Waits until an orphan runs no more. Who reaps it is not for us to say, and so is when.
async fn until_dead(text: &str) {
    let state = || std::fs::read_to_string(format!("/proc/{text}/stat")).unwrap_or_default();
    let dying = async {
        while is_there(text) && !state().contains(") Z ") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dying).await.unwrap_or_else(|_| panic!("{text} is left"));
}

fn call(id: &str, tool: &str, meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}{meta}}}}}"#
    )
}

fn initialize(id: &str, version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}}}}}}"#
    )
}
