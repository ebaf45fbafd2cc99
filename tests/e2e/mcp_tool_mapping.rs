//! Tools that are mapped by patterns and by what they say that they do: a tool is listed exactly when it may be
//! called, and where nobody can say what it does, nothing is let through.
//!
//! The verify call about headers alone and `keyward profile map` are held against the same
//! server.
//!
//! Never here: the sandbox.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options};
use crate::program::run;
use crate::upstreams::recording::header;
use crate::upstreams::tool_server::{ToolServer, tool};
use crate::wire::{Answer, Call};

const PROFILE: &str = r#"
name = "notes"
tag = "nt_"
[[permission]]
name = "notes:read"
[[permission]]
name = "notes:write"
[[permission]]
name = "notes:delete"
[[permission]]
name = "pages:read"
meter = "pages"
[[plan]]
name = "free"
meters = { calls = 3, pages = 2 }
[rpc]
endpoint = "/mcp"
words = "standard"
keyless_methods = ["ping"]
methods = ["tools/list", "*"]
[rpc.tools]
status = "notes:read"
[[rpc.tool_pattern]]
match = "fixed_*"
permission = "notes:write"
meter = "calls"
[[rpc.tool_pattern]]
match = "note*"
resource = "notes"
[rpc.method_permissions]
"resources/read" = "pages:read"
"#;

fn tools() -> Vec<Value> {
    vec![
        json!([
            tool("note_get", &json!({"readOnlyHint": true})),
            tool("note_put", &json!({})),
            tool("status", &json!({}))
        ]),
        json!([
            tool("note_drop", &json!({"readOnlyHint": false, "destructiveHint": true})),
            tool("fixed_a", &json!({"readOnlyHint": true})),
            tool("other", &json!({"readOnlyHint": true})),
        ]),
    ]
}

async fn in_front_of(upstream: &ToolServer) -> Daemon {
    Daemon::start_with(Options {
        profile: Some("notes"),
        own_profile: Some(PROFILE),
        upstream: Some(upstream.url),
        ..Options::default()
    })
    .await
}

fn message(method: &str, params: &Value) -> Call {
    Call::post("/mcp", &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
}

fn call_of(key: &Key, tool: &str) -> Call {
    message("tools/call", &json!({"name": tool, "arguments": {}})).bearer(&key.text)
}

/// Begins the session `s1`.
async fn begin(daemon: &Daemon, key: &Key) {
    let answer = daemon.call(&message("initialize", &json!({})).bearer(&key.text)).await;
    assert_eq!(answer.header("mcp-session-id"), Some("s1"), "{answer:?}");
}

/// Whether a call was let through; otherwise its refusal.
fn outcome(answer: &Answer) -> Result<(), (u16, i64)> {
    if answer.json()["result"]["content"].is_array() {
        Ok(())
    } else {
        Err((answer.status, answer.rpc_error().0))
    }
}

const CLOSED: Result<(), (u16, i64)> = Err((403, -32003));
const BROKEN: Result<(), (u16, i64)> = Err((502, -32603));

const ALL: [&str; 6] = ["note_get", "note_put", "note_drop", "status", "fixed_a", "other"];

async fn listed(daemon: &Daemon, key: &Key) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let params = cursor.map_or_else(|| json!({}), |cursor: Value| json!({"cursor": cursor}));
        let page = daemon.call(&message("tools/list", &params).bearer(&key.text)).await.json();
        let tools = page["result"]["tools"].as_array().unwrap().clone();
        assert!(tools.iter().all(|tool| tool["x-own"] == 1.5), "tools stay whole: {page}");
        names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        match &page["result"]["nextCursor"] {
            Value::Null => return names,
            next => cursor = Some(next.clone()),
        }
    }
}

#[tokio::test]
async fn a_tool_is_listed_exactly_when_it_may_be_called_whatever_maps_it() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("free").await;
    for (held, may) in [
        ("notes:read", &["note_get", "status"][..]),
        ("notes:write", &["note_put", "fixed_a"]),
        ("notes:delete", &["note_drop"]),
        ("notes:*", &["note_get", "note_put", "note_drop", "status", "fixed_a"]),
        ("pages:read", &[]),
    ] {
        for lists_first in [true, false] {
            let key = daemon.key_for(&workspace, &[held]).await;
            let mut shown = Vec::new();
            if lists_first {
                shown = listed(&daemon, &key).await;
            }
            daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"calls": 100}}})).await;
            for tool in ALL {
                upstream.asked();
                let said = outcome(&daemon.call(&call_of(&key, tool)).await);
                let asked = upstream.methods();
                let told = format!("{tool} with {held}, listed first: {lists_first}");
                assert_eq!(said, if may.contains(&tool) { Ok(()) } else { CLOSED }, "{told}");
                assert_eq!(
                    asked.contains(&"tools/call".to_owned()),
                    may.contains(&tool),
                    "{told}: {asked:?}"
                );
                assert!(!lists_first || !asked.contains(&"tools/list".to_owned()), "{told}: {asked:?}");
            }
            if !lists_first {
                shown = listed(&daemon, &key).await;
            }
            for tool in ALL {
                let explain = format!("/api/v1/keys/{}/explain", key.id);
                let explained = daemon.admin_json(Call::post(&explain, &json!({"tool": tool}))).await;
                assert_eq!(explained["allowed"], may.contains(&tool), "{tool} with {held}: {explained}");
            }
            let mut expected: Vec<_> = may.to_vec();
            expected.sort_unstable();
            shown.sort_unstable();
            assert_eq!(shown, expected, "{held}");
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn the_gate_asks_in_the_callers_own_context_once_and_anew_after_five_minutes() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("free").await.default_key;
    begin(&daemon, &key).await;
    upstream.asked();
    let meta = json!({"progressToken": "mine", "io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let call = message("tools/call", &json!({"name": "note_get", "arguments": {}, "_meta": meta}))
        .bearer(&key.text)
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", "note_get")
        .header("Mcp-Session-Id", "s1")
        .header("X-Tenant", "t1");
    assert_eq!(outcome(&daemon.call(&call).await), Ok(()));
    let asked = upstream.asked();
    let methods: Vec<_> = asked.iter().map(|(_, message)| message["method"].clone()).collect();
    assert_eq!(methods, ["tools/list", "tools/list", "tools/call"], "both pages, then the call");
    for (place, (head, message)) in asked[..2].iter().enumerate() {
        let first_line = head.lines().next().unwrap();
        assert_eq!(first_line, "POST /mcp HTTP/1.1");
        let of = |name: &str| header(head, name);
        assert_eq!((of("mcp-session-id"), of("x-tenant")), (Some("s1"), Some("t1")));
        assert_eq!((of("mcp-protocol-version"), of("mcp-method")), (Some("2026-07-28"), Some("tools/list")));
        assert_eq!((of("mcp-name"), of("authorization")), (None, None));
        assert_eq!(of("x-keyward-key-id"), Some(key.id.as_str()));
        assert!(!head.contains(&*key.text));
        let kept = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        assert_eq!(message["params"]["_meta"], kept, "the token is the call's own");
        assert_eq!(message["params"]["cursor"], if place == 0 { Value::Null } else { json!("1") });
    }
    assert_ne!(asked[0].1["id"], asked[1].1["id"]);
    let legacy = call_of(&key, "note_put");
    assert_eq!(outcome(&daemon.call(&legacy).await), Ok(()));
    assert_eq!(upstream.methods(), ["tools/call"], "what was listed is believed");
    daemon.advance_secs(299);
    assert_eq!(outcome(&daemon.call(&legacy).await), Ok(()));
    assert_eq!(upstream.methods(), ["tools/call"]);
    daemon.advance_secs(1);
    assert_eq!(outcome(&daemon.call(&legacy).await), Ok(()));
    let asked = upstream.asked();
    assert_eq!(asked.len(), 3, "and for five minutes");
    assert!(asked[0].1["params"].get("_meta").is_none(), "a legacy question has none: {}", asked[0].1);
    assert_eq!(outcome(&daemon.call(&call_of(&key, "note_none")).await), CLOSED);
    assert_eq!(
        upstream.methods(),
        Vec::<String>::new(),
        "a name that was not listed just now is not asked for"
    );
    daemon.advance_secs(10);
    assert_eq!(outcome(&daemon.call(&call_of(&key, "note_none")).await), CLOSED);
    assert_eq!(upstream.methods(), ["tools/list", "tools/list"]);
    daemon.finish().await;
}

#[tokio::test]
async fn a_list_in_events_teaches_as_well_and_many_callers_ask_once() {
    let upstream = ToolServer::listing(tools()).await;
    upstream.set(|script| script.as_events = true);
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("free").await.default_key;
    // Nobody is answered before the first question has arrived.
    let all = upstream.turns.available_permits();
    upstream.turns.forget_permits(all);
    let call = call_of(&key, "note_get");
    let calls = async {
        tokio::join!(daemon.call(&call), daemon.call(&call), daemon.call(&call), daemon.call(&call))
    };
    let open = async {
        while upstream.seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        upstream.turns.add_permits(100);
    };
    let ((one, two, three, four), ()) = tokio::join!(calls, open);
    for answer in [one, two, three, four] {
        assert_eq!(outcome(&answer), Ok(()));
    }
    let lists = upstream.methods().iter().filter(|method| *method == "tools/list").count();
    assert_eq!(lists, 2, "one question of two pages");
    daemon.finish().await;
}

#[tokio::test]
async fn where_nobody_can_say_what_a_tool_does_nothing_is_let_through() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("free").await.default_key;
    for (status, body) in [
        (500, "{}".to_owned()),
        (200, "no".to_owned()),
        (200, "{}".to_owned()),
        (200, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#.to_owned()),
        (200, r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"no"}}"#.to_owned()),
        (302, String::new()),
    ] {
        upstream.set(|script| script.refuses = Some((status, body.clone())));
        assert_eq!(outcome(&daemon.call(&call_of(&key, "note_get")).await), BROKEN, "{status} {body}");
        assert_eq!(upstream.methods(), ["tools/list"], "{status} {body}");
        // What is mapped without a question goes on.
        assert_eq!(outcome(&daemon.call(&call_of(&key, "status")).await), Ok(()));
        upstream.asked();
    }
    begin(&daemon, &key).await;
    upstream.asked();
    let lost =
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "Session not found"}});
    upstream.set(|script| script.refuses = Some((404, lost.to_string())));
    let call = call_of(&key, "note_get").header("Mcp-Session-Id", "s1");
    let answer = daemon.call(&call).await;
    assert_eq!((answer.status, answer.rpc_error()), (404, (-32001, "Session not found".to_owned())));
    assert_eq!(answer.json()["id"], 7, "the caller's own id, so that it can begin anew");
    assert_eq!(upstream.methods(), ["tools/list"]);
    upstream.set(|script| script.refuses = None);
    assert_eq!(outcome(&daemon.call(&call).await), Ok(()));
    let usage = daemon.admin_json(Call::get(&format!("/api/v1/keys/{}/usage", key.id))).await;
    assert!(usage.to_string().contains("upstream_broken"), "it is counted as what it was: {usage}");
    daemon.finish().await;
}

#[tokio::test]
async fn what_a_tool_says_of_itself_two_ways_or_no_longer_says_opens_nothing() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["notes:read"]).await;
    let other = daemon.key_for(&workspace, &["notes:read"]).await;
    assert_eq!(listed(&daemon, &key).await, ["note_get", "status"]);
    upstream.set(|script| {
        script.pages = vec![json!([tool("note_get", &json!({"destructiveHint": true}))])];
    });
    assert_eq!(
        outcome(&daemon.call(&call_of(&key, "note_get")).await),
        Ok(()),
        "as it was listed to this key"
    );
    assert_eq!(outcome(&daemon.call(&call_of(&other, "note_get")).await), CLOSED, "and to no other");
    assert_eq!(listed(&daemon, &key).await, Vec::<String>::new());
    assert_eq!(outcome(&daemon.call(&call_of(&key, "note_get")).await), CLOSED);
    let doubled =
        r#"{"name":"note_get","annotations":{"readOnlyHint":true},"annotations":{"readOnlyHint":false}}"#;
    daemon.advance_secs(300);
    upstream.set(|script| {
        script.refuses =
            Some((200, format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{doubled}]}}}}"#)));
    });
    let page = daemon.call(&message("tools/list", &json!({})).bearer(&key.text)).await.json();
    assert_eq!(page["result"]["tools"], json!([]));
    upstream.set(|script| script.refuses = None);
    upstream.set(|script| script.pages = tools());
    assert_eq!(outcome(&daemon.call(&call_of(&key, "note_get")).await), Ok(()));
    daemon.finish().await;
}

#[tokio::test]
async fn nothing_is_asked_for_a_caller_that_would_be_refused_before_its_permission() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("free").await;
    let slow =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 0, "window_s": 1}})).await;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    let signed = daemon.key(&workspace, json!({"permissions": ["*:*"], "require_signature": true})).await;
    for (key, refused) in [(&slow, (200, -32004)), (&revoked, (401, -32001)), (&signed, (401, -32001))] {
        assert_eq!(outcome(&daemon.call(&call_of(key, "note_get")).await), Err(refused));
    }
    let none = message("tools/call", &json!({"name": "note_get", "arguments": {}}));
    assert_eq!(outcome(&daemon.call(&none).await), Err((401, -32001)));
    let lied = call_of(&workspace.default_key, "note_get").header("Mcp-Name", "note_put");
    assert_eq!(outcome(&daemon.call(&lied).await), Err((400, -32020)));
    assert_eq!(upstream.methods(), Vec::<String>::new());
    assert_eq!(outcome(&daemon.call(&call_of(&workspace.default_key, "note_get")).await), Ok(()));
    daemon.finish().await;
}

#[tokio::test]
async fn a_method_asks_for_its_permission_and_meter_and_a_star_opens_all_but_calls() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("free").await;
    let reader = daemon.key_for(&workspace, &["pages:read"]).await;
    let none = daemon.key_for(&workspace, &["notes:read"]).await;
    let read = |key: &Key| message("resources/read", &json!({"uri": "a:b"})).bearer(&key.text);
    assert_eq!(outcome(&daemon.call(&read(&none)).await), CLOSED);
    assert_eq!(upstream.methods(), Vec::<String>::new());
    for _ in 0..2 {
        assert_eq!(outcome(&daemon.call(&read(&reader)).await), Ok(()));
    }
    let spent = daemon.call(&read(&reader)).await;
    assert_eq!((spent.status, spent.rpc_error().0), (403, -32003), "the month is used up");
    assert!(spent.json()["error"].get("data").is_none(), "there is no URL to tell of");
    assert_eq!(daemon.meter(&workspace, "pages").await["used"], 2);
    upstream.asked();
    for method in ["resources/list", "prompts/get", "completion/complete"] {
        let call = message(method, &json!({})).bearer(&none.text);
        assert_eq!(outcome(&daemon.call(&call).await), Ok(()), "{method}");
    }
    upstream.asked();
    for method in ["Tools/Call", "TOOLS/LIST", "tools/lists", "*", "a b"] {
        let answer = daemon.call(&message(method, &json!({"name": "note_drop"})).bearer(&none.text)).await;
        assert_eq!(answer.rpc_error().0, -32601, "{method}");
    }
    assert_eq!(upstream.methods(), Vec::<String>::new());
    daemon.finish().await;
}

const MODERN: &str = "2026-07-28";

fn mcp(method: &str, name: Option<&str>) -> Value {
    let mut mcp = json!({"protocol_version": MODERN, "method": method});
    if let Some(name) = name {
        mcp["name"] = json!(name);
    }
    json!({"mcp": mcp})
}

#[tokio::test]
async fn the_verify_call_decides_by_headers_as_the_gate_does_by_the_body() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("free").await;
    let reader = daemon.key_for(&workspace, &["notes:read"]).await;
    let writer = daemon.key_for(&workspace, &["notes:write"]).await;
    let code = async |key: &Key, asked: Value| daemon.verify(&key.text, asked).await["code"].clone();
    for (key, asked, expected) in [
        (&reader, mcp("tools/call", Some("status")), "valid"),
        (&reader, mcp("tools/call", Some("=?base64?c3RhdHVz?=")), "valid"),
        (&writer, mcp("tools/call", Some("status")), "permission"),
        (&reader, mcp("tools/call", Some("fixed_a")), "permission"),
        (&writer, mcp("tools/call", Some("fixed_a")), "valid"),
        (&reader, mcp("tools/call", Some("other")), "permission"),
        (&reader, mcp("tools/list", None), "valid"),
        (&reader, mcp("ping", None), "valid"),
        (&reader, mcp("resources/read", Some("a:b")), "permission"),
        (&reader, mcp("Tools/Call", Some("status")), "permission"),
    ] {
        assert_eq!(code(key, asked.clone()).await, expected, "{asked}");
    }
    assert_eq!(daemon.meter(&workspace, "calls").await["used"], 1);
    for _ in 0..2 {
        assert_eq!(code(&writer, mcp("tools/call", Some("fixed_a"))).await, "valid");
    }
    assert_eq!(code(&writer, mcp("tools/call", Some("fixed_a"))).await, "quota");
    // What a tool does is known only where a list went through the gate.
    let unknown = daemon.verify(&reader.text, mcp("tools/call", Some("note_get"))).await;
    assert_eq!(unknown["code"], "permission");
    assert!(unknown["mcp"]["why"].as_str().unwrap().starts_with("unknown tool annotation"), "{unknown}");
    assert!(unknown["mcp"]["conditions"][0].as_str().unwrap().contains("compares"), "{unknown}");
    listed(&daemon, &reader).await;
    let known = daemon.verify(&reader.text, mcp("tools/call", Some("note_get"))).await;
    assert_eq!((&known["code"], known["mcp"].get("why")), (&json!("valid"), None));
    assert_eq!(code(&reader, mcp("tools/call", Some("note_put"))).await, "permission");
    assert_eq!(code(&reader, json!({"tool": "note_get"})).await, "valid");
    assert_eq!(code(&writer, json!({"tool": "note_put"})).await, "permission", "no list of its own");
    daemon.finish().await;
}

#[tokio::test]
async fn headers_decide_nothing_before_the_version_that_binds_them() {
    let upstream = ToolServer::listing(tools()).await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("free").await.default_key;
    let call = |fields: &Value| Call::post("/api/v1/verify", fields);
    for (fields, told) in [
        (json!({"key": &*key.text, "mcp": {"method": "ping"}}), "without a version"),
        (
            json!({"key": &*key.text, "mcp": {"protocol_version": "2025-11-25", "method": "ping"}}),
            "2026-07-28 or later",
        ),
        (json!({"key": &*key.text, "mcp": mcp("tools/call", None)["mcp"]}), "mcp.name"),
        (
            json!({"key": &*key.text, "tool": "status", "mcp": mcp("ping", None)["mcp"]}),
            "mcp: expected nothing",
        ),
        (json!({"key": &*key.text, "mcp": "ping"}), "mcp.body"),
        (json!({"mcp": mcp("ping", None)["mcp"]}), "mcp.profile"),
        (
            json!({"key": &*key.text, "mcp": {"protocol_version": MODERN, "method": "ping", "profile": "x"}}),
            "mcp.profile",
        ),
    ] {
        let answer = daemon.admin(call(&fields)).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, detail.contains(told)), (400, true), "{told}: {detail}");
    }
    let keyless =
        |method: &str| json!({"mcp": {"protocol_version": MODERN, "method": method, "profile": "notes"}});
    for (method, code) in [("ping", "valid"), ("tools/list", "missing"), ("initialize", "missing")] {
        assert_eq!(daemon.admin_json(call(&keyless(method))).await["code"], code, "{method}");
    }
    assert_eq!(daemon.verify(&key.text, mcp("ping", None)).await["code"], "valid");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_asks_a_server_for_its_tools_and_maps_or_suggests_them() {
    let upstream = ToolServer::listing(tools()).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.toml"), PROFILE).unwrap();
    let bearer = dir.path().join("bearer");
    keyward::store::private_file::create(&bearer, b"upstreams-own\n").unwrap();
    let (url, path) = (format!("{}/mcp", upstream.url), dir.path().to_owned());
    let command = async |arguments: &'static [&'static str]| {
        let (url, path) = (url.clone(), path.clone());
        let run = move || {
            let mut all = vec!["profile", "map", "--upstream", &url];
            all.extend(arguments);
            run(&path, &all)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    for as_events in [false, true] {
        upstream.set(|script| script.as_events = as_events);
        let (code, out, err) = command(&["--profile", "p.toml", "--bearer-file", "bearer"]).await;
        assert_eq!((code, err.contains("1 of 6 tools are unmapped")), (Some(1), true), "{err}");
        let row = |name: &str| {
            let line = out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
            line.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ")
        };
        for (name, expected) in [
            ("note_get", "note* notes:read"),
            ("note_put", "note* notes:write"),
            ("note_drop", "note* notes:delete"),
            ("status", "name notes:read"),
            ("fixed_a", "fixed_* notes:write"),
            ("other", "- unmapped:"),
        ] {
            assert_eq!(row(name), expected, "{out}");
        }
        let asked = upstream.asked();
        assert!(asked.iter().all(|(head, _)| header(head, "authorization") == Some("Bearer upstreams-own")));
        let methods = asked.iter().map(|(_, message)| message["method"].clone());
        let methods: Vec<_> = methods.filter(|method| !method.is_null()).collect();
        assert!(asked.last().unwrap().0.starts_with("DELETE /mcp "), "the session is over");
        let expected =
            ["server/discover", "initialize", "notifications/initialized", "tools/list", "tools/list"];
        assert_eq!(methods, expected, "the modern protocol first, then the legacy one");
        assert!(!format!("{out}{err}").contains("upstreams-own"));
    }
    let (code, out, _) = command(&["--json", "--profile", "p.toml"]).await;
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &value["unmapped"], &value["protocol_version"]),
        (Some(1), &json!(1), &json!("2025-06-18"))
    );
    upstream.set(|script| script.pages.truncate(1));
    let (code, ..) = command(&["--profile", "p.toml"]).await;
    assert_eq!(code, Some(0), "all are mapped");
    let (code, out, err) = command(&[]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"note_get\" = \"note:read\"") && out.contains("[[permission]]"), "{out}");
    let (code, _, err) = command(&["--profile", "absent.toml"]).await;
    assert!(code == Some(1) && err.contains("absent.toml"), "{err}");
    upstream.set(|script| script.refuses = Some((401, String::new())));
    let (code, _, err) = command(&[]).await;
    assert!(code == Some(1) && err.contains("--bearer-file"), "{err}");
}
