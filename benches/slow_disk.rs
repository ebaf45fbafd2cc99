//! What do callers with warm keys feel of a disk that takes 2 s for each sync?
//!
//! The real binary runs twice on the same files under strace, which holds nothing up but the syncs: once it lets
//! them pass, once it delays each by 2 s. Four kept-alive connections ask, each with a key of its own and a pause
//! between its calls, first for something that is not metered, then for something that is, and note each
//! answer's time. That the disk is slow is shown by one change over the admin API, which waits for its commit.
//! Promised: the same 99th percentile. Guessed before measuring: 1.0 times, and 1.0 times for metered calls,
//! whose leases are long at this pace.
//!
//! It prints a table; without `--bench` it runs for a moment with a short delay, to see that it works. Without a
//! strace that may trace it says so and measures nothing.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

mod world;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyward::clock::Clock;
use serde_json::Value;
use world::bars::{Bar, tell};
use world::daemon::{Caller, list_posts};

/// Callers, each on a connection of its own.
const CALLERS: usize = 4;
/// Between two calls of a caller. All together they use up a lease more slowly than it is renewed: half of
/// 10,000 units takes them 12 s, and the commits ahead of it and its own some 8.
const PAUSE: Duration = Duration::from_millis(10);

struct Scale {
    /// How long each row is measured.
    time: Duration,
    /// What each sync is delayed by.
    delay: Duration,
}

fn main() {
    let is_test = world::is_smoke_run();
    let scale = if is_test {
        Scale { time: Duration::from_millis(300), delay: Duration::from_millis(50) }
    } else {
        Scale { time: Duration::from_secs(20), delay: Duration::from_secs(2) }
    };
    if let Err(why) = strace(&mut Command::new("true"), Duration::ZERO) {
        println!("skipped: strace cannot delay the syncs of a process here ({why})");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let keys = {
        let daemon = Daemon::start(serve(dir.path()));
        let keys = runtime.block_on(make_keys(&daemon));
        daemon.stop();
        keys
    };
    println!(
        "{:<24} {:<14} {:>10} {:>10} {:>8} {:>14}",
        "calls of warm keys", "each sync", "p50", "p99", "×", "one change"
    );
    let mut undelayed = Vec::new();
    for delay in [Duration::ZERO, scale.delay] {
        let daemon = Daemon::start(traced(dir.path(), delay));
        for (place, (name, request)) in
            [("not metered", list_posts as fn(&str) -> String), ("metered", rewrite)].into_iter().enumerate()
        {
            let (times, change) = runtime.block_on(measure(&daemon, &keys, request, scale.time));
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
            if delay.is_zero() {
                undelayed.push(at(99));
            }
            let times_undelayed = at(99) / undelayed[place];
            if !delay.is_zero() {
                let what = format!("each sync takes 2 s, calls {name}, valid p99 × as it is");
                tell("11", &what, times_undelayed, Bar::Most(1.5));
            }
            let delay = if delay.is_zero() { "as it is".to_owned() } else { format!("+{delay:?}") };
            println!(
                "{name:<24} {delay:<14} {:>7.0} µs {:>7.0} µs {times_undelayed:>8.2} {change:>14.1?}",
                at(50),
                at(99)
            );
        }
        daemon.stop();
    }
}

/// The daemon's process, with strace around it or without.
struct Daemon {
    child: Child,
    is_traced: bool,
    data: SocketAddr,
    admin: SocketAddr,
    admin_key: String,
}

impl Daemon {
    fn start((mut command, is_traced, dir): (Command, bool, &Path)) -> Self {
        let mut child = command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let announced: Value = serde_json::from_str(&line).unwrap();
        let address = |url: &Value| url.as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let admin_key = std::fs::read_to_string(dir.join("admin.key")).unwrap().trim().to_owned();
        let (data, admin) = (address(&announced["surfaces"]["socialcrm"]), address(&announced["admin"]));
        Self { child, is_traced, data, admin, admin_key }
    }

    /// Makes an admin call and reads its answer.
    async fn admin(&self, line: &str, body: &str) -> Value {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.admin_key,
            body.len()
        );
        let (status, body) = Caller::connect(self.admin, request).await.call().await;
        assert!(status < 300, "{status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Tells it to stop and waits for its end.
    fn stop(mut self) {
        self.signal("-TERM");
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id();
        let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok();
        // strace ends with what it traces, and not the other way round.
        let pid = if self.is_traced { children() } else { Some(pid.to_string()) };
        for pid in pid.iter().flat_map(|pids| pids.split_whitespace()) {
            let _ = Command::new("kill").args([signal, pid]).status();
        }
    }
}

/// Leaves nothing running, however a bench ends.
impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-KILL");
            let _ = self.child.wait();
        }
    }
}

fn configure(dir: &Path) {
    let text = "data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nname = \"socialcrm\"\nupstream = \"sandbox\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"socialcrm\"]\n[log]\nlevel = \"error\"\n";
    std::fs::write(dir.join("keyward.toml"), text).unwrap();
}

fn serve(dir: &Path) -> (Command, bool, &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["serve", "--config", "keyward.toml", "--json"]);
    (command, false, dir)
}

fn traced(dir: &Path, delay: Duration) -> (Command, bool, &Path) {
    (under_strace(&serve(dir).0, delay), true, dir)
}

/// The command with each sync of it delayed. A filter in the kernel lets everything else pass untouched.
fn under_strace(command: &Command, delay: Duration) -> Command {
    let mut strace = Command::new("strace");
    let delay = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
    strace.args([
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        &delay,
    ]);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// Runs a command to its end in this way, to see whether that is possible.
fn strace(command: &mut Command, delay: Duration) -> Result<(), String> {
    let output = under_strace(command, delay).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() && said.is_empty() { Ok(()) } else { Err(said) }
}

/// A key for each caller, as fast as a key can be, of a workspace on the best plan.
async fn make_keys(daemon: &Daemon) -> Vec<String> {
    let made = r#"{"name":"b","profile":"socialcrm","plan":"enterprise"}"#;
    let made = daemon.admin("POST /api/v1/workspaces", made).await;
    let workspace = made["workspace"]["id"].as_str().unwrap();
    let mut keys = Vec::new();
    for _ in 0..CALLERS {
        let rate = r#"{"limit":1000000,"window_s":1}"#;
        let wanted = format!(r#"{{"workspace_id":"{workspace}","permissions":["*:*"],"rate":{rate}}}"#);
        let made = daemon.admin("POST /api/v1/keys", &wanted).await;
        keys.push(made["key"].as_str().unwrap().to_owned());
    }
    keys
}

/// A metered request of a key at the REST door; the sandbox answers that it is not built in.
fn rewrite(key: &str) -> String {
    let body = r#"{"text":"a","tone":"b"}"#;
    format!(
        "POST /v1/ai/rewrite HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// How long each answer took, sorted; and how long one change took meanwhile.
async fn measure(
    daemon: &Daemon,
    keys: &[String],
    request: fn(&str) -> String,
    time: Duration,
) -> (Vec<Duration>, Duration) {
    let callers: Vec<_> =
        keys.iter().map(|key| tokio::spawn(call(daemon.data, request(key), time))).collect();
    let clock = Clock::machine();
    let before = clock.now().mono.nanos();
    daemon.admin("POST /api/v1/workspaces", r#"{"name":"b","profile":"socialcrm","plan":"free"}"#).await;
    let change = Duration::from_nanos(clock.now().mono.nanos() - before);
    let mut times = Vec::new();
    for caller in callers {
        times.append(&mut caller.await.unwrap());
    }
    times.sort();
    (times, change)
}

async fn call(address: SocketAddr, request: String, time: Duration) -> Vec<Duration> {
    let clock = Clock::machine();
    let mut caller = Caller::connect(address, request).await;
    // The first use reads the file, and the first metered one waits for its lease.
    while caller.call().await.0 == 503 {}
    let now_nanos = || clock.now().mono.nanos();
    let end_nanos = now_nanos() + u64::try_from(time.as_nanos()).unwrap();
    let mut times = Vec::new();
    loop {
        let before_nanos = now_nanos();
        if before_nanos > end_nanos {
            return times;
        }
        let (status, _) = caller.call().await;
        assert!(status == 200 || status == 501, "{status}");
        times.push(Duration::from_nanos(now_nanos() - before_nanos));
        tokio::time::sleep(PAUSE).await;
    }
}
