//! What reaches an upstream: the very request that was decided on, the gate's own word on who asks, and never
//! the caller's key.
//!
//! Never here: the sandbox.

use serde_json::json;
use tokio::net::TcpListener;

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::{header, last, recording};
use crate::wire::Call;

#[tokio::test]
async fn f09_the_upstream_sees_the_request_that_was_decided_on_and_never_the_key() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let calls = [
        ("GET /v1/posts?limit=7&x=%20y HTTP/1.1", Call::get("/v1/posts?limit=7&x=%20y").bearer(&key.text)),
        ("GET /v1/posts/a%20b HTTP/1.1", Call::get("/v1/posts/a%20b").header("X-API-Key", &*key.text)),
        ("POST /v1/posts HTTP/1.1", Call::post("/v1/posts", &json!({"body": "x"})).bearer(&key.text)),
        ("POST /api/mcp-app HTTP/1.1", Call::rpc(&message).bearer(&key.text)),
        (
            "POST /api/mcp-app HTTP/1.1",
            Call::rpc(&message).bearer(&key.text).header("Mcp-Param-Region", "s1"),
        ),
    ];
    for (line, call) in calls {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, 200, "{line}: {answer:?}");
        let seen = last(&recorded);
        assert!(seen.starts_with(line), "{line}");
        assert!(!seen.contains(&*key.text), "{line}: the upstream saw the key");
        assert_eq!(header(&seen, "authorization"), None, "{line}");
        assert_eq!(header(&seen, "x-api-key"), None, "{line}");
        assert_eq!(header(&seen, "x-keyward-workspace"), Some(workspace.id.as_str()), "{line}");
        assert_eq!(header(&seen, "x-keyward-key-id"), Some(key.id.as_str()), "{line}");
        assert_eq!(header(&seen, "x-keyward-plan"), Some("enterprise"), "{line}");
        assert!(header(&seen, "x-keyward-request-id").is_some(), "{line}");
    }
    assert_eq!(header(&last(&recorded), "mcp-param-region"), Some("s1"));
    assert!(last(&recorded).ends_with(&message.to_string()), "a message is forwarded as the same bytes");
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn what_a_caller_says_of_itself_in_the_gates_headers_is_dropped() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let call = Call::get("/v1/posts")
        .bearer(&key.text)
        .header("X-Keyward-Workspace", "ws_spoofed")
        .header("x-keyward-key-id", "key_spoofed")
        .header("X-Keyward-Anything", "spoofed")
        .header("X-HTTP-Method-Override", "DELETE")
        .header("X-Method-Override", "DELETE")
        .header("X-Original-URL", "/v1/spoofed")
        .header("X-Rewrite-URL", "/v1/spoofed")
        .header("X-Forwarded-For", "192.0.2.99")
        .header("X-Forwarded-Host", "spoofed.example")
        .header("Forwarded", "for=192.0.2.99")
        .header("Connection", "keep-alive, X-Keyward-Workspace, X-Hop")
        .header("X-Hop", "spoofed")
        .header("X-Mine", "kept");
    let answer = daemon.call(&call).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = last(&recorded);
    assert!(!seen.contains("spoofed") && !seen.contains("DELETE") && !seen.contains("192.0.2.99"), "{seen}");
    assert_eq!(header(&seen, "x-keyward-workspace"), Some(workspace.id.as_str()));
    assert_eq!(header(&seen, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&seen, "x-mine"), Some("kept"));
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn nothing_that_is_refused_reaches_the_upstream() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("free").await;
    let key = &workspace.default_key;
    let none = daemon.key_for(&workspace, &[]).await;
    for call in [
        Call::get("/v1/posts"),
        Call::get("/v1/posts").bearer("sk_live_wrong"),
        Call::get("/v1/posts").bearer(&none.text),
        Call::get("/v1/nope").bearer(&key.text),
        Call::new("PUT", "/v1/posts").bearer(&key.text),
        Call::get("/v1/posts/%2e%2e").bearer(&key.text),
        Call::get("/v1/posts").bearer(&key.text).header("X-API-Key", &*key.text),
        Call::post("/v1/ai/rewrite", &json!({})).bearer(&key.text),
        Call::new("POST", "/v1/posts").bearer(&key.text).header("Content-Length", "9000000"),
        crate::daemon::call_tool(&none, "posts_list"),
        crate::daemon::call_tool(key, "nope"),
        Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "resources/list"})).bearer(&key.text),
        Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})),
        Call::rpc(&json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}])),
    ] {
        let answer = daemon.call(&call).await;
        assert!(answer.status >= 400 || answer.rpc_error().0 != 0, "{answer:?}");
        assert_eq!(recorded.lock().unwrap().len(), 0, "{answer:?}");
    }
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(&key.text)).await.status, 200);
    assert_eq!(recorded.lock().unwrap().len(), 1);
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_502_and_the_call_counts() {
    // A port that was free a moment ago and is nobody's now.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("pro").await;
    let key = &workspace.default_key;
    let rest = daemon.call(&Call::post("/v1/ai/rewrite", &json!({})).bearer(&key.text)).await;
    assert_eq!((rest.status, rest.rest_error().0.as_str()), (502, "upstream_error"));
    let rpc = daemon.call(&crate::daemon::call_tool(key, "posts_list")).await;
    assert_eq!((rpc.status, rpc.rpc_error().0), (502, -32603));
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 1);
    daemon.finish().await;
}
