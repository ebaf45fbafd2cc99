//! Keyward's real binary, as whoever operates it would start it, and the keys that it is asked with.
//!
//! The keys are made before, by a daemon inside this process on the same files, with a cheap slow hash: making them is
//! not what is measured, and none of them needs it again.
//!
//! Never here: a setting that makes requests cheaper than an operator's would be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyward::app::{LaunchFlags, launch};
use keyward::clock::Clock;
use keyward::config::{ConfigFile, Flags, resolve};
use keyward::domain::key::Tag;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::process::{Core, Process, on};
use crate::world;
use crate::world::daemon::Caller;
use crate::world::imported;

/// Keys that are made at the same time: they share commits.
const MAKERS: usize = 128;

/// A data directory with keys in it, on which Keyward can be started.
pub(crate) struct Files {
    /// Where the configuration lies, and what it calls the data directory.
    dir: PathBuf,
    data: PathBuf,
    pub(crate) admin_key: String,
    /// They may do everything, as fast as a key can be.
    pub(crate) keys: Vec<String>,
    /// Revoked; proven and standing, but allowed nothing; with a rate of one in an hour.
    pub(crate) revoked: String,
    pub(crate) unscoped: String,
    pub(crate) slow: String,
    _kept: Option<tempfile::TempDir>,
}

/// What stands behind Keyward: nobody, so that it answers by itself, or a server.
pub(crate) enum Behind {
    Nobody,
    Server(SocketAddr),
}

impl Files {
    /// Makes so many keys, in a directory of its own.
    pub(crate) fn make(runtime: &Runtime, dir: PathBuf, count: usize) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let data = dir.join("data");
        let text = config(&data, "sandbox", 1_000);
        let file = ConfigFile { origin: "load", text: &text, folder: &dir };
        let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        let mut settings = resolve(file, [], &Flags::default(), &nothing).unwrap();
        settings.slow_hash.cost = world::cheap();
        settings.slow_hash.queue_max = 4 * MAKERS;
        runtime.block_on(async {
            let running = launch(settings, Clock::machine(), LaunchFlags::default()).await.unwrap();
            let admin_key = std::fs::read_to_string(running.admin_key_file()).unwrap().trim().to_owned();
            let admin = Admin { address: running.admin().tcp().unwrap(), key: admin_key };
            let workspace = json!({"name": "load", "profile": "socialcrm", "plan": "enterprise"});
            let made = admin.post("/api/v1/workspaces", &workspace).await;
            let workspace = made["workspace"]["id"].as_str().unwrap().to_owned();
            let keys = admin.clone().keys(&workspace, count).await;
            let wanted = |permissions, limit, window_s| json!({"workspace_id": workspace, "permissions": permissions, "rate": {"limit": limit, "window_s": window_s}});
            let revoked = admin.key(&wanted(json!(["*:*"]), 1_000_000, 1)).await;
            admin.post(&format!("/api/v1/keys/{}/revoke", revoked.0), &json!({})).await;
            let unscoped = admin.key(&wanted(json!(["insights:read"]), 1_000_000, 1)).await.1;
            let slow = admin.key(&wanted(json!(["*:*"]), 1, 3_600)).await.1;
            running.stop().await.unwrap();
            Self { dir, data, admin_key: admin.key, keys, revoked: revoked.1, unscoped, slow, _kept: None }
        })
    }

    /// Very many keys, out of files that are made once and kept; beside them there are none.
    pub(crate) fn imported(dir: PathBuf, count: usize) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let tag = Tag::parse("sk_live_").unwrap();
        let kept = imported::copied(&tag, count);
        let keys = (0..count).map(|number| imported::raw_key(&tag, number).reveal().to_owned()).collect();
        let none = String::new;
        Self {
            dir,
            data: kept.path().to_owned(),
            keys,
            admin_key: none(),
            revoked: none(),
            unscoped: none(),
            slow: none(),
            _kept: Some(kept),
        }
    }

    /// Starts the real binary on them. `proofs_max` is the size of its cache.
    pub(crate) fn serve(&self, behind: &Behind, proofs_max: usize) -> Keyward {
        let upstream = match behind {
            Behind::Nobody => "none".to_owned(),
            Behind::Server(address) => format!("http://{address}"),
        };
        std::fs::write(self.dir.join("keyward.toml"), config(&self.data, &upstream, proofs_max)).unwrap();
        let mut command = on(Core::Servers, env!("CARGO_BIN_EXE_keyward"));
        command.args(["serve", "--config", "keyward.toml", "--json"]).current_dir(&self.dir);
        let listening = |url: &Value| url.as_str().unwrap()["http://".len()..].parse().unwrap();
        let data = |line: &str| {
            let announced: Value = serde_json::from_str(line).unwrap();
            listening(&announced["surfaces"]["socialcrm"])
        };
        let (process, line) = Process::announcing(&mut command, data);
        let announced: Value = serde_json::from_str(&line).unwrap();
        Keyward { process, admin: listening(&announced["admin"]) }
    }
}

/// The real binary, running.
pub(crate) struct Keyward {
    /// Its address is the data listener's.
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
}

fn config(data: &Path, upstream: &str, proofs_max: usize) -> String {
    let data = data.display();
    format!(
        "data_dir = \"{data}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nname = \"socialcrm\"\nupstream = \"{upstream}\"\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"socialcrm\"]\n[cache]\nproofs_max = {proofs_max}\n[log]\nlevel = \"error\"\n"
    )
}

#[derive(Clone)]
struct Admin {
    address: SocketAddr,
    key: String,
}

impl Admin {
    fn request(&self, path: &str, body: &Value) -> String {
        let (key, body) = (&self.key, body.to_string());
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = Caller::connect(self.address, self.request(path, body)).await.call().await;
        assert!(status < 300, "{path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// A key's id and text.
    async fn key(&self, wanted: &Value) -> (String, String) {
        let made = self.post("/api/v1/keys", wanted).await;
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    }

    async fn keys(self, workspace: &str, count: usize) -> Vec<String> {
        let wanted = json!({"workspace_id": workspace, "permissions": ["*:*"], "rate": {"limit": 1_000_000, "window_s": 1}});
        let request = Arc::new(self.request("/api/v1/keys", &wanted));
        let makers = MAKERS.min(count);
        let making: Vec<_> = (0..makers)
            .map(|maker| {
                let (request, address) = (Arc::clone(&request), self.address);
                tokio::spawn(async move {
                    let mut caller = Caller::connect(address, request.to_string()).await;
                    let mut keys = Vec::new();
                    for _ in (maker..count).step_by(makers) {
                        let (status, made) = caller.call().await;
                        assert_eq!(status, 201, "{made}");
                        let made: Value = serde_json::from_str(&made).unwrap();
                        keys.push(made["key"].as_str().unwrap().to_owned());
                    }
                    keys
                })
            })
            .collect();
        let mut keys = Vec::with_capacity(count);
        for making in making {
            keys.append(&mut making.await.unwrap());
        }
        keys
    }
}
