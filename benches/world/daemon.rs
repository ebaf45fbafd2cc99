//! A whole daemon for the benches that ask over loopback, and the callers that ask it.
//!
//! Never here: a figure.

use std::net::SocketAddr;

use keyward::app::{LaunchFlags, Running, launch};
use keyward::clock::Clock;
use keyward::config::{ConfigFile, Flags, resolve};
use keyward::domain::hash::SlowHashCost;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A daemon that serves socialcrm from the sandbox, on free ports.
pub(crate) struct Daemon {
    pub(crate) running: Running,
    admin_key: String,
    _dir: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start(runtime: &Runtime, cost: SlowHashCost) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = "data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nname = \"socialcrm\"\nupstream = \"sandbox\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"socialcrm\"]\n";
        let file = ConfigFile { origin: "bench", text, folder: dir.path() };
        let mut settings =
            resolve(file, [], &Flags::default(), &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        settings.slow_hash.cost = cost;
        let running = runtime.block_on(launch(settings, Clock::machine(), LaunchFlags::default())).unwrap();
        let admin_key = std::fs::read_to_string(running.admin_key_file()).unwrap().trim().to_owned();
        Self { running, admin_key, _dir: dir }
    }

    /// Where socialcrm is served.
    pub(crate) fn data(&self) -> SocketAddr {
        self.running.surfaces()["socialcrm"].tcp().unwrap()
    }

    /// The bytes of an admin request.
    pub(crate) fn admin_request(&self, line: &str, body: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.admin_key,
            body.len()
        )
    }

    /// Makes an admin call and reads its answer.
    pub(crate) async fn admin(&self, line: &str, body: &str) -> Value {
        let request = self.admin_request(line, body);
        let (_, body) = Caller::connect(self.running.admin().tcp().unwrap(), request).await.call().await;
        serde_json::from_str(&body).unwrap()
    }

    /// A new workspace on the best plan: its id.
    pub(crate) async fn workspace(&self) -> String {
        let made = r#"{"name":"b","profile":"socialcrm","plan":"enterprise"}"#;
        let made = self.admin("POST /api/v1/workspaces", made).await;
        made["workspace"]["id"].as_str().unwrap().to_owned()
    }

    /// A new key that may do everything, as fast as a key can be.
    pub(crate) async fn key(&self, workspace: &str) -> String {
        let rate = r#"{"limit":1000000,"window_s":1}"#;
        let wanted = format!(r#"{{"workspace_id":"{workspace}","permissions":["*:*"],"rate":{rate}}}"#);
        let made = self.admin("POST /api/v1/keys", &wanted).await;
        made["key"].as_str().unwrap().to_owned()
    }
}

/// A request of a key at the REST door.
pub(crate) fn list_posts(key: &str) -> String {
    format!("GET /v1/posts HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n")
}

/// One kept-alive connection that sends the same bytes again and again.
pub(crate) struct Caller {
    socket: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr, request: String) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, request: request.into_bytes(), buffer: vec![0; 64 * 1024] }
    }

    /// Sends the request and reads its answer; gives the status and the body.
    pub(crate) async fn call(&mut self) -> (u16, String) {
        self.socket.write_all(&self.request).await.unwrap();
        self.answer().await
    }

    /// The same with another request, this once.
    pub(crate) async fn call_with(&mut self, request: &str) -> (u16, String) {
        self.socket.write_all(request.as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> (u16, String) {
        let mut filled = 0;
        loop {
            filled += self.socket.read(&mut self.buffer[filled..]).await.unwrap();
            let text = std::str::from_utf8(&self.buffer[..filled]).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return (head[9..12].parse().unwrap(), body.to_owned());
            }
        }
    }
}
