//! The tables of the two REST pages, held whole: each route for each set of scopes, and what of a path, a method,
//! a query or a scope is exact. The rows G of the list of attacks, by name.
//!
//! The upstream here keeps what it is sent and answers 200, so a status says what the gate decided.
//!
//! Never here: what the sandbox makes of a request.

use serde_json::json;

use crate::daemon::{Daemon, Key, Options};
use crate::upstreams::recording::{Recorded, recording};
use crate::wire::{Answer, Call, Connection};

/// Method, path, scope.
type Row = (&'static str, &'static str, &'static str);

const SOCIALCRM: [Row; 20] = [
    ("GET", "/v1/posts", "posts:read"),
    ("POST", "/v1/posts", "posts:write"),
    ("GET", "/v1/posts/p1", "posts:read"),
    ("PATCH", "/v1/posts/p1", "posts:write"),
    ("DELETE", "/v1/posts/p1", "posts:write"),
    ("POST", "/v1/posts/p1/schedule", "posts:publish"),
    ("POST", "/v1/posts/p1/publish", "posts:publish"),
    ("GET", "/v1/posts/p1/analytics", "insights:read"),
    ("POST", "/v1/media/upload-url", "media:write"),
    ("POST", "/v1/media/m1/confirm", "media:write"),
    ("POST", "/v1/ai/rewrite", "ai:generate"),
    ("POST", "/v1/ai/compose", "ai:generate"),
    ("POST", "/v1/ai/hashtags", "ai:generate"),
    ("POST", "/v1/ai/thread", "ai:generate"),
    ("POST", "/v1/ai/ideas", "ai:generate"),
    ("POST", "/v1/ai/optimise", "ai:generate"),
    ("GET", "/v1/accounts", "insights:read"),
    ("GET", "/v1/accounts/analytics", "insights:read"),
    ("GET", "/v1/persona", "insights:read"),
    ("GET", "/v1/trending", "insights:read"),
];

const MCP_CLOUD: [Row; 14] = [
    ("POST", "/v1/completions", "completions:create"),
    ("POST", "/v1/chat/completions", "chats:create"),
    ("GET", "/v1/models", "models:read"),
    ("GET", "/v1/models/any", "models:read"),
    ("GET", "/v1/contexts", "contexts:read"),
    ("GET", "/v1/contexts/c1", "contexts:read"),
    ("POST", "/v1/contexts", "contexts:write"),
    ("PUT", "/v1/contexts/c1", "contexts:write"),
    ("DELETE", "/v1/contexts/c1", "contexts:write"),
    ("GET", "/v1/files", "files:read"),
    ("GET", "/v1/files/f1", "files:read"),
    ("GET", "/v1/files/f1/content", "files:read"),
    ("POST", "/v1/files", "files:write"),
    ("DELETE", "/v1/files/f1", "files:write"),
];

/// What goes wrong, and what is said of it: status, code, type.
type Code = (&'static str, u16, &'static str, &'static str);

const PAID: [&str; 3] = ["posts:publish", "ai:generate", "media:write"];

/// A daemon before an upstream that takes everything, and a key on `plan` with a pace that no test meets.
struct Scene {
    daemon: Daemon,
    key: Key,
    recorded: Recorded,
    upstream: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn new(product: &'static str, plan: &str) -> Self {
        let (url, recorded, upstream) = recording().await;
        let daemon = Daemon::start_with(Options::of(product, Some(url.leak()))).await;
        let workspace = daemon.workspace(plan).await;
        let rate = json!({"limit": 1_000_000, "window_s": 60});
        let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": rate})).await;
        Self { daemon, key, recorded, upstream }
    }

    async fn hold(&self, scopes: &[&str]) {
        self.daemon.patch_key(&self.key, json!({"permissions": scopes})).await;
    }

    async fn call(&self, method: &str, target: &str) -> Answer {
        self.daemon.call(&Call::new(method, target).bearer(&self.key.text)).await
    }

    /// What reached the upstream since this was asked last.
    fn reached(&self) -> Vec<String> {
        std::mem::take(&mut *self.recorded.lock().unwrap())
    }

    async fn finish(self) {
        self.daemon.finish().await;
        self.upstream.abort();
    }
}

/// Each row of the table for every set of its scopes: through with the scope, refused without it by its code.
async fn check_matrix(product: &'static str, table: &[Row], code: &str) {
    let scene = Scene::new(product, "enterprise").await;
    let mut scopes: Vec<_> = table.iter().map(|row| row.2).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let mut connection = scene.daemon.connect().await;
    for subset in 0..1 << scopes.len() {
        let in_subset = |bit: &usize| subset >> bit & 1 == 1;
        let held: Vec<_> = (0..scopes.len()).filter(in_subset).map(|bit| scopes[bit]).collect();
        scene.hold(&held).await;
        let mut through = 0;
        for (method, path, scope) in table {
            let answer = connection.call(&Call::new(method, path).bearer(&scene.key.text)).await;
            let holds = held.contains(scope);
            through += usize::from(holds);
            let (status, said) = if holds { (200, "") } else { (403, code) };
            let told = (answer.status, answer.rest_error().0);
            assert_eq!(told, (status, said.to_owned()), "{method} {path} with {held:?}");
        }
        assert_eq!(scene.reached().len(), through, "{held:?}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn g01_each_route_of_socialcrm_opens_to_exactly_the_sets_with_its_scope() {
    check_matrix("socialcrm", &SOCIALCRM, "forbidden_scope").await;
}

#[tokio::test]
async fn g01_each_route_of_mcp_cloud_opens_to_exactly_the_sets_with_its_scope() {
    check_matrix("mcp-cloud", &MCP_CLOUD, "insufficient_permissions").await;
}

#[tokio::test]
async fn g03_an_id_is_one_segment_or_the_path_is_refused() {
    let scene = Scene::new("socialcrm", "enterprise").await;
    let long = "a".repeat(10_240);
    for id in ["publish", "schedule", "posts", "...", "%20", "caf%C3%A9", "a@b:c", "-", &long] {
        let target = format!("/v1/posts/{id}");
        assert_eq!(scene.call("GET", &target).await.status, 200, "{id}");
        let seen = scene.reached();
        assert!(seen[0].starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{id}");
    }
    for id in ["..", ".", "%2e%2e", ".%2E", "%2e", "a%2fb", "a%2Fpublish", "a%5cb", "a;b", "%70ublish", "%00"]
    {
        let answer = scene.call("GET", &format!("/v1/posts/{id}")).await;
        assert_eq!((answer.status, answer.rest_error().0.as_str()), (400, "invalid_request"), "{id}");
    }
    for path in ["/v1/posts/", "/v1/posts/a/", "/v1/posts/a/b", "/v1/posts/publish/publish/publish"] {
        assert_eq!(scene.call("GET", path).await.status, 404, "{path}");
    }
    assert_eq!(scene.call("POST", "/v1/posts//publish").await.status, 400);
    // With the word of a route as its id, a post is still a post: reading it asks for reading.
    scene.hold(&["posts:read"]).await;
    assert_eq!(scene.call("GET", "/v1/posts/publish").await.status, 200);
    assert_eq!(scene.call("POST", "/v1/posts/publish/publish").await.status, 403);
    assert_eq!(scene.reached().len(), 1);
    scene.finish().await;
}

#[tokio::test]
async fn g04_only_a_routes_own_methods_go_through_and_head_with_get() {
    for (product, table) in [("socialcrm", &SOCIALCRM[..]), ("mcp-cloud", &MCP_CLOUD[..])] {
        let scene = Scene::new(product, "enterprise").await;
        let mut connection = scene.daemon.connect().await;
        for (_, path, _) in table {
            for method in ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "GeT", "get", "PUT", "QUERY"] {
                let here = |method: &str| table.iter().any(|row| row.0 == method && row.1 == *path);
                let goes = here(if method == "HEAD" { "GET" } else { method });
                let answer = connection.call(&Call::new(method, path).bearer(&scene.key.text)).await;
                assert_eq!(answer.status, if goes { 200 } else { 405 }, "{method} {path}");
                let allow = answer.header("allow").unwrap_or_default().to_owned();
                assert_eq!(allow.split(", ").any(here), !goes, "{method} {path}: {allow}");
                assert_eq!(scene.reached().len(), usize::from(goes), "{method} {path}");
                if answer.header("connection") == Some("close") {
                    connection = scene.daemon.connect().await;
                }
            }
        }
        scene.finish().await;
    }
}

#[tokio::test]
async fn g06_a_scope_is_its_exact_text_or_the_key_is_not_made() {
    let scene = Scene::new("socialcrm", "enterprise").await;
    let workspace = scene.daemon.workspace("enterprise").await;
    let many = vec!["posts:read"; 10_000];
    for permissions in [
        json!(["posts"]),
        json!(["POSTS:READ"]),
        json!([" posts:read"]),
        json!(["posts:read "]),
        json!(["posts:read,posts:write"]),
        json!(["posts:read posts:write"]),
        json!(["posts:reads"]),
        json!(["posts.drafts:rea"]),
        json!(["nothing:read"]),
        json!([""]),
        json!([":"]),
        json!(["posts:"]),
        json!(["posts:r*"]),
        json!(["p*:read"]),
        json!(["posts\u{0}:read"]),
        json!(["posts:read\u{200b}"]),
        json!([1]),
        json!("posts:read"),
        json!(many),
    ] {
        let wanted = json!({"workspace_id": workspace.id, "permissions": permissions});
        let answer = scene.daemon.admin(Call::post("/api/v1/keys", &wanted)).await;
        let told = permissions.to_string().chars().take(40).collect::<String>();
        assert_eq!(answer.status, 400, "{told}");
        let patched = json!({"permissions": permissions});
        let target = format!("/api/v1/keys/{}", scene.key.id);
        assert_eq!(
            scene.daemon.admin(Call::new("PATCH", &target).json(&patched)).await.status,
            400,
            "{told}"
        );
    }
    // What was refused changed nothing, and what is exact is taken.
    assert_eq!(scene.call("DELETE", "/v1/posts/p1").await.status, 200);
    scene.hold(&["posts:*"]).await;
    assert_eq!(scene.call("DELETE", "/v1/posts/p1").await.status, 200);
    assert_eq!(scene.call("GET", "/v1/trending").await.status, 403);
    scene.hold(&[]).await;
    assert_eq!(scene.call("GET", "/v1/posts").await.status, 403);
    scene.finish().await;
}

#[tokio::test]
async fn g07_a_parent_covers_its_children_by_whole_segments_and_nothing_else() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key =
        daemon.key(&workspace, json!({"permissions": [], "rate": {"limit": 10_000, "window_s": 60}})).await;
    let asks = [
        "contacts:read",
        "contacts.emails:read",
        "contacts:write",
        "contacts.emails:write",
        "customers:read",
    ];
    for (held, covered) in [
        ("contacts:read", vec!["contacts:read", "contacts.emails:read"]),
        ("contacts.emails:read", vec!["contacts.emails:read"]),
        ("contacts:write", vec!["contacts:write", "contacts.emails:write"]),
        (
            "contacts:*",
            vec!["contacts:read", "contacts.emails:read", "contacts:write", "contacts.emails:write"],
        ),
        ("*:read", vec!["contacts:read", "contacts.emails:read", "customers:read"]),
    ] {
        daemon.patch_key(&key, json!({"permissions": [held]})).await;
        for asked in asks {
            let verified = daemon.verify(&key.text, json!({"permission": asked})).await;
            let expected = if covered.contains(&asked) { "valid" } else { "permission" };
            assert_eq!(verified["code"], expected, "{asked} by {held}");
        }
    }
    for stranger in
        ["contactsx:read", "contact:read", "contacts-emails:read", "contacts.emailsx:read", "contacts.:read"]
    {
        let fields = json!({"workspace_id": workspace.id, "permissions": [stranger]});
        let made = daemon.admin(Call::post("/api/v1/keys", &fields)).await;
        let asked = json!({"key": &*key.text, "permission": stranger});
        let verified = daemon.admin(Call::post("/api/v1/verify", &asked)).await;
        assert_eq!((made.status, verified.status), (400, 400), "{stranger}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn g08_a_query_goes_on_once_and_byte_for_byte() {
    let scene = Scene::new("socialcrm", "enterprise").await;
    for query in
        ["limit=51", "limit=-1", "limit=1e3", "limit=1&limit=50", "limit[]=1", "a;b=1", "%zz", "", "?"]
    {
        let target = format!("/v1/posts?{query}");
        assert_eq!(scene.call("GET", &target).await.status, 200, "{query}");
        let seen = scene.reached();
        let line = format!("GET {target} HTTP/1.1\r\n");
        assert!(seen.len() == 1 && seen[0].starts_with(&line), "{query}: {seen:?}");
    }
    // A query decides nothing: neither the method nor the route nor the key.
    scene.hold(&["posts:read"]).await;
    for query in ["_method=DELETE", "method=POST", "path=/v1/trending", "key=x", "api_key=x"] {
        assert_eq!(scene.call("GET", &format!("/v1/posts?{query}")).await.status, 200, "{query}");
        assert_eq!(scene.call("DELETE", &format!("/v1/posts/p1?{query}")).await.status, 403, "{query}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn g09_a_paid_route_is_refused_for_its_scope_first_and_for_the_plan_then() {
    let scene = Scene::new("socialcrm", "free").await;
    for (method, path, scope) in SOCIALCRM {
        scene.hold(&["*:*"]).await;
        let with = scene.call(method, path).await;
        let expected = if PAID.contains(&scope) { (402, "payment_required") } else { (200, "") };
        assert_eq!((with.status, with.rest_error().0.as_str()), expected, "{method} {path}");
        scene.hold(&[]).await;
        let without = scene.call(method, path).await;
        assert_eq!(
            (without.status, without.rest_error().0.as_str()),
            (403, "forbidden_scope"),
            "{method} {path}"
        );
    }
    scene.finish().await;
}

#[tokio::test]
async fn g10_whose_a_thing_is_the_upstream_judges_by_the_workspace_that_the_gate_names() {
    let scene = Scene::new("socialcrm", "enterprise").await;
    let other = scene.daemon.workspace("enterprise").await;
    for name in ["X-Keyward-Workspace", "x_keyward_workspace", "X-KEYWARD-WORKSPACE"] {
        let call = Call::get("/v1/posts/p1").bearer(&other.default_key.text).header(name, "ws_1");
        assert_eq!(scene.daemon.call(&call).await.status, 200);
        let seen = scene.reached().concat().to_lowercase();
        let named: Vec<_> =
            seen.lines().filter(|line| line.replace('_', "-").starts_with("x-keyward-workspace")).collect();
        assert_eq!(named, [format!("x-keyward-workspace: {}", other.id)], "{name}");
    }
    scene.finish().await;
}

/// An upstream that is there no more.
async fn gone() -> &'static str {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap()).leak()
}

#[tokio::test]
async fn every_code_of_both_pages_is_reached_over_a_socket() {
    let pages: [(&str, &str, &str, &[Code]); 2] = [
        (
            "socialcrm",
            "/v1/posts",
            "/v1/ai/rewrite",
            &[
                ("no key", 401, "unauthorized", ""),
                ("no right", 403, "forbidden_scope", ""),
                ("no route", 404, "not_found", ""),
                ("no method", 405, "invalid_request", ""),
                ("no path", 400, "invalid_request", ""),
                ("too large", 413, "invalid_request", ""),
                ("no upstream", 502, "upstream_error", ""),
                ("too fast", 429, "rate_limited", ""),
            ],
        ),
        (
            "mcp-cloud",
            "/v1/models",
            "/v1/completions",
            &[
                ("no key", 401, "invalid_api_key", "authentication_error"),
                ("no right", 403, "insufficient_permissions", "permission_error"),
                ("no route", 404, "not_found", "invalid_request_error"),
                ("no method", 405, "invalid_request", "invalid_request_error"),
                ("no path", 400, "invalid_request", "invalid_request_error"),
                ("too large", 413, "invalid_request", "invalid_request_error"),
                ("no upstream", 502, "upstream_error", "api_error"),
                ("too fast", 429, "rate_limit_exceeded", "rate_limit_error"),
            ],
        ),
    ];
    for (product, read, write, codes) in pages {
        let daemon = Daemon::start_with(Options::of(product, Some(gone().await))).await;
        let workspace = daemon.workspace("enterprise").await;
        let fields = json!({"permissions": ["*:*"], "rate": {"limit": 5, "window_s": 60}});
        let (key, none) = (daemon.key(&workspace, fields).await, daemon.key_for(&workspace, &[]).await);
        for (told, status, code, kind) in codes {
            let call = match *told {
                "no key" => Call::get(read),
                "no right" => Call::get(read).bearer(&none.text),
                "no route" => Call::get("/v1/nope").bearer(&key.text),
                "no method" => Call::new("PUT", read).bearer(&key.text),
                "no path" => Call::get("/v1/%2e%2e").bearer(&key.text),
                "too large" => {
                    Call::new("POST", write).bearer(&key.text).header("Content-Length", "20000000")
                }
                "no upstream" => Call::get(read).bearer(&key.text),
                _ => {
                    daemon.call(&Call::get(read).bearer(&key.text)).await;
                    Call::get(read).bearer(&key.text)
                }
            };
            let answer = daemon.call(&call).await;
            let error = &answer.json()["error"];
            let kind = if kind.is_empty() { json!(null) } else { json!(kind) };
            assert_eq!(
                (answer.status, &error["code"], &error["type"]),
                (*status, &json!(code), &kind),
                "{product}, {told}"
            );
        }
        daemon.finish().await;
    }
    // What only SocialCRM sells.
    let daemon = Daemon::start().await;
    for (plan, code) in [("free", "payment_required"), ("pro", "quota_exceeded")] {
        let workspace = daemon.workspace(plan).await;
        daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 0}}})).await;
        let call = Call::post("/v1/ai/rewrite", &json!({})).bearer(&workspace.default_key.text);
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rest_error().0.as_str()), (402, code));
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_wrong_address_is_an_invalid_key_to_whoever_asks() {
    for product in ["socialcrm", "mcp-cloud"] {
        let scene = Scene::new(product, "enterprise").await;
        let mut connection: Connection = scene.daemon.connect().await;
        let path = if product == "socialcrm" { "/v1/posts" } else { "/v1/models" };
        let right = Call::get(path).bearer(&scene.key.text);
        assert_eq!(connection.call(&right).await.status, 200);
        scene.daemon.patch_key(&scene.key, json!({"ip_allow": ["192.0.2.1"]})).await;
        let elsewhere = connection.call(&right).await;
        let workspace = scene.daemon.workspace("enterprise").await;
        scene.daemon.revoke(&workspace.default_key).await;
        let wrong = connection.call(&Call::get(path).bearer(&workspace.default_key.text)).await;
        assert_eq!((elsewhere.status, &elsewhere.body), (401, &wrong.body), "{product}");
        scene.finish().await;
    }
}
