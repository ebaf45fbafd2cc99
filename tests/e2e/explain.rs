//! The explain call: each check of an attempt with its verdict and its reason, what the verify call would say,
//! and nothing spent.
//!
//! Never here: every reason's words; they are held beside the function that makes them.

use serde_json::{Value, json};

use crate::admin_input::check_problem;
use crate::daemon::{Daemon, Key, Workspace};
use crate::wire::{Answer, Call};

async fn try_explain(daemon: &Daemon, key: &Key, attempt: Value) -> Answer {
    daemon.admin(Call::post(&format!("/api/v1/keys/{}/explain", key.id), &attempt)).await
}

async fn explain(daemon: &Daemon, key: &Key, attempt: Value) -> Value {
    daemon.admin_json(Call::post(&format!("/api/v1/keys/{}/explain", key.id), &attempt)).await
}

/// The reason of a check.
fn why(explained: &Value, check: &str) -> String {
    let checks = explained["checks"].as_array().unwrap();
    checks.iter().find(|found| found["check"] == check).unwrap()["why"].as_str().unwrap().to_owned()
}

async fn paid(daemon: &Daemon) -> Workspace {
    daemon.workspace("pro").await
}

const CHECKS: [&str; 10] = [
    "revoked",
    "workspace",
    "secret",
    "expired",
    "address",
    "signature",
    "rate",
    "permission",
    "plan",
    "quota",
];

#[tokio::test]
async fn explain_says_what_the_verify_call_would_say_and_by_which_check() {
    let daemon = Daemon::start().await;
    let workspace = paid(&daemon).await;
    let (free, suspended, deleted, spent) =
        (daemon.workspace("free").await, paid(&daemon).await, paid(&daemon).await, paid(&daemon).await);
    daemon.patch_workspace(&suspended, json!({"status": "suspended"})).await;
    daemon.admin_json(Call::new("DELETE", &format!("/api/v1/workspaces/{}", deleted.id))).await;
    daemon.patch_workspace(&spent, json!({"overrides": {"meters": {"ai": 0}}})).await;
    let key = daemon.key_for(&workspace, &["posts:read", "ai:generate"]).await;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    let expired =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(1)})).await;
    let bound = daemon.key(&workspace, json!({"permissions": ["*:*"], "ip_allow": ["10.0.0.0/8"]})).await;
    let slow =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 0, "window_s": 1}})).await;
    daemon.advance_secs(7201);
    let ai = || json!({"permission": "ai:generate"});
    let cases: [(&Key, Value, &str, &str, &str); 16] = [
        (&key, json!({}), "", "valid", ""),
        (&key, json!({"method": "GET", "path": "/v1/posts"}), "", "valid", "posts:read"),
        (&key, json!({"tool": "posts_list"}), "", "valid", "posts:read"),
        (&revoked, json!({}), "revoked", "revoked", "revoked 2 h ago, at 2027-"),
        (&suspended.default_key, json!({}), "workspace", "revoked", "suspended"),
        (&deleted.default_key, json!({}), "workspace", "revoked", "deleted"),
        (&expired, json!({}), "expired", "expired", "expired 2 h ago, at 2027-"),
        (&bound, json!({"ip": "203.0.113.9"}), "address", "address", "203.0.113.9 is in none of 10.0.0.0/8"),
        (&bound, json!({}), "address", "address", "no address is known"),
        (&bound, json!({"ip": "::ffff:10.1.2.3"}), "", "valid", "is in 10.0.0.0/8"),
        (&slow, json!({}), "rate", "rate", "a rate of 0 admits nothing"),
        (
            &key,
            json!({"permission": "posts:write"}),
            "permission",
            "permission",
            "holds posts:read, ai:generate; needs posts:write",
        ),
        (&key, json!({"method": "GET", "path": "/v1/nope"}), "permission", "permission", "no such route"),
        (&key, json!({"tool": "nope"}), "permission", "permission", "no such tool"),
        (&free.default_key, ai(), "plan", "plan", "the plan free is not paid"),
        (&spent.default_key, ai(), "quota", "quota", "ai: 0 of 0 used, resets in"),
    ];
    for (key, attempt, denied_by, code, reason) in cases {
        let explained = explain(&daemon, key, attempt.clone()).await;
        let told = format!("{attempt}: {explained}");
        let checks = explained["checks"].as_array().unwrap();
        assert!(checks.iter().map(|found| &found["check"]).eq(&CHECKS), "{told}");
        assert_eq!(explained["would_say"]["code"], code, "{told}");
        assert_eq!(explained["allowed"], code == "valid", "{told}");
        let first = checks
            .iter()
            .find(|found| found["passes"] == false)
            .map_or("", |found| found["check"].as_str().unwrap());
        assert_eq!(
            (first, explained.get("denied_by").map_or("", |by| by.as_str().unwrap())),
            (denied_by, denied_by),
            "{told}"
        );
        assert!(checks.iter().any(|found| found["why"].as_str().unwrap().contains(reason)), "{told}");
        let mut asked = attempt;
        asked["dry_run"] = json!(true);
        assert_eq!(daemon.verify(&key.text, asked).await["code"], code, "{told}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn explaining_spends_nothing_and_is_no_use() {
    let daemon = Daemon::start().await;
    let workspace = paid(&daemon).await;
    let key = daemon
        .key(&workspace, json!({"permissions": ["ai:generate"], "rate": {"limit": 1, "window_s": 3600}}))
        .await;
    let attempt = || json!({"permission": "ai:generate", "cost": 2});
    for _ in 0..3 {
        let explained = explain(&daemon, &key, attempt()).await;
        assert_eq!(explained["allowed"], true, "{explained}");
        assert_eq!(why(&explained, "quota").split(", resets").next(), Some("ai: 0 of 1000 used, 2 wanted"));
    }
    assert_eq!(daemon.show_key(&key).await["last_used_at"], Value::Null);
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 0);
    // The positive control: the very same attempt, made, takes the token and the units.
    assert_eq!(daemon.verify(&key.text, attempt()).await["remaining"], 0);
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 2);
    let explained = explain(&daemon, &key, attempt()).await;
    assert_eq!(explained["denied_by"], "rate");
    assert!(why(&explained, "rate").starts_with("the bucket is empty, one token in 1 h"), "{explained}");
    assert_eq!(why(&explained, "quota").split(", resets").next(), Some("ai: 2 of 1000 used, 2 wanted"));
    daemon.finish().await;
}

#[tokio::test]
async fn each_secret_of_a_rotated_key_can_be_asked_about() {
    let daemon = Daemon::start().await;
    let key = daemon.key_for(&paid(&daemon).await, &["posts:read"]).await;
    let rotate = Call::post(&format!("/api/v1/keys/{}/rotate", key.id), &json!({"overlap_s": 7200}));
    let new = daemon.admin_json(rotate).await["prefix"].as_str().unwrap().to_owned();
    let old = key.text[8..16].to_owned();
    let explained = explain(&daemon, &key, json!({"prefix": old})).await;
    assert_eq!(explained["allowed"], true);
    assert!(why(&explained, "secret").contains(&format!("{old} ends in 2 h, at")), "{explained}");
    daemon.advance_secs(7200);
    let explained = explain(&daemon, &key, json!({"prefix": old})).await;
    assert_eq!(
        (&explained["denied_by"], &explained["would_say"]["code"]),
        (&json!("secret"), &json!("revoked"))
    );
    assert!(why(&explained, "secret").contains(&format!("{old} ended now")), "{explained}");
    // Without a prefix it is the newest that is meant.
    let explained = explain(&daemon, &key, json!({})).await;
    assert_eq!(explained["allowed"], true);
    assert!(why(&explained, "secret").contains(&new), "{explained}");
    let unknown = try_explain(&daemon, &key, json!({"prefix": "zzzzzzzz"})).await;
    check_problem("no such secret", &unknown, 400, &format!("{old}, {new}"));
    daemon.finish().await;
}

#[tokio::test]
async fn an_attempt_that_cannot_be_read_is_refused_by_name() {
    let daemon = Daemon::start().await;
    let key = daemon.key_for(&paid(&daemon).await, &["posts:read"]).await;
    for (told, attempt, said) in [
        ("a key's text", json!({"key": "x"}), "unknown field `key`"),
        ("dry_run", json!({"dry_run": true}), "unknown field `dry_run`"),
        ("two wishes", json!({"permission": "posts:read", "tool": "posts_list"}), "permission"),
        ("no such permission", json!({"permission": "posts:fly"}), "permission"),
        ("no address", json!({"ip": "10.0.0"}), "ip"),
        ("no units", json!({"cost": 0}), "cost"),
        ("no such meter", json!({"meter": "x"}), "meter"),
    ] {
        check_problem(told, &try_explain(&daemon, &key, attempt).await, 400, said);
    }
    let nobody = Call::post("/api/v1/keys/key_00000000000000000000000009/explain", &json!({}));
    check_problem("no such key", &daemon.admin(nobody).await, 404, "");
    // An admin key is a key like any other.
    let listed = Call::get("/api/v1/keys?workspace_id=ws_00000000000000000000000001");
    let id = daemon.admin_json(listed).await["data"][0]["id"].as_str().unwrap().to_owned();
    let attempt = json!({"method": "GET", "path": "/api/v1/keys", "ip": "127.0.0.1"});
    let explained = daemon.admin_json(Call::post(&format!("/api/v1/keys/{id}/explain"), &attempt)).await;
    assert_eq!(explained["allowed"], true, "{explained}");
    daemon.finish().await;
}
