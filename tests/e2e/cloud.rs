//! Page 001 end to end: MCP-Cloud behind its gate, answered by the sandbox, and a user's own collections.
//!
//! Promise 7 in passing: what a route's pattern takes is what the sandbox answers.
//!
//! Never here: which scope opens which route (`scopes`), the rules of the sandbox (its own tests).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::recording;
use crate::wire::Call;

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn question() -> Value {
    json!({
        "model": "claude-3-5-sonnet",
        "messages": [{"role": "user", "content": "What is the capital of France?"}]
    })
}

#[tokio::test]
async fn the_default_key_may_do_everything_that_the_page_lists() {
    let daemon = Daemon::start_with(Options::of("mcp-cloud", None)).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let mut connection = daemon.connect().await;
    let mut call = async |call: Call| connection.call(&call.bearer(&key.text)).await;

    let said = call(Call::post("/v1/chat/completions", &question())).await.json();
    let content = said["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.contains("What is the capital of France?"), "{content}");
    assert_eq!((&said["object"], &said["model"]), (&json!("chat.completion"), &json!("keyward-sandbox")));
    let completed = call(Call::post("/v1/completions", &json!({"model": "any", "prompt": "Say hi"}))).await;
    assert_eq!((completed.status, &completed.json()["object"]), (200, &json!("text_completion")));
    assert_eq!(call(Call::get("/v1/models")).await.json()["object"], "list");
    assert_eq!(call(Call::get("/v1/models/claude-3-5-sonnet")).await.json()["id"], "claude-3-5-sonnet");

    let made = call(Call::post("/v1/contexts", &json!({"name": "notes"}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/contexts/{}", text(&made.json()["id"]));
    assert_eq!(call(Call::new("PUT", &path).json(&json!({"name": "more"}))).await.json()["name"], "more");
    assert_eq!(call(Call::get(&path)).await.json()["name"], "more");
    assert_eq!(call(Call::get("/v1/contexts")).await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(call(Call::new("DELETE", &path)).await.status, 204);
    let gone = call(Call::get(&path)).await;
    let error =
        json!({"code": "not_found", "message": "No record with this id.", "type": "invalid_request_error"});
    assert_eq!((gone.status, gone.json()), (404, json!({"error": error})));

    let form = "--edge\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--edge\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--edge--\r\n";
    let upload = Call::new("POST", "/v1/files").header("Content-Type", "multipart/form-data; boundary=edge");
    let file = call(upload.body(form)).await;
    assert_eq!((file.status, &file.json()["bytes"]), (200, &json!(5)), "{file:?}");
    let path = format!("/v1/files/{}", text(&file.json()["id"]));
    assert_eq!(call(Call::get("/v1/files")).await.json()["data"], json!([file.json()]));
    assert_eq!(call(Call::get(&path)).await.json(), file.json());
    let content = call(Call::get(&format!("{path}/content"))).await;
    assert_eq!((content.status, content.text().as_str()), (200, "hello"));
    assert_eq!(content.header("content-type"), Some("application/octet-stream"));
    assert_eq!(call(Call::new("DELETE", &path)).await.json()["deleted"], true);

    let wrong = call(Call::post("/v1/chat/completions", &json!({"model": "m", "messages": []}))).await;
    let error = &wrong.json()["error"];
    assert_eq!((wrong.status, &error["type"]), (400, &json!("invalid_request_error")));
    assert!(error["message"].as_str().unwrap().starts_with("messages must"), "{error}");
    assert_eq!(call(Call::get("/v1/posts")).await.status, 404, "no route of this profile");
    daemon.finish().await;
}

#[tokio::test]
async fn a_streamed_chat_passes_the_gate_as_events() {
    let daemon = Daemon::start_with(Options::of("mcp-cloud", None)).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let mut asked = question();
    asked["stream"] = json!(true);
    let answer = daemon.call(&Call::post("/v1/chat/completions", &asked).bearer(&key.text)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let body = answer.text();
    let events: Vec<_> =
        body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    let said: String = chunks
        .iter()
        .map(|chunk| serde_json::from_str::<Value>(chunk).unwrap())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(ToOwned::to_owned))
        .collect();
    assert!(said.starts_with("You asked: \"What is the capital of France?\""), "{said}");
    daemon.finish().await;
}

#[tokio::test]
async fn the_metadata_of_the_page_is_kept_with_a_key() {
    let daemon = Daemon::start_with(Options::of("mcp-cloud", None)).await;
    let workspace = daemon.workspace("standard").await;
    let metadata = json!({
        "environment": "production", "service": "recommendation-engine", "owner": "data-science-team"
    });
    let key = daemon.key(&workspace, json!({"permissions": ["models:read"], "metadata": metadata})).await;
    let shown = daemon.admin_json(Call::get(&format!("/api/v1/keys/{}", key.id))).await;
    assert_eq!(shown["metadata"], metadata);
    assert_eq!(daemon.call(&Call::get("/v1/models").bearer(&key.text)).await.status, 200);
    daemon.finish().await;
}

/// The routes of contexts under a name that no shipped profile has.
const ORDERS: &[(&str, &str)] = &[
    ("path = \"/v1/contexts\"", "path = \"/v1/orders\""),
    ("path = \"/v1/contexts\"", "path = \"/v1/orders\""),
    ("path = \"/v1/contexts/{id}\"", "path = \"/v1/orders/{id}\""),
    ("path = \"/v1/contexts/{id}\"", "path = \"/v1/orders/{id}\""),
    ("path = \"/v1/contexts/{id}\"", "path = \"/v1/orders/{id}\""),
];

#[tokio::test]
async fn a_users_own_collection_is_kept_apart_by_workspace() {
    let daemon = Daemon::start_with(Options { edits: ORDERS, ..Options::of("mcp-cloud", None) }).await;
    let (mine, theirs) = (daemon.workspace("enterprise").await, daemon.workspace("enterprise").await);
    let of = |call: Call| call.bearer(&mine.default_key.text);
    let made = daemon.call(&of(Call::post("/v1/orders", &json!({"total": 12.5})))).await;
    assert_eq!((made.status, &made.json()["total"]), (201, &json!(12.5)));
    let id = text(&made.json()["id"]);
    assert!(id.starts_with("order_"), "{id}");
    let path = format!("/v1/orders/{id}");
    assert_eq!(daemon.call(&of(Call::get(&path))).await.json(), made.json());
    assert_eq!(daemon.call(&Call::get(&path).bearer(&theirs.default_key.text)).await.status, 404);
    assert_eq!(daemon.call(&of(Call::get("/v1/contexts"))).await.status, 404);
    daemon.finish().await;
}

#[tokio::test]
async fn a_configured_model_is_asked_with_its_own_key_and_never_the_callers() {
    let (url, recorded, task) = recording().await;
    let url = format!("{url}/v1");
    let daemon =
        Daemon::start_with(Options { llm: Some(url.leak()), ..Options::of("mcp-cloud", None) }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let answer = daemon.call(&Call::post("/v1/chat/completions", &question()).bearer(&key.text)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let asked = recorded.lock().unwrap().first().unwrap().clone();
    assert!(asked.starts_with("POST /v1/chat/completions "), "{asked:.60}");
    assert!(asked.to_lowercase().contains("\r\nauthorization: bearer models-key"));
    assert!(asked.contains("What is the capital of France?") && asked.contains("\"model\":\"small\""));
    assert!(!asked.contains(&key.text[7..]), "the caller's key went to the model");
    daemon.finish().await;
    task.abort();
}
