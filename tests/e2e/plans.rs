//! What a plan sells by the month: limits, grace, overrides, costs, and what a change in mid-month leaves.
//!
//! Time stands still unless a test moves it. Where a figure is claimed of what was let through, an upstream of the
//! test's own counts it.
//!
//! Never here: a tolerance.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options, Workspace};
use crate::products::call_tool_at_mcp;
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call};

/// A key that its rate does not hold back.
async fn quick_key(daemon: &Daemon, workspace: &Workspace) -> Key {
    let fields = json!({"permissions": ["*:*"], "rate": {"limit": 1_000_000, "window_s": 60}});
    daemon.key(workspace, fields).await
}

async fn shingleai(plan: &str) -> (Daemon, Workspace, Key) {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace(plan).await;
    let key = quick_key(&daemon, &workspace).await;
    (daemon, workspace, key)
}

/// Asks for a tool until it is refused, at most so often; how many were sold.
async fn sold(daemon: &Daemon, key: &Key, at_most: usize) -> usize {
    for number in 0..at_most {
        let said = daemon.verify(&key.text, json!({"tool": "contacts_list"})).await;
        if said["code"] != "valid" {
            assert_eq!(said["code"], "quota");
            return number;
        }
    }
    at_most
}

async fn limit(daemon: &Daemon, workspace: &Workspace, calls: Value) {
    daemon.patch_workspace(workspace, json!({"overrides": {"meters": {"mcp_calls": calls}}})).await;
}

async fn month(daemon: &Daemon, workspace: &Workspace) -> (Value, Value) {
    let meter = daemon.meter(workspace, "mcp_calls").await;
    (meter["used"].clone(), meter["admitted"].clone())
}

/// A number as it is written, which no JSON library may repair.
async fn send(daemon: &Daemon, method: &str, target: &str, body: String) -> Answer {
    daemon.admin(Call::new(method, target).header("Content-Type", "application/json").body(body)).await
}

#[tokio::test]
async fn e01_of_510_calls_on_the_free_plan_500_pass_and_the_rest_are_refused_and_not_counted() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(url.leak()))).await;
    let workspace = daemon.workspace("free").await;
    let key = quick_key(&daemon, &workspace).await;
    let reader = daemon.key_for(&workspace, &["contacts:read"]).await;
    let mut connection = daemon.connect().await;
    let used_up = json!({
        "code": -32003,
        "message": "Monthly MCP call limit exceeded",
        "data": {"upgradeUrl": "https://www.shingleai.com/pricing"}
    });
    for number in 1..=510 {
        if number % 100 == 0 {
            // Neither what is refused nor what is no call of a tool is counted.
            assert_eq!(connection.call(&call_tool_at_mcp(&reader, "contacts_delete")).await.status, 403);
            let ping = Call::post("/mcp", &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
            assert_eq!(connection.call(&ping.bearer(&key.text)).await.status, 200);
        }
        let answer = connection.call(&call_tool_at_mcp(&key, "contacts_list")).await;
        if number <= 500 {
            assert_eq!(answer.status, 200, "call {number}: {answer:?}");
        } else {
            assert_eq!((answer.status, &answer.json()["error"]), (403, &used_up), "call {number}");
            assert_eq!(answer.json()["id"], "c-1");
        }
    }
    let arrived = recorded.lock().unwrap().iter().filter(|seen| seen.contains("tools/call")).count();
    assert_eq!(arrived, 500);
    assert_eq!(month(&daemon, &workspace).await, (json!(500), json!(500)));
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn e03_grace_is_a_tenth_more_rounded_down_on_paid_plans_and_nothing_on_free() {
    let (daemon, workspace, key) = shingleai("starter").await;
    let mut spent = 0;
    for (calls, admitted) in [(5, 5), (15, 16), (100, 110), (101, 111), (0, 0)] {
        limit(&daemon, &workspace, json!(calls)).await;
        let left = usize::try_from(admitted).unwrap().saturating_sub(spent);
        assert_eq!(sold(&daemon, &key, 200).await, left, "{calls}");
        spent += left;
        assert_eq!(month(&daemon, &workspace).await, (json!(spent), json!(admitted)), "{calls}");
    }
    for (plan, admitted) in [
        ("starter", json!(5_500)),
        ("professional", json!(55_000)),
        ("enterprise", Value::Null),
        ("free", json!(500)),
    ] {
        limit(&daemon, &workspace, Value::Null).await;
        daemon.patch_workspace(&workspace, json!({"plan": plan})).await;
        assert_eq!(month(&daemon, &workspace).await, (json!(spent), admitted), "{plan}");
        limit(&daemon, &workspace, json!(200)).await;
        let with_grace = if plan == "free" { 200 } else { 220 };
        assert_eq!(month(&daemon, &workspace).await.1, json!(with_grace), "{plan}");
    }
    assert_eq!(sold(&daemon, &key, 300).await, 200 - spent, "none over on free");
    daemon.finish().await;
}

#[tokio::test]
async fn e10_a_rate_is_taken_exactly_or_refused_by_its_name() {
    let (daemon, workspace, key) = shingleai("free").await;
    let key_path = format!("/api/v1/keys/{}", key.id);
    let workspace_path = format!("/api/v1/workspaces/{}", workspace.id);
    let refused = ["-1", "1e400", "\"10\"", "1.5", "18446744073709551616", "null"];
    for number in refused {
        for (field, rate) in [
            ("limit", format!("{{\"limit\":{number},\"window_s\":60}}")),
            ("window_s", format!("{{\"limit\":1,\"window_s\":{number}}}")),
            ("burst", format!("{{\"limit\":1,\"window_s\":60,\"burst\":{number}}}")),
        ] {
            let made = format!("{{\"workspace_id\":\"{}\",\"rate\":{rate}}}", workspace.id);
            let overrides = format!("{{\"overrides\":{{\"rate\":{rate}}}}}");
            for (method, target, body, named) in [
                ("POST", "/api/v1/keys", made, format!("rate.{field}")),
                ("PATCH", &*key_path, format!("{{\"rate\":{rate}}}"), format!("rate.{field}")),
                ("PATCH", &*workspace_path, overrides, format!("overrides.rate.{field}")),
            ] {
                let answer = send(&daemon, method, target, body).await;
                assert_eq!(answer.status, 400, "{method} {field} {number}: {answer:?}");
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(&named), "{method} {field} {number}: {detail}");
            }
        }
    }
    // A rate is at most 1,000,000 a second: more is refused, and nothing wraps.
    for (number, window, taken) in [
        ("0", 60, true),
        ("1", 60, true),
        ("2147483648", 60, false),
        ("2147483648", 2_678_400, true),
        ("9223372036854775807", 2_678_400, false),
        ("18446744073709551615", 2_678_400, false),
    ] {
        let rate = format!("{{\"limit\":{number},\"window_s\":{window}}}");
        let made = format!("{{\"workspace_id\":\"{}\",\"rate\":{rate}}}", workspace.id);
        for (method, target, body) in [
            ("POST", "/api/v1/keys", made),
            ("PATCH", &*key_path, format!("{{\"rate\":{rate}}}")),
            ("PATCH", &*workspace_path, format!("{{\"overrides\":{{\"rate\":{rate}}}}}")),
        ] {
            let answer = send(&daemon, method, target, body).await;
            if taken {
                assert!(answer.status < 300, "{method} {number}: {}", answer.status);
                let json = answer.json();
                let shown = if target == workspace_path { &json["overrides"]["rate"] } else { &json["rate"] };
                assert_eq!(shown["limit"].to_string(), number, "{method}");
            } else {
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(answer.status == 400 && detail.contains("rate.limit"), "{method} {number}: {detail}");
            }
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn e10_a_months_limit_and_a_cost_are_taken_exactly_or_refused_by_their_name() {
    let (daemon, workspace, key) = shingleai("free").await;
    let workspace_path = format!("/api/v1/workspaces/{}", workspace.id);
    for number in ["-1", "1e400", "\"10\"", "1.5", "18446744073709551616"] {
        let body = format!("{{\"overrides\":{{\"meters\":{{\"mcp_calls\":{number}}}}}}}");
        let answer = send(&daemon, "PATCH", &workspace_path, body).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && detail.contains("overrides.meters.mcp_calls"), "{number}: {detail}");
    }
    // A meter takes every whole number: 0 is none, and the largest is a limit like any other, grace and all.
    let ask = json!({"tool": "contacts_list", "dry_run": true});
    for plan in ["free", "starter"] {
        daemon.patch_workspace(&workspace, json!({"plan": plan})).await;
        for (number, code) in [
            ("0", "quota"),
            ("1", "valid"),
            ("2147483648", "valid"),
            ("9223372036854775807", "valid"),
            ("18446744073709551615", "valid"),
            ("null", "valid"),
        ] {
            let body = format!("{{\"overrides\":{{\"meters\":{{\"mcp_calls\":{number}}}}}}}");
            let answer = send(&daemon, "PATCH", &workspace_path, body).await;
            assert_eq!(answer.status, 200, "{number}");
            let shown = answer.json()["overrides"]["meters"]["mcp_calls"].to_string();
            assert_eq!(shown, number);
            assert_eq!(daemon.verify(&key.text, ask.clone()).await["code"], code, "{plan} {number}");
            let admitted: u64 = month(&daemon, &workspace).await.1.as_u64().unwrap();
            let set: u64 = number.parse().unwrap_or(if plan == "free" { 500 } else { 5_000 });
            let over = if plan == "free" { 0 } else { set / 10 };
            assert_eq!(admitted, set.saturating_add(over), "{plan} {number}");
        }
    }
    let costs = ["0", "-1", "1e400", "\"10\"", "null", "1.5", "18446744073709551616"];
    for cost in costs {
        let body = format!("{{\"key\":\"{}\",\"tool\":\"contacts_list\",\"cost\":{cost}}}", &*key.text);
        let answer = send(&daemon, "POST", "/api/v1/verify", body).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && detail.contains("cost"), "{cost}: {detail}");
    }
    for cost in ["9223372036854775807", "18446744073709551615"] {
        let body = format!("{{\"key\":\"{}\",\"tool\":\"contacts_list\",\"cost\":{cost}}}", &*key.text);
        assert_eq!(send(&daemon, "POST", "/api/v1/verify", body).await.json()["code"], "quota", "{cost}");
    }
    assert_eq!(month(&daemon, &workspace).await.0, 0, "nothing was sold");
    daemon.finish().await;
}

#[tokio::test]
async fn e15_what_was_used_stays_through_changes_of_plan_anchor_key_and_anything_else() {
    let (daemon, workspace, key) = shingleai("free").await;
    let used = async || month(&daemon, &workspace).await.0;
    assert_eq!(
        daemon.verify(&key.text, json!({"tool": "contacts_list", "cost": 450})).await["code"],
        "valid"
    );
    assert_eq!(used().await, 450);
    for patch in [
        json!({"name": "Renamed"}),
        json!({"brands": ["one", "two"]}),
        json!({"plan": "starter"}),
        json!({"plan": "enterprise"}),
        json!({"plan": "free"}),
        json!({"overrides": {"rate": {"limit": 7, "window_s": 60}}}),
        json!({"overrides": {"meters": {"mcp_calls": 3}}}),
        json!({"overrides": {"rate": null, "meters": {"mcp_calls": null}}}),
        json!({"billing_anchor": "2026-01-31T06:00:00Z"}),
        json!({"billing_anchor": "2027-03-10T11:59:59Z"}),
        json!({"status": "suspended"}),
        json!({"status": "active"}),
    ] {
        daemon.patch_workspace(&workspace, patch.clone()).await;
        assert_eq!(used().await, 450, "{patch}");
    }
    daemon.patch_key(&key, json!({"name": "Renamed", "metadata": {"a": 1}})).await;
    let path = format!("/api/v1/keys/{}/rotate", key.id);
    let rotated = daemon.admin_json(Call::post(&path, &json!({"overlap_s": 60}))).await;
    let newer = rotated["key"].as_str().unwrap().to_owned();
    daemon.revoke(&workspace.default_key).await;
    assert_eq!(used().await, 450);
    // Both secrets and another key go on where the first left off.
    let other = quick_key(&daemon, &workspace).await;
    for text in [&*key.text, &*newer, &*other.text] {
        let said = daemon.verify(text, json!({"tool": "contacts_list", "cost": 16})).await;
        assert_eq!(said["code"], "valid");
    }
    assert_eq!(daemon.verify(&newer, json!({"tool": "contacts_list", "cost": 3})).await["code"], "quota");
    assert_eq!(sold(&daemon, &other, 10).await, 2);
    assert_eq!(used().await, 500);
    // An upgrade in mid-month leaves what is over; going back leaves nothing.
    daemon.patch_workspace(&workspace, json!({"plan": "starter"})).await;
    assert_eq!(daemon.verify(&newer, json!({"tool": "contacts_list", "cost": 4_999})).await["code"], "valid");
    assert_eq!(sold(&daemon, &other, 10).await, 1, "5,500 with the grace");
    daemon.patch_workspace(&workspace, json!({"plan": "free"})).await;
    assert_eq!(sold(&daemon, &other, 10).await, 0);
    assert_eq!(used().await, 5_500);
    let reset = daemon.meter(&workspace, "mcp_calls").await["resets_at"].clone();
    assert_eq!(reset, "2027-04-10T11:59:59.000Z", "the month ends by the anchor that stands");
    daemon.advance_secs(31 * 86_400 - 1);
    assert_eq!(used().await, 0, "a new month");
    assert_eq!(sold(&daemon, &other, 3).await, 3);
    daemon.finish().await;
}

#[tokio::test]
async fn a_limit_of_a_workspaces_own_stands_over_its_plans_whatever_it_is() {
    let (daemon, workspace, key) = shingleai("enterprise").await;
    assert_eq!(sold(&daemon, &key, 12).await, 12, "unlimited");
    for (calls, sells) in [(json!(0), 0), (json!(10), 0), (json!(12), 1), (json!(12), 0), (Value::Null, 7)] {
        limit(&daemon, &workspace, calls.clone()).await;
        assert_eq!(sold(&daemon, &key, 7).await, sells, "{calls}");
    }
    assert_eq!(month(&daemon, &workspace).await, (json!(20), Value::Null), "what was sold unlimited counts");
    // An override stays through a change of plan, with the grace of the plan that is.
    limit(&daemon, &workspace, json!(30)).await;
    for (plan, admitted) in [("starter", 33), ("free", 30), ("professional", 33), ("enterprise", 33)] {
        daemon.patch_workspace(&workspace, json!({"plan": plan})).await;
        assert_eq!(month(&daemon, &workspace).await, (json!(20), json!(admitted)), "{plan}");
    }
    assert_eq!(sold(&daemon, &key, 20).await, 13);
    daemon.finish().await;
}

/// Composing costs ten units of the month, and so does making a post over JSON-RPC, where the route is free.
const COSTLY: &[(&str, &str)] = &[
    ("path = \"/v1/ai/compose\"\n", "path = \"/v1/ai/compose\"\ncost = 10\n"),
    (
        "posts_create = \"posts:write\"",
        "posts_create = { permission = \"posts:write\", meter = \"ai\", cost = 4 }",
    ),
];

#[tokio::test]
async fn a_costly_route_or_tool_takes_its_cost_whole_or_not_at_all() {
    let daemon = Daemon::start_with(Options { edits: COSTLY, ..Options::default() }).await;
    let workspace = daemon.workspace("pro").await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 30}}})).await;
    let key = &workspace.default_key;
    let used = async || daemon.ai_meter(&workspace).await["used"].clone();
    let compose = Call::post("/v1/ai/compose", &json!({"prompt": "x"})).bearer(&key.text);
    assert_eq!(daemon.call(&compose).await.status, 200);
    assert_eq!(used().await, 10);
    let asked = json!({"method": "POST", "path": "/v1/ai/compose"});
    assert_eq!(daemon.verify(&key.text, asked.clone()).await["code"], "valid");
    assert_eq!(used().await, 20, "a verify call that names no cost takes the route's");
    let create = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "posts_create", "arguments": {"body": "x", "account_ids": ["acc_1"]}}
    });
    assert!(daemon.call(&Call::rpc(&create).bearer(&key.text)).await.json()["result"].is_object());
    assert_eq!(used().await, 24);
    let post = Call::post("/v1/posts", &json!({"body": "x", "account_ids": ["acc_1"]}));
    assert_eq!(daemon.call(&post.bearer(&key.text)).await.status, 201);
    assert_eq!(used().await, 24, "the route of the same permission is not counted");
    // Six are left: ten are not taken in part.
    let refused = daemon.call(&compose).await;
    assert_eq!((refused.status, refused.rest_error().0.as_str()), (402, "quota_exceeded"));
    assert_eq!(daemon.verify(&key.text, asked.clone()).await["code"], "quota");
    let explain = format!("/api/v1/keys/{}/explain", key.id);
    let explained = daemon.admin_json(Call::post(&explain, &asked)).await;
    assert_eq!((&explained["denied_by"], used().await), (&json!("quota"), json!(24)));
    // A cost that the verify call gives stands over the route's.
    let mut cheap = asked.clone();
    cheap["cost"] = json!(5);
    assert_eq!(daemon.verify(&key.text, cheap.clone()).await["code"], "valid");
    assert_eq!(daemon.verify(&key.text, cheap).await["code"], "quota");
    let rewrite = Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&key.text);
    assert_eq!(daemon.call(&rewrite).await.status, 200);
    assert_eq!(daemon.call(&rewrite).await.status, 402);
    assert_eq!(used().await, 30);
    daemon.finish().await;
}
