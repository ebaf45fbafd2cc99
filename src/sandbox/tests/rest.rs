//! The REST door and what both doors share.
//!
//! Never here: a credential; the gate has decided before.

use std::sync::atomic::Ordering;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::{NOON, Play, connect};
use crate::domain::id::WorkspaceId;

#[tokio::test]
async fn a_post_is_made_read_changed_and_deleted_as_the_page_shows() {
    let mut play = Play::start().await;
    let made =
        play.rest("POST", "/v1/posts", r#"{"body":"Launch day is here.","account_ids":["acct_1"]}"#).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("post_"), "{id}");
    assert_eq!(made.status, 201);
    assert_eq!(made.header("content-type"), "application/json");
    let whole = |body: &str, accounts: &str, updated: &str| {
        format!(
            "{{\"id\":\"{id}\",\"status\":\"draft\",\"body\":\"{body}\",\"account_ids\":{accounts},\
             \"created_at\":\"2026-01-01T12:00:00.000Z\",\"updated_at\":\"2026-01-01T12:00:{updated}.000Z\"}}"
        )
    };
    assert_eq!(made.body, whole("Launch day is here.", "[\"acct_1\"]", "00"));

    let path = format!("/v1/posts/{id}");
    assert_eq!(play.rest("GET", &path, "").await.body, made.body);
    assert_eq!(play.rest("GET", "/v1/posts", "").await.body, format!("{{\"data\":[{}]}}", made.body));

    play.seconds.store(NOON + 5, Ordering::Relaxed);
    let edited = play.rest("PATCH", &path, r#"{"body":"Tomorrow."}"#).await;
    assert_eq!((edited.status, edited.body), (200, whole("Tomorrow.", "[\"acct_1\"]", "05")));
    let edited = play.rest("PATCH", &path, r#"{"account_ids":["acct_2","acct_9"]}"#).await;
    assert_eq!(edited.body, whole("Tomorrow.", "[\"acct_2\",\"acct_9\"]", "05"));
    assert_eq!(play.rest("GET", &path, "").await.body, edited.body);

    let deleted = play.rest("DELETE", &path, "").await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    for method in ["GET", "DELETE"] {
        assert_eq!(play.rest(method, &path, "").await.refusal().1, "not_found");
    }
    assert_eq!(play.rest("PATCH", &path, r#"{"body":"x"}"#).await.status, 404);
    assert_eq!(play.rest("GET", "/v1/posts", "").await.body, r#"{"data":[]}"#);
}

#[tokio::test]
async fn posts_are_listed_newest_first_even_when_the_clock_stands_still_or_goes_back() {
    let mut play = Play::start().await;
    for number in 0..20 {
        play.post(&number.to_string()).await;
    }
    play.seconds.store(NOON - 3600, Ordering::Relaxed);
    for number in 20..25 {
        play.post(&number.to_string()).await;
    }
    let all: Vec<String> = (0..25).rev().map(|number| number.to_string()).collect();
    assert_eq!(play.texts("/v1/posts").await, all[..20], "the default is 20");
    assert_eq!(play.texts("/v1/posts?limit=50").await, all);
    assert_eq!(play.texts("/v1/posts?limit=2&offset=3").await, ["21", "20"]);
    assert_eq!(play.texts("/v1/posts?offset=24").await, ["0"]);
    assert!(play.texts("/v1/posts?offset=25").await.is_empty());
    for (query, named) in
        [("limit=0", "limit"), ("limit=51", "limit"), ("offset=-1", "offset"), ("q=1", "\"q\"")]
    {
        let (status, code, message) = play.rest("GET", &format!("/v1/posts?{query}"), "").await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"));
        assert!(message.contains(named), "{message}");
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body_on_every_door() {
    let mut play = Play::start().await;
    let id = play.post("mine").await;
    let post = format!("/v1/posts/{id}");
    let paths = ["/v1/posts?limit=1", post.as_str(), "/v1/posts/post_1", "/v1/accounts", "/v1/posts?limit=0"];
    for path in
        paths.into_iter().chain(["/v1/trending", "/v1/none", "/v1/ai/thread", "/mcp.json", "/api/mcp-app"])
    {
        let get = play.rest("GET", path, "").await;
        let head = play.rest("HEAD", path, "").await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers, get.headers, "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
    }
}

#[tokio::test]
async fn a_workspace_sees_only_its_own_posts() {
    let mut play = Play::start().await;
    let id = play.post("mine").await;
    let path = format!("/v1/posts/{id}");
    assert_eq!(play.rest_of(2, "GET", "/v1/posts", "").await.body, r#"{"data":[]}"#);
    assert_eq!(play.rest_of(2, "GET", &path, "").await.status, 404);
    assert_eq!(play.rest_of(2, "PATCH", &path, r#"{"body":"theirs"}"#).await.status, 404);
    assert_eq!(play.rest_of(2, "DELETE", &path, "").await.status, 404);
    assert_eq!(play.texts("/v1/posts").await, ["mine"]);
}

#[tokio::test]
async fn posts_survive_a_restart() {
    let mut play = Play::start().await;
    let kept = play.post("kept").await;
    let gone = play.post("gone").await;
    play.rest("DELETE", &format!("/v1/posts/{gone}"), "").await;
    let before = play.rest("GET", &format!("/v1/posts/{kept}"), "").await.body;
    let mut play = play.restart().await;
    assert_eq!(play.rest("GET", &format!("/v1/posts/{kept}"), "").await.body, before);
    assert_eq!(play.texts("/v1/posts").await, ["kept"]);
}

#[tokio::test]
async fn a_wrong_body_is_refused_with_its_field_named() {
    let mut play = Play::start().await;
    let long = "x".repeat(10_001);
    let many: Vec<String> = (0..51).map(|number| number.to_string()).collect();
    let cases = [
        (String::new(), "not valid JSON"),
        ("{".to_owned(), "not valid JSON"),
        ("[]".to_owned(), "JSON object"),
        ("{}".to_owned(), "body must"),
        (json!({"account_ids": ["a"]}).to_string(), "body must"),
        (json!({"body": "x"}).to_string(), "account_ids must"),
        (json!({"body": 1, "account_ids": ["a"]}).to_string(), "body must"),
        (json!({"body": null, "account_ids": ["a"]}).to_string(), "body must"),
        (json!({"body": " \n", "account_ids": ["a"]}).to_string(), "body must"),
        (json!({"body": long, "account_ids": ["a"]}).to_string(), "1 to 10000 characters"),
        (json!({"body": "x", "account_ids": "a"}).to_string(), "account_ids must"),
        (json!({"body": "x", "account_ids": []}).to_string(), "account_ids must"),
        (json!({"body": "x", "account_ids": [1]}).to_string(), "account_ids must"),
        (json!({"body": "x", "account_ids": [""]}).to_string(), "account_ids must"),
        (json!({"body": "x", "account_ids": ["y".repeat(101)]}).to_string(), "account_ids must"),
        (json!({"body": "x", "account_ids": many}).to_string(), "account_ids must"),
        (json!({"body": "x", "account_ids": ["a"], "status": "published"}).to_string(), "\"status\""),
        (r#"{"body":"x","account_ids":["a"],"body":"y"}"#.to_owned(), "\"body\" is given twice"),
    ];
    for (body, said) in cases {
        let (status, code, message) = play.rest("POST", "/v1/posts", &body).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{body:.80}");
        assert!(message.contains(said), "{body:.80}: {message}");
    }
    assert!(play.texts("/v1/posts").await.is_empty());

    // What just fits is taken, counted in characters.
    let ids: Vec<String> = (0..50).map(|_| "é".repeat(100)).collect();
    let fits = json!({"body": "é".repeat(10_000), "account_ids": ids}).to_string();
    assert_eq!(play.rest("POST", "/v1/posts", &fits).await.status, 201);

    let path = format!("/v1/posts/{}", play.post("x").await);
    for (body, said) in [
        ("{}", "At least one of body, account_ids"),
        (r#"{"body":""}"#, "body must"),
        (r#"{"account_ids":null}"#, "account_ids must"),
        (r#"{"id":"post_1"}"#, "\"id\""),
    ] {
        let (status, _, message) = play.rest("PATCH", &path, body).await.refusal();
        assert!(status == 400 && message.contains(said), "{body}: {message}");
    }
    for (method, path) in
        [("POST", "/v1/posts?x=1"), ("GET", &format!("{path}?x=1")), ("DELETE", &format!("{path}?x=1"))]
    {
        let body = r#"{"body":"x","account_ids":["a"]}"#;
        assert_eq!(play.rest(method, path, body).await.refusal().1, "invalid_request", "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_labelled_as_json_or_too_large_is_refused_and_the_connection_lives_on() {
    let mut play = Play::start().await;
    let labelled = |kind: Option<&str>, body: String| {
        let mut request = Request::post("/v1/posts")
            .header("host", "upstream")
            .header("x-keyward-workspace", WorkspaceId::from_u128(1).to_string());
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        request.body(Full::from(body)).unwrap()
    };
    let good = r#"{"body":"x","account_ids":["a"]}"#;
    for kind in [None, Some("text/plain"), Some("application/json; charset=latin1")] {
        let (status, code, message) = play.send(labelled(kind, good.to_owned())).await.refusal();
        assert_eq!((status, code.as_str()), (415, "invalid_request"), "{kind:?}");
        assert!(message.contains("application/json"));
    }
    let kind = Some("application/json; charset=utf-8");
    let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    assert_eq!(play.send(labelled(kind, padded(1 << 20))).await.status, 201);
    for bytes in [(1 << 20) + 1, 3 << 20] {
        let (status, code, message) = play.send(labelled(kind, padded(bytes))).await.refusal();
        assert_eq!((status, code.as_str()), (413, "invalid_request"));
        assert!(message.contains("1048576"), "{message}");
    }
    assert_eq!(play.send(labelled(kind, good.to_owned())).await.status, 201);
}

#[tokio::test]
async fn what_is_not_built_yet_says_so_and_what_is_not_there_is_not_found() {
    let mut play = Play::start().await;
    for path in ["/v1/", "/v1/posts/", "/v1/posts/post_1/likes", "/v1//posts", "/v1/nothing/x/y"] {
        let (status, code, _) = play.rest("GET", path, "").await.refusal();
        assert_eq!((status, code.as_str()), (501, "not_implemented"), "{path}");
    }
    for path in ["/", "/v1", "/v2/posts", "/v10/posts"] {
        let (status, code, _) = play.rest("GET", path, "").await.refusal();
        assert_eq!((status, code.as_str()), (404, "not_found"), "{path}");
    }
    let refused = play.rest("PUT", "/v1/posts", "{}").await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, POST"));
}

#[tokio::test]
async fn the_demo_accounts_are_a_list_like_the_others() {
    let mut play = Play::start().await;
    let all = play.rest("GET", "/v1/accounts", "").await.json();
    let ids: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["acct_1", "acct_2", "acct_3"]);
    let part = play.rest("GET", "/v1/accounts?limit=1&offset=1", "").await.json();
    assert_eq!(part["data"], json!([all["data"][1]]));
    assert_eq!(play.rest("GET", "/v1/accounts?limit=51", "").await.status, 400);
    assert_eq!(play.tool("accounts_list", json!({"limit": 1, "offset": 1})).await["structuredContent"], part);
}

#[tokio::test]
async fn without_a_workspace_nothing_is_read_or_kept_and_the_caller_is_told_why() {
    let mut play = Play::start().await;
    let kept = play.post("kept").await;
    for path in ["/v1/posts", &format!("/v1/posts/{kept}"), "/v1/accounts", "/v1/things", "/v1/files"] {
        for named in [None, Some("ws_other")] {
            let mut request = Request::get(path).header("host", "upstream");
            if let Some(named) = named {
                request = request.header("x-keyward-workspace", named);
            }
            let refusal = play.send(request.body(Full::default()).unwrap()).await.refusal();
            assert_eq!((refusal.0, refusal.1.as_str()), (501, "not_implemented"), "{path} {named:?}");
            assert!(refusal.2.contains("without a key"), "{}", refusal.2);
        }
    }
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"posts_list"}}"#;
    let request =
        Request::post("/api/mcp-app").header("host", "upstream").header("content-type", "application/json");
    let seen = play.send(request.body(Full::from(call)).unwrap()).await;
    assert_eq!((seen.status, seen.json()["error"]["code"].as_i64()), (500, Some(-32603)));
    assert_eq!(seen.json()["id"], "a");
}

#[tokio::test]
async fn a_closed_file_is_told_as_unavailable_with_a_retry_hint() {
    let mut play = Play::start().await;
    play.sandbox.clone().close().await.unwrap();
    let seen = play.rest("POST", "/v1/posts", r#"{"body":"x","account_ids":["a"]}"#).await;
    assert_eq!(
        (seen.refusal().0, seen.refusal().1.as_str(), seen.header("retry-after")),
        (503, "unavailable", "1")
    );
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"posts_list"}}"#;
    let seen = play.rpc("", call).await;
    assert_eq!((seen.status, seen.header("retry-after")), (503, "1"));
    assert_eq!(seen.json()["error"]["code"], -32603);
}

#[tokio::test]
async fn many_writers_lose_no_post() {
    let mut play = Play::start().await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..16 {
        let sandbox = play.sandbox.clone();
        writers.spawn(async move {
            let mut connection = connect(&sandbox).await;
            let body = json!({"body": number.to_string(), "account_ids": ["a"]}).to_string();
            let request = Request::post("/v1/posts")
                .header("host", "upstream")
                .header("content-type", "application/json")
                .header("x-keyward-workspace", WorkspaceId::from_u128(1).to_string());
            let request = request.body(Full::from(body)).unwrap();
            connection.send_request(request).await.unwrap().status()
        });
    }
    while let Some(status) = writers.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::CREATED);
    }
    let mut texts = play.texts("/v1/posts").await;
    texts.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(texts, (0..16).map(|number| number.to_string()).collect::<Vec<_>>());
}
