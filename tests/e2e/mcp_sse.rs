//! MCP's older transport (HTTP+SSE) at the gate: the address that is told, who may post to it, what comes on the
//! stream, and when that ends.
//!
//! Never here: the newer transport, but as the way that refusals are compared with.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::header;
use crate::upstreams::sse::{Older, Stream, post};
use crate::wire::Call;

fn call(id: &Value, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

fn ping(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
}

#[tokio::test]
async fn a_stream_tells_an_address_of_ours_and_what_is_posted_there_reaches_the_one_that_was_named() {
    for (named, reached) in [
        ("/messages/?session_id=up-1", "/messages/?session_id=up-1"),
        ("message?sessionId=up-1", "/message?sessionId=up-1"),
        ("{url}/m?s=up-1", "/m?s=up-1"),
    ] {
        let far = Older::naming(named).await;
        let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
        let key = daemon.workspace("enterprise").await.default_key;
        let (mut stream, address) = Stream::open(daemon.data(), &key.text).await;
        let session = address.strip_prefix("/sse?session=").unwrap();
        assert!(session.len() == 32 && !address.contains("up-1"), "the upstream's own address is told");
        assert!(stream.head.contains("content-type: text/event-stream\r\n"), "{}", stream.head);
        let message = call(&json!("c-1"), "contacts_list");
        let answer = post(&daemon, &key, &address, &message).await;
        assert_eq!((answer.status, answer.text().as_str()), (202, ""), "{named}: {answer:?}");
        let posted = far.posted.lock().unwrap().pop().unwrap();
        assert!(posted.starts_with(&format!("POST {reached} HTTP/1.1\r\n")), "{named}: {posted}");
        assert!(posted.ends_with(&message.to_string()));
        assert!(header(&posted, "x-keyward-key-id").is_some() && header(&posted, "authorization").is_none());
        assert!(!posted.contains(session), "the session is for the gate alone");
        // Whatever an answer says beside lists goes on as it came, and so do requests of the server's own.
        let result = json!({"jsonrpc": "2.0", "id": "c-1", "result": {"content": [], "x": 1.5}});
        far.say_message(&result);
        assert_eq!(stream.message().await, result);
        far.say("event: message\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":7,\"method\":\"ping\"}\n\n");
        assert_eq!(stream.message().await["method"], "ping");
        far.say(": still here\n\nevent: note\ndata: not json\n\n");
        assert_eq!(stream.next().await.unwrap(), ("note".to_owned(), "not json".to_owned()));
        drop(stream);
        far.until_left().await;
        daemon.finish().await;
        far.stop();
    }
}

#[tokio::test]
async fn r10_a_session_is_its_keys_alone_and_ends_with_its_stream() {
    let far = Older::naming("/messages").await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let other = daemon.key_for(&workspace, &["*:*"]).await;
    let stranger = daemon.workspace("enterprise").await.default_key;
    let (stream, address) = Stream::open(daemon.data(), &key.text).await;
    let guessed = format!("/sse?session={}", "0".repeat(32));
    for (told, key, address) in [
        ("another key of the workspace", &other, &*address),
        ("another workspace's", &stranger, &address),
        ("guessed", key, &guessed),
        ("in capitals", key, &address.to_uppercase().replace("/SSE?SESSION", "/sse?session")),
        ("another parameter", key, &address.replace("session", "session_id")),
        ("one more parameter", key, &format!("{address}&a=b")),
        ("none", key, "/sse?session="),
    ] {
        let answer = post(&daemon, key, address, &ping(1)).await;
        assert_eq!((answer.status, answer.rpc_error().0), (404, -32601), "{told}: {answer:?}");
    }
    let without = daemon.call(&Call::post(&address, &ping(1))).await;
    assert_eq!((without.status, without.rpc_error().0), (401, -32001), "{without:?}");
    let wrong = daemon.call(&Call::post(&address, &ping(1)).bearer("mcp_live_nope")).await;
    assert_eq!(wrong.status, 401);
    assert!(far.posted.lock().unwrap().is_empty(), "the upstream saw what was refused");
    assert_eq!(post(&daemon, key, &address, &ping(1)).await.status, 202);
    assert_eq!(far.posted.lock().unwrap().len(), 1);
    drop(stream);
    far.until_left().await;
    let gone = async {
        while post(&daemon, &other, &address, &ping(1)).await.status != 404 {}
        while post(&daemon, key, &address, &ping(1)).await.status != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::wire::PATIENCE, gone).await.expect("the session ends");
    daemon.finish().await;
    far.stop();
}

#[tokio::test]
async fn a_stream_needs_a_key_and_other_requests_at_its_path_are_refused() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let key = daemon.workspace("enterprise").await.default_key;
    for call in [Call::get("/sse"), Call::get("/sse").bearer("mcp_live_nope"), Call::post("/sse", &ping(1))] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rpc_error().0), (401, -32001), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"keyward\""));
    }
    // How clients find out which transport there is.
    for method in ["POST", "DELETE", "PUT"] {
        let probe = Call::new(method, "/sse").bearer(&key.text).json(&ping(1));
        let answer = daemon.call(&probe).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}: {answer:?}");
    }
    for call in [Call::get("/sse?session=a"), Call::get("/sse?a=b"), Call::get("/sse/messages?session_id=a")]
    {
        let answer = daemon.call(&call.bearer(&key.text)).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    let head = daemon.call(&Call::new("HEAD", "/sse").bearer(&key.text)).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let foreign =
        daemon.call(&Call::get("/sse").bearer(&key.text).header("Origin", "https://else.example")).await;
    assert_eq!(foreign.status, 403);
    drop(Stream::open(daemon.data(), &key.text).await);
    daemon.finish().await;
}

#[tokio::test]
async fn r03_lists_on_a_stream_show_what_its_key_may_call_at_that_moment() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["contacts.emails:read"]).await;
    let (mut stream, address) = Stream::open(daemon.data(), &key.text).await;
    let list = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
    let mut listed = Vec::new();
    for (id, held) in [(1, "contacts.emails:read"), (2, "resources:read")] {
        daemon.patch_key(&key, json!({"permissions": [held]})).await;
        assert_eq!(post(&daemon, &key, &address, &list(id)).await.status, 202);
        let answer = stream.message().await;
        assert_eq!(answer["id"], id);
        let tools = answer["result"]["tools"].as_array().unwrap();
        let mut names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        listed.push(names);
    }
    assert_eq!(listed[0], ["contacts_emails_get", "contacts_emails_list", "contacts_emails_search"]);
    assert_eq!(listed[1], ["resources_get", "resources_list"]);
    drop(stream);
    daemon.finish().await;
}

#[tokio::test]
async fn an_answer_that_could_be_read_two_ways_breaks_the_stream_off() {
    let daemon_of = async |far: &Older| Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
    for said in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"contacts_list"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"Tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}"#,
        "{no json",
    ] {
        let far = Older::naming("/messages").await;
        let daemon = daemon_of(&far).await;
        let key = daemon.workspace("enterprise").await.default_key;
        let (mut stream, _) = Stream::open(daemon.data(), &key.text).await;
        far.say_message(
            &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}),
        );
        assert_eq!(stream.message().await["params"]["level"], "info", "the control");
        far.say(&format!("event: message\ndata: {said}\n\n"));
        assert_eq!(stream.next().await, None, "{said}");
        assert!(stream.ends_cut().await);
        far.until_left().await;
        daemon.finish().await;
        far.stop();
    }
}

#[tokio::test]
async fn r11_a_refused_message_is_told_on_the_stream_with_its_id() {
    let far = Older::naming("/messages").await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["contacts:read"]).await;
    let (mut stream, address) = Stream::open(daemon.data(), &key.text).await;
    let two_tools =
        r#"{"jsonrpc":"2.0","id":"d","method":"tools/call","params":{"name":"contacts_list","name":"b"}}"#;
    for (told, body, id, code) in [
        ("permission", call(&json!("c"), "contacts_delete").to_string(), json!("c"), -32003),
        ("not mapped", call(&json!(4), "no_such").to_string(), json!(4), -32003),
        (
            "unknown method",
            json!({"jsonrpc": "2.0", "id": 5, "method": "no/such"}).to_string(),
            json!(5),
            -32601,
        ),
        ("doubled member", two_tools.to_owned(), json!("d"), -32600),
        (
            "params",
            r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":[]}"#.to_owned(),
            json!(6),
            -32602,
        ),
    ] {
        let posting =
            Call::new("POST", &address).bearer(&key.text).header("Content-Type", "application/json");
        let answer = daemon.call(&posting.body(body)).await;
        assert_eq!((answer.status, answer.text().as_str()), (202, ""), "{told}: {answer:?}");
        let event = stream.message().await;
        assert_eq!((&event["id"], &event["error"]["code"]), (&id, &json!(code)), "{told}: {event}");
    }
    // What has no id cannot be told there.
    for (told, body, status) in [
        ("no json", "{", 400),
        ("a batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400),
        ("an unknown notification", r#"{"jsonrpc":"2.0","method":"no/such"}"#, 404),
    ] {
        let posting =
            Call::new("POST", &address).bearer(&key.text).header("Content-Type", "application/json");
        let answer = daemon.call(&posting.body(body)).await;
        assert_eq!(answer.status, status, "{told}: {answer:?}");
    }
    let text = Call::new("POST", &address).bearer(&key.text).header("Content-Type", "text/plain").body("x");
    assert_eq!(daemon.call(&text).await.status, 415);
    assert!(far.posted.lock().unwrap().is_empty(), "the upstream saw what was refused");
    assert_eq!(post(&daemon, &key, &address, &call(&json!(9), "contacts_list")).await.status, 202);
    assert_eq!(far.posted.lock().unwrap().len(), 1);
    daemon.finish().await;
    assert_eq!(stream.next().await, None, "a stop ends streams");
    far.stop();
}

#[tokio::test]
async fn a_rate_is_told_on_the_stream_and_recovers_and_so_is_a_month_that_is_used_up() {
    let far = Older::naming("/messages").await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
    let workspace = daemon.workspace("free").await;
    let fields = json!({"permissions": ["*:*"], "rate": {"limit": 3, "window_s": 60}});
    let key = daemon.key(&workspace, fields).await;
    // The stream takes a token as well.
    let (mut stream, address) = Stream::open(daemon.data(), &key.text).await;
    for id in 1..=2 {
        assert_eq!(post(&daemon, &key, &address, &ping(id)).await.status, 202);
    }
    assert_eq!(far.posted.lock().unwrap().len(), 2);
    assert_eq!(post(&daemon, &key, &address, &ping(3)).await.status, 202);
    let refused = stream.message().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(3), &json!(-32004)), "{refused}");
    let wait = refused["error"]["data"]["retryAfter"].as_u64().unwrap();
    assert_eq!((wait, far.posted.lock().unwrap().len()), (20, 2));
    daemon.advance_secs(wait);
    assert_eq!(post(&daemon, &key, &address, &ping(4)).await.status, 202);
    assert_eq!(far.posted.lock().unwrap().len(), 3);

    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"mcp_calls": 1}}})).await;
    daemon.patch_key(&key, json!({"rate": {"limit": 1000, "window_s": 60}})).await;
    daemon.advance_secs(60);
    for id in 5..=6 {
        assert_eq!(post(&daemon, &key, &address, &call(&json!(id), "contacts_list")).await.status, 202);
    }
    let refused = stream.message().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(6), &json!(-32003)), "{refused}");
    assert!(refused["error"]["data"]["upgradeUrl"].is_string());
    assert_eq!(far.posted.lock().unwrap().len(), 4);
    drop(stream);
    daemon.finish().await;
    far.stop();
}

#[tokio::test]
async fn an_upstream_that_names_another_host_or_names_twice_has_its_stream_broken_off() {
    for named in [
        "http://else.example/m",
        "//else.example/m",
        "{url}@else.example/m",
        "https://127.0.0.1/m",
        "/a/../m",
        "/m#a",
    ] {
        let far = Older::naming(named).await;
        let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
        let key = daemon.workspace("enterprise").await.default_key;
        let mut stream = Stream::ask(daemon.data(), &Call::get("/sse").bearer(&key.text)).await;
        assert_eq!(stream.next().await, None, "{named}");
        assert!(stream.ends_cut().await, "{named}");
        far.until_left().await;
        daemon.finish().await;
        far.stop();
    }
    let far = Older::naming("/messages").await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let (mut stream, address) = Stream::open(daemon.data(), &key.text).await;
    assert_eq!(post(&daemon, &key, &address, &ping(1)).await.status, 202, "the control");
    far.say("event: endpoint\ndata: /others\n\n");
    assert_eq!(stream.next().await, None);
    daemon.finish().await;
    far.stop();
}

#[tokio::test]
async fn b06_a_stream_of_the_older_transport_ends_with_its_key_and_with_nobody_elses() {
    let far = Older::naming("/messages").await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(far.url))).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let (mut ended, address) = Stream::open(daemon.data(), &key.text).await;
    let (mut other, other_address) = Stream::open(daemon.data(), &workspace.default_key.text).await;
    daemon.revoke(&key).await;
    assert_eq!(ended.next().await, None);
    assert!(ended.ends_cut().await);
    assert_eq!(post(&daemon, &key, &address, &ping(1)).await.status, 401);
    let refused = post(&daemon, &workspace.default_key, &address, &ping(1)).await;
    assert_eq!(refused.status, 404, "nobody inherits it");
    assert_eq!(post(&daemon, &workspace.default_key, &other_address, &ping(1)).await.status, 202);
    far.say_message(&ping(8));
    assert_eq!(other.message().await["id"], 8);
    drop(other);
    daemon.finish().await;
    far.stop();
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_told_so_where_it_posts() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let fields = json!({"permissions": [], "rate": {"limit": 1_000_000, "window_s": 60}});
    let key = daemon.key(&workspace, fields).await;
    let (stream, address) = Stream::open(daemon.data(), &key.text).await;
    let message = |length| json!({"jsonrpc": "2.0", "id": "x".repeat(length), "method": "no/such"});
    let mut connection = daemon.connect().await;
    // What is too large to wait in a stream is told where it was posted.
    let answer = connection.call(&Call::post(&address, &message(9_000)).bearer(&key.text)).await;
    assert_eq!(answer.rpc_error().0, -32601, "{}", answer.status);
    let message = message(7_500);
    let call = Call::post(&address, &message).bearer(&key.text);
    let mut taken = 0;
    let refused = loop {
        let answer = connection.call(&call).await;
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 5_000, "what waits has no bound");
    };
    assert_eq!((refused.status, refused.rpc_error().0), (503, -32603));
    assert!(refused.header("retry-after").is_some());
    drop(stream);
    daemon.finish().await;
}

#[tokio::test]
async fn what_is_no_stream_is_passed_on_as_a_refusal_or_called_broken() {
    let far = Older::naming("/messages").await;
    let profile = edits("sse = \"/sse\"", "sse = \"/older\"");
    let options = Options { edits: profile, ..Options::of("shingleai", Some(far.url)) };
    let daemon = Daemon::start_with(options).await;
    let key = daemon.workspace("enterprise").await.default_key;
    // This upstream answers 202 and a text there.
    let answer = daemon.call(&Call::get("/older").bearer(&key.text)).await;
    assert_eq!((answer.status, answer.rpc_error().0), (502, -32603), "{answer:?}");
    assert_eq!(daemon.call(&Call::get("/sse").bearer(&key.text)).await.status, 404);
    daemon.finish().await;
    far.stop();
}

/// One edit of a profile.
fn edits(old: &'static str, new: &'static str) -> &'static [(&'static str, &'static str)] {
    Box::leak(Box::new([(old, new)]))
}
