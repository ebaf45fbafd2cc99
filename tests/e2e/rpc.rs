//! The JSON-RPC door: what a message must be, which need no key, and how one is refused.
//!
//! Every refusal is held to its status, code and id. What is refused never reached the upstream: where that
//! matters, the posts are counted.
//!
//! Never here: streams; `mcp_streams` has those.

use serde_json::json;

use crate::daemon::{Daemon, Key};
use crate::rpc_tools::tool_call;
use crate::wire::Call;

pub(crate) fn raw(body: impl Into<Vec<u8>>) -> Call {
    Call::new("POST", "/api/mcp-app").header("Content-Type", "application/json").body(body)
}

/// A message that makes a post, which proves whether it got through.
pub(crate) fn create() -> Call {
    tool_call(&json!(1), "posts_create", &json!({"body": "Made by a tool.", "account_ids": ["acct_1"]}))
}

pub(crate) async fn posts(daemon: &Daemon, key: &Key) -> usize {
    let list = daemon.call(&Call::get("/v1/posts?limit=50").bearer(&key.text)).await;
    list.json()["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_methods_of_the_lifecycle_need_no_key_and_every_other_does() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let open = [
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}),
            200,
        ),
        (json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), 202),
        (json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}), 200),
        (json!({"jsonrpc": "2.0", "id": 3, "method": "server/discover"}), 200),
    ];
    for (message, status) in &open {
        for call in [Call::rpc(message), Call::rpc(message).bearer(&key.text)] {
            let answer = daemon.call(&call).await;
            assert_eq!(answer.status, *status, "{message}: {answer:?}");
            assert_eq!(answer.rpc_error().0, 0, "{message}: {answer:?}");
        }
        // A credential that is presented and wrong is refused even there.
        for call in [
            Call::rpc(message).bearer("sk_live_wrong"),
            Call::rpc(message).header("Authorization", "Basic x"),
        ] {
            let answer = daemon.call(&call).await;
            assert_eq!(
                (answer.status, answer.rpc_error()),
                (401, (-32001, "Invalid API key.".to_owned())),
                "{message}"
            );
        }
    }
    for method in [
        "tools/list",
        "tools/call",
        "Initialize",
        "ping ",
        "PING",
        "notifications/cancelled",
        "notifications/initialized2",
        "resources/list",
        "prompts/list",
        "completion/complete",
        "logging/setLevel",
        "",
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "posts_list"}});
        let answer = daemon.call(&Call::rpc(&message)).await;
        let missing = (401, (-32001, "Missing Authorization header.".to_owned()));
        assert_eq!((answer.status, answer.rpc_error()), missing, "{method:?}: {answer:?}");
        assert!(answer.json()["id"].is_null(), "{method:?}");
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn what_is_not_one_message_is_refused_and_goes_no_further() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let made = posts(&daemon, &key).await;
    let inside = r#""method":"tools/call","params":{"name":"posts_create","arguments":{"body":"x","account_ids":["a"]}}"#;
    let cases: [(String, i64); 24] = [
        (String::new(), -32700),
        ("{".to_owned(), -32700),
        ("not json".to_owned(), -32700),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{inside}}} x"), -32700),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{inside}}}{{}}"), -32700),
        (format!("{{'jsonrpc':'2.0','id':1,{inside}}}"), -32700),
        ("[]".to_owned(), -32600),
        (format!("[{{\"jsonrpc\":\"2.0\",\"id\":1,{inside}}}]"), -32600),
        ("7".to_owned(), -32600),
        ("null".to_owned(), -32600),
        ("\"ping\"".to_owned(), -32600),
        ("{}".to_owned(), -32600),
        (format!("{{\"id\":1,{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":\"1.0\",\"id\":1,{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":2.0,\"id\":1,{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":true,{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":{{}},{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":[1],{inside}}}"), -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#.to_owned(), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"Method\":\"ping\",{inside}}}"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,{inside}}}"), -32600),
    ];
    for (body, code) in cases {
        for call in [raw(&*body), raw(&*body).bearer(&key.text)] {
            let answer = daemon.call(&call).await;
            assert_eq!((answer.status, answer.rpc_error().0), (400, code), "{body}: {answer:?}");
            assert!(!answer.rpc_error().1.is_empty(), "{body}");
        }
    }
    assert_eq!(posts(&daemon, &key).await, made, "a refused message reached the upstream");
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_written() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let none = daemon.key_for(&workspace, &[]).await;
    for id in ["1", "0", "-7", "12345678901234567890", "\"\"", "\"abc\"", "\"a\\u0062\"", "\"\\\"\""] {
        let body = |method: &str| {
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{\"name\":\"x\"}}}}"
            )
        };
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},");
        for (told, call) in [
            ("a result", raw(body("ping")).bearer(&none.text)),
            ("a refused tool", raw(body("tools/call")).bearer(&none.text)),
            ("an unknown method", raw(body("no/such")).bearer(&none.text)),
        ] {
            let answer = daemon.call(&call).await;
            assert!(answer.text().starts_with(&head), "{told}, {id}: {answer:?}");
        }
        // But not where the page shows null.
        let refused = daemon.call(&raw(body("tools/call"))).await;
        assert!(refused.text().starts_with("{\"jsonrpc\":\"2.0\",\"id\":null,"), "{id}: {refused:?}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn an_unknown_method_is_an_answer_to_a_legacy_client_and_404_to_a_modern_one() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let call = Call::rpc(&json!({"jsonrpc": "2.0", "id": 3, "method": "resources/list"})).bearer(&key.text);
    for (call, status) in [
        (call.clone(), 200),
        (call.clone().header("MCP-Protocol-Version", "2025-11-25"), 200),
        (call.header("MCP-Protocol-Version", "2026-07-28"), 404),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rpc_error().0), (status, -32601), "{answer:?}");
        assert_eq!(answer.json()["id"], 3);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn only_json_is_taken_and_only_by_post() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let made = posts(&daemon, &key).await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "posts_create",
        "arguments": {"body": "x", "account_ids": ["a"]}}});
    let typed =
        |kind: &str| Call::new("POST", "/api/mcp-app").header("Content-Type", kind).body(message.to_string());
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "",
    ] {
        let answer = daemon.call(&typed(kind).bearer(&key.text)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (415, -32600), "{kind}: {answer:?}");
    }
    let untyped = Call::new("POST", "/api/mcp-app").body(message.to_string()).bearer(&key.text);
    assert_eq!(daemon.call(&untyped).await.status, 415);
    let twice = typed("application/json").header("Content-Type", "text/plain").bearer(&key.text);
    assert!(matches!(daemon.call(&twice).await.status, 400 | 415));
    assert_eq!(posts(&daemon, &key).await, made, "a refused message reached the upstream");
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
    ] {
        let answer = daemon.call(&typed(kind).bearer(&key.text)).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    }
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE"] {
        let with = daemon.call(&Call::new(method, "/api/mcp-app").bearer(&key.text)).await;
        assert_eq!((with.status, with.rpc_error().0), (405, -32600), "{method}: {with:?}");
        assert_eq!(with.header("allow"), Some("GET, HEAD, POST, DELETE"), "{method}");
        let without = daemon.call(&Call::new(method, "/api/mcp-app")).await;
        assert_eq!((without.status, without.rpc_error().0), (401, -32001), "{method}: {without:?}");
    }
    let stream = Call::get("/api/mcp-app").header("Accept", "text/event-stream").header("Last-Event-ID", "1");
    assert_eq!(daemon.call(&stream).await.status, 401, "a stream needs a key");
    let answer = daemon.call(&stream.bearer(&key.text)).await;
    assert_eq!(answer.status, 405, "the sandbox has none: {answer:?}");
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_public_document_with_a_bad_key_is_refused() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    for path in ["/api/mcp-app", "/mcp.json"] {
        assert_eq!(daemon.call(&Call::get(path)).await.status, 200);
        assert_eq!(daemon.call(&Call::get(path).bearer(&workspace.default_key.text)).await.status, 200);
        for key in ["nonsense", &revoked.text] {
            let answer = daemon.call(&Call::get(path).bearer(key)).await;
            assert_eq!((answer.status, answer.rpc_error().0), (401, -32001), "{path}: {answer:?}");
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_message_without_a_key_may_have_64_kib_and_one_with_a_key_1_mib() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let of_len = |len: usize| {
        let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"x": ""}}})
            .to_string()
            .len();
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"x": "a".repeat(len - frame)}}});
        assert_eq!(message.to_string().len(), len);
        Call::rpc(&message)
    };
    let (keyless, keyed) = (64 * 1024, 1024 * 1024);
    for (told, call, status) in [
        ("64 KiB without", of_len(keyless), 200),
        ("one more without", of_len(keyless + 1), 413),
        ("10 MB without", of_len(10_000_000), 413),
        ("1 MiB with", of_len(keyed).bearer(&key.text), 200),
        ("one more with", of_len(keyed + 1).bearer(&key.text), 413),
        ("10 MB with a bad key", of_len(10_000_000).bearer("nonsense"), 401),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, status, "{told}: {answer:?}");
        if status == 413 {
            assert_eq!(answer.rpc_error().0, -32600, "{told}");
        }
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn depth_is_bounded_with_and_without_a_key() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let nested = |depth: usize| {
        let value = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        raw(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"_meta\":{value}}}}}"))
    };
    assert_eq!(daemon.call(&nested(20)).await.status, 200);
    for depth in [40, 1_000, 30_000] {
        let answer = daemon.call(&nested(depth)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (400, -32700), "{depth}: {answer:?}");
    }
    let answer = daemon.call(&nested(100_000).bearer(&key.text)).await;
    assert_eq!((answer.status, answer.rpc_error().0), (400, -32700), "{answer:?}");
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_header_that_disagrees_with_the_message_is_refused() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let made = posts(&daemon, &key).await;
    let modern = |call: Call| call.header("MCP-Protocol-Version", "2026-07-28").bearer(&key.text);
    for call in [
        modern(create()).header("Mcp-Method", "tools/list"),
        modern(create()).header("Mcp-Method", "tools/call").header("Mcp-Name", "posts_list"),
        modern(create()).header("Mcp-Name", "posts_create").header("Mcp-Name", "posts_list"),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rpc_error().0), (400, -32020), "{answer:?}");
    }
    assert_eq!(posts(&daemon, &key).await, made);
    let agreeing = modern(create()).header("Mcp-Method", "tools/call").header("Mcp-Name", "posts_create");
    assert_eq!(daemon.call(&agreeing).await.status, 200);
    assert_eq!(posts(&daemon, &key).await, made + 1);
    daemon.finish().await;
}

#[tokio::test]
async fn keyless_messages_are_bounded_by_address() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let ping = Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    let mut connection = daemon.connect().await;
    let mut passed = 0;
    let refused = loop {
        let answer = connection.call(&ping).await;
        if answer.rpc_error().0 != 0 {
            break answer;
        }
        passed += 1;
        assert!(passed <= 10_000, "keyless messages have no bound");
    };
    assert_eq!(refused.rpc_error().0, -32004, "{refused:?}");
    // Whoever has a key is not held up, and the address is let in again in time.
    assert_eq!(connection.call(&ping.clone().bearer(&key.text)).await.rpc_error().0, 0);
    let wait = refused.header("retry-after").unwrap().parse().unwrap();
    daemon.advance_secs(wait);
    assert_eq!(connection.call(&ping).await.rpc_error().0, 0);
    daemon.finish().await;
}
