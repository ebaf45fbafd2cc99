//! Sessions at the JSON-RPC door: an id is its key's alone, and to everyone else it is one that nobody has heard of.
//!
//! The upstream is written by the test and gives out the ids. Nothing of another's session reaches it.
//!
//! Never here: a session that lets somebody in.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key};
use crate::mcp_streams::{get_stream, in_front_of};
use crate::upstreams::scripted::Scripted;
use crate::wire::{Answer, Call};

const SESSION: &str = "Mcp-Session-Id";
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

fn message(method: &str) -> Call {
    Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "posts_list"}}))
}

fn initialized() -> Call {
    Call::rpc(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
}

/// Starts a session that the upstream calls `id`.
async fn begin(daemon: &Daemon, upstream: &mut Scripted, id: &str, key: Option<&Key>) {
    let call = message("initialize");
    let call = if let Some(key) = key { call.bearer(&key.text) } else { call };
    let (answer, _) = upstream.answering(daemon, &call, 200, &[("mcp-session-id", id)], RESULT).await;
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, Some(id)));
}

/// A call that reaches the upstream, which must see the session.
async fn passes(daemon: &Daemon, upstream: &mut Scripted, call: Call, id: &str) {
    let call = call.header(SESSION, id);
    let (answer, came) = upstream.answering(daemon, &call, 200, &[], RESULT).await;
    assert_eq!((answer.status, came.header("mcp-session-id")), (200, Some(id)), "{answer:?}");
}

/// A call of a session that is not the caller's.
async fn is_unknown(daemon: &Daemon, upstream: &mut Scripted, call: &Call, id: &str) -> Answer {
    let answer = daemon.call(&call.clone().header(SESSION, id)).await;
    assert_eq!(
        (answer.status, answer.rpc_error()),
        (404, (-32001, "Session not found".to_owned())),
        "{answer:?}"
    );
    assert!(upstream.is_untouched(), "it reached the upstream");
    answer
}

#[tokio::test]
async fn r10_a_session_is_the_keys_that_began_it_and_lets_nobody_in() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let (owner, other) = (&workspace.default_key, daemon.key_for(&workspace, &["*:*"]).await);
    begin(&daemon, &mut upstream, "session-1", Some(owner)).await;
    passes(&daemon, &mut upstream, message("tools/call").bearer(&owner.text), "session-1").await;
    passes(&daemon, &mut upstream, get_stream(owner), "session-1").await;
    for (call, id) in [
        (message("tools/call").bearer(&other.text), "session-1"),
        (message("ping").bearer(&other.text), "session-1"),
        (get_stream(&other), "session-1"),
        (Call::new("DELETE", "/api/mcp-app").bearer(&other.text), "session-1"),
        (message("tools/call").bearer(&owner.text), "session-2"),
        (message("ping"), "session-1"),
        (message("ping"), "session-2"),
    ] {
        let answer = is_unknown(&daemon, &mut upstream, &call, id).await;
        let has_message = call.method == "POST";
        assert_eq!(answer.json()["id"], if has_message { json!(1) } else { Value::Null });
    }
    // Knowing an id is no credential.
    for call in [message("tools/call"), message("tools/list"), message("tools/call").bearer("sk_live_wrong")]
    {
        let answer = daemon.call(&call.header(SESSION, "session-1")).await;
        assert_eq!((answer.status, answer.rpc_error().0), (401, -32001), "{answer:?}");
    }
    // That its upstream names it to somebody else makes it nobody else's.
    begin(&daemon, &mut upstream, "session-1", Some(&other)).await;
    is_unknown(&daemon, &mut upstream, &message("tools/call").bearer(&other.text), "session-1").await;
    passes(&daemon, &mut upstream, message("tools/call").bearer(&owner.text), "session-1").await;
    daemon.revoke(owner).await;
    assert_eq!(
        daemon.call(&message("ping").bearer(&owner.text).header(SESSION, "session-1")).await.status,
        401
    );
    is_unknown(&daemon, &mut upstream, &message("ping").bearer(&other.text), "session-1").await;
    daemon.finish().await;
}

#[tokio::test]
async fn r10_a_session_without_a_key_is_the_first_keys_or_ends_in_a_minute() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let workspace = daemon.workspace("enterprise").await;
    let (first, second) = (&workspace.default_key, daemon.key_for(&workspace, &["*:*"]).await);
    begin(&daemon, &mut upstream, "session-1", None).await;
    passes(&daemon, &mut upstream, initialized(), "session-1").await;
    passes(&daemon, &mut upstream, message("ping"), "session-1").await;
    passes(&daemon, &mut upstream, message("tools/call").bearer(&first.text), "session-1").await;
    is_unknown(&daemon, &mut upstream, &message("tools/call").bearer(&second.text), "session-1").await;
    is_unknown(&daemon, &mut upstream, &message("ping"), "session-1").await;
    begin(&daemon, &mut upstream, "session-2", None).await;
    daemon.advance_secs(59);
    passes(&daemon, &mut upstream, message("ping"), "session-2").await;
    daemon.advance_secs(1);
    is_unknown(&daemon, &mut upstream, &message("ping"), "session-2").await;
    is_unknown(&daemon, &mut upstream, &message("tools/call").bearer(&first.text), "session-2").await;
    passes(&daemon, &mut upstream, message("tools/call").bearer(&first.text), "session-1").await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_deleted_or_the_upstream_knows_it_no_more() {
    let mut upstream = Scripted::start().await;
    let mut daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let call = || message("tools/call").bearer(&key.text);
    let delete = Call::new("DELETE", "/api/mcp-app").bearer(&key.text).header(SESSION, "session-1");
    begin(&daemon, &mut upstream, "session-1", Some(&key)).await;
    for (status, lasts) in [(405, true), (500, true), (204, false)] {
        let (answer, came) = upstream.answering(&daemon, &delete, status, &[], "").await;
        assert_eq!((answer.status, &*came.method), (status, "DELETE"));
        if lasts {
            passes(&daemon, &mut upstream, call(), "session-1").await;
        }
    }
    is_unknown(&daemon, &mut upstream, &call(), "session-1").await;
    begin(&daemon, &mut upstream, "session-2", Some(&key)).await;
    let theirs = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"theirs"}}"#;
    let named = call().header(SESSION, "session-2");
    let (answer, _) = upstream.answering(&daemon, &named, 404, &[], theirs).await;
    assert_eq!((answer.status, &*answer.text()), (404, theirs), "as the upstream said it");
    is_unknown(&daemon, &mut upstream, &call(), "session-2").await;
    // A daemon that was started anew knows none: clients begin again.
    begin(&daemon, &mut upstream, "session-3", Some(&key)).await;
    passes(&daemon, &mut upstream, call(), "session-3").await;
    daemon.restart_after(|_| {}).await;
    is_unknown(&daemon, &mut upstream, &call(), "session-3").await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_session_is_named_once_and_in_plain_text() {
    let mut upstream = Scripted::start().await;
    let daemon = in_front_of(&upstream).await;
    let key = daemon.workspace("enterprise").await.default_key;
    begin(&daemon, &mut upstream, "session-1", Some(&key)).await;
    let long = "a".repeat(257);
    for ids in [&["session-1", "session-1"][..], &["session-1", "x"], &[""], &["a b"], &["é"], &[&long]] {
        for call in [message("tools/call").bearer(&key.text), message("ping"), get_stream(&key)] {
            let call = ids.iter().fold(call, |call, id| call.header(SESSION, id));
            let answer = daemon.call(&call).await;
            assert_eq!((answer.status, answer.rpc_error().0), (400, -32600), "{ids:?}: {answer:?}");
        }
    }
    assert!(upstream.is_untouched());
    passes(&daemon, &mut upstream, message("tools/call").bearer(&key.text), "session-1").await;
    daemon.finish().await;
}
