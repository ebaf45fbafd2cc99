//! The order of checks: of two things that are wrong at once the earlier is told, on every door alike, and
//! what each refusal costs.
//!
//! Never here: a single refusal on its own; other modules have those.

use serde_json::{Value, json};

use crate::credentials::near_miss;
use crate::daemon::{Daemon, Key, Workspace, call_tool};
use crate::wire::Call;

/// What can be wrong with a proven key, in the order in which it is told.
const WRONGS: [&str; 9] =
    ["revoked", "suspended", "expired", "address", "signature", "rate", "permission", "plan", "quota"];

/// Makes a key with whatever is wrong, about to ask for `ai:generate` and for `posts_list`.
async fn key_with(daemon: &Daemon, wrongs: &[&str]) -> (Workspace, Key) {
    let has = |wrong: &str| wrongs.contains(&wrong);
    let workspace = daemon.workspace(if has("plan") { "free" } else { "pro" }).await;
    let ai = if has("quota") { 0 } else { 100 };
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": ai}}})).await;
    let permissions: &[&str] =
        if has("permission") { &["media:write"] } else { &["ai:generate", "posts:read"] };
    let mut fields = json!({"permissions": permissions});
    if has("expired") {
        fields["expires_at"] = json!(daemon.in_secs(1));
    }
    if has("address") {
        fields["ip_allow"] = json!(["192.0.2.1"]);
    }
    if has("signature") {
        fields["require_signature"] = json!(true);
    }
    if has("rate") {
        fields["rate"] = json!({"limit": 0, "window_s": 60});
    }
    let key = daemon.key(&workspace, fields).await;
    if has("revoked") {
        daemon.revoke(&key).await;
    }
    if has("suspended") {
        daemon.patch_workspace(&workspace, json!({"status": "suspended"})).await;
    }
    daemon.advance_secs(1);
    (workspace, key)
}

/// What REST says of each.
fn rest_words(wrong: &str) -> (u16, &'static str) {
    match wrong {
        "revoked" | "suspended" | "expired" | "address" | "signature" => (401, "unauthorized"),
        "rate" => (429, "rate_limited"),
        "permission" => (403, "forbidden_scope"),
        "plan" => (402, "payment_required"),
        _ => (402, "quota_exceeded"),
    }
}

/// What JSON-RPC says of each; no tool here is paid or metered.
fn rpc_words(wrong: &str) -> Option<(u16, i64, &'static str)> {
    match wrong {
        "revoked" | "suspended" | "address" | "signature" => Some((401, -32001, "Invalid API key.")),
        "expired" => Some((401, -32001, "API key expired.")),
        "rate" => Some((200, -32004, "Rate limit exceeded")),
        "permission" => Some((403, -32003, "Insufficient permissions for this tool")),
        _ => None,
    }
}

#[tokio::test]
async fn g11_of_any_two_things_that_are_wrong_the_earlier_is_told_on_every_door() {
    let daemon = Daemon::start().await;
    for (place, first) in WRONGS.into_iter().enumerate() {
        for second in WRONGS.into_iter().skip(place) {
            let (_, key) = key_with(&daemon, &[first, second]).await;
            let told = format!("{first} and {second}");
            let verified =
                daemon.verify(&key.text, json!({"permission": "ai:generate", "ip": "127.0.0.1"})).await;
            // The verify call has one word for both ways of being switched off.
            let code = if first == "suspended" { "revoked" } else { first };
            assert_eq!((&verified["valid"], &verified["code"]), (&json!(false), &json!(code)), "{told}");
            let rest = daemon.call(&Call::post("/v1/ai/rewrite", &json!({})).bearer(&key.text)).await;
            assert_eq!((rest.status, rest.rest_error().0.as_str()), rest_words(first), "{told}");
            // Without the right to know what is there, an unknown route and another method look like the known.
            for call in [Call::get("/v1/nope"), Call::new("PUT", "/v1/posts")] {
                let unknown = daemon.call(&call.bearer(&key.text)).await;
                let (status, code) = rest_words(first);
                if status == 401 || status == 429 {
                    let said = (unknown.status, unknown.rest_error().0);
                    assert_eq!(said, (status, code.to_owned()), "{told}");
                }
            }
            if let Some((status, code, message)) = rpc_words(first) {
                let rpc = daemon.call(&call_tool(&key, "posts_list")).await;
                assert_eq!((rpc.status, rpc.rpc_error()), (status, (code, message.to_owned())), "{told}");
            }
        }
    }
    let (_, sound) = key_with(&daemon, &[]).await;
    let verified = daemon.verify(&sound.text, json!({"permission": "ai:generate", "ip": "127.0.0.1"})).await;
    assert_eq!(verified["code"], "valid");
    daemon.finish().await;
}

#[tokio::test]
async fn an_unreadable_request_is_told_before_a_bad_credential_and_that_before_an_unknown_route() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let doubled = |call: Call| call.bearer(&key.text).header("X-API-Key", &*key.text);
    for (told, call, status) in [
        ("path, no key", Call::get("/v1/posts/%2e%2e"), 400),
        ("path, two keys", doubled(Call::get("/v1/posts/%2e%2e")), 400),
        ("two keys, unknown route", doubled(Call::get("/v1/nope")), 400),
        ("malformed key, unknown route", Call::get("/v1/nope").bearer("x"), 401),
        ("malformed key, wrong method", Call::new("PUT", "/v1/posts").bearer("x"), 401),
        (
            "malformed key, huge body",
            Call::new("POST", "/v1/posts").bearer("x").header("Content-Length", "9999999"),
            401,
        ),
        (
            "no key, wrong content type",
            Call::new("POST", "/api/mcp-app").header("Content-Type", "text/plain").body("x"),
            415,
        ),
        ("bad key, wrong content type", Call::new("POST", "/api/mcp-app").bearer("x").body("x"), 401),
        (
            "bad key, not JSON",
            Call::new("POST", "/api/mcp-app")
                .bearer("x")
                .header("Content-Type", "application/json")
                .body("{"),
            401,
        ),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, status, "{told}: {answer:?}");
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

/// Tokens left, as a verify call tells them; it takes one itself.
async fn remaining(daemon: &Daemon, key: &Key) -> u64 {
    let verified = daemon.verify(&key.text, json!({})).await;
    verified["remaining"].as_u64().unwrap_or_else(|| panic!("no figure in {verified}"))
}

#[tokio::test]
async fn g12_only_a_proven_request_takes_a_token_and_only_an_admitted_one_is_metered() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let rate = json!({"limit": 1000, "window_s": 2_678_400});
    let key =
        daemon.key(&workspace, json!({"permissions": ["posts:read", "ai:generate"], "rate": rate})).await;
    let wrong = near_miss(&key);
    let text = &*key.text;
    let rewrite = || Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"}));
    let tools = |name: &str| {
        let params = json!({"name": name});
        Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
    };
    // What is asked, the status it gets, tokens taken, units metered.
    let cases: [(&str, Call, u16, u64, u64); 17] = [
        ("no key", Call::get("/v1/posts"), 401, 0, 0),
        ("a wrong secret", rewrite().bearer(&wrong), 401, 0, 0),
        ("two credentials", rewrite().bearer(text).header("X-API-Key", text), 400, 0, 0),
        ("an unreadable path", Call::get("/v1/posts/%2e%2e").bearer(text), 400, 0, 0),
        ("a route that is let through", Call::get("/v1/posts").bearer(text), 200, 1, 0),
        ("a thing that is not there", Call::get("/v1/posts/post_1").bearer(text), 404, 1, 0),
        ("an unknown route", Call::get("/v1/nope").bearer(text), 404, 1, 0),
        ("another method", Call::new("PUT", "/v1/posts").bearer(text), 405, 1, 0),
        ("a missing scope", Call::new("DELETE", "/v1/posts/post_1").bearer(text), 403, 1, 0),
        ("a metered route", rewrite().bearer(text), 200, 1, 1),
        (
            "a body over its bound",
            Call::new("POST", "/v1/ai/rewrite").bearer(text).header("Content-Length", "2000000"),
            413,
            1,
            0,
        ),
        ("a tool", tools("posts_list").bearer(text), 200, 1, 0),
        ("a hidden tool", tools("posts_delete").bearer(text), 403, 1, 0),
        (
            "an unknown method",
            Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "no/pe"})).bearer(text),
            200,
            1,
            0,
        ),
        ("a message that is none", Call::rpc(&json!([])).bearer(text), 400, 1, 0),
        (
            "another content type",
            Call::new("POST", "/api/mcp-app").bearer(text).header("Content-Type", "text/plain").body("{}"),
            415,
            1,
            0,
        ),
        ("a tool without a key", tools("posts_list"), 401, 0, 0),
    ];
    for (told, call, status, tokens, units) in cases {
        let (had, counted) = (remaining(&daemon, &key).await, used(&daemon, &workspace).await);
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, status, "{told}: {answer:?}");
        // The verify call that asks takes one token itself.
        assert_eq!(had - remaining(&daemon, &key).await, tokens + 1, "tokens of {told}");
        assert_eq!(used(&daemon, &workspace).await - counted, units, "units of {told}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_that_does_not_stand_spends_nothing_until_it_stands_again() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let rate = json!({"limit": 1000, "window_s": 2_678_400});
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": rate})).await;
    let had = remaining(&daemon, &key).await;
    let ask = || Call::post("/v1/ai/rewrite", &json!({})).bearer(&key.text);
    daemon.patch_key(&key, json!({"ip_allow": ["192.0.2.1"]})).await;
    assert_eq!(daemon.call(&ask()).await.status, 401);
    daemon.patch_key(&key, json!({"ip_allow": null, "expires_at": daemon.in_secs(0)})).await;
    assert_eq!(daemon.call(&ask()).await.status, 401);
    daemon.patch_key(&key, json!({"expires_at": null})).await;
    daemon.patch_workspace(&workspace, json!({"status": "suspended"})).await;
    assert_eq!(daemon.call(&ask()).await.status, 401);
    daemon.patch_workspace(&workspace, json!({"status": "active", "overrides": {"meters": {"ai": 0}}})).await;
    assert_eq!(daemon.call(&ask()).await.status, 402);
    assert_eq!(used(&daemon, &workspace).await, 0);
    // One for the request that met the quota, one for the question.
    assert_eq!(had - remaining(&daemon, &key).await, 2);
    daemon.finish().await;
}

#[tokio::test]
async fn a_rehearsal_tells_the_same_and_spends_nothing() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 1}}})).await;
    let key = daemon
        .key(&workspace, json!({"permissions": ["ai:generate"], "rate": {"limit": 2, "window_s": 60}}))
        .await;
    let ask = |dry_run: bool| json!({"permission": "ai:generate", "dry_run": dry_run});
    for _ in 0..5 {
        assert_eq!(daemon.verify(&key.text, ask(true)).await["code"], "valid");
    }
    assert_eq!(daemon.show_key(&key).await["last_used_at"], Value::Null);
    assert_eq!(daemon.verify(&key.text, ask(false)).await["code"], "valid");
    assert_eq!(daemon.verify(&key.text, ask(true)).await["code"], "quota");
    assert_eq!(daemon.verify(&key.text, ask(false)).await["code"], "quota");
    assert_eq!(daemon.verify(&key.text, ask(true)).await["code"], "rate");
    assert_eq!(used(&daemon, &workspace).await, 1);
    daemon.finish().await;
}

async fn used(daemon: &Daemon, workspace: &Workspace) -> u64 {
    daemon.ai_meter(workspace).await["used"].as_u64().unwrap()
}
