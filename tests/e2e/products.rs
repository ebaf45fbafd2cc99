//! The products `mcp-cloud` and `shingleai` at their own doors: what each answers, and that a changed plan acts on
//! the next request of every product.
//!
//! What their words and tables are is held row by row where profiles are read; here it is seen over a socket.
//!
//! Never here: a month (see `plans`).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options};
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call};

/// `tools/list` at ShingleAI's endpoint, without a key.
pub(crate) fn list_tools_at_mcp() -> Call {
    Call::post("/mcp", &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
}

/// `tools/call` at ShingleAI's endpoint.
pub(crate) fn call_tool_at_mcp(key: &Key, name: &str) -> Call {
    let params = json!({"name": name, "arguments": {}});
    let message = json!({"jsonrpc": "2.0", "id": "c-1", "method": "tools/call", "params": params});
    Call::post("/mcp", &message).bearer(&key.text)
}

fn tool_names(answer: &Answer) -> Vec<String> {
    let listed = answer.json()["result"]["tools"].as_array().unwrap().clone();
    listed.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_of_shingleai_sees_exactly_the_tools_that_it_may_call() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let whole = tool_names(&daemon.call(&list_tools_at_mcp().bearer(&workspace.default_key.text)).await);
    assert_eq!(whole.len(), 98);
    for (held, count) in [
        (vec!["contacts:read"], 12),
        (vec!["contacts.emails:read"], 3),
        (vec!["domains:write", "domains:delete"], 9),
        (vec!["resources:read"], 2),
        (vec!["*:delete"], 16),
        (vec![], 0),
    ] {
        let key = daemon
            .key(&workspace, json!({"permissions": held, "rate": {"limit": 1000, "window_s": 60}}))
            .await;
        let listed = tool_names(&daemon.call(&list_tools_at_mcp().bearer(&key.text)).await);
        assert_eq!(listed.len(), count, "{held:?}");
        let mut connection = daemon.connect().await;
        for name in &whole {
            let answer = connection.call(&call_tool_at_mcp(&key, name)).await;
            // What is let through finds the tool; that arguments are missing is told in its result.
            let expected = if listed.contains(name) { (200, 0) } else { (403, -32003) };
            assert_eq!((answer.status, answer.rpc_error().0), expected, "{held:?} {name}");
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn nothing_of_shingleai_is_free_of_a_key_and_the_refusal_carries_the_requests_id() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(url.leak()))).await;
    let workspace = daemon.workspace("free").await;
    let key = &workspace.default_key;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    let expired =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(1)})).await;
    daemon.advance_secs(1);
    let error = json!({"code": -32001, "message": "Invalid or missing MCP key"});
    for method in ["initialize", "notifications/initialized", "ping", "server/discover", "tools/list", "x"] {
        let message = json!({"jsonrpc": "2.0", "id": "a-1", "method": method});
        let call = Call::post("/mcp", &message);
        let cases = [
            ("no key", call.clone()),
            ("no key's text", call.clone().bearer("mcp_live_nope")),
            ("another scheme", call.clone().header("Authorization", "Basic eDp5")),
            ("revoked", call.clone().bearer(&revoked.text)),
            ("expired", call.clone().bearer(&expired.text)),
        ];
        for (told, call) in cases {
            let answer = daemon.call(&call).await;
            assert_eq!(answer.status, 401, "{method}, {told}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"keyward\""));
            let expected = json!({"jsonrpc": "2.0", "id": "a-1", "error": error});
            assert_eq!(answer.json(), expected, "{method}, {told}");
        }
        assert_eq!(recorded.lock().unwrap().len(), 0, "{method}");
    }
    // What has no id, or none that can be read, gets null; so does what is too long to be read without a key.
    let long = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "y".repeat(70_000)}});
    for body in ["{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}", "[]", "", &long.to_string()] {
        let call = Call::new("POST", "/mcp").header("Content-Type", "application/json").body(body);
        let answer = daemon.call(&call.bearer("mcp_live_nope")).await;
        assert_eq!((answer.status, &answer.json()["id"]), (401, &Value::Null), "{answer:?}");
    }
    assert_eq!(daemon.call(&Call::get("/sse")).await.status, 401);
    for path in ["/mcp", "/nope"] {
        assert_eq!(daemon.call(&Call::get(path)).await.status, 401, "{path}");
        let asked = daemon.call(&Call::get(path).bearer(&key.text)).await;
        let all = Some("GET, HEAD, POST, DELETE");
        let expected = if path == "/mcp" { (405, all) } else { (404, None) };
        assert_eq!((asked.status, asked.header("allow")), expected, "{path}");
    }
    assert_eq!(recorded.lock().unwrap().len(), 0);
    assert_eq!(daemon.call(&list_tools_at_mcp().bearer(&key.text)).await.status, 200);
    assert_eq!(recorded.lock().unwrap().len(), 1);
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn a_changed_plan_of_socialcrm_opens_and_closes_what_is_paid_at_the_next_request() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let call =
        Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&workspace.default_key.text);
    for (plan, status) in [("free", 402), ("pro", 200), ("free", 402), ("enterprise", 200), ("free", 402)] {
        daemon.patch_workspace(&workspace, json!({"plan": plan})).await;
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, status, "{plan}");
        assert!(plan != "free" || answer.rest_error().0 == "payment_required");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_changed_plan_of_mcp_cloud_is_the_keys_speed_at_the_next_request() {
    let daemon = Daemon::start_with(Options::of("mcp-cloud", None)).await;
    let workspace = daemon.workspace("free").await;
    let key = &workspace.default_key;
    let call = Call::get("/v1/models").bearer(&key.text);
    let full = async || {
        daemon.advance_secs(86_400);
        let mut connection = daemon.connect().await;
        let mut passed = 0;
        while passed <= 400 && connection.call(&call).await.status == 200 {
            passed += 1;
        }
        passed
    };
    for (plan, limit) in [("free", 10), ("standard", 60), ("professional", 300), ("free", 10)] {
        daemon.patch_workspace(&workspace, json!({"plan": plan})).await;
        assert_eq!(full().await, limit, "{plan}");
    }
    // Used up on the slow plan: the faster one refills faster at once.
    let refused = daemon.call(&call).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("6")));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    daemon.patch_workspace(&workspace, json!({"plan": "professional"})).await;
    assert_eq!(daemon.call(&call).await.header("retry-after"), Some("1"));
    daemon.advance_micros(200_000);
    assert_eq!(daemon.call(&call).await.status, 200);
    assert_eq!(daemon.call(&call).await.status, 429);
    // Enterprise has no limit, until the workspace has one of its own.
    daemon.patch_workspace(&workspace, json!({"plan": "enterprise"})).await;
    assert_eq!(full().await, 401, "it goes on");
    daemon.patch_workspace(&workspace, json!({"overrides": {"rate": {"limit": 5, "window_s": 60}}})).await;
    assert_eq!(full().await, 5);
    daemon.patch_workspace(&workspace, json!({"overrides": {"rate": {"limit": 0, "window_s": 60}}})).await;
    assert_eq!(full().await, 0, "none is none");
    daemon.patch_workspace(&workspace, json!({"overrides": {"rate": null}})).await;
    assert_eq!(full().await, 401);
    daemon.finish().await;
}
