//! What an admin may send: every mistake is 400 (or 404, 409, 413, 415) with a problem that names it, and
//! changes nothing.
//!
//! Never here: who may call the admin API at all.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Workspace};
use crate::wire::{Answer, Call};

/// Holds an answer to be a problem of RFC 9457 whose detail holds `named`.
pub(crate) fn check_problem(told: &str, answer: &Answer, status: u16, named: &str) {
    assert_eq!(answer.status, status, "{told}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{told}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{told}");
    assert!(problem["title"].is_string() && problem["type"].is_string(), "{told}: {problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(named), "{told}: `{named}` is not in: {detail}");
}

pub(crate) fn in_workspace(workspace: &Workspace, fields: &Value) -> Value {
    let mut whole = fields.clone();
    whole["workspace_id"] = json!(workspace.id);
    whole
}

async fn keys_there(daemon: &Daemon) -> Value {
    daemon.admin_json(Call::get("/api/v1/keys?limit=1")).await["total"].clone()
}

/// Fields of a key that cannot be, and what the problem names. Good for a create and for an edit.
fn bad_key_fields() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"permission": ["posts:read"]}), "permission"),
        (json!({"Permissions": ["posts:read"]}), "spelt"),
        (json!({"permissions": "posts:read"}), "permissions"),
        (json!({"permissions": null}), "permissions"),
        (json!({"permissions": [7]}), "permissions"),
        (json!({"permissions": ["posts"]}), "posts"),
        (json!({"permissions": ["posts:fly"]}), "posts:fly"),
        (json!({"permissions": ["POSTS:READ"]}), "POSTS:READ"),
        (json!({"permissions": [" posts:read"]}), " posts:read"),
        (json!({"permissions": ["posts:read,posts:write"]}), "posts:read,posts:write"),
        (json!({"permissions": ["posts:read", "posts:read"]}), "posts:read"),
        (json!({"permissions": [""]}), "permissions"),
        (json!({"permissions": vec!["posts:read"; 10_000]}), "permissions"),
        (json!({"name": ""}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"name": "a\u{1b}[31m"}), "name"),
        (json!({"name": "x".repeat(100_000)}), "name"),
        (json!({"description": ["x"]}), "description"),
        (json!({"description": "x".repeat(100_000)}), "description"),
        (json!({"expires_at": "tomorrow"}), "expires_at"),
        (json!({"expires_at": "2027-13-01T00:00:00Z"}), "expires_at"),
        (json!({"expires_at": "2028-02-30T00:00:00Z"}), "expires_at"),
        (json!({"expires_at": "2028-01-01"}), "expires_at"),
        (json!({"expires_at": 1_900_000_000}), "expires_at"),
        (json!({"ip_allow": []}), "ip_allow"),
        (json!({"ip_allow": "127.0.0.1"}), "ip_allow"),
        (json!({"ip_allow": ["127.2"]}), "127.2"),
        (json!({"ip_allow": ["0x7f.0.0.1"]}), "0x7f.0.0.1"),
        (json!({"ip_allow": ["0177.0.0.1"]}), "0177.0.0.1"),
        (json!({"ip_allow": ["2130706433"]}), "2130706433"),
        (json!({"ip_allow": ["10.0.0.0/33"]}), "10.0.0.0/33"),
        (json!({"ip_allow": ["10.0.0.0/-1"]}), "10.0.0.0/-1"),
        (json!({"ip_allow": ["fe80::1%eth0"]}), "fe80::1%eth0"),
        (json!({"ip_allow": ["localhost"]}), "localhost"),
        (json!({"ip_allow": [""]}), "ip_allow"),
        (json!({"ip_allow": vec!["127.0.0.1"; 65]}), "ip_allow"),
        (json!({"rate": 600}), "rate"),
        (json!({"rate": {"limit": 1}}), "window_s"),
        (json!({"rate": {"window_s": 1}}), "limit"),
        (json!({"rate": {"limit": 1, "window_s": 60, "extra": 1}}), "extra"),
        (json!({"rate": {"limit": 1, "window_s": 60, "burst": 0}}), "burst"),
        (json!({"rate": {"limit": -1, "window_s": 60}}), "limit"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": "x"}), "metadata"),
        (json!({"metadata": {"x": "x".repeat(100_000)}}), "metadata"),
        (json!({"require_signature": 1}), "require_signature"),
        (json!({"signature_replay": "twice"}), "signature_replay"),
        (json!({"signature_replay": null}), "signature_replay"),
        // Nobody sets what is not for setting.
        (json!({"id": "key_01h2xcejqtf2nbrexx3vqjhp41"}), "id"),
        (json!({"hash": "$argon2id$"}), "hash"),
        (json!({"key": "sk_live_777777777777777777777777777777Eh"}), "key"),
        (json!({"prefix": "77777777"}), "prefix"),
        (json!({"used": 0}), "used"),
        (json!({"created_at": "2020-01-01T00:00:00Z"}), "created_at"),
        (json!({"last_used_at": null}), "last_used_at"),
        (json!({"revoked_at": null}), "revoked_at"),
        (json!({"status": "active"}), "status"),
        (json!({"plan": "enterprise"}), "plan"),
        (json!({"admin": true}), "admin"),
        (json!({"x\u{1b}[31m": 1}), "x"),
    ]
}

#[tokio::test]
async fn o10_a_key_is_not_made_or_changed_with_fields_that_cannot_be() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let (there, before) = (keys_there(&daemon).await, daemon.show_key(&key).await);
    for (fields, named) in bad_key_fields() {
        let told = fields.to_string().chars().take(60).collect::<String>();
        let made = daemon.admin(Call::post("/api/v1/keys", &in_workspace(&workspace, &fields))).await;
        check_problem(&format!("create {told}"), &made, 400, named);
        let changed =
            daemon.admin(Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&fields)).await;
        check_problem(&format!("patch {told}"), &changed, 400, named);
    }
    let moved = json!({"workspace_id": workspace.id});
    let changed = daemon.admin(Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&moved)).await;
    check_problem("another workspace", &changed, 400, "workspace_id");
    let past = in_workspace(&workspace, &json!({"expires_at": daemon.in_secs(0)}));
    check_problem(
        "an end that has come",
        &daemon.admin(Call::post("/api/v1/keys", &past)).await,
        400,
        "expires_at",
    );
    assert_eq!(
        (keys_there(&daemon).await, daemon.show_key(&key).await),
        (there, before),
        "something was changed"
    );
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_needs_a_workspace_that_exists() {
    let daemon = Daemon::start().await;
    for (body, status, named) in [
        (json!({}), 400, "workspace_id"),
        (json!({"workspace_id": null}), 400, "workspace_id"),
        (json!({"workspace_id": 7}), 400, "workspace_id"),
        (json!({"workspace_id": "acme"}), 400, "workspace_id"),
        (json!({"workspace_id": "key_01h2xcejqtf2nbrexx3vqjhp41"}), 400, "workspace_id"),
        (json!({"workspace_id": "ws_01h2xcejqtf2nbrexx3vqjhp41"}), 404, ""),
    ] {
        check_problem(
            &body.to_string(),
            &daemon.admin(Call::post("/api/v1/keys", &body)).await,
            status,
            named,
        );
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_workspace_is_not_made_with_fields_that_cannot_be() {
    let daemon = Daemon::start().await;
    let good = json!({"name": "Acme", "profile": "socialcrm", "plan": "pro"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let without = |field: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        body
    };
    for (body, named) in [
        (without("name"), "name"),
        (without("profile"), "profile"),
        (without("plan"), "plan"),
        (with("name", json!("")), "name"),
        (with("name", json!("a\u{7}b")), "name"),
        (with("profile", json!("nope")), "profile"),
        (with("profile", json!("keyward-admin")), "profile"),
        (with("profile", json!("SocialCRM")), "profile"),
        (with("plan", json!("gold")), "gold"),
        (with("plan", json!("admin")), "plan"),
        (with("plan", json!(null)), "plan"),
        (with("billing_anchor", json!("31 Jan")), "billing_anchor"),
        (with("brands", json!("one")), "brands"),
        (with("brands", json!([""])), "brands"),
        (with("brands", json!(vec!["b"; 10_000])), "brands"),
        (with("status", json!("suspended")), "status"),
        (with("id", json!("ws_01h2xcejqtf2nbrexx3vqjhp41")), "id"),
        (with("overrides", json!({})), "overrides"),
        (with("owner", json!("me")), "owner"),
    ] {
        let told = body.to_string().chars().take(80).collect::<String>();
        check_problem(&told, &daemon.admin(Call::post("/api/v1/workspaces", &body)).await, 400, named);
    }
    assert_eq!(daemon.admin_json(Call::get("/api/v1/workspaces")).await["total"], 0);
    let made =
        daemon.admin_json(Call::post("/api/v1/workspaces", &with("brands", json!(["One", "Two"])))).await;
    assert_eq!(made["workspace"]["brands"], json!(["One", "Two"]));
    daemon.finish().await;
}

#[tokio::test]
async fn a_workspace_is_not_changed_with_fields_that_cannot_be() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let path = format!("/api/v1/workspaces/{}", workspace.id);
    let before = daemon.admin_json(Call::get(&path)).await;
    for (fields, named) in [
        (json!({"plan": "gold"}), "gold"),
        (json!({"profile": "socialcrm"}), "profile"),
        (json!({"status": "closed"}), "status"),
        (json!({"status": true}), "status"),
        (json!({"billing_anchor": null}), "billing_anchor"),
        (json!({"overrides": 7}), "overrides"),
        (json!({"overrides": {"meter": {"ai": 1}}}), "meter"),
        (json!({"overrides": {"meters": {"calls": 1}}}), "meters"),
        (json!({"overrides": {"meters": {"ai": -1}}}), "meters"),
        (json!({"overrides": {"meters": {"ai": 1.5}}}), "meters"),
        (json!({"overrides": {"rate": {"limit": 1}}}), "window_s"),
        (json!({"created_at": "2020-01-01T00:00:00Z"}), "created_at"),
        (json!({"used": {"ai": 0}}), "used"),
    ] {
        let answer = daemon.admin(Call::new("PATCH", &path).json(&fields)).await;
        check_problem(&fields.to_string(), &answer, 400, named);
    }
    assert_eq!(daemon.admin_json(Call::get(&path)).await, before);
    daemon.finish().await;
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_whatever_it_is() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let there = keys_there(&daemon).await;
    let good = format!("{{\"workspace_id\":\"{}\"}}", workspace.id);
    let post =
        |kind: &str, body: String| Call::new("POST", "/api/v1/keys").header("Content-Type", kind).body(body);
    for (told, body) in [
        ("nothing", String::new()),
        ("half an object", good[..good.len() - 1].to_owned()),
        ("text", "not json".to_owned()),
        ("a list", format!("[{good}]")),
        ("a number", "7".to_owned()),
        ("null", "null".to_owned()),
        ("two objects", format!("{good}{good}")),
        ("text behind", format!("{good} x")),
        ("a field twice", format!("{{\"workspace_id\":\"{0}\",\"workspace_id\":\"{0}\"}}", workspace.id)),
        (
            "a field in other letters",
            format!("{{\"workspace_id\":\"{0}\",\"Workspace_ID\":\"{0}\"}}", workspace.id),
        ),
        ("a comment", format!("/* x */{good}")),
    ] {
        let answer = daemon.admin(post("application/json", body)).await;
        check_problem(told, &answer, 400, "");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
    ] {
        check_problem(kind, &daemon.admin(post(kind, good.clone())).await, 415, "");
    }
    let huge =
        format!("{{\"workspace_id\":\"{}\",\"description\":\"{}\"}}", workspace.id, "x".repeat(3_000_000));
    check_problem("3 MB", &daemon.admin(post("application/json", huge)).await, 413, "");
    assert_eq!(keys_there(&daemon).await, there, "a refused body made a key");
    daemon.admin_json(post("application/json", good)).await;
    daemon.finish().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_cannot_be_done_is_405_or_409() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key_for(&workspace, &[]).await;
    daemon.revoke(&key).await;
    let edit = json!({"name": "x"});
    for (told, call, status) in [
        ("no such key", Call::get("/api/v1/keys/key_01h2xcejqtf2nbrexx3vqjhp41"), 404),
        ("no key's id", Call::get("/api/v1/keys/nonsense"), 404),
        ("a workspace's id", Call::get(&format!("/api/v1/keys/{}", workspace.id)), 404),
        (
            "revoke no such key",
            Call::post("/api/v1/keys/key_01h2xcejqtf2nbrexx3vqjhp41/revoke", &json!({})),
            404,
        ),
        (
            "patch no such key",
            Call::new("PATCH", "/api/v1/keys/key_01h2xcejqtf2nbrexx3vqjhp41").json(&edit),
            404,
        ),
        ("no such workspace", Call::get("/api/v1/workspaces/ws_01h2xcejqtf2nbrexx3vqjhp41"), 404),
        (
            "patch no such workspace",
            Call::new("PATCH", "/api/v1/workspaces/ws_01h2xcejqtf2nbrexx3vqjhp41").json(&edit),
            404,
        ),
        ("no such route", Call::get("/api/v1/nope"), 404),
        ("the root", Call::get("/"), 404),
        ("another method", Call::new("PUT", "/api/v1/keys"), 405),
        ("a revoked key", Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&edit), 409),
        (
            "revoke with fields",
            Call::post(&format!("/api/v1/keys/{}/revoke", key.id), &json!({"why": "x"})),
            400,
        ),
    ] {
        check_problem(told, &daemon.admin(call).await, status, "");
    }
    daemon.finish().await;
}
