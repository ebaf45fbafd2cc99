//! A deleted workspace: every key of it is refused on the next request, on every door, for good, and what
//! happened can still be seen.
//!
//! Never here: a wait between the deletion and the request that must see it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::admin_input::check_problem;
use crate::daemon::{Daemon, Key, Options, ProofCache, Workspace, call_tool, list_posts};
use crate::wire::{Answer, Call};

const INVALID: &str = "Invalid API key.";

async fn delete(daemon: &Daemon, workspace: &Workspace) -> Answer {
    daemon.admin(Call::new("DELETE", &format!("/api/v1/workspaces/{}", workspace.id))).await
}

async fn check_refused_everywhere(daemon: &Daemon, key: &Key) {
    let rest = daemon.call(&list_posts(key)).await;
    assert_eq!((rest.status, rest.rest_error().1.as_str()), (401, INVALID));
    let rpc = daemon.call(&call_tool(key, "posts_list")).await;
    assert_eq!(rpc.rpc_error(), (-32001, INVALID.to_owned()));
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "revoked");
}

#[tokio::test]
async fn b04_every_key_of_a_deleted_workspace_is_refused_on_the_next_request_for_good() {
    for proof_cache in [ProofCache::On, ProofCache::Off] {
        let mut daemon = Daemon::start_with(Options { proof_cache, ..Options::default() }).await;
        let (workspace, other) = (daemon.workspace("pro").await, daemon.workspace("pro").await);
        let warm = daemon.key_for(&workspace, &["*:*"]).await;
        let cold = daemon.key_for(&workspace, &["*:*"]).await;
        let mut open = daemon.connect().await;
        assert_eq!(open.call(&list_posts(&warm)).await.status, 200);
        let deleted = delete(&daemon, &workspace).await;
        assert_eq!((deleted.status, &deleted.json()["status"]), (200, &json!("deleted")));
        assert_eq!(open.call(&list_posts(&warm)).await.status, 401);
        for key in [&warm, &cold, &workspace.default_key] {
            check_refused_everywhere(&daemon, key).await;
        }
        daemon.is_well(&other.default_key).await;
        // Again is fine, and changes nothing.
        let again = delete(&daemon, &workspace).await;
        assert_eq!((again.status, again.json()), (200, deleted.json()));
        daemon.restart_after(|_| {}).await;
        check_refused_everywhere(&daemon, &warm).await;
        assert_eq!(delete(&daemon, &workspace).await.json(), deleted.json());
        daemon.is_well(&other.default_key).await;
        daemon.finish().await;
    }
}

#[tokio::test]
async fn a_suspended_workspace_can_be_deleted_and_never_comes_back() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    daemon.is_well(&workspace.default_key).await;
    daemon.patch_workspace(&workspace, json!({"status": "suspended"})).await;
    assert_eq!(delete(&daemon, &workspace).await.status, 200);
    for patch in [json!({"status": "active"}), json!({"name": "x"}), json!({"status": "suspended"})] {
        let call = Call::new("PATCH", &format!("/api/v1/workspaces/{}", workspace.id)).json(&patch);
        check_problem("deleted", &daemon.admin(call).await, 409, "deleted");
    }
    check_refused_everywhere(&daemon, &workspace.default_key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn nothing_of_a_deleted_workspace_can_be_made_or_changed_but_a_revoke() {
    let daemon = Daemon::start().await;
    let (workspace, other) = (daemon.workspace("pro").await, daemon.workspace("pro").await);
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let path = format!("/api/v1/keys/{}", key.id);
    let made_in = |workspace: &Workspace| Call::post("/api/v1/keys", &json!({"workspace_id": workspace.id}));
    let changes = [
        Call::new("PATCH", &path).json(&json!({"name": "x"})),
        Call::post(&format!("{path}/rotate"), &json!({"overlap_s": 0})),
        made_in(&workspace),
    ];
    assert_eq!(delete(&daemon, &workspace).await.status, 200);
    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    for call in changes {
        let told = format!("{} {}", call.method, call.target);
        check_problem(&told, &daemon.admin(call).await, 409, "deleted");
    }
    assert_eq!(daemon.admin_json(Call::get("/api/v1/audit")).await, audit, "a refused change left a row");
    daemon.revoke(&key).await;
    assert_eq!(daemon.show_key(&key).await["status"], "revoked");
    assert_eq!(daemon.admin(made_in(&other)).await.status, 201);
    daemon.finish().await;
}

#[tokio::test]
async fn a_deleted_workspace_is_shown_by_name_and_listed_only_when_asked_for() {
    let daemon = Daemon::start().await;
    let (kept, gone) = (daemon.workspace("pro").await, daemon.workspace("pro").await);
    let suspended = daemon.workspace("pro").await;
    daemon.patch_workspace(&suspended, json!({"status": "suspended"})).await;
    assert_eq!(delete(&daemon, &gone).await.status, 200);
    let shown = daemon.admin_json(Call::get(&format!("/api/v1/workspaces/{}", gone.id))).await;
    assert_eq!(shown["status"], "deleted");
    // Made in one millisecond, so their order is anybody's.
    let listed = async |query: &str| {
        let answer = daemon.admin_json(Call::get(&format!("/api/v1/workspaces{query}"))).await;
        let ids = answer["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        let ids: BTreeSet<String> = ids.collect();
        assert_eq!(answer["total"], ids.len());
        ids
    };
    let ids = |workspaces: &[&Workspace]| -> BTreeSet<String> {
        workspaces.iter().map(|workspace| workspace.id.clone()).collect()
    };
    assert_eq!(listed("").await, ids(&[&kept, &suspended]));
    assert_eq!(listed("?status=active").await, ids(&[&kept]));
    assert_eq!(listed("?status=suspended").await, ids(&[&suspended]));
    assert_eq!(listed("?status=deleted").await, ids(&[&gone]));
    let unknown = daemon.admin(Call::get("/api/v1/workspaces?status=all")).await;
    check_problem("another status", &unknown, 400, "active, suspended or deleted");
    let rows = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let rows = rows["data"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["action"] == "workspace.deleted").count(), 1);
    daemon.finish().await;
}

#[tokio::test]
async fn the_workspace_of_the_admin_keys_and_one_that_is_not_there_are_not_deleted() {
    let daemon = Daemon::start().await;
    let call = |id: &str| Call::new("DELETE", &format!("/api/v1/workspaces/{id}"));
    let own = daemon.admin(call("ws_00000000000000000000000001")).await;
    check_problem("its own", &own, 409, "admin keys");
    check_problem("none", &daemon.admin(call("ws_00000000000000000000000009")).await, 404, "");
    check_problem("no id", &daemon.admin(call("nonsense")).await, 404, "");
    let with_field = call("ws_00000000000000000000000009").json(&json!({"force": true}));
    check_problem("a field", &daemon.admin(with_field).await, 400, "");
    daemon.admin_json(Call::get("/api/v1/workspaces")).await;
    daemon.finish().await;
}
