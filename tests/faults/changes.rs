//! A kill at each sync of each change of the admin API, right before it and right behind it, until a run needs no kill:
//! what was acknowledged is there, what was not is there whole or not at all, and no key that ended comes back.
//!
//! Short, on one side of each sync: `cargo test --test faults d03`. On both:
//! `cargo test --test faults -- --ignored --nocapture killed_on_both_sides`.
//!
//! Never here: changes beside each other, or a kill at random (`kills.rs`).

use serde_json::{Value, json};

use crate::disk::{new_key, revoke};
use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, configured, new_workspace, text};
use crate::harness::wire::{Call, Connection};
use crate::shim::Shim;

/// Far more syncs than one change has, those of what is saved beside it among them.
const SYNCS_MAX: i64 = 40;
const IMPORTED: usize = 3;

/// What each change is made to: a workspace of its own with one key, which was used.
struct Subject {
    workspace: String,
    id: String,
    key: Hidden,
}

impl Subject {
    async fn make(daemon: &Program) -> Self {
        let workspace = text(&daemon.admin_json(new_workspace()).await["workspace"]["id"]);
        let made = daemon.admin_json(new_key(&workspace)).await;
        let subject = Self { workspace, id: text(&made["id"]), key: Hidden(text(&made["key"])) };
        assert_eq!(daemon.list_posts(&subject.key).await.status, 200);
        subject
    }

    fn of_key(&self) -> String {
        format!("/api/v1/keys/{}", self.id)
    }

    fn of_workspace(&self) -> String {
        format!("/api/v1/workspaces/{}", self.workspace)
    }

    /// The workspace and its keys, but for what use alone changes, and how many workspaces there are.
    async fn state(&self, daemon: &Program) -> (Value, Vec<Value>) {
        let workspace = daemon.admin(Call::get(&self.of_workspace())).await;
        let workspaces = daemon.admin_json(Call::get("/api/v1/workspaces?limit=1")).await;
        let keys = format!("/api/v1/keys?workspace_id={}&limit=100", self.workspace);
        let keys = daemon.admin_json(Call::get(&keys)).await;
        let keys = keys["data"].as_array().unwrap().iter();
        let shown = |key: &Value| json!([key["id"], key["description"], key["prefix"], key["status"]]);
        (
            json!([workspace.status, workspace.json()["status"], workspaces["total"]]),
            keys.map(shown).collect(),
        )
    }
}

struct Change {
    /// The word of its audit row.
    action: &'static str,
    call: fn(&Subject) -> Call,
    /// Whether the subject's key is refused from then on.
    ends_key: bool,
    /// Keys that the workspace has more from then on.
    adds: usize,
}

const CHANGES: [Change; 9] = [
    Change { action: "workspace.created", call: |_| new_workspace(), ends_key: false, adds: 0 },
    Change {
        action: "workspace.updated",
        call: |of| Call::new("PATCH", &of.of_workspace()).json(&json!({"status": "suspended"})),
        ends_key: true,
        adds: 0,
    },
    Change {
        action: "workspace.deleted",
        call: |of| Call::new("DELETE", &of.of_workspace()),
        ends_key: true,
        adds: 0,
    },
    Change { action: "key.created", call: |of| new_key(&of.workspace), ends_key: false, adds: 1 },
    Change {
        action: "key.updated",
        call: |of| Call::new("PATCH", &of.of_key()).json(&json!({"description": "changed"})),
        ends_key: false,
        adds: 0,
    },
    Change {
        action: "key.rotated",
        call: |of| Call::post(&format!("{}/rotate", of.of_key()), &json!({"overlap_s": 0})),
        ends_key: true,
        adds: 0,
    },
    Change { action: "key.revoked", call: |of| revoke(&of.id), ends_key: true, adds: 0 },
    Change { action: "keys.imported", call: import, ends_key: false, adds: IMPORTED },
    Change {
        action: "install_secret.rotated",
        call: |_| Call::post("/api/v1/install-secret/rotate", &json!({})),
        ends_key: false,
        adds: 0,
    },
];

/// Keys from elsewhere, others for each workspace.
fn import(of: &Subject) -> Call {
    let random = blake3::hash(of.workspace.as_bytes()).to_hex();
    let record = |place: usize| json!({"key": format!("old_{}{place:02}", &random[..24]), "random": true});
    let keys: Vec<_> = (0..IMPORTED).map(record).collect();
    let shape = json!({"tag": "old_", "length": 30, "alphabet": "base62"});
    Call::post("/api/v1/keys/import", &json!({"workspace_id": of.workspace, "shape": shape, "keys": keys}))
}

/// The actions of audit rows behind `last`, but for what the daemon learns of itself.
async fn actions_behind(daemon: &Program, last: &mut u64) -> Vec<String> {
    let page = daemon.admin_json(Call::get(&format!("/api/v1/audit?after={last}"))).await;
    let rows = page["data"].as_array().unwrap();
    *last += rows.len() as u64;
    let told = rows.iter().filter(|row| row["actor"] != "system");
    told.map(|row| text(&row["action"])).collect()
}

/// Kills at each sync of each change: on both sides of it, or on one, in turn.
async fn kill_changes(on_both_sides: bool) {
    let Some(shim) = Shim::build() else { return };
    let dir = configured();
    // Few syncs but those of the changes.
    let file = dir.path().join("keyward.toml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("100ms", "10s")).unwrap();
    let mut daemon = shim.serve(dir.path()).await;
    let mut last = 0;
    while !actions_behind(&daemon, &mut last).await.is_empty() {}
    for change in CHANGES {
        let (mut cut, mut made_and_cut) = (0, 0);
        'syncs: for sync in 1.. {
            assert!(sync < SYNCS_MAX, "{}: there is no end of syncs", change.action);
            let sides: &[bool] = if on_both_sides { &[false, true] } else { &[sync % 2 == 0] };
            for is_behind in sides {
                let subject = Subject::make(&daemon).await;
                let before = subject.state(&daemon).await;
                assert_eq!(actions_behind(&daemon, &mut last).await, ["workspace.created", "key.created"]);
                let mut connection = Connection::open(daemon.admin).await.unwrap();
                shim.kill_at_sync(sync, *is_behind);
                let call = (change.call)(&subject).bearer(&daemon.admin_key);
                connection.send(&call.bytes(daemon.admin)).await;
                let answer = connection.answer_unless_cut("POST").await;
                daemon.kill();
                shim.kill_at_sync(0, false);
                daemon = shim.serve(dir.path()).await;
                let place = format!("{}, sync {sync}, behind it {is_behind}", change.action);
                let is_made = match actions_behind(&daemon, &mut last).await.as_slice() {
                    [] => false,
                    [action] if action == change.action => true,
                    other => panic!("{place}: {other:?}"),
                };
                if let Some(answer) = &answer {
                    assert!(answer.status < 300, "{place}: {answer:?}");
                    assert!(is_made, "{place}: what was acknowledged is lost");
                }
                let after = subject.state(&daemon).await;
                let is_seen = is_made && change.action != "install_secret.rotated";
                assert_eq!(after != before, is_seen, "{place}: it is there by half");
                let added = if is_made { change.adds } else { 0 };
                assert_eq!(after.1.len(), before.1.len() + added, "{place}");
                let expected = if is_made && change.ends_key { 401 } else { 200 };
                assert_eq!(daemon.list_posts(&subject.key).await.status, expected, "{place}");
                let told = daemon.admin_json(Call::get("/api/v1/audit/verify")).await;
                assert_eq!(told["whole"], true, "{place}: {told}");
                if answer.is_some() {
                    break 'syncs;
                }
                cut += 1;
                made_and_cut += usize::from(is_made);
            }
        }
        println!("{}: killed {cut} times, {made_and_cut} of them made and not acknowledged", change.action);
        assert!(cut > 0, "{} was never killed", change.action);
    }
    daemon.kill();
}

#[tokio::test]
async fn d03_a_kill_at_a_sync_of_any_change_leaves_it_whole_or_not_made() {
    kill_changes(false).await;
}

#[tokio::test]
#[ignore = "the short run has one side of each sync: run it by name"]
async fn d03_each_change_killed_on_both_sides_of_each_sync_is_whole_or_not_made() {
    kill_changes(true).await;
}
