//! The MCP door: the protocol around its tools.
//!
//! Never here: a credential; the gate has decided before.

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::Play;

#[tokio::test]
async fn the_discovery_document_names_the_public_address() {
    let mut play = Play::start().await;
    for path in ["/api/mcp-app", "/mcp.json"] {
        let request = Request::get(path)
            .header("host", "upstream")
            .header("accept", "application/json")
            .header("x-forwarded-host", "api.example.com:8443")
            .header("x-forwarded-proto", "https");
        let seen = play.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(seen.status, StatusCode::OK);
        let document = seen.json();
        assert_eq!(document["endpoint"], "https://api.example.com:8443/api/mcp-app");
        assert_eq!(document["name"], "socialcrm-sandbox");
        assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["transport"], "streamable-http");
        assert_eq!(document["authentication"]["type"], "bearer");
    }
    let odd = Request::get("/mcp.json").header("host", "upstream").header("x-forwarded-host", "a/b?c");
    let seen = play.send(odd.body(Full::default()).unwrap()).await;
    assert_eq!(seen.json()["endpoint"], "http://localhost/api/mcp-app");
}

#[tokio::test]
async fn a_stream_and_other_methods_are_405_with_allow() {
    let mut play = Play::start().await;
    for (method, path, accept, allow) in [
        ("GET", "/api/mcp-app", "text/event-stream", "GET, POST"),
        ("GET", "/api/mcp-app", "application/json, Text/Event-Stream;q=1", "GET, POST"),
        ("DELETE", "/api/mcp-app", "*/*", "GET, POST"),
        ("POST", "/mcp.json", "*/*", "GET"),
    ] {
        let request =
            Request::builder().method(method).uri(path).header("host", "upstream").header("accept", accept);
        let seen = play.send(request.body(Full::default()).unwrap()).await;
        assert_eq!((seen.status, seen.header("allow")), (405, allow), "{method} {path}");
        assert_eq!((&seen.json()["id"], &seen.json()["error"]["code"]), (&Value::Null, &json!(-32600)));
    }
}

#[tokio::test]
async fn initialize_agrees_on_a_legacy_version() {
    let mut play = Play::start().await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}
        }});
        let seen = play.rpc("", &message.to_string()).await;
        assert_eq!(seen.status, 200);
        let result = &seen.json()["result"];
        assert_eq!(result["protocolVersion"], agreed);
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        assert_eq!(result["serverInfo"]["name"], "socialcrm-sandbox");
    }
    let bare = play.rpc("", r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#).await;
    assert_eq!(bare.json()["result"]["protocolVersion"], "2025-11-25");
    let notified = play.rpc("2025-06-18", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!((notified.status, notified.body.as_str()), (202, ""));
    let ping = play.rpc("2025-06-18", r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
    assert_eq!(ping.body, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
}

#[tokio::test]
async fn the_modern_era_discovers_and_has_no_handshake() {
    let mut play = Play::start().await;
    let discover = r#"{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{"_meta":{}}}"#;
    for version in ["2026-07-28", ""] {
        let result = play.rpc(version, discover).await.json()["result"].clone();
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(result["serverInfo"]["name"], "socialcrm-sandbox");
    }
    let listed = play.rpc("2026-07-28", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await.json();
    assert_eq!(listed["result"]["resultType"], "complete");
    assert_eq!(listed["result"]["cacheScope"], "private");
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"posts_list","arguments":{}}}"#;
    let called = play.rpc("2026-07-28", call).await.json();
    assert_eq!(called["result"]["resultType"], "complete");
    assert_eq!(called["result"]["structuredContent"], json!({"data": []}));
    for method in ["initialize", "ping", "no/such"] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
        let seen = play.rpc("2026-07-28", &message).await;
        assert_eq!((seen.status, seen.json()["error"]["code"].as_i64()), (404, Some(-32601)), "{method}");
    }
    for version in ["2027-01-01", "3", ""].into_iter().filter(|version| !version.is_empty()) {
        let seen = play.rpc(version, discover).await;
        assert_eq!((seen.status, seen.json()["id"].as_str()), (400, Some("d")));
        let error = &seen.json()["error"];
        assert_eq!(
            (error["code"].as_i64(), &error["data"]["supported"]),
            (Some(-32022), &json!(["2026-07-28"]))
        );
        assert_eq!(error["data"]["requested"], version);
    }
}

#[tokio::test]
async fn a_message_that_breaks_the_protocol_gets_the_protocol_s_error() {
    let mut play = Play::start().await;
    let cases: [(&str, u16, i64); 19] = [
        ("", 400, -32700),
        ("{", 400, -32700),
        ("[", 400, -32700),
        ("{} x", 400, -32700),
        ("[]", 400, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, -32600),
        (r#"["2.0",1,"ping",{}]"#, 400, -32600),
        ("7", 400, -32600),
        (r#"{"id":1,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":[],"method":"no/such"}"#, 400, -32600),
    ];
    for (body, status, code) in cases {
        let seen = play.rpc("", body).await;
        assert_eq!((seen.status, seen.json()["error"]["code"].as_i64()), (status, Some(code)), "{body}");
        assert_eq!(seen.json()["id"], Value::Null, "{body}");
    }
    let cases = [
        (r#"{"jsonrpc":"2.0","id":8,"method":"no/such"}"#, 200, -32601),
        (r#"{"jsonrpc":"2.0","id":8,"method":"notifications/initialized"}"#, 200, -32601),
        (r#"{"jsonrpc":"2.0","id":8,"method":"ping","params":[]}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":8,"method":"initialize","params":{"protocolVersion":1}}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":8,"method":"tools/list","params":{"cursor":"x"}}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":8,"method":"tools/call"}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":7}}"#, 400, -32602),
        (
            r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"posts_list","arguments":[]}}"#,
            400,
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"no_such"}}"#, 200, -32602),
    ];
    for (body, status, code) in cases {
        let seen = play.rpc("2025-06-18", body).await;
        assert_eq!((seen.status, seen.json()["error"]["code"].as_i64()), (status, Some(code)), "{body}");
        assert_eq!(seen.json()["id"], 8, "{body}");
    }
}

#[tokio::test]
async fn an_id_comes_back_as_the_very_text_that_came() {
    let mut play = Play::start().await;
    for id in ["0", "-7", "123456789012345678901234567890", r#""""#, r#""\u0041 é""#] {
        let seen = play.rpc("", &format!(r#"{{"id": {id} ,"method":"ping","jsonrpc":"2.0"}}"#)).await;
        assert_eq!(seen.body, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
}

#[tokio::test]
async fn a_message_that_wants_no_answer_gets_none_and_does_nothing() {
    let mut play = Play::start().await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"posts_create","arguments":{"body":"x","account_ids":["a"]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#,
    ] {
        let seen = play.rpc("", body).await;
        assert_eq!((seen.status, seen.body.as_str()), (202, ""), "{body}");
    }
    assert!(play.texts("/v1/posts").await.is_empty());
}

#[tokio::test]
async fn the_mcp_door_takes_only_json_of_a_bounded_size() {
    let mut play = Play::start().await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let request =
        Request::post("/api/mcp-app").header("host", "upstream").header("content-type", "text/plain");
    let seen = play.send(request.body(Full::from(ping)).unwrap()).await;
    assert_eq!((seen.status, seen.json()["error"]["code"].as_i64()), (415, Some(-32600)));
    let seen = play.rpc("", &format!("{ping}{}", " ".repeat(1 << 20))).await;
    assert_eq!((seen.status, seen.json()["error"]["code"].as_i64()), (413, Some(-32600)));
    assert_eq!(play.rpc("", ping).await.status, 200);
}
