//! The table of SocialCRM's REST routes, held whole: who may call what, on which plan, and what every other
//! path and method gets.
//!
//! Never here: what the routes do; only whether they are reached.

use serde_json::json;

use crate::daemon::{Daemon, Key};
use crate::wire::{Answer, Call, Connection};

/// Every scope of page 002; the last three are paid.
pub(crate) const SCOPES: [&str; 6] =
    ["insights:read", "posts:read", "posts:write", "posts:publish", "ai:generate", "media:write"];
const PAID: [&str; 3] = ["posts:publish", "ai:generate", "media:write"];

/// A route, the scope that it asks for, and the status that the sandbox gives a caller who gets through, as
/// often as he likes. `{id}` is a post that exists, `{gone}` a post or an upload that does not.
struct Route(&'static str, &'static str, &'static str, u16);

const ROUTES: [Route; 20] = [
    Route("GET", "/v1/posts", "posts:read", 200),
    Route("POST", "/v1/posts", "posts:write", 201),
    Route("GET", "/v1/posts/{id}", "posts:read", 200),
    Route("PATCH", "/v1/posts/{id}", "posts:write", 200),
    Route("DELETE", "/v1/posts/{gone}", "posts:write", 404),
    Route("POST", "/v1/posts/{id}/schedule", "posts:publish", 200),
    Route("POST", "/v1/posts/{gone}/publish", "posts:publish", 404),
    Route("GET", "/v1/posts/{id}/analytics", "insights:read", 200),
    Route("POST", "/v1/ai/rewrite", "ai:generate", 200),
    Route("POST", "/v1/ai/compose", "ai:generate", 200),
    Route("POST", "/v1/ai/hashtags", "ai:generate", 200),
    Route("POST", "/v1/ai/thread", "ai:generate", 200),
    Route("POST", "/v1/ai/ideas", "ai:generate", 200),
    Route("POST", "/v1/ai/optimise", "ai:generate", 200),
    Route("GET", "/v1/accounts", "insights:read", 200),
    Route("GET", "/v1/accounts/analytics", "insights:read", 200),
    Route("GET", "/v1/persona", "insights:read", 200),
    Route("GET", "/v1/trending", "insights:read", 200),
    Route("POST", "/v1/media/upload-url", "media:write", 201),
    Route("POST", "/v1/media/{gone}/confirm", "media:write", 404),
];

const GONE: &str = "post_00000000000000000000000000000000";

impl Route {
    fn call(&self, key: &Key, post: &str) -> Call {
        let target = self.1.replace("{id}", post).replace("{gone}", GONE);
        let call = Call::new(self.0, &target).bearer(&key.text);
        let last = self.1.rsplit('/').next().unwrap_or_default();
        match (self.0, last) {
            (_, "schedule") => call.json(&json!({"scheduled_at": "2030-01-31T09:00:00Z"})),
            (_, "publish" | "confirm") => call,
            (_, "rewrite") => call.json(&json!({"text": "buy now", "tone": "friendly"})),
            (_, "compose") => call.json(&json!({"prompt": "launch day"})),
            (_, "hashtags" | "thread" | "optimise") => call.json(&json!({"text": "launch day"})),
            (_, "ideas") => call.json(&json!({"topic": "coffee"})),
            (_, "upload-url") => call.json(&json!({"filename": "a.png", "content_type": "image/png"})),
            ("POST" | "PATCH", _) => call.json(&json!({"body": "A post.", "account_ids": ["acct_1"]})),
            _ => call,
        }
    }
}

async fn a_post(daemon: &Daemon, key: &Key) -> String {
    let made = daemon.call(&ROUTES[1].call(key, "")).await;
    made.json()["id"].as_str().unwrap().to_owned()
}

fn check_missing_scope(answer: &Answer, scope: &str, route: &str) {
    let message = if scope == "posts:publish" {
        "This key cannot publish posts.".to_owned()
    } else {
        format!("This key lacks the scope {scope}.")
    };
    assert_eq!(
        (answer.status, answer.rest_error()),
        (403, ("forbidden_scope".to_owned(), message)),
        "{route}"
    );
}

#[tokio::test]
async fn each_route_opens_to_exactly_the_scope_of_the_table() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let post = a_post(&daemon, &workspace.default_key).await;
    let mut connection = daemon.connect().await;
    for subset in 0..1 << SCOPES.len() {
        let held: Vec<_> =
            (0..SCOPES.len()).filter(|bit| subset >> bit & 1 == 1).map(|bit| SCOPES[bit]).collect();
        let key = daemon.key_for(&workspace, &held).await;
        for route in &ROUTES {
            let answer = connection.call(&route.call(&key, &post)).await;
            let told = format!("{} {} with {held:?}", route.0, route.1);
            if held.contains(&route.2) {
                assert_eq!(answer.status, route.3, "{told}: {answer:?}");
            } else {
                check_missing_scope(&answer, route.2, &told);
            }
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_star_stands_for_any_resource_or_action_and_nothing_else_does() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let post = a_post(&daemon, &workspace.default_key).await;
    let covers: [(&str, &[&str]); 4] = [
        ("*:*", &SCOPES),
        ("posts:*", &["posts:read", "posts:write", "posts:publish"]),
        ("*:read", &["insights:read", "posts:read"]),
        ("*:write", &["posts:write", "media:write"]),
    ];
    for (held, covered) in covers {
        let key = daemon.key_for(&workspace, &[held]).await;
        let mut connection = daemon.connect().await;
        for route in &ROUTES {
            let answer = connection.call(&route.call(&key, &post)).await;
            let expected = if covered.contains(&route.2) { route.3 } else { 403 };
            assert_eq!(answer.status, expected, "{} {} with {held}", route.0, route.1);
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_paid_route_asks_for_the_scope_first_and_then_for_a_paid_plan() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let everything = &workspace.default_key;
    let none = daemon.key_for(&workspace, &[]).await;
    let post = a_post(&daemon, everything).await;
    let payment = ("payment_required".to_owned(), "This action needs a paid plan.".to_owned());
    for route in &ROUTES {
        let told = format!("{} {}", route.0, route.1);
        let answer = daemon.call(&route.call(everything, &post)).await;
        if PAID.contains(&route.2) {
            assert_eq!((answer.status, answer.rest_error()), (402, payment.clone()), "{told}");
        } else {
            assert_eq!(answer.status, route.3, "{told}: {answer:?}");
        }
        check_missing_scope(&daemon.call(&route.call(&none, &post)).await, route.2, &told);
    }
    daemon.patch_workspace(&workspace, json!({"plan": "pro"})).await;
    for route in ROUTES.iter().filter(|route| PAID.contains(&route.2)) {
        let answer = daemon.call(&route.call(everything, &post)).await;
        assert_eq!(answer.status, route.3, "{} {} on pro", route.0, route.1);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn every_other_method_of_a_known_path_is_405_with_the_methods_that_are_allowed() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon
        .key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 10_000, "window_s": 60}}))
        .await;
    let post = a_post(&daemon, &key).await;
    let methods =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "GeT", "get"];
    let mut connection = daemon.connect().await;
    for path in ROUTES
        .iter()
        .map(|route| route.1.replace("{gone}", "{id}"))
        .collect::<std::collections::BTreeSet<_>>()
    {
        let here: Vec<_> = ROUTES.iter().filter(|route| route.1.replace("{gone}", "{id}") == path).collect();
        for method in methods {
            let known = here.iter().any(|route| route.0 == method || (route.0 == "GET" && method == "HEAD"));
            if known {
                continue;
            }
            let call = Call::new(method, &path.replace("{id}", &post)).bearer(&key.text);
            let answer = connection.call(&call).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            let allow: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
            assert!(here.iter().all(|route| allow.contains(&route.0)), "{method} {path}: {allow:?}");
            assert!(!allow.contains(&method), "{method} {path}: {allow:?}");
            if method != "HEAD" {
                assert_eq!(answer.rest_error().0, "invalid_request", "{method} {path}");
            }
            if answer.header("connection") == Some("close") {
                connection = daemon.connect().await;
            }
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn head_is_a_get_without_a_body() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let post = a_post(&daemon, key).await;
    let reader = daemon.key_for(&workspace, &["posts:read"]).await;
    for (path, key, status) in [
        ("/v1/posts".to_owned(), key, 200),
        (format!("/v1/posts/{post}"), key, 200),
        (format!("/v1/posts/{GONE}"), key, 404),
        ("/v1/accounts".to_owned(), &reader, 403),
    ] {
        let mut connection = daemon.connect().await;
        let head = connection.call(&Call::new("HEAD", &path).bearer(&key.text)).await;
        assert_eq!((head.status, head.body.len()), (status, 0), "{path}");
        // Were a body sent after all, it would be read as the next answer's head.
        let get = connection.call(&Call::get(&path).bearer(&key.text)).await;
        assert_eq!(get.status, status, "{path}");
        assert!(!get.body.is_empty(), "{path}");
    }
    daemon.finish().await;
}

/// Paths that are no route's.
const NOWHERE: [&str; 12] = [
    "/",
    "/v1",
    "/v1/",
    "/v1/nope",
    "/v1/posts/",
    "/v1/posts/a/b",
    "/v1/posts/a/publish/b",
    "/V1/posts",
    "/v2/posts",
    "/v1/post",
    "/v1/postss",
    "/nope",
];

#[tokio::test]
async fn an_unknown_path_is_404_to_a_proven_caller_and_401_to_any_other() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let none = daemon.key_for(&workspace, &[]).await;
    daemon.is_well(key).await;
    for path in NOWHERE {
        for holder in [key, &none] {
            let answer = daemon.call(&Call::get(path).bearer(&holder.text)).await;
            let expected = ("not_found".to_owned(), "Resource does not exist.".to_owned());
            assert_eq!((answer.status, answer.rest_error()), (404, expected), "{path}");
        }
        let anonymous = daemon.call(&Call::get(path)).await;
        let known = daemon.call(&Call::get("/v1/posts")).await;
        assert_eq!(
            (anonymous.status, &anonymous.body),
            (401, &known.body),
            "{path} must look like a known path"
        );
    }
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_path_that_could_be_read_in_two_ways_is_400() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    daemon.is_well(key).await;
    for path in [
        "/v1/posts/..",
        "/v1/posts/.",
        "/v1/posts/../accounts",
        "/v1/posts/%2e%2e",
        "/v1/posts/%2E",
        "/v1/posts/a%2fpublish",
        "/v1/posts/a%5cb",
        "/v1/posts/a%00",
        "/v1/posts/a%0d%0ax",
        "/v1/posts/%252e%252e",
        "/v1//posts",
        "//v1/posts",
        "/v1/posts;x=1",
        "/v1/posts/%zz",
        "/v1/posts/%ff",
        "/v1/posts/a\\b",
    ] {
        let answer = daemon.call(&Call::get(path).bearer(&key.text)).await;
        assert_eq!(
            (answer.status, answer.rest_error().0.as_str()),
            (400, "invalid_request"),
            "{path}: {answer:?}"
        );
    }
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn one_workspace_never_sees_the_posts_of_another() {
    let daemon = Daemon::start().await;
    let (ours, theirs) = (daemon.workspace("enterprise").await, daemon.workspace("enterprise").await);
    let post = a_post(&daemon, &ours.default_key).await;
    let path = format!("/v1/posts/{post}");
    let edit = json!({"body": "Mine now."});
    let mut connection: Connection = daemon.connect().await;
    // A caller who names a workspace in the gateway's own header is not believed.
    let spoofed = |call: Call| call.bearer(&theirs.default_key.text).header("X-Keyward-Workspace", &ours.id);
    for call in [Call::get(&path), Call::new("PATCH", &path).json(&edit), Call::new("DELETE", &path)] {
        let plain = connection.call(&call.clone().bearer(&theirs.default_key.text)).await;
        let spoof = connection.call(&spoofed(call)).await;
        assert_eq!((plain.status, spoof.status), (404, 404), "{plain:?}{spoof:?}");
    }
    let list = connection.call(&spoofed(Call::get("/v1/posts"))).await;
    assert_eq!(list.json(), json!({"data": []}));
    let own = connection.call(&Call::get(&path).bearer(&ours.default_key.text)).await;
    assert_eq!(own.json()["body"], "A post.");
    daemon.finish().await;
}
