//! The verify call: the pipeline as JSON, for those who ask instead of being proxied.
//!
//! It gives the true reason, since the asking app is trusted; it never gives the key back. What it spends is
//! held in `order`.
//!
//! Never here: the admin API's own rules for its callers.

use serde_json::{Value, json};

use crate::credentials::near_miss;
use crate::daemon::{Daemon, Workspace};
use crate::wire::Call;

async fn paid(daemon: &Daemon) -> Workspace {
    daemon.workspace("pro").await
}

#[tokio::test]
async fn each_code_is_given_for_its_reason() {
    let daemon = Daemon::start().await;
    let workspace = paid(&daemon).await;
    let free = daemon.workspace("free").await;
    let suspended = paid(&daemon).await;
    daemon.patch_workspace(&suspended, json!({"status": "suspended"})).await;
    let key = daemon.key_for(&workspace, &["posts:read", "ai:generate"]).await;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    let expired =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(1)})).await;
    let bound = daemon
        .key(&workspace, json!({"permissions": ["*:*"], "ip_allow": ["10.0.0.0/8", "2001:db8::/32"]}))
        .await;
    let slow =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 0, "window_s": 1}})).await;
    let spent = paid(&daemon).await;
    daemon.patch_workspace(&spent, json!({"overrides": {"meters": {"ai": 0}}})).await;
    daemon.advance_secs(1);
    let cases: [(&str, &str, Value, &str); 27] = [
        ("nothing asked", &key.text, json!({}), "valid"),
        ("a permission", &key.text, json!({"permission": "posts:read"}), "valid"),
        ("a route", &key.text, json!({"method": "GET", "path": "/v1/posts/post_1"}), "valid"),
        ("a route by HEAD", &key.text, json!({"method": "HEAD", "path": "/v1/posts"}), "valid"),
        ("a tool", &key.text, json!({"tool": "posts_list"}), "valid"),
        ("an address", &key.text, json!({"ip": "192.0.2.1"}), "valid"),
        ("no key's text", "", json!({}), "malformed"),
        ("a typo", "sk_live_0", json!({}), "malformed"),
        ("a brand that is not served", "mcp_sk_777777777777777777777777777777Eh", json!({}), "malformed"),
        ("an admin key", daemon.admin_key(), json!({}), "malformed"),
        ("no such key", "sk_live_777777777777777777777777777777Eh", json!({}), "unknown"),
        ("a wrong secret", &near_miss(&key), json!({}), "unknown"),
        ("revoked", &revoked.text, json!({}), "revoked"),
        ("suspended", &suspended.default_key.text, json!({}), "revoked"),
        ("expired", &expired.text, json!({}), "expired"),
        ("another address", &bound.text, json!({"ip": "192.0.2.1"}), "address"),
        ("no address", &bound.text, json!({}), "address"),
        ("its address", &bound.text, json!({"ip": "10.1.2.3"}), "valid"),
        ("its address, mapped", &bound.text, json!({"ip": "::ffff:10.1.2.3"}), "valid"),
        ("its network", &bound.text, json!({"ip": "2001:db8::1"}), "valid"),
        ("too fast", &slow.text, json!({}), "rate"),
        ("no permission", &key.text, json!({"permission": "posts:write"}), "permission"),
        (
            "no permission for the route",
            &key.text,
            json!({"method": "POST", "path": "/v1/posts"}),
            "permission",
        ),
        ("no such route", &key.text, json!({"method": "GET", "path": "/v1/nope"}), "permission"),
        ("no such tool", &key.text, json!({"tool": "nope"}), "permission"),
        ("a free plan", &free.default_key.text, json!({"permission": "ai:generate"}), "plan"),
        ("a month used up", &spent.default_key.text, json!({"permission": "ai:generate"}), "quota"),
    ];
    for (told, text, fields, code) in cases {
        let said = daemon.verify(text, fields).await;
        assert_eq!(said["code"], code, "{told}");
        assert_eq!(said["valid"], code == "valid", "{told}");
        assert!(text.is_empty() || !said.to_string().contains(text), "{told}: the answer shows the key");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_valid_key_is_named_and_what_it_has_left_is_told() {
    let daemon = Daemon::start().await;
    let workspace = paid(&daemon).await;
    let key = daemon
        .key(&workspace, json!({"permissions": ["posts:read"], "rate": {"limit": 3, "window_s": 60}}))
        .await;
    let said = daemon.verify(&key.text, json!({"permission": "posts:read"})).await;
    assert_eq!((&said["key_id"], &said["workspace_id"]), (&json!(key.id), &json!(workspace.id)));
    assert_eq!(said["remaining"], 2);
    assert_eq!(daemon.verify(&key.text, json!({})).await["remaining"], 1);
    assert_eq!(daemon.verify(&key.text, json!({})).await["remaining"], 0);
    let refused = daemon.verify(&key.text, json!({})).await;
    assert_eq!((&refused["code"], &refused["retry_after_ms"]), (&json!("rate"), &json!(20_000)));
    daemon.advance_micros(19_999_999);
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "rate");
    daemon.advance_micros(1);
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    daemon.finish().await;
}

#[tokio::test]
async fn a_cost_is_sold_whole_or_not_at_all() {
    let daemon = Daemon::start().await;
    let workspace = paid(&daemon).await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 10}}})).await;
    let key = &workspace.default_key.text;
    for (fields, code, used) in [
        (json!({"permission": "ai:generate", "cost": 11}), "quota", 0),
        (json!({"permission": "ai:generate", "cost": 4}), "valid", 4),
        (json!({"permission": "posts:read", "meter": "ai", "cost": 4}), "valid", 8),
        (json!({"permission": "ai:generate", "cost": 3}), "quota", 8),
        (json!({"meter": "ai", "cost": 18_446_744_073_709_551_615u64}), "quota", 8),
        (json!({"method": "POST", "path": "/v1/ai/rewrite"}), "valid", 9),
        (json!({"permission": "ai:generate"}), "valid", 10),
        (json!({"permission": "ai:generate"}), "quota", 10),
        (json!({"permission": "posts:read"}), "valid", 10),
    ] {
        assert_eq!(daemon.verify(key, fields.clone()).await["code"], code, "{fields}");
        assert_eq!(daemon.ai_meter(&workspace).await["used"], used, "{fields}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_question_that_cannot_be_understood_is_400_and_names_the_field() {
    let daemon = Daemon::start().await;
    let key = paid(&daemon).await.default_key;
    for (fields, named) in [
        (json!({}), "key"),
        (json!({"key": 7}), "key"),
        (json!({"key": null}), "key"),
        (json!({"key": &*key.text, "permissions": ["posts:read"]}), "permissions"),
        (json!({"key": &*key.text, "permission": "posts:fly"}), "permission"),
        (json!({"key": &*key.text, "permission": "posts"}), "permission"),
        (json!({"key": &*key.text, "permission": "posts:read", "tool": "posts_list"}), "permission"),
        (json!({"key": &*key.text, "method": "GET"}), "path"),
        (json!({"key": &*key.text, "path": "/v1/posts"}), "method"),
        (json!({"key": &*key.text, "method": "GET", "path": "v1/posts"}), "path"),
        (json!({"key": &*key.text, "method": "GET", "path": "/v1/../posts"}), "path"),
        (json!({"key": &*key.text, "method": "GET", "path": "http://evil/v1/posts"}), "path"),
        (json!({"key": &*key.text, "ip": "127.1"}), "ip"),
        (json!({"key": &*key.text, "ip": "0x7f.0.0.1"}), "ip"),
        (json!({"key": &*key.text, "ip": "0177.0.0.1"}), "ip"),
        (json!({"key": &*key.text, "ip": ""}), "ip"),
        (json!({"key": &*key.text, "cost": 0}), "cost"),
        (json!({"key": &*key.text, "cost": -1}), "cost"),
        (json!({"key": &*key.text, "cost": 1.5}), "cost"),
        (json!({"key": &*key.text, "cost": "1"}), "cost"),
        (json!({"key": &*key.text, "meter": "calls"}), "meter"),
        (json!({"key": &*key.text, "dry_run": "yes"}), "dry_run"),
    ] {
        let answer = daemon.admin(Call::post("/api/v1/verify", &fields)).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, detail.contains(named)), (400, true), "{named}: {detail}");
        assert!(!answer.text().contains(&*key.text), "{named}: the refusal shows the key");
    }
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    daemon.finish().await;
}

#[tokio::test]
async fn a_huge_key_is_refused_before_any_hash() {
    let daemon = Daemon::start().await;
    let key = paid(&daemon).await.default_key;
    let hashes = daemon.slow_hashes();
    assert_eq!(daemon.verify(&"a".repeat(100_000), json!({})).await["code"], "malformed");
    let answer = daemon.admin(Call::post("/api/v1/verify", &json!({"key": "a".repeat(1_000_000)}))).await;
    assert_eq!(answer.status, 413);
    assert_eq!(daemon.slow_hashes(), hashes);
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    daemon.finish().await;
}

#[tokio::test]
async fn what_cannot_be_decided_is_503_and_never_valid() {
    let mut daemon = Daemon::start().await;
    let workspace = paid(&daemon).await;
    let (broken, sound) = (daemon.key_for(&workspace, &["*:*"]).await, &workspace.default_key);
    assert_eq!(daemon.verify(&broken.text, json!({})).await["code"], "valid");
    daemon.restart_after(|file| crate::stored::corrupt_key_record(file, &broken.id)).await;
    let answer = daemon.admin(Call::post("/api/v1/verify", &json!({"key": &*broken.text}))).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_ne!(answer.json()["valid"], true);
    assert_eq!(daemon.verify(&sound.text, json!({})).await["code"], "valid");
    daemon.finish().await;
}
