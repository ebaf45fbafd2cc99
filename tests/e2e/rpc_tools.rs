//! Tools over JSON-RPC: one is listed exactly when it may be called, under its one name, with params that can
//! be read one way.
//!
//! Never here: a message that names no tool.

use serde_json::{Value, json};

use crate::daemon::{Daemon, list_tools};
use crate::rpc::{create, posts, raw};
use crate::wire::{Answer, Call};

/// The tools and the scope of each.
const TOOLS: [(&str, &str); 6] = [
    ("posts_list", "posts:read"),
    ("posts_get", "posts:read"),
    ("posts_create", "posts:write"),
    ("posts_update", "posts:write"),
    ("posts_delete", "posts:write"),
    ("accounts_list", "insights:read"),
];

const HIDDEN: &str = "Insufficient permissions for this tool";

pub(crate) fn tool_call(id: &Value, name: &str, arguments: &Value) -> Call {
    let params = json!({"name": name, "arguments": arguments});
    Call::rpc(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
}

fn listed(answer: &Answer) -> Vec<String> {
    let tools = answer.json()["result"]["tools"].clone();
    tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_tool_is_listed_exactly_when_it_may_be_called() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let scopes = ["posts:read", "posts:write", "insights:read"];
    for subset in 0..1 << scopes.len() {
        let held: Vec<_> =
            (0..scopes.len()).filter(|bit| subset >> bit & 1 == 1).map(|bit| scopes[bit]).collect();
        let key = daemon.key_for(&workspace, &held).await;
        let mut connection = daemon.connect().await;
        let shown = listed(&connection.call(&list_tools(&key)).await);
        for (name, scope) in TOOLS {
            let answer = connection.call(&tool_call(&json!(9), name, &json!({})).bearer(&key.text)).await;
            let told = format!("{name} with {held:?}");
            assert_eq!(shown.iter().any(|shown| shown == name), held.contains(&scope), "{told}");
            if held.contains(&scope) {
                assert!(answer.json()["result"]["content"].is_array(), "{told}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.rpc_error()), (403, (-32003, HIDDEN.to_owned())), "{told}");
                assert_eq!(answer.json()["id"], 9, "{told}");
            }
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_name_that_only_looks_like_a_tool_is_closed() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    daemon.is_well(key).await;
    for name in [
        "",
        " ",
        "posts_list ",
        " posts_list",
        "Posts_List",
        "POSTS_LIST",
        "posts_liѕt",
        "posts\u{ff3f}list",
        "posts_list\u{0}",
        "posts_list\u{200b}",
        "posts/list",
        "../posts_list",
        "posts_list/../posts_delete",
        "posts.list",
        "posts_*",
        "*",
        "tools/list",
        "unknown",
    ] {
        let answer = daemon.call(&tool_call(&json!("x"), name, &json!({})).bearer(&key.text)).await;
        assert_eq!(
            (answer.status, answer.rpc_error()),
            (403, (-32003, HIDDEN.to_owned())),
            "{name:?}: {answer:?}"
        );
        assert_eq!(answer.json()["id"], "x", "{name:?}");
    }
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn params_that_a_tool_call_does_not_take_are_told_with_the_id() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let made = posts(&daemon, &key).await;
    for params in [
        "",
        ",\"params\":[]",
        ",\"params\":null",
        ",\"params\":7",
        ",\"params\":\"posts_list\"",
        ",\"params\":[\"posts_create\"]",
    ] {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\"{params}}}");
        let answer = daemon.call(&raw(body).bearer(&key.text)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (400, -32602), "{params}: {answer:?}");
        assert_eq!(answer.json()["id"], 5, "{params}");
    }
    for name in ["null", "7", "{}", "[]", "true", "[\"posts_create\"]"] {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":{{\"name\":{name}}}}}"
        );
        let answer = daemon.call(&raw(body).bearer(&key.text)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (400, -32602), "{name}: {answer:?}");
    }
    for params in [
        r#"{"name":"posts_list","name":"posts_create"}"#,
        r#"{"name":"posts_list","Name":"posts_create"}"#,
        r#"{"name":"posts_list","n\u0061me":"posts_create"}"#,
        r#"{"name":"posts_list","name\u0000":"posts_create"}"#,
        r#"{"name":"posts_list","arguments":{},"arguments":{"limit":1}}"#,
    ] {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":{params}}}");
        let answer = daemon.call(&raw(body).bearer(&key.text)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (400, -32600), "{params}: {answer:?}");
    }
    assert_eq!(posts(&daemon, &key).await, made, "a refused message reached the upstream");
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn what_a_tool_makes_is_what_rest_shows() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let made = daemon.call(&create().bearer(&key.text)).await.json();
    let post = made["result"]["structuredContent"].clone();
    let id = post["id"].as_str().unwrap();
    let shown = daemon.call(&Call::get(&format!("/v1/posts/{id}")).bearer(&key.text)).await;
    assert_eq!(shown.json(), post);
    let gone = daemon.call(&tool_call(&json!(2), "posts_delete", &json!({"id": id})).bearer(&key.text)).await;
    assert_eq!(gone.json()["result"]["isError"], false, "{gone:?}");
    assert_eq!(posts(&daemon, &key).await, 0);
    daemon.finish().await;
}
