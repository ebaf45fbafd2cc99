//! Pages of other origins: what browsers are told when a profile names those origins, and that a preflight is
//! no way around anything.
//!
//! Never here: a browser. What one makes of these headers is the Fetch standard's.

use serde_json::json;

use crate::daemon::{Daemon, Options, list_posts};
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call};

const APP: &str = "https://app.example";

fn with_cors(table: &'static str, url: String) -> Options {
    let edits: &'static [(&str, &str)] = Box::leak(Box::new([("[rate]\nlimit = 600", table)]));
    Options { edits, ..Options::of("socialcrm", Some(url.leak())) }
}

fn listed(url: String) -> Options {
    with_cors("[cors]\norigins = [\"https://app.example\"]\nexpose = [\"X-Total\"]\n\n[rate]\nlimit = 5", url)
}

fn preflight(path: &str, origin: &str) -> Call {
    Call::new("OPTIONS", path).header("Origin", origin).header("Access-Control-Request-Method", "DELETE")
}

/// The headers that a browser reads, without the rest.
fn told(answer: &Answer) -> Vec<(String, String)> {
    let is_one = |name: &str| name.starts_with("access-control-") || name == "vary";
    let mut told: Vec<_> = answer.headers().iter().filter(|(name, _)| is_one(name)).cloned().collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_the_same_whatever_it_asks_about() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(listed(url)).await;
    let key = daemon.workspace("free").await.default_key;
    let first = daemon.call(&preflight("/v1/posts", APP)).await;
    assert_eq!((first.status, first.body.len()), (204, 0), "{first:?}");
    let expected = [
        ("access-control-allow-headers", "authorization, content-type, keyward-signature, x-api-key"),
        ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("access-control-allow-origin", APP),
        ("access-control-max-age", "600"),
        ("vary", "Origin"),
    ];
    assert_eq!(told(&first), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for call in [
        preflight("/v1/nope", APP),
        preflight("/v1/ai/rewrite", APP),
        preflight("/v1/posts", APP).bearer(&key.text),
        preflight("/v1/posts", APP).bearer("sk_live_nope"),
        preflight("/v1/posts", APP).header("Access-Control-Request-Headers", "authorization, x-any"),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, told(&answer)), (204, told(&first)), "{}", call.target);
        assert_eq!(answer.header("x-ratelimit-limit"), None);
    }
    assert_eq!(daemon.call(&preflight("/v1/%2e%2e/posts", APP)).await.status, 400);
    assert_eq!(recorded.lock().unwrap().len(), 0, "no OPTIONS goes on");
    assert_eq!(daemon.call(&list_posts(&key)).await.header("x-ratelimit-remaining"), Some("4"));
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn another_origin_is_told_nothing_and_what_is_no_preflight_is_any_other_method() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(listed(url)).await;
    let key = daemon.workspace("free").await.default_key;
    for origin in ["https://evil.example", "https://app.example.evil", "http://app.example", "null", ""] {
        let refused = daemon.call(&preflight("/v1/posts", origin)).await;
        let said = (refused.status, refused.rest_error().0);
        assert_eq!(said, (403, "invalid_request".to_owned()), "{origin:?}");
        assert_eq!(told(&refused), [("vary".to_owned(), "Origin".to_owned())], "{origin:?}");
    }
    let twice = preflight("/v1/posts", APP).header("Origin", APP);
    assert_eq!(daemon.call(&twice).await.status, 403);
    let bare = Call::new("OPTIONS", "/v1/posts");
    let without_method = bare.clone().header("Origin", APP);
    for call in [bare, without_method] {
        assert_eq!(daemon.call(&call).await.status, 401);
        let behind = daemon.call(&call.bearer(&key.text)).await;
        assert_eq!((behind.status, behind.header("allow")), (405, Some("GET, HEAD, POST")));
    }
    assert_eq!(recorded.lock().unwrap().len(), 0);
    // Who may call is the key's matter: an origin opens nothing and closes nothing.
    let foreign = list_posts(&key).header("Origin", "https://evil.example");
    let answer = daemon.call(&foreign).await;
    assert_eq!((answer.status, told(&answer).len()), (200, 1), "{answer:?}");
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_page_may_read_every_answer_refusals_too() {
    let (url, _, upstream) = recording().await;
    let daemon = Daemon::start_with(listed(url)).await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["posts:read", "ai:generate"]).await;
    let text = &*key.text;
    for (told_as, call, status) in [
        ("an answer", Call::get("/v1/posts").bearer(text), 200),
        ("no key", Call::get("/v1/posts"), 401),
        ("a wrong one", Call::get("/v1/posts").bearer("sk_live_nope"), 401),
        ("two", Call::get("/v1/posts").bearer(text).header("X-API-Key", text), 400),
        ("no right", Call::get("/v1/trending").bearer(text), 403),
        ("no plan", Call::post("/v1/ai/rewrite", &json!({})).bearer(text), 402),
        ("no route", Call::get("/v1/nope").bearer(text), 404),
        ("no method", Call::new("PUT", "/v1/posts").bearer(text), 405),
        ("too fast", Call::get("/v1/posts").bearer(text), 429),
        ("no path", Call::get("/v1/posts/%2e%2e").bearer(text), 400),
        ("no form", Call::get("/v1/posts").header("Expect", "x").bearer(text), 417),
    ] {
        let answer = daemon.call(&call.header("Origin", APP)).await;
        assert_eq!(answer.status, status, "{told_as}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{told_as}");
        let shown = answer.header("access-control-expose-headers").unwrap();
        for name in ["retry-after", "x-ratelimit-remaining", "x-total"] {
            assert!(shown.split(", ").any(|listed| listed == name), "{told_as}: {shown}");
        }
        assert_eq!(answer.header("vary"), Some("Origin"), "{told_as}");
    }
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn without_the_table_no_page_is_told_anything() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(Options::of("socialcrm", Some(url.leak()))).await;
    let key = daemon.workspace("free").await.default_key;
    let asked = daemon.call(&preflight("/v1/posts", APP)).await;
    assert_eq!((asked.status, told(&asked)), (401, vec![]));
    let behind = daemon.call(&preflight("/v1/posts", APP).bearer(&key.text)).await;
    assert_eq!(
        (behind.status, behind.header("allow"), told(&behind)),
        (405, Some("GET, HEAD, POST"), vec![])
    );
    let answer = daemon.call(&list_posts(&key).header("Origin", APP)).await;
    assert_eq!((answer.status, told(&answer)), (200, vec![]));
    assert_eq!(recorded.lock().unwrap().len(), 1);
    daemon.finish().await;
    upstream.abort();
}
