//! What a stop and a start leave as it was, in one process: the file is closed and opened again, memory is
//! gone.
//!
//! What a kill leaves is in `program`.
//!
//! Never here: a daemon that was not stopped.

use keyward::app::{LaunchFlags, StartError};
use serde_json::{Value, json};

use crate::daemon::{Daemon, list_posts, list_tools};
use crate::wire::Call;

#[tokio::test]
async fn counters_go_on_where_a_clean_stop_left_them() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 5}}})).await;
    let rate = json!({"limit": 10, "window_s": 600});
    let key = daemon.key(&workspace, json!({"permissions": ["ai:generate"], "rate": rate})).await;
    assert_eq!(daemon.show_key(&key).await["last_used_at"], Value::Null);
    let ask = json!({"permission": "ai:generate"});
    for _ in 0..3 {
        daemon.advance_secs(1);
        assert_eq!(daemon.verify(&key.text, ask.clone()).await["code"], "valid");
    }
    // How much lies reserved ahead of use is the lease's own affair, and not the same at every moment.
    let meter = async |daemon: &Daemon| {
        let mut meter = daemon.ai_meter(&workspace).await;
        assert!(meter.as_object_mut().unwrap().remove("reserved").is_some());
        meter
    };
    let (used_at, before) = (daemon.in_secs(0), meter(&daemon).await);
    assert_eq!(daemon.show_key(&key).await["last_used_at"], *used_at);
    for _ in 0..2 {
        daemon.restart_after(|_| {}).await;
        assert_eq!(daemon.show_key(&key).await["last_used_at"], *used_at);
        assert_eq!(meter(&daemon).await, before);
    }
    // Ten in the bucket, three taken; two seconds gave nothing back in whole tokens.
    assert_eq!(daemon.verify(&key.text, ask.clone()).await["remaining"], 6);
    assert_eq!(daemon.verify(&key.text, ask.clone()).await["code"], "valid");
    assert_eq!(daemon.verify(&key.text, ask.clone()).await["code"], "quota", "the month's five are sold");
    for _ in 0..4 {
        assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    }
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "rate");
    daemon.restart_after(|_| {}).await;
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "rate", "a restart fills no bucket");
    daemon.advance_secs(60);
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    daemon.finish().await;
}

#[tokio::test]
async fn time_that_passes_while_the_daemon_is_down_fills_buckets_and_ends_months_and_keys() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 1}}})).await;
    let rate = json!({"limit": 1, "window_s": 60});
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": rate})).await;
    let short =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(60)})).await;
    assert_eq!(daemon.verify(&key.text, json!({"permission": "ai:generate"})).await["code"], "valid");
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "rate");
    assert_eq!(daemon.call(&list_posts(&short)).await.status, 200);
    daemon.restart_after(|_| {}).await;
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "rate");
    daemon.advance_secs(32 * 86_400);
    daemon.restart_after(|_| {}).await;
    assert_eq!(daemon.verify(&key.text, json!({"permission": "ai:generate"})).await["code"], "valid");
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 1);
    assert_eq!(daemon.call(&list_tools(&short)).await.rpc_error().1, "API key expired.");
    daemon.finish().await;
}

#[tokio::test]
async fn every_acknowledged_change_is_there_after_a_restart() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let suspended = daemon.workspace("pro").await;
    let (key, revoked) =
        (daemon.key_for(&workspace, &["posts:*"]).await, daemon.key_for(&workspace, &["*:*"]).await);
    daemon.revoke(&revoked).await;
    daemon.patch_workspace(&suspended, json!({"status": "suspended"})).await;
    daemon
        .patch_key(
            &key,
            json!({"name": "renamed", "permissions": ["posts:read"], "ip_allow": ["127.0.0.0/8"]}),
        )
        .await;
    let posted = Call::post("/v1/posts", &json!({"body": "Kept.", "account_ids": ["a"]}))
        .bearer(&workspace.default_key.text);
    let post = daemon.call(&posted).await.json();
    let everything = async |daemon: &Daemon| {
        let mut all = Vec::new();
        for list in ["/api/v1/workspaces", "/api/v1/keys?limit=100", "/api/v1/audit"] {
            all.push(daemon.admin_json(Call::get(list)).await);
        }
        all
    };
    let before = everything(&daemon).await;
    let hashes = daemon.slow_hashes();
    assert!(hashes > 0);
    daemon.restart_after(|_| {}).await;
    assert_eq!(everything(&daemon).await, before);
    daemon.is_well(&key).await;
    assert_eq!(daemon.call(&list_posts(&key)).await.json()["data"][0], post);
    assert_eq!(daemon.call(&list_posts(&revoked)).await.status, 401);
    assert_eq!(daemon.call(&list_posts(&suspended.default_key)).await.status, 401);
    assert_eq!(daemon.slow_hashes(), 0, "a stored fingerprint proves a key without the slow hash");
    daemon.finish().await;
}

#[tokio::test]
async fn without_its_install_secret_a_daemon_starts_only_when_told_and_no_key_is_lost() {
    let mut daemon = Daemon::start().await;
    let key = daemon.workspace("pro").await.default_key;
    daemon.is_well(&key).await;
    let lost = |file: &std::path::Path| std::fs::remove_file(file.with_file_name("install.secret")).unwrap();
    let refused = daemon.restart_with(LaunchFlags::default(), lost).await;
    assert!(matches!(refused, Err(StartError::InstallSecretLost { .. })));
    daemon.restart_with(LaunchFlags { new_install_secret: true }, |_| {}).await.unwrap();
    daemon.is_well(&key).await;
    assert!(daemon.slow_hashes() > 0, "nothing but the slow hash can prove it now");
    let wrong = crate::credentials::near_miss(&key);
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(&wrong)).await.status, 401);
    daemon.finish().await;
}

#[tokio::test]
async fn a_damaged_key_record_denies_that_key_and_no_other() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let (damaged, sound) = (daemon.key_for(&workspace, &["*:*"]).await, &workspace.default_key);
    daemon.restart_after(|file| crate::stored::corrupt_key_record(file, &damaged.id)).await;
    for _ in 0..3 {
        let rest = daemon.call(&list_posts(&damaged)).await;
        assert_eq!((rest.status, rest.rest_error().0.as_str()), (500, "internal_error"));
        let rpc = daemon.call(&list_tools(&damaged)).await;
        assert_eq!((rpc.status, rpc.rpc_error()), (500, (-32001, "Failed to validate API key.".to_owned())));
        daemon.is_well(sound).await;
    }
    daemon.finish().await;
}
