//! Streams at the JSON-RPC door: what comes is with the client before the next is sent, lists are filtered wherever they
//! come, and a stream lasts as long as both ends and the key do.
//!
//! The upstream is written by the test. Each refusal has a good key beside it.
//!
//! Never here: sessions, which are another theme.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::join;
use tokio::time::timeout;

use crate::daemon::{Daemon, Key, Options, call_tool, list_tools};
use crate::upstreams::scripted::{Coming, End, Events, Scripted, open};
use crate::wire::Call;

/// A stream is promised to end within one second; a busy machine may look late.
const SOON: Duration = Duration::from_secs(5);

pub(crate) async fn in_front_of(upstream: &Scripted) -> Daemon {
    Daemon::start_with(Options { upstream: Some(upstream.url), ..Options::default() }).await
}

pub(crate) fn get_stream(key: &Key) -> Call {
    Call::get("/api/mcp-app").header("Accept", "text/event-stream").bearer(&key.text)
}

/// Opens a stream: the client's end, and the upstream's.
async fn opened(daemon: &Daemon, upstream: &mut Scripted, call: &Call) -> (Coming, Events) {
    let (coming, events) = join!(open(daemon.data(), call), async {
        upstream.next().await.reply_events(&[("cache-control", "no-cache")])
    });
    assert_eq!(coming.status, 200, "{:?}", coming.headers);
    assert_eq!(coming.header("content-type"), Some("text/event-stream"));
    (coming, events)
}

fn list(names: &[&str]) -> String {
    let tools: Vec<_> = names.iter().map(|name| json!({"name": name, "x-kept": {"deep": [1.5]}})).collect();
    json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "nextCursor": "page2"}}).to_string()
}

fn event(data: &str) -> String {
    format!("event: message\nid: e1\ndata: {data}\n\n")
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// The data of the event that comes next.
async fn data(coming: &mut Coming) -> Value {
    let event = coming.until("\n\n").await;
    let line =
        event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{event}"));
    serde_json::from_str(line).unwrap()
}

#[tokio::test]
async fn r12_progress_is_with_the_client_before_the_call_ends() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let (mut coming, events) = opened(&daemon, &mut upstream, &call_tool(&key, "posts_list")).await;
    for number in 0..20 {
        let note =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number}});
        let sent = format!(": c\nretry: 10\nevent: message\nid: {number}\ndata: {note}\n\n");
        events.send(&sent).await;
        assert_eq!(coming.until("\n\n").await, sent, "as it was, and before the next");
    }
    let wide: serde_json::Map<_, _> = (0..200).map(|number| (format!("m{number}"), json!(1.50))).collect();
    let last = format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": wide}));
    events.send(&last).await;
    drop(events);
    assert_eq!(coming.end().await, (last, End::Whole));
    daemon.finish().await;
}

#[tokio::test]
async fn r12_a_client_that_leaves_ends_the_request_at_the_upstream() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for call in [call_tool(&key, "posts_list"), list_tools(&key), get_stream(&key)] {
        let (mut coming, events) = opened(&daemon, &mut upstream, &call).await;
        events.send(&event("{}")).await;
        coming.until("\n\n").await;
        drop(coming);
        events.are_unwanted().await;
    }
    daemon.finish().await;
}

#[tokio::test]
async fn r12_what_an_upstream_answers_passes_within_bounds() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32050,"message":"theirs","data":[1.0]}}"#;
    for (status, call) in
        [(200, list_tools(&key)), (400, list_tools(&key)), (500, call_tool(&key, "posts_list"))]
    {
        let (answer, _) = upstream.answering(&daemon, &call, status, &[("x-theirs", "kept")], error).await;
        assert_eq!((answer.status, &*answer.text()), (status, error));
        assert_eq!(answer.header("x-theirs"), Some("kept"));
    }
    // A list that is too large to be looked at, in a form that nobody can look at, or of two readings.
    let huge = list(&["posts_list"]).replace("page2", &"x".repeat(9 << 20));
    let doubled = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"secret"}]}}"#;
    let encoded = [("content-encoding", "gzip")];
    for (headers, body) in [(&[][..], &*huge), (&[], doubled), (&[], "[1"), (&encoded, &*list(&["secret"]))] {
        let (answer, _) = upstream.answering(&daemon, &list_tools(&key), 200, headers, body).await;
        assert_eq!((answer.status, answer.rpc_error().0, &answer.json()["id"]), (502, -32603, &json!(1)));
    }
    let (answer, came) =
        upstream.answering(&daemon, &list_tools(&key), 200, &[], &list(&["posts_list", "secret"])).await;
    assert_eq!(names(&answer.json()), ["posts_list"]);
    assert_eq!(came.header("accept-encoding"), None);
    daemon.finish().await;
}

#[tokio::test]
async fn lists_are_filtered_in_every_stream_and_on_every_page() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let reader = daemon.key_for(&workspace, &["posts:read"]).await;
    let page = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "page2"}});
    let resumed = get_stream(&reader).header("Last-Event-ID", "e0");
    let all = ["posts_list", "posts_delete", "unmapped", "posts_get"];
    for call in [list_tools(&reader), Call::rpc(&page).bearer(&reader.text), get_stream(&reader), resumed] {
        let (mut coming, events) = opened(&daemon, &mut upstream, &call).await;
        let note = event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        events.send(&note).await;
        assert_eq!(coming.until("\n\n").await, note);
        // In two pieces: nothing of it is shown before it is whole.
        let list = event(&list(&all));
        let (head, tail) = list.split_at(60);
        events.send(head).await;
        events.send(tail).await;
        let shown = coming.until("\n\n").await;
        assert!(shown.starts_with("event: message\nid: e1\ndata: {") && shown.ends_with("}\n\n"), "{shown}");
        let shown: Value =
            serde_json::from_str(shown.lines().nth(2).unwrap().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(names(&shown), ["posts_list", "posts_get"]);
        assert_eq!(shown["result"]["tools"][0]["x-kept"], json!({"deep": [1.5]}));
        assert_eq!(shown["result"]["nextCursor"], "page2");
        assert!(shown["result"].get("cacheScope").is_none(), "older clients know no cache scope");
        // One that can be read two ways ends the stream.
        events.send("data: {\"result\":{\"tools\":[],\"tools\":[{\"name\":\"secret\"}]}}\n\n").await;
        assert_eq!(coming.end().await, (String::new(), End::CutOff));
        events.are_unwanted().await;
    }
    // Listed is callable, for the same key.
    let refused = daemon.call(&call_tool(&reader, "posts_delete")).await;
    assert_eq!((refused.status, refused.rpc_error().0), (403, -32003));
    assert!(upstream.is_untouched());
    daemon.finish().await;
}

/// Servers send an answer where they last saw its id: two messages of one id, and the list comes as the other's answer.
#[tokio::test]
async fn a_list_that_comes_as_the_answer_to_something_else_is_filtered_too() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let reader = daemon.key_for(&workspace, &["posts:read"]).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let (call, keyless) = (call_tool(&reader, "posts_list"), Call::rpc(&ping));
    let all = list(&["posts_list", "posts_delete", "unmapped"]);
    for (call, expected) in [(&call, &["posts_list"][..]), (&keyless, &[])] {
        let (mut coming, events) = opened(&daemon, &mut upstream, call).await;
        events.send(&event(&all)).await;
        assert_eq!(names(&data(&mut coming).await), expected);
        drop((events, coming));
    }
    let started = [("mcp-session-id", "session-1")];
    upstream.answering(&daemon, &list_tools(&reader), 200, &started, &all).await;
    let call = call.header("Mcp-Session-Id", "session-1");
    for (status, call) in [(200, &call), (400, &call), (500, &list_tools(&reader))] {
        let (answer, _) = upstream.answering(&daemon, call, status, &[], &all).await;
        assert_eq!((answer.status, names(&answer.json())), (status, vec!["posts_list"]));
    }
    // What is no list is as it was.
    let large = json!({"jsonrpc": "2.0", "id": 1, "result": {"x": "y".repeat(9 << 20)}}).to_string();
    for body in
        ["null", "\"no\"", r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"tools":[1.50]}]}}"#, &large]
    {
        let (answer, _) = upstream.answering(&daemon, &call, 200, &[], body).await;
        assert_eq!((answer.status, answer.text() == body), (200, true));
    }
    let doubled = r#"{"result":{"tools":[],"tools":[{"name":"secret"}]}}"#;
    let (answer, _) = upstream.answering(&daemon, &call, 200, &[], doubled).await;
    assert_eq!(answer.status, 502);
    daemon.finish().await;
}

#[tokio::test]
async fn a_filtered_list_of_the_modern_protocol_is_the_callers_alone() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let call =
        list_tools(&key).header("MCP-Protocol-Version", "2026-07-28").header("Mcp-Method", "tools/list");
    let headers = [("etag", "\"1\""), ("x-theirs", "kept")];
    let (answer, came) = upstream.answering(&daemon, &call, 200, &headers, &list(&["posts_list"])).await;
    assert_eq!(answer.json()["result"]["cacheScope"], "private");
    assert_eq!((answer.header("etag"), answer.header("x-theirs")), (None, Some("kept")));
    let passed = ["mcp-protocol-version", "mcp-method"].map(|name| came.header(name).map(str::to_owned));
    assert_eq!(passed, ["2026-07-28", "tools/list"].map(|value| Some(value.to_owned())));
    let (mut coming, events) = opened(&daemon, &mut upstream, &call).await;
    events.send(&event(&list(&["posts_list", "secret"]))).await;
    let shown = data(&mut coming).await;
    assert_eq!((names(&shown), &shown["result"]["cacheScope"]), (vec!["posts_list"], &json!("private")));
    drop(coming);
    daemon.finish().await;
}

#[tokio::test]
async fn a_revoked_key_loses_its_streams_and_another_keeps_its_own() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    for call in [get_stream(&revoked), list_tools(&revoked), call_tool(&revoked, "posts_list")] {
        let (coming, events) = opened(&daemon, &mut upstream, &call).await;
        drop((coming, events));
    }
    let kept = &workspace.default_key;
    let (mut other, other_events) = opened(&daemon, &mut upstream, &get_stream(kept)).await;
    let mut streams = Vec::new();
    for call in [get_stream(&revoked), list_tools(&revoked), call_tool(&revoked, "posts_list")] {
        streams.push(opened(&daemon, &mut upstream, &call).await);
    }
    daemon.revoke(&revoked).await;
    for (coming, events) in &mut streams {
        let (rest, end) = timeout(SOON, coming.end()).await.expect("a revoked key's stream ends");
        assert_eq!((&*rest, end), ("", End::CutOff));
        events.are_unwanted().await;
    }
    assert_eq!(open(daemon.data(), &get_stream(&revoked)).await.status, 401);
    other_events.send(&event("{}")).await;
    other.until("\n\n").await;
    drop(other);
    daemon.finish().await;
}

#[tokio::test]
async fn r06_other_methods_and_types_open_nothing() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let accept = |accept: &str| Call::get("/api/mcp-app").header("Accept", accept);
    // The stream needs a key, whatever else is accepted and wherever it goes on.
    for call in [
        accept("text/event-stream"),
        accept("application/json, text/event-stream").header("Last-Event-ID", "e1"),
        Call::new("DELETE", "/api/mcp-app").header("Mcp-Session-Id", "s"),
        Call::new("OPTIONS", "/api/mcp-app"),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rpc_error().0), (401, -32001), "{answer:?}");
        assert_eq!(daemon.call(&call.bearer("sk_live_wrong")).await.status, 401);
    }
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE"] {
        let answer = daemon.call(&Call::new(method, "/api/mcp-app").bearer(&key.text)).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD, POST, DELETE")),
            "{method}"
        );
    }
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json-rpc"]
    {
        let call =
            Call::new("POST", "/api/mcp-app").header("Content-Type", kind).body("{}").bearer(&key.text);
        assert_eq!(daemon.call(&call).await.status, 415, "{kind}");
    }
    assert!(upstream.is_untouched());
    // Anything else that a GET accepts is the document, and part of no session.
    let document = accept("*/*").header("Mcp-Session-Id", "s").header("Last-Event-ID", "e1");
    for call in [document.clone(), document.clone().bearer(&key.text)] {
        let (answer, came) = upstream.answering(&daemon, &call, 200, &[], "{}").await;
        assert_eq!(answer.status, 200);
        assert_eq!((came.header("mcp-session-id"), came.header("last-event-id")), (None, None));
    }
    let (answer, stream) = join!(daemon.call(&document), async { upstream.next().await.reply_events(&[]) });
    assert_eq!(answer.status, 502, "a stream that was opened without a key");
    stream.are_unwanted().await;
    // With a key, the upstream says whether it has streams and sessions.
    for call in [get_stream(&key), Call::new("DELETE", "/api/mcp-app").bearer(&key.text)] {
        let (answer, came) = upstream.answering(&daemon, &call, 405, &[("allow", "POST")], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
        assert_eq!((&*came.method, &*came.target), (&*call.method, "/api/mcp-app"));
        assert_eq!(came.header("authorization"), None);
    }
    daemon.finish().await;
}
