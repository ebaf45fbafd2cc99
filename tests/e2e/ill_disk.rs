//! The real binary over a disk that fails, made to fail by strace: promises 2 and 3.
//!
//! strace joins the running daemon and has system calls fail. Where there is no strace that may trace, each test
//! says so and checks nothing.
//!
//! Never here: every place at which a disk can fail; the store's own tests have them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::daemon::Hidden;
use crate::program::{Program, configured, new_workspace, text};
use crate::wire::{Call, PATIENCE, call_once};

/// The most tries of a change on a disk that is well again: each takes 50 ms at most.
const TRIES_MAX: usize = 100;

/// A strace that has joined a daemon.
struct Injected(Child);

impl Injected {
    /// Has system calls of the daemon fail that concern its store, or all of them where `file` is `None`. `None`
    /// where that is not possible.
    fn join(daemon: &Program, file: Option<&Path>, spec: &str) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-o", "/dev/null", "-e", &format!("inject={spec}")]);
        if let Some(file) = file {
            strace.arg("-P").arg(file);
        }
        strace.args(["-p", &daemon.child.id().to_string()]).stderr(Stdio::piped());
        let mut child = match strace.spawn() {
            Ok(child) => child,
            Err(error) => return not_checked(&error.to_string()),
        };
        let mut said = BufReader::new(child.stderr.take().unwrap());
        loop {
            let mut line = String::new();
            if said.read_line(&mut line).unwrap() == 0 {
                let _ = child.wait();
                return not_checked("strace ended");
            }
            if line.contains("attached") {
                break;
            }
            if line.contains("Operation not permitted") {
                let _ = (child.kill(), child.wait());
                return not_checked(&line);
            }
        }
        // Read to its end, or strace would wait for a reader.
        std::thread::spawn(move || said.lines().count());
        Some(Self(child))
    }

    /// Lets the daemon go on by itself.
    fn leave(mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn not_checked<T>(why: &str) -> Option<T> {
    eprintln!("NOT CHECKED: strace cannot make a disk fail here ({why})");
    None
}

fn named(workspace: &str, name: &str) -> Call {
    Call::post("/api/v1/keys", &json!({"workspace_id": workspace, "name": name, "permissions": ["*:*"]}))
}

async fn status(daemon: &Program, target: &str) -> u16 {
    call_once(daemon.admin, &Call::get(target)).await.status
}

async fn metric(daemon: &Program, name: &str) -> u64 {
    let metrics = call_once(daemon.admin, &Call::get("/metrics")).await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("keyward_{name} "))).unwrap();
    line.parse().unwrap()
}

async fn until_ready(daemon: &Program) {
    let ready = async {
        while status(daemon, "/readyz").await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("it heals by itself");
}

/// The names of a workspace's keys, but for that of its default key.
async fn names(daemon: &Program, workspace: &str) -> Vec<String> {
    let target = format!("/api/v1/keys?workspace_id={workspace}&limit=100");
    let keys = daemon.admin_json(Call::get(&target)).await;
    let mut names: Vec<_> =
        keys["data"].as_array().unwrap().iter().filter_map(|key| key["name"].as_str()).collect();
    names.retain(|name| *name != "default");
    names.sort_unstable();
    names.into_iter().map(str::to_owned).collect()
}

async fn audit_is_whole(daemon: &Program) {
    let checked = daemon.admin_json(Call::get("/api/v1/audit/verify")).await;
    assert_eq!(checked["whole"], json!(true), "{checked}");
}

#[tokio::test]
async fn d06_one_failed_sync_or_write_is_never_acknowledged_and_heals_without_a_restart() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let store = dir.path().join("data/keyward.redb").canonicalize().unwrap();
    let workspace = text(&daemon.admin_json(new_workspace()).await["workspace"]["id"]);
    let faults = ["fdatasync:error=EIO:when=1", "fdatasync:error=EIO:when=2", "pwrite64:error=ENOSPC:when=1"]
        .into_iter()
        .chain(["pwrite64:error=EIO:when=3", "pwrite64:error=EIO:when=7"]);
    let mut made = Vec::new();
    for (round, fault) in faults.enumerate() {
        let Some(injected) = Injected::join(&daemon, Some(&store), fault) else { return };
        let before = metric(&daemon, "disk_failures_total").await;
        let mut tries = 0;
        // Until the fault was met, by a change or by what is saved beside them, and longer.
        while metric(&daemon, "disk_failures_total").await == before || tries < 3 {
            let name = format!("{round}/{tries:03}");
            let answer = daemon.admin(named(&workspace, &name)).await;
            match answer.status {
                201 => made.push(name),
                503 => {}
                _ => panic!("{fault}: {answer:?}"),
            }
            // What was refused is not there, and what was acknowledged is.
            assert_eq!(names(&daemon, &workspace).await, made, "{fault}");
            tries += 1;
            assert!(tries < TRIES_MAX, "{fault} was never met");
        }
        until_ready(&daemon).await;
        injected.leave();
        let name = format!("{round}/well");
        assert_eq!(daemon.admin(named(&workspace, &name)).await.status, 201, "{fault}");
        made.push(name);
        assert_eq!(metric(&daemon, "disk_ill").await, 0);
    }
    daemon.kill();
    let daemon = Program::serve(dir.path()).await;
    assert_eq!(names(&daemon, &workspace).await, made);
    audit_is_whole(&daemon).await;
    daemon.kill();
}

#[tokio::test]
async fn d05_while_the_disk_is_full_keys_pass_a_revoke_denies_and_it_is_durable_once_there_is_room() {
    is_borne("fsync,fdatasync:error=ENOSPC").await;
}

/// As a disk that the kernel has set read-only beneath an open file answers.
#[tokio::test]
async fn d07_while_the_disk_may_only_be_read_keys_pass_and_a_revoke_denies_and_is_durable_later() {
    is_borne("fsync,fdatasync,pwrite64,ftruncate,fallocate:error=EROFS").await;
}

/// While every change fails so, verification goes on and a revoke denies; then the daemon heals.
async fn is_borne(fault: &str) {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let made = daemon.admin_json(new_workspace()).await;
    let (workspace, warm) = (text(&made["workspace"]["id"]), Hidden(text(&made["default_key"]["key"])));
    let key = async |name| {
        let made = daemon.admin_json(named(&workspace, name)).await;
        (text(&made["id"]), Hidden(text(&made["key"])))
    };
    let ((_, cold), (revoked, revoked_text)) = (key("cold").await, key("revoked").await);
    assert_eq!(daemon.list_posts(&warm).await.status, 200);
    assert_eq!(daemon.list_posts(&revoked_text).await.status, 200);
    let Some(failing) = Injected::join(&daemon, None, fault) else { return };
    assert_eq!(daemon.admin(named(&workspace, "refused")).await.status, 503);
    let revoke = Call::post(&format!("/api/v1/keys/{revoked}/revoke"), &json!({}));
    assert_eq!(daemon.admin(revoke).await.status, 503, "it is not durable");
    for (place, (key, wanted)) in
        [(&revoked_text, 401), (&warm, 200), (&cold, 200), (&revoked_text, 401)].into_iter().enumerate()
    {
        assert_eq!(daemon.list_posts(key).await.status, wanted, "call {place}");
    }
    assert_eq!((status(&daemon, "/readyz").await, metric(&daemon, "disk_ill").await), (503, 1));
    assert_eq!(names(&daemon, &workspace).await, ["cold", "revoked"]);
    failing.leave();
    until_ready(&daemon).await;
    let durable = async {
        while metric(&daemon, "undurable_changes").await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, durable).await.expect("the revoke is tried again");
    daemon.kill();
    let daemon = Program::serve(dir.path()).await;
    assert_eq!(daemon.list_posts(&revoked_text).await.status, 401);
    assert_eq!(daemon.list_posts(&cold).await.status, 200);
    audit_is_whole(&daemon).await;
    daemon.kill();
}
