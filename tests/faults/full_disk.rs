//! A disk that takes nothing, or is full: nothing is acknowledged that is not durable, a revoke denies all the same and
//! says so, verification goes on, and the daemon heals without a restart.
//!
//! The kernel is what refuses: a limit on files of the running process, and a small disk of its own. That the file bears
//! each single failure of a write or a sync is shown under `src/store`.
//!
//! Never here: a disk of the machine's that is really filled up.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::disk::{Keys, is_verified, new_key, revoke};
use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, command, configured, new_workspace, text};
use crate::harness::wire::{Answer, Call, PATIENCE, call_once};

/// From now on the process may write so many bytes into a file: 0 is nothing at all, whatever its length.
fn limit_files(daemon: &Program, limit: &str) -> bool {
    let pid = daemon.child.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}")]).status();
    limited.is_ok_and(|limited| limited.success())
}

/// Starts a daemon whom a refused write does not kill.
async fn serve_limited(dir: &Path) -> Program {
    let unlimited = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(unlimited.get_program());
    deaf.args(unlimited.get_args()).current_dir(dir).stdin(Stdio::null());
    let log = std::fs::File::create(dir.join("log")).unwrap();
    deaf.stdout(Stdio::piped()).stderr(log);
    Program::spawn(dir, &mut deaf).await
}

fn code(answer: &Answer) -> String {
    text(&answer.json()["code"])
}

/// What must hold while nothing can be written; the key at `revoked` is revoked in it.
async fn is_borne(daemon: &Program, keys: &Keys, revoked: usize) {
    for _ in 0..3 {
        let refused = daemon.admin(new_key(&keys.workspace)).await;
        assert_eq!((refused.status, code(&refused).as_str()), (503, "not_durable"), "{refused:?}");
    }
    let (gone, id) = &keys.warm[revoked];
    let told = daemon.admin(revoke(id)).await;
    assert_eq!((told.status, code(&told).as_str()), (503, "not_durable"), "{told:?}");
    assert_eq!(daemon.list_posts(gone).await.status, 401, "a revoke denies whatever the disk says");
    is_verified(daemon, keys).await;
    assert_eq!(daemon.list_posts(gone).await.status, 401);
}

/// Waits until a change is taken again.
async fn heals(daemon: &Program, keys: &Keys) -> Hidden {
    let healed = async {
        loop {
            let made = daemon.admin(new_key(&keys.workspace)).await;
            if made.status == 201 {
                break Hidden(text(&made.json()["key"]));
            }
            assert_eq!(code(&made), "not_durable", "{made:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, healed).await.expect("it writes again without a restart")
}

/// Nothing that was refused is there after a kill, and all that was acknowledged is.
async fn is_as_acknowledged(daemon: &Program, keys: &Keys, revoked: usize, made: &Hidden) {
    let (gone, id) = &keys.warm[revoked];
    assert_eq!(daemon.admin_json(revoke(id)).await["status"], "revoked");
    assert_eq!(daemon.list_posts(gone).await.status, 401);
    for (key, _) in &keys.warm[1..] {
        assert_eq!(daemon.list_posts(key).await.status, 200);
    }
    assert_eq!(daemon.list_posts(made).await.status, 200);
    // The default key, those of the set-up, and the one that was made when it could write again; of those that
    // were refused none is active.
    let active = format!("/api/v1/keys?workspace_id={}&status=active&limit=100", keys.workspace);
    assert_eq!(daemon.admin_json(Call::get(&active)).await["total"], 1 + 4 + 1);
    let told = daemon.admin_json(Call::get("/api/v1/audit/verify")).await;
    assert_eq!(told["whole"], true, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_nothing_costs_no_verdict_and_the_daemon_heals_when_it_takes_again() {
    let dir = configured();
    let daemon = serve_limited(dir.path()).await;
    let keys = Keys::make(&daemon).await;
    if !limit_files(&daemon, "0:unlimited") {
        println!("NOT CHECKED: prlimit cannot limit the files of a running process here");
        return;
    }
    is_borne(&daemon, &keys, 0).await;
    assert_eq!(call_once(daemon.admin, &Call::get("/readyz")).await.status, 503);
    assert!(limit_files(&daemon, "unlimited:unlimited"));
    let made = heals(&daemon, &keys).await;
    is_as_acknowledged(&daemon, &keys, 0, &made).await;
    // From its next checkpoint on.
    let ready = async { while call_once(daemon.admin, &Call::get("/readyz")).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, ready).await.expect("it is ready again");
    daemon.kill();
    let daemon = Program::serve(dir.path()).await;
    is_as_acknowledged(&daemon, &keys, 0, &made).await;
}

/// A daemon whose data lies on a small disk of its own, in a name space that ends with it. `None`, and a line that says
/// so, where that is not allowed.
async fn serve_on_small_disk(dir: &Path) -> Option<Program> {
    const MOUNT: &str = "mount -t tmpfs -o size=6m,mode=0700 none data";
    std::fs::create_dir(dir.join("data")).unwrap();
    let try_mount = |program: &mut Command| {
        let tried = program.current_dir(dir).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    // Only who may enter the name space again can make the disk larger.
    if !try_mount(Command::new("unshare").args(["-m", "sh", "-c", MOUNT])) {
        println!("NOT CHECKED: a small disk cannot be mounted here; that takes root");
        return None;
    }
    let inner = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    let mut outer = Command::new("unshare");
    outer.args(["-m", "sh", "-c", &format!("{MOUNT}; exec \"$0\" \"$@\"")]).arg(inner.get_program());
    outer.args(inner.get_args()).current_dir(dir).stdin(Stdio::null());
    outer.stdout(Stdio::piped()).stderr(std::fs::File::create(dir.join("log")).unwrap());
    Some(Program::spawn(dir, &mut outer).await)
}

/// Ten kibibytes of keys that nobody uses.
fn import(workspace: &str, number: usize) -> Call {
    let filler = "x".repeat(1_000);
    let record = |place: usize| json!({"key": format!("old_{:026}", number * 10 + place), "random": true, "description": filler});
    let keys: Vec<_> = (0..10).map(record).collect();
    let shape = json!({"tag": "old_", "length": 30, "alphabet": "base62"});
    Call::post("/api/v1/keys/import", &json!({"workspace_id": workspace, "shape": shape, "keys": keys}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_verdict_and_the_daemon_heals_when_there_is_room() {
    let dir = configured();
    let Some(daemon) = serve_on_small_disk(dir.path()).await else { return };
    let keys = Keys::make(&daemon).await;
    let filler = text(&daemon.admin_json(new_workspace()).await["workspace"]["id"]);
    let mut taken = 0;
    loop {
        let answer = daemon.admin(import(&filler, taken)).await;
        if answer.status != 200 {
            assert_eq!((answer.status, code(&answer).as_str()), (503, "not_durable"), "{answer:?}");
            break;
        }
        assert_eq!(answer.json()["taken"], 10);
        taken += 1;
        assert!(taken < 2_000, "six mebibytes hold no twenty");
    }
    is_borne(&daemon, &keys, 0).await;
    let pid = daemon.child.id().to_string();
    let data = dir.path().join("data");
    let larger = ["-t", &pid, "-m", "mount", "-o", "remount,size=64m"];
    assert!(Command::new("nsenter").args(larger).arg(&data).status().unwrap().success());
    let made = heals(&daemon, &keys).await;
    is_as_acknowledged(&daemon, &keys, 0, &made).await;
    let listed = daemon.admin_json(Call::get(&format!("/api/v1/keys?workspace_id={filler}"))).await;
    assert_eq!(listed["total"], taken * 10 + 1, "each batch whole or not at all");
    assert_eq!(daemon.admin(import(&filler, taken)).await.status, 200);
    let ended = daemon.stop("TERM").await;
    assert_eq!(ended.code(), Some(0), "{}", std::fs::read_to_string(dir.path().join("log")).unwrap());
}
