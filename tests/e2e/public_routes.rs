//! Routes that a profile opens to callers without a key: a signed upload is the shipped one.
//!
//! A key that is sent to one of them is checked all the same, and nothing sent there without a key is more
//! than the route takes.
//!
//! Never here: what the sandbox makes of an upload.

use serde_json::json;

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::recording;
use crate::wire::Call;

const UPLOAD: &str = "/v1/media/med_1/content?token=t";

/// The shipped upload with a rate of its own.
fn paced(url: String) -> Options {
    Options {
        edits: &[("max_body = \"50MiB\"", "max_body = 100\nrate = { limit = 3, window_s = 60 }")],
        ..Options::of("socialcrm", Some(url.leak()))
    }
}

fn put(body: &str) -> Call {
    Call::new("PUT", UPLOAD).body(body)
}

#[tokio::test]
async fn a_public_route_is_reached_without_a_key_and_carries_no_identity() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(Options::of("socialcrm", Some(url.leak()))).await;
    let answer = daemon.call(&put("bytes").header("X-Keyward-Workspace", "ws_1")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{answer:?}");
    let seen = recorded.lock().unwrap().join("");
    assert!(seen.starts_with("PUT /v1/media/med_1/content?token=t HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("bytes") || seen.contains("\r\n5\r\nbytes"), "{seen}");
    assert!(!seen.to_lowercase().contains("x-keyward-workspace"), "{seen}");
    // Every other path and method still asks for a key first.
    for call in [
        Call::get(UPLOAD),
        Call::new("PUT", "/v1/media/med_1/confirm"),
        Call::new("PUT", "/v1/media/med_1/content/x"),
        Call::new("PUT", "/v1/nope"),
        Call::new("OPTIONS", UPLOAD),
    ] {
        assert_eq!(daemon.call(&call).await.status, 401, "{} {}", call.method, call.target);
    }
    assert_eq!(daemon.call(&Call::new("PUT", "/v1/media/a%2fb/content")).await.status, 400);
    assert_eq!(recorded.lock().unwrap().len(), 1);
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a14_without_a_key_an_unknown_route_looks_like_a_known_one_and_only_a_public_one_answers() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(Options::of("socialcrm", Some(url.leak()))).await;
    let known = daemon.call(&Call::get("/v1/posts")).await;
    assert_eq!((known.status, known.rest_error().0.as_str()), (401, "unauthorized"));
    for path in ["/v1/nope", "/nope", "/", "/v1", "/v1/posts/", "/v1/media/m/content"] {
        let unknown = daemon.call(&Call::get(path)).await;
        assert_eq!((unknown.status, &unknown.body), (401, &known.body), "{path}");
    }
    assert_eq!(recorded.lock().unwrap().len(), 0);
    for open in [put("x"), Call::get("/mcp.json"), Call::get("/api/mcp-app")] {
        assert_eq!(daemon.call(&open).await.status, 200, "{}", open.target);
    }
    assert_eq!(recorded.lock().unwrap().len(), 3);
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_key_that_is_sent_to_a_public_route_must_be_good_and_then_speaks_for_itself() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(Options::of("socialcrm", Some(url.leak()))).await;
    let workspace = daemon.workspace("free").await;
    let none = daemon.key_for(&workspace, &[]).await;
    let revoked = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    for call in [
        put("x").bearer(&revoked.text),
        put("x").bearer("sk_live_nope"),
        put("x").header("X-API-Key", "nope"),
        put("x").header("Authorization", "Basic eDp5"),
        put("x").header("Authorization", ""),
        put("x").header("Keyward-Signature", "v1,t=1,s=00"),
    ] {
        assert_eq!(daemon.call(&call).await.status, 401);
    }
    let twice = put("x").bearer(&none.text).header("X-API-Key", &*none.text);
    assert_eq!(daemon.call(&twice).await.status, 400);
    assert_eq!(recorded.lock().unwrap().len(), 0);
    // One that holds nothing may do what anybody may.
    assert_eq!(daemon.call(&put("x").bearer(&none.text)).await.status, 200);
    let seen = recorded.lock().unwrap().join("");
    assert!(seen.contains(&format!("x-keyward-workspace: {}\r\n", workspace.id)), "{seen}");
    assert!(!seen.contains(&*none.text));
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_public_route_takes_no_more_than_its_bound_announced_or_not() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(paced(url)).await;
    assert_eq!(daemon.call(&put(&"x".repeat(100))).await.status, 200);
    let announced = daemon.call(&put(&"x".repeat(101))).await;
    assert_eq!(announced.status, 413);
    assert!(announced.rest_error().1.contains("100 bytes"), "{announced:?}");
    let chunked = Call::new("PUT", UPLOAD)
        .header("Transfer-Encoding", "chunked")
        .body(format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(101)));
    assert_eq!(daemon.call(&chunked).await.status, 413);
    let whole: Vec<_> = recorded.lock().unwrap().iter().filter(|seen| seen.ends_with('x')).cloned().collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_public_route_has_a_rate_for_each_address_and_each_key_of_its_own() {
    let (url, _, upstream) = recording().await;
    let daemon = Daemon::start_with(paced(url)).await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key(&workspace, json!({"permissions": []})).await;
    for status in [200, 200, 200, 429] {
        let answer = daemon.call(&put("x")).await;
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (status, status == 429));
    }
    for status in [200, 200, 200, 429] {
        assert_eq!(daemon.call(&put("x").bearer(&key.text)).await.status, status);
    }
    daemon.advance_secs(20);
    assert_eq!([daemon.call(&put("x")).await.status, daemon.call(&put("x")).await.status], [200, 429]);
    daemon.finish().await;
    upstream.abort();
}
