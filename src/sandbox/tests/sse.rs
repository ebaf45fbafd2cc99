//! The older transport of MCP: a stream, the address that it names, and what is posted there.
//!
//! Never here: a credential; the gate has decided before.

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};

use super::{Play, connect};
use crate::domain::id::WorkspaceId;
use crate::sandbox::SandboxProduct;

/// An open stream.
struct Stream(Incoming);

impl Stream {
    async fn open(play: &Play) -> Self {
        let mut connection = connect(&play.sandbox).await;
        let request = of(1, Request::get("/sse")).body(Full::default()).unwrap();
        let (head, body) = connection.send_request(request).await.unwrap().into_parts();
        assert_eq!(
            (head.status.as_u16(), head.headers["content-type"].as_bytes()),
            (200, &b"text/event-stream"[..])
        );
        Self(body)
    }

    /// The next event: its name and its data.
    async fn next(&mut self) -> (String, String) {
        let frame = self.0.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        let (name, data) = text.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
        let field = |line: &str, name: &str| line.strip_prefix(name).unwrap().to_owned();
        (field(name, "event: "), field(data, "data: "))
    }

    async fn answer(&mut self) -> Value {
        let (name, data) = self.next().await;
        assert_eq!(name, "message");
        serde_json::from_str(&data).unwrap()
    }
}

fn of(workspace: u128, request: http::request::Builder) -> http::request::Builder {
    let workspace = WorkspaceId::from_u128(workspace).to_string();
    request.header("host", "upstream").header("x-keyward-workspace", workspace)
}

fn posted(workspace: u128, address: &str, body: &str) -> Request<Full<Bytes>> {
    let request = of(workspace, Request::post(address)).header("content-type", "application/json");
    request.body(Full::from(body.to_owned())).unwrap()
}

async fn with_sse() -> Play {
    let play = Play::start().await;
    let product = SandboxProduct {
        endpoint: Some("/mcp".to_owned()),
        sse: Some("/sse".to_owned()),
        tools: vec!["things_list".to_owned()],
        ..SandboxProduct::default()
    };
    Play { sandbox: play.sandbox.behind(product), ..play }.reconnected().await
}

#[tokio::test]
async fn what_is_posted_to_the_named_address_is_answered_on_the_stream() {
    let mut play = with_sse().await;
    let mut stream = Stream::open(&play).await;
    let (name, address) = stream.next().await;
    assert_eq!(name, "endpoint");
    assert!(address.starts_with("/sse/messages?session_id=") && address.len() > 50, "{address}");
    let initialize = json!({"jsonrpc": "2.0", "id": "i", "method": "initialize",
        "params": {"protocolVersion": "2024-11-05"}});
    let seen = play.send(posted(1, &address, &initialize.to_string())).await;
    assert_eq!((seen.status, &*seen.body), (202, ""));
    let answer = stream.answer().await;
    assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!("i"), &json!("2024-11-05")));
    let notified = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(play.send(posted(1, &address, notified)).await.status, 202);
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    assert_eq!(play.send(posted(1, &address, list)).await.status, 202);
    let answer = stream.answer().await;
    assert_eq!((&answer["id"], &answer["result"]["tools"][0]["name"]), (&json!(2), &json!("things_list")));
    // What cannot be told apart by an id is answered where it was posted.
    let seen = play.send(posted(1, &address, "{")).await;
    assert_eq!((seen.status, &seen.json()["id"]), (400, &Value::Null));
    // An error has an id too.
    let unknown = r#"{"jsonrpc":"2.0","id":3,"method":"no/such"}"#;
    assert_eq!(play.send(posted(1, &address, unknown)).await.status, 202);
    assert_eq!(stream.answer().await["error"]["code"], -32601);
}

#[tokio::test]
async fn an_address_is_one_workspaces_and_ends_with_its_stream() {
    let mut play = with_sse().await;
    let mut stream = Stream::open(&play).await;
    let (_, address) = stream.next().await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(play.send(posted(2, &address, ping)).await.status, 404);
    let guessed = format!("/sse/messages?session_id={}", "0".repeat(32));
    for wrong in [&*guessed, "/sse/messages", "/sse/messages?session_id="] {
        assert_eq!(play.send(posted(1, wrong, ping)).await.status, 404, "{wrong}");
    }
    assert_eq!(play.send(posted(1, &address, ping)).await.status, 202);
    stream.answer().await;
    // Nobody reads any more: what waits is bounded.
    let mut waiting = 0;
    while play.send(posted(1, &address, ping)).await.status == 202 {
        waiting += 1;
        assert!(waiting < 5_000, "answers wait without an end");
    }
    assert!(waiting >= 64);
    drop(stream);
    let gone = async {
        while play.send(posted(1, &address, ping)).await.status != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("the address is gone");
}

#[tokio::test]
async fn other_methods_are_405_and_a_product_without_the_transport_has_none() {
    let mut play = with_sse().await;
    for (method, path, allow) in
        [("POST", "/sse", "GET"), ("DELETE", "/sse", "GET"), ("GET", "/sse/messages?session_id=a", "POST")]
    {
        let request = of(1, Request::builder().method(method).uri(path)).body(Full::default()).unwrap();
        let seen = play.send(request).await;
        assert_eq!((seen.status, seen.header("allow")), (405, allow), "{method} {path}");
    }
    let mut without = Play::start().await;
    let request = of(1, Request::get("/sse")).body(Full::default()).unwrap();
    assert_eq!(without.send(request).await.status, 404);
}
