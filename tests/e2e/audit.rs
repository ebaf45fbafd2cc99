//! The audit log as an operator meets it: each change with its before and after, and a check that finds what
//! an intruder did to the file, with a daemon running and without one.
//!
//! Never here: each kind of break by itself; those are the core's tests.

use std::path::Path;

use keyward::app::{AuditUnreadable, verify_audit};
use keyward::domain::audit::seal::AuditHead;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::stored::edit_audit_row;
use crate::wire::Call;

async fn rows(daemon: &Daemon) -> Vec<Value> {
    daemon.admin_json(Call::get("/api/v1/audit")).await["data"].as_array().unwrap().clone()
}

fn head_of(answer: &Value) -> String {
    format!("{}:{}", answer["head"]["seq"], answer["head"]["hash"].as_str().unwrap())
}

#[tokio::test]
async fn o15_each_change_is_one_row_that_tells_what_was_and_what_is() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key(&workspace, json!({"name": "CI", "permissions": ["posts:read"]})).await;
    let start = rows(&daemon).await.len();
    daemon.patch_key(&key, json!({"name": "nightly", "ip_allow": ["127.0.0.0/8"]})).await;
    daemon.patch_workspace(&workspace, json!({"plan": "free", "overrides": {"meters": {"ai": 5}}})).await;
    daemon.revoke(&key).await;
    let told = rows(&daemon).await;
    let change =
        |field: &str, before: Value, after: Value| json!({"field": field, "before": before, "after": after});
    let expected = [
        json!([
            change("name", json!("CI"), json!("nightly")),
            change("ip_allow", Value::Null, json!("127.0.0.0/8"))
        ]),
        json!([
            change("plan", json!("pro"), json!("free")),
            change("overrides.meters.ai", Value::Null, json!("5"))
        ]),
        json!([change("revoked_at", Value::Null, json!(daemon.in_secs(0)))]),
    ];
    let changes: Vec<_> = told[start..].iter().map(|row| row["changes"].clone()).collect();
    assert_eq!(changes, expected);
    let made = told[start - 1]["changes"].to_string();
    let shown = daemon.show_key(&key).await;
    assert!(made.contains(shown["prefix"].as_str().unwrap()), "{made}");
    for hidden in [&key.text[16..], &key.text[..]] {
        assert!(!told.iter().any(|row| row.to_string().contains(hidden)), "the log shows a key");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn o14_what_was_done_to_the_file_is_found_by_the_daemon_and_without_one() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    daemon.revoke(&key).await;
    let listed = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let newest = listed["data"].as_array().unwrap().last().unwrap();
    assert_eq!((&listed["head"]["seq"], &listed["head"]["hash"]), (&newest["seq"], &newest["hash"]));
    let anchor = head_of(&listed);
    let verify = async |daemon: &Daemon, query: &str| {
        daemon.admin_json(Call::get(&format!("/api/v1/audit/verify{query}"))).await
    };
    let anchored = format!("?anchor={anchor}");
    let found = verify(&daemon, &anchored).await;
    assert_eq!((&found["whole"], &found["rows"], head_of(&found)), (&json!(true), &json!(4), anchor.clone()));
    // The daemon has the file to itself.
    let data = daemon.store_file().parent().unwrap().to_owned();
    let locked = verify_audit(&data, None);
    assert!(matches!(locked, Err(AuditUnreadable::InUse { .. })));

    let alone = |store: &Path| verify_audit(store.parent().unwrap(), AuditHead::parse(&anchor)).unwrap();
    daemon.restart_after(|store| assert!(alone(store).is_whole())).await;
    assert_eq!(verify(&daemon, "").await["whole"], true);
    daemon
        .restart_after(|store| {
            edit_audit_row(store, 3);
            assert!(!alone(store).is_whole());
        })
        .await;
    let found = verify(&daemon, "").await;
    assert_eq!((&found["whole"], &found["problems_total"]), (&json!(false), &json!(1)));
    assert_eq!((&found["problems"][0]["kind"], &found["problems"][0]["seq"]), (&json!("changed"), &json!(3)));
    let longer = format!("?anchor=9:{}", "ab".repeat(32));
    assert_eq!(verify(&daemon, &longer).await["problems"][1]["kind"], "cut");
    let refused = daemon.admin(Call::get("/api/v1/audit/verify?anchor=9")).await;
    assert!(refused.status == 400 && refused.text().contains("SEQ:HEX"), "{refused:?}");
    daemon.finish().await;
}

#[tokio::test]
async fn without_its_install_secret_a_log_is_not_called_whole_nor_broken() {
    let mut daemon = Daemon::start().await;
    daemon.workspace("pro").await;
    daemon
        .restart_after(|store| {
            let data = store.parent().unwrap();
            let (secret, aside) = (data.join("install.secret"), data.join("aside"));
            std::fs::rename(&secret, &aside).unwrap();
            let found = verify_audit(data, None).unwrap();
            assert_eq!((found.is_whole(), found.breaks_total, found.unknown[0].rows), (false, 0, 2));
            assert!(!secret.exists(), "a look makes no install secret");
            std::fs::rename(&aside, &secret).unwrap();
        })
        .await;
    daemon.finish().await;
    let nowhere = tempfile::tempdir().unwrap();
    assert!(matches!(verify_audit(nowhere.path(), None), Err(AuditUnreadable::NoStore { .. })));
    assert_eq!(nowhere.path().read_dir().unwrap().count(), 0, "a look makes no store");
}
