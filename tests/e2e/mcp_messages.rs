//! Messages at the JSON-RPC door in both eras: what is decided on is what every reader behind it sees.
//!
//! The upstream is written by the test, so that nothing that was refused can have reached it unseen.
//!
//! Never here: what an upstream makes of a message.

use serde_json::{Value, json};

use crate::daemon::{call_tool, list_tools};
use crate::mcp_streams::in_front_of;
use crate::rpc::raw;
use crate::upstreams::scripted::Scripted;
use crate::wire::Call;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;

fn call(method: &str, params: &Value) -> Call {
    Call::rpc(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
}

#[tokio::test]
async fn r01_what_is_no_message_goes_no_further_and_a_notification_is_taken() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for (body, code) in [
        ("{", -32700),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, -32600),
        (r#"{"id":7,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#, -32602),
        // A request and an answer at once; an answer to nothing.
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"Method":"tools/call"}"#, -32600),
    ] {
        let answer = daemon.call(&raw(body).bearer(&key.text)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (400, code), "{body}: {answer:?}");
    }
    assert!(upstream.is_untouched());
    let note = raw(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    for call in [note.clone(), note.bearer(&key.text)] {
        let (answer, _) = upstream.answering(&daemon, &call, 202, &[], "").await;
        assert_eq!((answer.status, answer.body.len()), (202, 0));
    }
    daemon.finish().await;
}

#[tokio::test]
async fn an_answer_of_a_client_needs_a_key_and_passes_as_it_is() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let none = daemon.key_for(&workspace, &[]).await;
    for body in [
        r#"{"jsonrpc":"2.0","id":"s-1","result":{"action":"accept","content":{"name":"posts_delete"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"no"}}"#,
    ] {
        let answer = daemon.call(&raw(body)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (401, -32001));
        assert!(upstream.is_untouched());
        let answering = raw(body).bearer(&none.text);
        let (answer, came) = upstream.answering(&daemon, &answering, 202, &[], "").await;
        assert_eq!((answer.status, &came.body[..]), (202, body.as_bytes()));
    }
    daemon.finish().await;
}

#[tokio::test]
async fn r03_a_hidden_tool_is_refused_under_every_spelling_and_version() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let reader = daemon.key_for(&workspace, &["posts:read"]).await;
    let hidden = |name: &str| call("tools/call", &json!({"name": name})).bearer(&reader.text);
    for version in
        [None, Some("2024-11-05"), Some("2025-03-26"), Some("2025-11-25"), Some("2026-07-28"), Some("x")]
    {
        for name in [
            "posts_delete",
            "Posts_Delete",
            " posts_delete",
            "posts_delete\u{0}",
            "posts_list/../posts_delete",
            "postſ_delete",
            "a/b",
            "unmapped",
            "",
        ] {
            let call = hidden(name);
            let call = version.map_or(call.clone(), |version| call.header("MCP-Protocol-Version", version));
            let answer = daemon.call(&call).await;
            assert_eq!(
                (answer.status, answer.rpc_error().0),
                (403, -32003),
                "{name:?} {version:?}: {answer:?}"
            );
            assert_eq!(answer.json()["id"], 7);
        }
    }
    let inside = r#""method":"tools/call","params":{"name":"posts_delete"}"#;
    for body in [
        format!(r#"[{{"jsonrpc":"2.0","id":7,{inside}}}]"#),
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/list",{inside}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":7,{inside},"method":"tools/list"}}"#),
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"posts_list","name":"posts_delete"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"posts_list"},"params":{"name":"posts_delete"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"posts_list","NAME":"posts_delete"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"posts_list"},"Params":{"name":"posts_delete"}}"#.to_owned(),
    ] {
        for version in ["2025-03-26", "2026-07-28"] {
            let call = raw(&*body).bearer(&reader.text).header("MCP-Protocol-Version", version);
            let answer = daemon.call(&call).await;
            assert_eq!((answer.status, answer.rpc_error().0), (400, -32600), "{body}: {answer:?}");
        }
    }
    // A header that names a tool that is open does not open the one in the body.
    let dressed = hidden("posts_delete").header("Mcp-Method", "tools/call").header("Mcp-Name", "posts_list");
    assert_eq!(daemon.call(&dressed).await.rpc_error().0, -32020);
    assert!(upstream.is_untouched());
    let open = call("tools/call", &json!({"name": "posts_list"})).bearer(&reader.text);
    let (answer, _) = upstream.answering(&daemon, &open, 200, &[], RESULT).await;
    assert_eq!(answer.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn r04_a_key_that_is_presented_and_wrong_is_nobody_anywhere() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    for method in ["initialize", "ping", "notifications/initialized", "server/discover"] {
        let message = call(method, &json!({}));
        let (answer, came) = upstream.answering(&daemon, &message, 200, &[], RESULT).await;
        assert_eq!((answer.status, came.header("x-keyward-key-id")), (200, None), "{method}");
        for wrong in [message.clone().bearer("sk_live_wrong"), message.header("Authorization", "Basic eDp5")]
        {
            assert_eq!(daemon.call(&wrong).await.status, 401, "{method}");
        }
    }
    assert!(upstream.is_untouched());
    daemon.finish().await;
}

#[tokio::test]
async fn headers_that_speak_of_a_message_agree_with_it() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let message = call("tools/call", &json!({"name": "posts_list", "_meta": meta})).bearer(&key.text);
    let modern = |name: &str| {
        let message = message.clone().header("MCP-Protocol-Version", "2026-07-28");
        message.header("Mcp-Method", "tools/call").header("Mcp-Name", name).header("Mcp-Param-Region", "eu")
    };
    for name in ["posts_list", "=?base64?cG9zdHNfbGlzdA==?="] {
        let (answer, came) = upstream.answering(&daemon, &modern(name), 200, &[], RESULT).await;
        assert_eq!(
            (answer.status, came.header("mcp-name"), came.header("mcp-param-region")),
            (200, Some(name), Some("eu"))
        );
    }
    for wrong in [
        modern("posts_get"),
        modern("=?base64?cG9zdHNfZ2V0?="),
        modern("posts_list").header("Mcp-Name", "posts_list"),
        modern("posts_list").header("Mcp-Method", "tools/call"),
        modern("posts_list").header("MCP-Protocol-Version", "2026-07-28"),
        message.clone().header("MCP-Protocol-Version", "2025-11-25"),
        message.clone().header("Mcp-Method", "tools/list"),
    ] {
        let answer = daemon.call(&wrong).await;
        assert_eq!(
            (answer.status, answer.rpc_error().0, &answer.json()["id"]),
            (400, -32020, &json!(7)),
            "{answer:?}"
        );
    }
    assert!(upstream.is_untouched());
    daemon.finish().await;
}

#[tokio::test]
async fn r08_params_that_name_no_tool_are_no_default_tool() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for params in [
        "",
        r#","params":[]"#,
        r#","params":{}"#,
        r#","params":{"name":null}"#,
        r#","params":{"name":7}"#,
        r#","params":{"name":{"name":"posts_list"}}"#,
        r#","params":{"name":["posts_list"]}"#,
        r#","params":"posts_list""#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call"{params}}}"#);
        let answer = daemon.call(&raw(&*body).bearer(&key.text)).await;
        assert_eq!(
            (answer.status, answer.rpc_error().0, &answer.json()["id"]),
            (400, -32602, &json!(7)),
            "{body}"
        );
    }
    assert!(upstream.is_untouched());
    daemon.finish().await;
}

#[tokio::test]
async fn r09_a_large_or_deep_message_without_a_key_is_not_read_for_long() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let padded = |bytes: usize| {
        let head = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":""#;
        format!("{head}{}\"}}}}", "a".repeat(bytes - head.len() - 3))
    };
    for (bytes, fits) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let call = raw(padded(bytes));
        if fits {
            let (answer, _) = upstream.answering(&daemon, &call, 200, &[], RESULT).await;
            assert_eq!(answer.status, 200);
        } else {
            assert_eq!(daemon.call(&call).await.status, 413);
        }
        let (answer, _) = upstream.answering(&daemon, &call.bearer(&key.text), 200, &[], RESULT).await;
        assert_eq!(answer.status, 200, "with a key it is small");
    }
    let huge = raw("x").header("Content-Length", "10000000");
    assert_eq!(daemon.call(&huge).await.status, 413);
    let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"x":{}"#, "[".repeat(30_000));
    for call in [raw(&*deep), raw(&*deep).bearer(&key.text)] {
        assert_eq!(daemon.call(&call).await.rpc_error().0, -32700);
    }
    assert!(upstream.is_untouched());
    daemon.finish().await;
}

#[tokio::test]
async fn r11_refusals_have_their_codes_and_the_ids_of_their_messages() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let none = daemon.key_for(&workspace, &[]).await;
    let told =
        |answer: &crate::wire::Answer| (answer.status, answer.rpc_error().0, answer.json()["id"].clone());
    let unknown = call("no/such", &json!({}));
    assert_eq!(told(&daemon.call(&unknown).await), (401, -32001, Value::Null));
    assert_eq!(told(&daemon.call(&call_tool(&none, "posts_list")).await), (403, -32003, json!(1)));
    assert_eq!(told(&daemon.call(&unknown.clone().bearer(&key.text)).await), (200, -32601, json!(7)));
    let modern = unknown.bearer(&key.text).header("MCP-Protocol-Version", "2026-07-28");
    assert_eq!(told(&daemon.call(&modern).await), (404, -32601, json!(7)));
    let slow =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 1, "window_s": 60}})).await;
    let (first, _) = upstream.answering(&daemon, &list_tools(&slow), 200, &[], RESULT).await;
    assert_eq!(first.status, 200);
    let refused = daemon.call(&list_tools(&slow)).await;
    assert_eq!(told(&refused), (200, -32004, json!(1)));
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert_eq!(refused.json()["error"]["data"]["retryAfter"], 60);
    assert!(upstream.is_untouched());
    daemon.advance_secs(60);
    let (again, _) = upstream.answering(&daemon, &list_tools(&slow), 200, &[], RESULT).await;
    assert_eq!(again.status, 200, "after the time that was told");
    daemon.finish().await;
}
