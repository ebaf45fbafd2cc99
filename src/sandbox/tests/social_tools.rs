//! The tools for posts, media, texts and accounts: what they say of themselves is what they do.
//!
//! Never here: the protocol around them.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::schema::fits;
use super::{NOON, Play};
use crate::domain::time::Wall;

#[tokio::test]
async fn the_tools_say_what_they_do_and_what_they_take() {
    let mut play = Play::start().await;
    let tools = play.listed("/api/mcp-app").await;
    let hints: Vec<(String, bool, bool, bool)> = tools
        .iter()
        .map(|tool| {
            for schema in ["inputSchema", "outputSchema"] {
                assert_eq!(tool[schema]["type"], "object", "{tool}");
                assert_eq!(tool[schema]["additionalProperties"], false, "{tool}");
            }
            assert!(tool["title"].is_string() && tool["description"].is_string(), "{tool}");
            let hint = |name: &str| tool["annotations"][name].as_bool().unwrap();
            assert!(!hint("openWorldHint"));
            let name = tool["name"].as_str().unwrap().to_owned();
            (name, hint("readOnlyHint"), hint("destructiveHint"), hint("idempotentHint"))
        })
        .collect();
    let (reads, creates, changes, deletes) =
        ((true, false, true), (false, false, false), (false, false, true), (false, true, true));
    let expected = [
        ("posts_list", reads),
        ("posts_create", creates),
        ("posts_get", reads),
        ("posts_update", changes),
        ("posts_delete", deletes),
        ("posts_schedule", changes),
        ("posts_publish", changes),
        ("posts_analytics", reads),
        ("media_upload_url", creates),
        ("media_confirm", changes),
        ("ai_rewrite", reads),
        ("ai_compose", reads),
        ("ai_hashtags", reads),
        ("ai_thread", reads),
        ("ai_ideas", reads),
        ("ai_optimise", reads),
        ("accounts_list", reads),
        ("accounts_analytics", reads),
        ("persona_get", reads),
        ("trending_list", reads),
    ];
    assert_eq!(hints, expected.map(|(name, (a, b, c))| (name.to_owned(), a, b, c)));
}

/// A tool, its arguments, and the method and path of what answers the same.
type Case<'a> = (&'a str, Value, Option<(&'a str, String)>);

/// What a tool gives fits what it says that it gives, is what its REST route answers, and is in the text too.
#[tokio::test]
async fn each_tool_gives_what_its_schema_says_and_what_its_route_answers() {
    let mut play = Play::start().await;
    let tools = play.listed("/api/mcp-app").await;
    let id = play.post("A post about tea and toast.").await;
    let later = Wall::from_secs(NOON + 60).to_rfc3339();
    let invited =
        play.tool("media_upload_url", json!({"filename": "a.png", "content_type": "image/png"})).await;
    let place = invited["structuredContent"]["data"].clone();
    let upload = place["upload_url"].as_str().unwrap().strip_prefix("http://upstream").unwrap().to_owned();
    let put = Request::put(upload).header("host", "upstream").header("content-type", "image/png");
    assert_eq!(play.send(put.body(Full::from("bytes")).unwrap()).await.status, 200);
    let text = json!({"text": "Tea and toast for everybody in town."});
    let mut called = vec!["media_upload_url"];
    let of_post = |rest: &str| format!("/v1/posts/{id}{rest}");
    let cases: Vec<Case<'_>> = vec![
        ("posts_create", json!({"body": "x", "account_ids": ["a"]}), None),
        ("posts_list", json!({"limit": 2}), Some(("GET", "/v1/posts?limit=2".to_owned()))),
        ("posts_get", json!({"id": id}), Some(("GET", of_post("")))),
        ("posts_update", json!({"id": id, "body": "Tea."}), Some(("GET", of_post("")))),
        ("posts_schedule", json!({"id": id, "scheduled_at": later}), Some(("GET", of_post("")))),
        ("posts_publish", json!({"id": id}), Some(("GET", of_post("")))),
        ("posts_analytics", json!({"id": id}), Some(("GET", of_post("/analytics")))),
        ("media_confirm", json!({"id": place["id"]}), None),
        ("ai_rewrite", json!({"text": "Tea", "tone": "warm"}), Some(("POST", "/v1/ai/rewrite".to_owned()))),
        ("ai_compose", json!({"prompt": "Tea"}), Some(("POST", "/v1/ai/compose".to_owned()))),
        ("ai_hashtags", text.clone(), Some(("POST", "/v1/ai/hashtags".to_owned()))),
        ("ai_thread", text.clone(), Some(("POST", "/v1/ai/thread".to_owned()))),
        ("ai_ideas", json!({"topic": "Tea"}), Some(("POST", "/v1/ai/ideas".to_owned()))),
        ("ai_optimise", text, Some(("POST", "/v1/ai/optimise".to_owned()))),
        ("accounts_list", json!({}), Some(("GET", "/v1/accounts".to_owned()))),
        ("accounts_analytics", json!({}), Some(("GET", "/v1/accounts/analytics".to_owned()))),
        ("persona_get", json!({}), Some(("GET", "/v1/persona".to_owned()))),
        ("trending_list", json!({"offset": 1}), Some(("GET", "/v1/trending?offset=1".to_owned()))),
        ("posts_delete", json!({"id": id}), None),
    ];
    let schemas = |name: &str| {
        let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
        (tool["inputSchema"].clone(), tool["outputSchema"].clone())
    };
    fits(&invited["structuredContent"], &schemas("media_upload_url").1).unwrap();
    for (name, arguments, route) in cases {
        called.push(name);
        let (input, output) = schemas(name);
        fits(&arguments, &input).unwrap_or_else(|why| panic!("{name}: {why}"));
        let result = play.tool(name, arguments.clone()).await;
        assert_eq!(result["isError"], false, "{name}: {result}");
        let given = &result["structuredContent"];
        fits(given, &output).unwrap_or_else(|why| panic!("{name}: {why} in {given}"));
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, *given, "{name}");
        if let Some((method, path)) = route {
            let body = if method == "POST" { arguments.to_string() } else { String::new() };
            let seen = play.rest(method, &path, &body).await;
            assert_eq!((seen.status, seen.json()), (200, given.clone()), "{name}");
        }
    }
    called.sort_unstable();
    let mut all: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(called, all, "every tool was called");
}

#[tokio::test]
async fn tools_and_rest_work_on_the_same_posts() {
    let mut play = Play::start().await;
    let made = play.tool("posts_create", json!({"body": "By a model.", "account_ids": ["acct_1"]})).await;
    assert_eq!(made["isError"], false);
    let id = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/posts/{id}");
    let seen = play.rest("GET", &path, "").await;
    assert_eq!(made["content"], json!([{"type": "text", "text": seen.body}]), "the text is the same bytes");
    assert_eq!(made["structuredContent"], seen.json());
    assert_eq!(play.tool("posts_get", json!({"id": id})).await["structuredContent"], seen.json());

    play.tool("posts_update", json!({"id": id, "body": "Edited."})).await;
    assert_eq!(play.texts("/v1/posts").await, ["Edited."]);
    play.post("By hand.").await;
    let listed = play.tool("posts_list", json!({"limit": 1})).await;
    assert_eq!(listed["structuredContent"]["data"][0]["body"], "By hand.");

    let deleted = play.tool("posts_delete", json!({"id": id})).await;
    assert_eq!(deleted["structuredContent"], json!({"id": id, "deleted": true}));
    assert_eq!(play.rest("GET", &path, "").await.status, 404);
}

#[tokio::test]
async fn wrong_arguments_are_a_result_that_a_model_can_read() {
    let mut play = Play::start().await;
    for (tool, arguments, said) in [
        ("posts_list", json!({"limit": 0}), "limit must"),
        ("posts_list", json!({"limit": "5"}), "limit must"),
        ("posts_list", json!({"offset": 1.5}), "offset must"),
        ("posts_list", json!({"page": 1}), "\"page\""),
        ("posts_create", json!({}), "body must"),
        ("posts_create", json!({"body": "x", "account_ids": []}), "account_ids must"),
        ("posts_get", json!({}), "id must"),
        ("posts_get", json!({"id": 5}), "id must"),
        ("posts_get", json!({"id": "post_1"}), "No post"),
        ("posts_update", json!({"id": "post_1"}), "At least one"),
        ("posts_update", json!({"id": "post_1", "body": "x"}), "No post"),
        ("posts_delete", json!({"id": "post_1", "force": true}), "\"force\""),
        ("accounts_list", json!({"limit": 51}), "limit must"),
        ("posts_schedule", json!({"id": "post_1"}), "scheduled_at must"),
        ("posts_publish", json!({"id": "post_1", "at": 1}), "\"at\""),
        ("posts_analytics", json!({"id": "x"}), "No post"),
        ("media_upload_url", json!({"filename": "a/b", "content_type": "image/png"}), "filename must"),
        ("media_confirm", json!({"id": "media_1"}), "No media"),
        ("ai_rewrite", json!({"text": "x"}), "tone must"),
        ("ai_compose", json!({"text": "x"}), "\"text\""),
        ("ai_ideas", json!({"topic": " "}), "topic must"),
        ("persona_get", json!({"limit": 1}), "\"limit\""),
        ("trending_list", json!({"offset": -1}), "offset must"),
    ] {
        let result = play.tool(tool, arguments.clone()).await;
        assert_eq!(result["isError"], true, "{tool} {arguments}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(said), "{tool} {arguments}: {text}");
        assert!(result.get("structuredContent").is_none());
    }
}
