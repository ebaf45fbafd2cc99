//! The real binary in a process of its own, and its commands.
//!
//! A process is killed when its test ends, however it ends.
//!
//! Never here: an expectation about an answer, but that the set-up of a test works.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use super::hidden::Hidden;
use super::wire::{Answer, Call, PATIENCE, call_once};

/// A process of the binary that serves.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The line that says where it serves.
    pub(crate) announced: Value,
    pub(crate) admin_key: Hidden,
}

impl Program {
    /// Starts the binary and waits for the one line that says where it serves.
    pub(crate) async fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::spawn(dir, &mut command(dir, arguments)).await
    }

    /// The same with a command of one's own, whose stderr may go elsewhere.
    pub(crate) async fn spawn(dir: &Path, command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let first_line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line =
            tokio::time::timeout(PATIENCE, first_line).await.expect("it announces itself").unwrap().unwrap();
        let Ok(announced) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            let mut said = String::new();
            let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
            panic!("it did not start: {said}");
        };
        let address = |url: &Value| url.as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let admin_key = std::fs::read_to_string(dir.join("admin.key"))
            .or_else(|_| std::fs::read_to_string(dir.join("data/admin.key")));
        Self {
            child,
            data: address(&announced["surfaces"]["socialcrm"]),
            admin: address(&announced["admin"]),
            admin_key: Hidden(admin_key.unwrap_or_default().trim().to_owned()),
            announced,
        }
    }

    /// Starts a daemon over the configuration that lies in `dir`.
    pub(crate) async fn serve(dir: &Path) -> Self {
        Self::start(dir, &["serve", "--config", "keyward.toml", "--json"]).await
    }

    pub(crate) async fn admin(&self, call: Call) -> Answer {
        call_once(self.admin, &call.bearer(&self.admin_key)).await
    }

    /// Where SocialCRM is served.
    pub(crate) const fn data(&self) -> SocketAddr {
        self.data
    }

    pub(crate) async fn admin_json(&self, call: Call) -> Value {
        let answer = self.admin(call).await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        answer.json()
    }

    pub(crate) async fn list_posts(&self, key: &str) -> Answer {
        call_once(self.data, &Call::get("/v1/posts").bearer(key)).await
    }

    /// What the kernel counts of its memory, under this name.
    pub(crate) fn memory_kib(&self, name: &str) -> u64 {
        memory_kib(self.child.id(), name)
    }

    /// kill -9: nothing in the process runs again.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal and waits for the end of one whose stderr goes to a file; gives how it ended.
    pub(crate) async fn stop(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        let ended = async {
            loop {
                if let Some(ended) = self.child.try_wait().unwrap() {
                    break ended;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("it ends")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent =
            Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Sends a signal and waits for the end; gives how it ended and what it wrote to stderr.
    pub(crate) async fn end_by(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let mut stderr = self.child.stderr.take().unwrap();
        let said = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).map(|_| said)
        });
        // Its stderr ends when it does.
        let said = tokio::time::timeout(PATIENCE, said).await.expect("it ends").unwrap().unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Command {
    // The mode of every file must be the program's own doing, and so must be that there is no core.
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "umask 000; ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_keyward"),
        ])
        .args(arguments);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command of the binary to its end.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(dir, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A directory with a configuration that takes free ports and saves often.
pub(crate) fn configured() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        name = "socialcrm"
        upstream = "sandbox"
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["socialcrm"]
        [checkpoint]
        interval = "100ms"
    "#;
    std::fs::write(dir.path().join("keyward.toml"), config).unwrap();
    dir
}

pub(crate) fn new_workspace() -> Call {
    Call::post("/api/v1/workspaces", &json!({"name": "Acme", "profile": "socialcrm", "plan": "pro"}))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub(crate) fn files_under(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700, "{}", path.display());
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// What the store has committed since the start.
async fn commits(daemon: &Program) -> u64 {
    let metrics = call_once(daemon.admin, &Call::get("/metrics")).await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("keyward_commits_total ")).unwrap();
    line.parse().unwrap()
}

/// Waits until everything that was counted before this call is saved. A checkpoint is at most three commits here,
/// last uses, meters and usage, and one may be under way: the sixth commit from here on ends one that began after
/// this call. Each admin call gives the next checkpoint something to save.
pub(crate) async fn saved(daemon: &Program) {
    for _ in 0..6 {
        let before = commits(daemon).await;
        daemon.admin_json(Call::get("/api/v1/workspaces")).await;
        let waiting = async {
            while commits(daemon).await == before {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("checkpoints go on");
    }
}

/// A number in the kernel's account of a process, in KiB.
pub(crate) fn memory_kib(id: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
