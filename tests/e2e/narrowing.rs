//! Whatever narrows a key acts on the very next request: a revoke, a suspension, an expiry, fewer
//! permissions, other addresses, a smaller rate, a lesser plan. On a connection that is already open, with
//! the proof cached, on both doors.
//!
//! Never here: a wait between the change and the request that must see it.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options, ProofCache, Workspace, call_tool, list_posts};
use crate::wire::{Answer, Call, Connection};

/// Two connections that have been used by one key already, so that its proof is cached and its record live.
struct Warm {
    rest: Connection,
    rpc: Connection,
}

impl Warm {
    async fn by(daemon: &Daemon, key: &Key) -> Self {
        let mut warm = Self { rest: daemon.connect().await, rpc: daemon.connect().await };
        for _ in 0..2 {
            let (rest, rpc) = warm.ask(key).await;
            assert_eq!((rest.status, rpc.status), (200, 200), "{rest:?}\n{rpc:?}");
            assert!(rpc.json()["result"].is_object(), "{rpc:?}");
        }
        warm
    }

    async fn ask(&mut self, key: &Key) -> (Answer, Answer) {
        (self.rest.call(&list_posts(key)).await, self.rpc.call(&call_tool(key, "posts_list")).await)
    }

    /// Both doors refuse: REST with this status, JSON-RPC with this code and message.
    async fn check_refused(&mut self, key: &Key, told: &str, rest_status: u16, code: i64, message: &str) {
        let (rest, rpc) = self.ask(key).await;
        assert_eq!(rest.status, rest_status, "{told}: {rest:?}");
        assert_eq!(rpc.rpc_error(), (code, message.to_owned()), "{told}: {rpc:?}");
    }

    async fn check_passes(&mut self, key: &Key, told: &str) {
        let (rest, rpc) = self.ask(key).await;
        assert_eq!(rest.status, 200, "{told}: {rest:?}");
        assert!(rpc.json()["result"].is_object(), "{told}: {rpc:?}");
    }
}

const INVALID: &str = "Invalid API key.";

#[tokio::test]
async fn a_revoked_key_is_refused_on_the_next_request_of_an_open_connection() {
    for proof_cache in [ProofCache::On, ProofCache::Off] {
        let daemon = Daemon::start_with(Options { proof_cache, ..Options::default() }).await;
        let workspace = daemon.workspace("enterprise").await;
        let key = daemon.key_for(&workspace, &["*:*"]).await;
        let mut warm = Warm::by(&daemon, &key).await;
        daemon.revoke(&key).await;
        warm.check_refused(&key, "revoked", 401, -32001, INVALID).await;
        // For good, and again is fine.
        daemon.revoke(&key).await;
        let again =
            Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&json!({"expires_at": null}));
        assert_eq!(daemon.admin(again).await.status, 409);
        warm.check_refused(&key, "revoked twice", 401, -32001, INVALID).await;
        daemon.is_well(&workspace.default_key).await;
        daemon.finish().await;
    }
}

#[tokio::test]
async fn no_request_that_starts_after_a_revoke_was_answered_is_let_in() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    for _ in 0..20 {
        let key = daemon.key_for(&workspace, &["*:*"]).await;
        let mut connections = Vec::new();
        for _ in 0..8 {
            let mut connection = daemon.connect().await;
            assert_eq!(connection.call(&list_posts(&key)).await.status, 200);
            connections.push(connection);
        }
        daemon.revoke(&key).await;
        for connection in &mut connections {
            assert_eq!(connection.call(&list_posts(&key)).await.status, 401);
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_that_was_never_used_is_refused_after_its_revoke_too() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&key).await;
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 401);
    daemon.finish().await;
}

#[tokio::test]
async fn a_suspended_workspace_has_no_key_that_works_until_it_is_active_again() {
    let daemon = Daemon::start().await;
    let (workspace, other) = (daemon.workspace("enterprise").await, daemon.workspace("enterprise").await);
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let mut warm = Warm::by(&daemon, &key).await;
    daemon.patch_workspace(&workspace, json!({"status": "suspended"})).await;
    warm.check_refused(&key, "suspended", 401, -32001, INVALID).await;
    warm.check_refused(&workspace.default_key, "its other key", 401, -32001, INVALID).await;
    daemon.is_well(&other.default_key).await;
    daemon.patch_workspace(&workspace, json!({"status": "active"})).await;
    warm.check_passes(&key, "active again").await;
    daemon.finish().await;
}

/// A change to a key, and what both doors say then.
struct Narrowing {
    told: &'static str,
    patch: Value,
    rest_status: u16,
    code: i64,
    message: &'static str,
    back: Value,
}

#[tokio::test]
async fn every_edit_of_a_key_acts_on_the_very_next_request() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key(&workspace, json!({"permissions": ["posts:read"]})).await;
    let mut warm = Warm::by(&daemon, &key).await;
    let narrowings = [
        Narrowing {
            told: "fewer permissions",
            patch: json!({"permissions": ["insights:read"]}),
            rest_status: 403,
            code: -32003,
            message: "Insufficient permissions for this tool",
            back: json!({"permissions": ["posts:read"]}),
        },
        Narrowing {
            told: "no permission",
            patch: json!({"permissions": []}),
            rest_status: 403,
            code: -32003,
            message: "Insufficient permissions for this tool",
            back: json!({"permissions": ["posts:*"]}),
        },
        Narrowing {
            told: "an expiry that has come",
            patch: json!({"expires_at": daemon.in_secs(0)}),
            rest_status: 401,
            code: -32001,
            message: "API key expired.",
            back: json!({"expires_at": null}),
        },
        Narrowing {
            told: "another address",
            patch: json!({"ip_allow": ["192.0.2.0/24"]}),
            rest_status: 401,
            code: -32001,
            message: INVALID,
            back: json!({"ip_allow": ["127.0.0.0/8"]}),
        },
        Narrowing {
            told: "a rate of none",
            patch: json!({"rate": {"limit": 0, "window_s": 60}}),
            rest_status: 429,
            code: -32004,
            message: "Rate limit exceeded",
            back: json!({"rate": null}),
        },
    ];
    for narrowing in narrowings {
        daemon.patch_key(&key, narrowing.patch).await;
        let Narrowing { told, rest_status, code, message, .. } = narrowing;
        warm.check_refused(&key, told, rest_status, code, message).await;
        daemon.patch_key(&key, narrowing.back).await;
        warm.check_passes(&key, &format!("{told}, taken back")).await;
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_tool_list_shrinks_with_the_key() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let mut connection = daemon.connect().await;
    let listed = |answer: Answer| answer.json()["result"]["tools"].as_array().unwrap().len();
    assert_eq!(listed(connection.call(&crate::daemon::list_tools(&key)).await), 20);
    daemon.patch_key(&key, json!({"permissions": ["posts:read"]})).await;
    assert_eq!(listed(connection.call(&crate::daemon::list_tools(&key)).await), 2);
    daemon.patch_key(&key, json!({"permissions": []})).await;
    assert_eq!(listed(connection.call(&crate::daemon::list_tools(&key)).await), 0);
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_ends_exactly_at_the_instant_that_it_names() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(60)})).await;
    let mut warm = Warm::by(&daemon, &key).await;
    daemon.advance_micros(60_000_000 - 1);
    warm.check_passes(&key, "one microsecond before").await;
    daemon.advance_micros(1);
    warm.check_refused(&key, "at the instant", 401, -32001, "API key expired.").await;
    assert_eq!(daemon.show_key(&key).await["status"], "expired");
    // A longer life is granted as quickly as a shorter one.
    daemon.patch_key(&key, json!({"expires_at": daemon.in_secs(5)})).await;
    warm.check_passes(&key, "prolonged").await;
    daemon.advance_secs(5);
    warm.check_refused(&key, "at the new instant", 401, -32001, "API key expired.").await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_plan_or_an_override_acts_on_the_next_request_of_every_key() {
    let daemon = Daemon::start().await;
    let workspace: Workspace = daemon.workspace("pro").await;
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let mut connection = daemon.connect().await;
    let rewrite = Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&key.text);
    for (patch, status, code) in [
        (json!({}), 200, ""),
        (json!({"plan": "free"}), 402, "payment_required"),
        (json!({"plan": "enterprise"}), 200, ""),
        (json!({"overrides": {"meters": {"ai": 1}}}), 402, "quota_exceeded"),
        (json!({"overrides": {"meters": {"ai": 3}}}), 200, ""),
        (json!({"overrides": {"meters": {"ai": null}}}), 200, ""),
        (json!({"overrides": {"rate": {"limit": 0, "window_s": 1}}}), 429, "rate_limited"),
        (json!({"overrides": {"rate": null}}), 200, ""),
    ] {
        if patch != json!({}) {
            daemon.patch_workspace(&workspace, patch.clone()).await;
        }
        let answer = connection.call(&rewrite).await;
        let said = if status == 200 { String::new() } else { answer.rest_error().0 };
        assert_eq!((answer.status, said.as_str()), (status, code), "{patch}: {answer:?}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_for_other_addresses_is_not_opened_by_what_a_caller_says_of_itself() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "ip_allow": ["192.0.2.7"]})).await;
    daemon.is_well(&workspace.default_key).await;
    for (name, value) in [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-For", "192.0.2.7, 127.0.0.1"),
        ("Forwarded", "for=192.0.2.7"),
        ("X-Real-IP", "192.0.2.7"),
        ("True-Client-IP", "192.0.2.7"),
        ("CF-Connecting-IP", "192.0.2.7"),
        ("X-Client-IP", "192.0.2.7"),
    ] {
        let answer = daemon.call(&list_posts(&key).header(name, value)).await;
        assert_eq!((answer.status, answer.rest_error().1.as_str()), (401, INVALID), "{name}");
    }
    daemon.is_well(&workspace.default_key).await;
    daemon.finish().await;
}
