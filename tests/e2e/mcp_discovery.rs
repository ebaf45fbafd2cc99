//! What a listener with an MCP server tells everyone: a catalogue, a card of each server, and that there is no OAuth
//! here, never that a key is missing.
//!
//! Never here: the discovery documents of a product's own, which its upstream answers.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call};

const CARD: &str = "application/mcp-server-card+json";

fn is_public(answer: &Answer, content_type: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
}

#[tokio::test]
async fn a_card_says_where_the_server_is_and_that_its_key_is_a_required_secret() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(url.leak()))).await;
    let card = Call::get("/mcp/server-card");
    let answer = daemon.call(&card.clone().header("Host", "MCP.example.com:8443")).await;
    is_public(&answer, CARD);
    let card_of = answer.json();
    assert_eq!(card_of["name"], "com.example.mcp/shingleai");
    assert_eq!(
        card_of["$schema"],
        "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
    );
    for (name, most) in [("title", 100), ("description", 100), ("version", 255)] {
        let text = card_of[name].as_str().unwrap();
        assert!((1..=most).contains(&text.len()), "{name}: {text}");
    }
    let remotes = card_of["remotes"].as_array().unwrap();
    let found: Vec<_> =
        remotes.iter().map(|remote| (remote["type"].as_str(), remote["url"].as_str())).collect();
    let at = |path: &str| format!("http://MCP.example.com:8443{path}");
    let (streamable, older) = (at("/mcp"), at("/sse"));
    assert_eq!(found, [(Some("streamable-http"), Some(&*streamable)), (Some("sse"), Some(&*older))]);
    for remote in remotes {
        let header = &remote["headers"][0];
        let said = (&header["name"], &header["isRequired"], &header["isSecret"]);
        assert_eq!(said, (&json!("Authorization"), &json!(true), &json!(true)));
        assert!(remote["supportedProtocolVersions"].as_array().unwrap().contains(&json!("2025-11-25")));
    }
    let catalogue =
        daemon.call(&Call::get("/.well-known/ai-catalog.json").header("Host", "mcp.example.com")).await;
    is_public(&catalogue, "application/ai-catalog+json");
    let entry = json!({
        "identifier": "urn:air:mcp.example.com:mcp:shingleai", "displayName": "shingleai", "type": CARD,
        "url": "http://mcp.example.com/mcp/server-card",
    });
    assert_eq!(catalogue.json(), json!({"specVersion": "1.0", "entries": [entry]}));
    // Whatever else is sent: nothing of it is looked at, a key neither.
    for call in [
        card.clone().bearer("mcp_live_nope"),
        card.clone().header("Origin", "https://else.example"),
        card.clone().header("X-Forwarded-Host", "else.example"),
        Call::new("HEAD", "/mcp/server-card"),
    ] {
        let answer = daemon.call(&call).await;
        is_public(&answer, CARD);
        assert!(!answer.text().contains("else.example"));
    }
    let posted = daemon.call(&Call::post("/mcp/server-card", &json!({}))).await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    for host in ["a\"b", "a/b", "a@b"] {
        assert_eq!(daemon.call(&card.clone().header("Host", host)).await.status, 400, "{host}");
    }
    assert!(recorded.lock().unwrap().is_empty(), "the upstream was asked");
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn oauths_documents_are_a_404_in_json_whoever_asks() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
    ] {
        let call = Call::get(path);
        for call in [
            call.clone(),
            call.clone().bearer(&key.text),
            call.clone().bearer("mcp_live_nope"),
            call.clone().header("Origin", "https://inspector.example"),
            Call::new("OPTIONS", path),
        ] {
            let answer = daemon.call(&call).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (404, Some("application/json")),
                "{answer:?}"
            );
            assert_eq!((answer.header("www-authenticate"), answer.rpc_error().0), (None, -32601), "{path}");
        }
    }
    // What is not of these is nobody's, as before.
    for path in ["/.well-known/security.txt", "/.well-known", "/mcp/server-card/x", "/mcp/"] {
        assert_eq!(daemon.call(&Call::get(path)).await.status, 401, "{path}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn documents_are_paced_by_address_and_a_profiles_own_stand_before_them() {
    let (url, recorded, task) = recording().await;
    let edits: &[_] = &[("public_paths = [", "public_paths = [\"/.well-known/ai-catalog.json\", ")];
    let options = Options { edits, upstream: Some(url.leak()), ..Options::default() };
    let daemon = Daemon::start_with(options).await;
    let answer = daemon.call(&Call::get("/.well-known/ai-catalog.json")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{answer:?}");
    assert_eq!(recorded.lock().unwrap().len(), 1);
    let card = Call::get("/api/mcp-app/server-card");
    let mut connection = daemon.connect().await;
    let mut shown = 0;
    let refused = loop {
        let answer = connection.call(&card).await;
        if answer.status != 200 {
            break answer;
        }
        let card: Value = answer.json();
        assert_eq!(card["remotes"].as_array().unwrap().len(), 1, "no older transport");
        shown += 1;
        assert!(shown <= 10_000, "they have no bound");
    };
    assert_eq!(refused.rpc_error().0, -32004, "{refused:?}");
    daemon.finish().await;
    task.abort();
}
