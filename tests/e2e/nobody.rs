//! An upstream that is nobody: the answer is the decision, for a gateway that asks and forwards by itself.
//!
//! What passes is told for whom, and spends; what does not is refused as at any gate, and no word of identity stands beside
//! it. Nothing that the gate would have to ask an upstream for is let through.
//!
//! Never here: an upstream.

use serde_json::json;

use crate::daemon::{Daemon, Options, call_tool, list_posts, list_tools};
use crate::wire::{Answer, Call};

const NOBODY: Option<&str> = Some("none");

/// The headers that speak of a caller, in order.
fn identity(answer: &Answer) -> Vec<(&str, &str)> {
    let names = ["x-keyward-key-id", "x-keyward-workspace", "x-keyward-plan", "x-keyward-scopes"];
    names.iter().filter_map(|name| Some((*name, answer.header(name)?))).collect()
}

#[tokio::test]
async fn what_passes_is_answered_with_who_asks_and_where_its_rates_stand() {
    let daemon = Daemon::start_with(Options::of("socialcrm", NOBODY)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    // What a caller says of itself is not told back.
    let call = list_posts(&key).header("X-Keyward-Plan", "spoofed").header("X-Keyward-Assertion", "a.b.c");
    let answer = daemon.call(&call).await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""), "{answer:?}");
    assert_eq!(
        identity(&answer),
        [
            ("x-keyward-key-id", &*key.id),
            ("x-keyward-workspace", &workspace.id),
            ("x-keyward-plan", "enterprise"),
            ("x-keyward-scopes", "posts:read"),
        ]
    );
    assert!(answer.header("x-keyward-request-id").is_some_and(|id| id.starts_with("req_")));
    assert_eq!(answer.header("x-keyward-assertion"), None, "nobody asked for one");
    let left =
        |answer: &Answer| answer.header("x-ratelimit-remaining").map(|left| left.parse::<u64>().unwrap());
    let again = daemon.call(&call).await;
    assert_eq!(left(&again), left(&answer).map(|left| left - 1), "it spends like any request");
    assert_ne!(again.header("x-keyward-request-id"), answer.header("x-keyward-request-id"));
    daemon.finish().await;
}

#[tokio::test]
async fn what_is_refused_is_refused_as_at_any_gate_and_says_nothing_of_a_caller() {
    let daemon = Daemon::start_with(Options::of("socialcrm", NOBODY)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let refused = [
        (Call::get("/v1/posts"), 401),
        (Call::get("/v1/posts").bearer("sk_live_777777777777777777777777777777Eh"), 401),
        (list_posts(&key).header("X-API-Key", &*key.text), 400),
        (Call::post("/v1/posts", &json!({"body": "x"})).bearer(&key.text), 403),
        (Call::get("/v1/nope").bearer(&key.text), 404),
        (Call::get("/v1/posts/../x").bearer(&key.text), 400),
    ];
    for (call, status) in refused {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, status, "{} {}", call.method, call.target);
        assert_eq!(identity(&answer), [], "{} {}", call.method, call.target);
        assert_eq!(answer.header("x-keyward-request-id"), None);
    }
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 204);
    daemon.revoke(&key).await;
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 401, "the very next one");
    daemon.finish().await;
}

#[tokio::test]
async fn a_body_that_is_announced_is_dropped_and_the_connection_goes_on_or_is_closed() {
    let daemon = Daemon::start_with(Options::of("socialcrm", NOBODY)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let mut connection = daemon.connect().await;
    let small = Call::post("/v1/posts", &json!({"body": "GET /v1/nope HTTP/1.1"})).bearer(&key.text);
    for _ in 0..2 {
        assert_eq!(connection.call(&small).await.status, 204);
    }
    let large = Call::post("/v1/posts", &json!({"body": "x".repeat(100_000)})).bearer(&key.text);
    let answer = connection.call(&large).await;
    assert_eq!((answer.status, answer.header("connection")), (204, Some("close")));
    assert!(connection.is_closed().await);
    daemon.finish().await;
}

#[tokio::test]
async fn an_assertion_is_told_where_it_is_asked_for() {
    // The setting stands behind the upstream's.
    let asserting = Some("none\"\nassertion = true #");
    let daemon = Daemon::start_with(Options::of("socialcrm", asserting)).await;
    let workspace = daemon.workspace("enterprise").await;
    let answer = daemon.call(&list_posts(&workspace.default_key)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("x-keyward-assertion").unwrap().split('.').count(), 3);
    daemon.finish().await;
}

#[tokio::test]
async fn a_message_is_decided_on_and_a_session_is_the_forwarders_to_know() {
    let daemon = Daemon::start_with(Options::of("socialcrm", NOBODY)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let none = daemon.key_for(&workspace, &[]).await;
    for call in [
        list_tools(key),
        call_tool(key, "posts_list"),
        list_tools(key).header("Mcp-Session-Id", "elsewhere"),
        Call::get("/api/mcp-app").bearer(&key.text).header("Accept", "text/event-stream"),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, identity(&answer).len()), (204, 4), "{answer:?}");
    }
    let refused = daemon.call(&call_tool(&none, "posts_list")).await;
    assert_eq!((refused.status, identity(&refused).len()), (403, 0), "{refused:?}");
    assert!(refused.json()["error"].is_object());
    // At a gate this one is a 200 with an error inside, which an asker would take for a pass.
    let slow =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 1, "window_s": 60}})).await;
    assert_eq!(daemon.call(&list_tools(&slow)).await.status, 204);
    let refused = daemon.call(&list_tools(&slow)).await;
    assert_eq!((refused.status, identity(&refused).len()), (403, 0), "{refused:?}");
    assert!(refused.json()["error"].is_object() && refused.header("retry-after").is_some());
    let two_ids = list_tools(key).header("Mcp-Session-Id", "a").header("Mcp-Session-Id", "b");
    assert_eq!(daemon.call(&two_ids).await.status, 400);
    daemon.finish().await;
}

#[tokio::test]
async fn a_public_route_passes_without_a_key_and_names_nobody() {
    let daemon = Daemon::start_with(Options::of("socialcrm", NOBODY)).await;
    let answer = daemon.call(&Call::new("PUT", "/v1/media/med_1/content?token=t").body("bytes")).await;
    assert_eq!((answer.status, identity(&answer).len()), (204, 0), "{answer:?}");
    assert_eq!(daemon.call(&Call::new("PUT", "/v1/media/med_1/confirm")).await.status, 401);
    daemon.finish().await;
}
