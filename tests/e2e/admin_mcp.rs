//! The admin listener as an MCP server: the tools of a key, and what they do.
//!
//! A tool does what its route does, so what is held here is that it is the same key, permission, audit row and
//! refusal by either way in.
//!
//! Never here: what a route takes.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::wire::{Answer, Call};

const SYSTEM_WORKSPACE: &str = "ws_00000000000000000000000001";

/// Each tool, and the permission of its route.
const TOOLS: [(&str, &str); 9] = [
    ("list_workspaces", "workspaces:read"),
    ("list_keys", "keys:read"),
    ("show_key", "keys:read"),
    ("create_key", "keys:write"),
    ("rotate_key", "keys:write"),
    ("revoke_key", "keys:write"),
    ("key_usage", "usage:read"),
    ("workspace_meters", "usage:read"),
    ("explain_refusal", "keys:read"),
];

fn message(method: &str, params: &Value) -> Call {
    Call::post("/mcp", &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
}

fn tool(name: &str, arguments: &Value) -> Call {
    message("tools/call", &json!({"name": name, "arguments": arguments}))
}

fn result(answer: &Answer) -> Value {
    let body = answer.json();
    assert_eq!((answer.status, &body["id"], &body["error"]), (200, &json!(7), &Value::Null), "{answer:?}");
    body["result"].clone()
}

/// What a tool told that did what it was asked.
async fn done(daemon: &Daemon, name: &str, arguments: Value) -> Value {
    let told = result(&daemon.admin(tool(name, &arguments)).await);
    assert_eq!(told["isError"], json!(false), "{name}: {told}");
    let text: Value = serde_json::from_str(told["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, told["structuredContent"], "{name}");
    text
}

/// An admin key with these permissions.
async fn admin_with(daemon: &Daemon, permissions: &[&str]) -> String {
    let fields = json!({"workspace_id": SYSTEM_WORKSPACE, "permissions": permissions});
    daemon.admin_json(Call::post("/api/v1/keys", &fields)).await["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_is_made_used_explained_rotated_and_revoked_by_tools() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let made = json!({"workspace_id": workspace.id, "permissions": ["posts:read"], "name": "by an agent"});
    let made = done(&daemon, "create_key", made).await;
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(text)).await.status, 200);

    let listed = done(&daemon, "list_keys", json!({"workspace_id": workspace.id, "limit": 100})).await;
    let listed: Vec<_> = listed["data"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    assert!(listed.contains(&&made["id"]) && listed.len() == 2, "{listed:?}");
    let shown = done(&daemon, "show_key", json!({"id": id})).await;
    assert_eq!(shown, daemon.admin_json(Call::get(&format!("/api/v1/keys/{id}"))).await);
    let usage = done(&daemon, "key_usage", json!({"id": id, "step": "day"})).await;
    assert_eq!(usage["total"]["requests"], 1, "{usage}");
    let meters = done(&daemon, "workspace_meters", json!({"id": workspace.id})).await;
    assert!(meters["data"].is_array(), "{meters}");
    let why = json!({"id": id, "method": "POST", "path": "/v1/posts"});
    let why = done(&daemon, "explain_refusal", why).await;
    assert_eq!((&why["allowed"], &why["denied_by"]), (&json!(false), &json!("permission")), "{why}");

    let rotated = done(&daemon, "rotate_key", json!({"id": id, "overlap_s": 0})).await;
    let newer = rotated["key"].as_str().unwrap();
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(text)).await.status, 401);
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(newer)).await.status, 200);
    assert_eq!(done(&daemon, "revoke_key", json!({"id": id})).await["status"], "revoked");
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(newer)).await.status, 401);

    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let about = |row: &&Value| row.to_string().contains(id);
    assert_eq!(audit["data"].as_array().unwrap().iter().filter(about).count(), 3, "{audit}");
    daemon.finish().await;
}

#[tokio::test]
async fn a_tool_is_listed_exactly_when_its_key_may_call_it() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let cases: [&[&str]; 6] =
        [&["keys:read"], &["keys:write"], &["usage:read"], &["workspaces:read"], &["clock:read"], &["*:*"]];
    for permissions in cases {
        let key = admin_with(&daemon, permissions).await;
        let answer = daemon.admin_bare(&message("tools/list", &json!({})).bearer(&key)).await;
        let told = result(&answer);
        let listed: Vec<_> =
            told["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        for (name, needed) in TOOLS {
            let may = permissions.contains(&needed) || permissions == ["*:*"];
            assert_eq!(listed.contains(&name), may, "{permissions:?} {name}");
            // An id that is nobody's: who may call is told so by the tool, who may not by the server.
            let arguments = json!({"id": "key_01h2xcejqtf2nbrexx3vqjhp41", "overlap_s": 0});
            let answer = daemon.admin_bare(&tool(name, &arguments).bearer(&key)).await;
            let (code, said) = answer.rpc_error();
            if may {
                assert_eq!(code, 0, "{permissions:?} {name}: {answer:?}");
            } else {
                let lacks = format!("This admin key lacks the permission {needed}.");
                assert_eq!((code, said), (-32_003, lacks), "{permissions:?} {name}");
            }
        }
    }
    assert_eq!(daemon.show_key(&workspace.default_key).await["status"], "active");
    daemon.finish().await;
}

#[tokio::test]
async fn both_eras_are_spoken_without_a_session() {
    let daemon = Daemon::start().await;
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let answer = daemon.admin(message("initialize", &params)).await;
    let told = result(&answer);
    assert_eq!(
        (&told["protocolVersion"], &told["serverInfo"]["name"]),
        (&json!("2025-06-18"), &json!("keyward"))
    );
    assert_eq!(answer.header("mcp-session-id"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(daemon.admin(Call::post("/mcp", &initialized)).await.status, 202);
    assert_eq!(result(&daemon.admin(message("ping", &json!({}))).await), json!({}));

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": client,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let modern = |method: &str, params: Value| {
        let mut params = params;
        params["_meta"] = meta.clone();
        message(method, &params).header("MCP-Protocol-Version", "2026-07-28").header("Mcp-Method", method)
    };
    let discovered = result(&daemon.admin(modern("server/discover", json!({}))).await);
    assert!(
        discovered["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")),
        "{discovered}"
    );
    let listed = result(&daemon.admin(modern("tools/list", json!({}))).await);
    assert_eq!(listed["tools"].as_array().unwrap().len(), TOOLS.len());
    let call = modern("tools/call", json!({"name": "list_keys", "arguments": {}}));
    assert_eq!(result(&daemon.admin(call.header("Mcp-Name", "list_keys")).await)["isError"], json!(false));
    let call = modern("tools/call", json!({"name": "list_keys", "arguments": {}}));
    let lied = daemon.admin(call.header("Mcp-Name", "list_workspaces")).await;
    assert_eq!((lied.status, lied.rpc_error().0), (400, -32_020), "{lied:?}");
    daemon.finish().await;
}

#[tokio::test]
async fn what_no_admin_key_asks_is_refused_before_it_is_read_as_a_message() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let list = || message("tools/list", &json!({}));
    assert_eq!(daemon.admin_bare(&list()).await.status, 401);
    assert_eq!(daemon.admin_bare(&list().bearer(&workspace.default_key.text)).await.status, 401);
    assert_eq!(daemon.admin_bare(&Call::get("/mcp")).await.status, 401);
    let get = daemon.admin(Call::get("/mcp").header("Accept", "text/event-stream")).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")), "{get:?}");
    assert_eq!(daemon.admin(list().header("Origin", "http://evil.example")).await.status, 403);
    assert_eq!(daemon.admin(list().header("Content-Type", "text/plain")).await.status, 415);
    let huge = message("tools/list", &json!({"x": "x".repeat(200_000)}));
    assert_eq!(daemon.admin(huge).await.status, 413);
    assert_eq!(daemon.call(&list().bearer(daemon.admin_key())).await.status, 401, "not at the data listener");
    assert_eq!(daemon.admin(list()).await.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn what_a_tool_cannot_take_is_told_as_its_result() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let cases = [
        ("create_key", json!({"workspace_id": workspace.id, "permissions": ["posts:fly"]}), "posts:read"),
        ("create_key", json!({"permissions": []}), "workspace_id: is required"),
        (
            "create_key",
            json!({"workspace_id": workspace.id, "permissions": [], "admin": true}),
            "unknown field",
        ),
        ("show_key", json!({}), "id: expected the id of a key"),
        ("show_key", json!({"id": "../workspaces"}), ""),
        ("list_keys", json!({"limit": 1000}), "limit"),
        ("list_keys", json!({"limit": [1]}), "expected a text or a number"),
        ("rotate_key", json!({"id": workspace.default_key.id}), "overlap_s"),
    ];
    for (name, arguments, said) in cases {
        let told = result(&daemon.admin(tool(name, &arguments)).await);
        let text = told["content"][0]["text"].as_str().unwrap();
        assert!(told["isError"] == json!(true) && text.contains(said), "{name} {arguments}: {told}");
    }
    let unknown = daemon.admin(tool("delete_everything", &json!({}))).await;
    assert_eq!(unknown.rpc_error().0, -32_602, "{unknown:?}");
    assert_eq!(daemon.show_key(&workspace.default_key).await["status"], "active");
    daemon.finish().await;
}
