//! A disk that holds every sync up, and a file that is replaced from outside.
//!
//! Verification goes on and waits for no disk; a revoke denies before it is durable, and is acknowledged when it is.
//!
//! Never here: a disk that refuses (`full_disk.rs`).

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, configured, new_workspace, run, text};
use crate::harness::wire::{Call, Connection, PATIENCE, call_once};
use crate::shim::Shim;

/// How long a sync is held up at most: far longer than a test takes to let it go.
const HELD: Duration = Duration::from_mins(10);
/// Requests of warm keys while nothing can be written.
const REQUESTS: usize = 200;

/// A workspace and some keys of it, in a daemon that can write.
pub(crate) struct Keys {
    pub(crate) workspace: String,
    /// Text and id, each used before.
    pub(crate) warm: Vec<(Hidden, String)>,
    /// One that was never used.
    cold: Hidden,
}

impl Keys {
    pub(crate) async fn make(daemon: &Program) -> Self {
        let workspace = text(&daemon.admin_json(new_workspace()).await["workspace"]["id"]);
        let mut made = Vec::new();
        for _ in 0..5 {
            let key = daemon.admin_json(new_key(&workspace)).await;
            made.push((Hidden(text(&key["key"])), text(&key["id"])));
        }
        let (cold, _) = made.pop().unwrap();
        for (key, _) in &made {
            assert_eq!(daemon.list_posts(key).await.status, 200);
            // Its lease is there as well.
            assert_eq!(verify(daemon, key, "ai:generate").await["code"], "valid");
        }
        Self { workspace, warm: made, cold }
    }
}

pub(crate) fn new_key(workspace: &str) -> Call {
    let rate = json!({"limit": 100_000, "window_s": 1});
    Call::post("/api/v1/keys", &json!({"workspace_id": workspace, "permissions": ["*:*"], "rate": rate}))
}

pub(crate) fn revoke(id: &str) -> Call {
    Call::post(&format!("/api/v1/keys/{id}/revoke"), &json!({}))
}

async fn verify(daemon: &Program, key: &str, permission: &str) -> Value {
    daemon.admin_json(Call::post("/api/v1/verify", &json!({"key": key, "permission": permission}))).await
}

/// Verification goes on: warm keys of both surfaces, metered within what is reserved, and a first use.
pub(crate) async fn is_verified(daemon: &Program, keys: &Keys) {
    let mut connection = Connection::open(daemon.data()).await.unwrap();
    for number in 0..REQUESTS {
        let (key, _) = &keys.warm[1 + number % (keys.warm.len() - 1)];
        assert_eq!(connection.call(&Call::get("/v1/posts").bearer(key)).await.status, 200);
    }
    assert_eq!(verify(daemon, &keys.warm[1].0, "ai:generate").await["code"], "valid");
    assert_eq!(verify(daemon, &keys.cold, "posts:read").await["code"], "valid");
    let wrong = format!("{}0", &keys.cold[..keys.cold.len() - 1]);
    assert_ne!(verify(daemon, &wrong, "posts:read").await["code"], "valid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d13_a_disk_that_holds_every_sync_up_holds_up_no_verdict_and_a_revoke_acts_before_it() {
    let Some(shim) = Shim::build() else { return };
    let dir = configured();
    let daemon = shim.serve(dir.path()).await;
    let keys = Keys::make(&daemon).await;
    shim.hold_syncs(HELD);
    let (admin, admin_key) = (daemon.admin, daemon.admin_key.clone());
    let ask = move |call: Call| {
        let call = call.bearer(&admin_key);
        tokio::spawn(async move { call_once(admin, &call).await })
    };
    let (gone, id) = &keys.warm[0];
    let (creation, revocation) = (ask(new_key(&keys.workspace)), ask(revoke(id)));
    // It acts before its commit, and its commit waits.
    let refused = async { while daemon.list_posts(gone).await.status != 401 {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("a revoke acts while the disk holds it up");
    is_verified(&daemon, &keys).await;
    assert_eq!(daemon.list_posts(gone).await.status, 401);
    assert!(!creation.is_finished() && !revocation.is_finished(), "acknowledged before it was synced");
    shim.hold_syncs(Duration::ZERO);
    assert_eq!(revocation.await.unwrap().status, 200);
    let made = creation.await.unwrap();
    assert_eq!(made.status, 201);
    assert_eq!(daemon.list_posts(&text(&made.json()["key"])).await.status, 200);
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");
}

#[tokio::test]
async fn d10_a_daemon_goes_on_when_its_file_is_replaced_under_it() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let keys = Keys::make(&daemon).await;
    let file = dir.path().join("data/keyward.redb");
    let copy = dir.path().join("data/copy.redb");
    std::fs::copy(&file, &copy).unwrap();
    let (code, out, said) = run(dir.path(), &["serve", "--config", "keyward.toml", "--json"]);
    assert!(code.is_some_and(|code| code != 0) && out.is_empty(), "{code:?} {out} {said}");
    std::fs::rename(&copy, &file).unwrap();
    is_verified(&daemon, &keys).await;
    let made = daemon.admin_json(new_key(&keys.workspace)).await;
    assert_eq!(daemon.list_posts(&text(&made["key"])).await.status, 200);
    let (gone, id) = &keys.warm[0];
    daemon.admin_json(revoke(id)).await;
    assert_eq!(daemon.list_posts(gone).await.status, 401);
    is_verified(&daemon, &keys).await;
}
