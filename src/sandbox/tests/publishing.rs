//! Posts that are given a time, published, and counted.
//!
//! Never here: a timer; the clock is moved by hand.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{NOON, Play};
use crate::domain::id::WorkspaceId;
use crate::sandbox::posts::{number, posts};
use crate::sandbox::records::due::insert_due_in;
use crate::sandbox::records::file::Collection;

impl Play {
    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Posts to what stands behind a post's path.
    async fn act(&mut self, id: &str, action: &str, body: &str) -> super::Seen {
        self.rest("POST", &format!("/v1/posts/{id}/{action}"), body).await
    }

    async fn seen(&mut self, id: &str) -> Value {
        self.rest("GET", &format!("/v1/posts/{id}"), "").await.json()
    }

    async fn scheduled(&mut self, body: &str, at: &str) -> String {
        let id = self.post(body).await;
        let seen = self.act(&id, "schedule", &json!({"scheduled_at": at}).to_string()).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        id
    }
}

/// The posts of workspace 1.
fn ours() -> Collection {
    posts(WorkspaceId::from_u128(1))
}

#[tokio::test]
async fn a_post_is_published_at_once_and_then_for_good() {
    let mut play = Play::start().await;
    let id = play.post("Launch day is here.").await;
    play.wait(60);
    let published = play.act(&id, "publish", "").await;
    let whole = json!({
        "id": id, "status": "published", "body": "Launch day is here.", "account_ids": ["acct_1"],
        "created_at": "2026-01-01T12:00:00.000Z", "updated_at": "2026-01-01T12:01:00.000Z",
        "published_at": "2026-01-01T12:01:00.000Z"
    });
    assert_eq!((published.status, published.json()), (200, whole.clone()));
    play.wait(60);
    assert_eq!(play.seen(&id).await, whole);

    let later = r#"{"scheduled_at":"2026-01-02T00:00:00Z"}"#;
    for (action, body) in [("publish", ""), ("schedule", later)] {
        let (status, code, message) = play.act(&id, action, body).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"));
        assert!(message.starts_with("status is published since 2026-01-01T12:01:00.000Z"), "{message}");
    }
    let edit = play.rest("PATCH", &format!("/v1/posts/{id}"), r#"{"body":"Too late."}"#).await.refusal();
    assert!(edit.0 == 400 && edit.2.contains("status is published"), "{edit:?}");
    assert_eq!(play.seen(&id).await, whole);
    assert_eq!(play.rest("DELETE", &format!("/v1/posts/{id}"), "").await.status, 204);
}

#[tokio::test]
async fn publishing_takes_no_body_or_an_empty_object() {
    let mut play = Play::start().await;
    for body in ["", "{}"] {
        let id = play.post("x").await;
        assert_eq!(play.act(&id, "publish", body).await.status, 200, "{body}");
    }
    let id = play.post("x").await;
    for (body, said) in [(r#"{"at":1}"#, "\"at\""), ("[]", "JSON object"), ("x", "not valid JSON")] {
        let (status, _, message) = play.act(&id, "publish", body).await.refusal();
        assert!(status == 400 && message.contains(said), "{body}: {message}");
    }
    assert_eq!(play.seen(&id).await["status"], "draft");
}

#[tokio::test]
async fn a_scheduled_post_is_seen_as_published_from_its_very_time_on() {
    let mut play = Play::start().await;
    let id = play.scheduled("Later.", "2026-01-01T13:01:00.0004+01:00").await;
    let at = "2026-01-01T12:01:00.000Z";
    let seen = play.seen(&id).await;
    assert_eq!((&seen["status"], &seen["scheduled_at"]), (&json!("scheduled"), &json!(at)));
    assert_eq!(seen.get("published_at"), None);

    // Nobody keeps up here: readers see it as of their moment.
    play.wait(59);
    assert_eq!(play.seen(&id).await["status"], "scheduled");
    play.wait(1);
    let published = play.seen(&id).await;
    for (field, expected) in
        [("status", "published"), ("published_at", at), ("scheduled_at", at), ("updated_at", at)]
    {
        assert_eq!(published[field], expected, "{field}");
    }
    assert_eq!(play.rest("GET", "/v1/posts", "").await.json()["data"], json!([published]));
    assert_eq!(play.tool("posts_get", json!({"id": id})).await["structuredContent"], published);
    assert_eq!(play.act(&id, "publish", "").await.status, 400, "it is out");
    let edit = play.tool("posts_update", json!({"id": id, "body": "Too late."})).await;
    assert_eq!(edit["isError"], true, "{edit}");

    // And once that is written down nothing is different.
    play.wait(600);
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.seen(&id).await, published);
    let kept = play.sandbox.records.find(ours(), number(&id).unwrap());
    let kept = String::from_utf8(kept.await.unwrap().unwrap()).unwrap();
    assert!(kept.contains(r#""status":"published""#), "{kept}");
    assert!(!play.is_anything_due());
}

impl Play {
    /// Whether anything will be due, however late.
    fn is_anything_due(&self) -> bool {
        self.sandbox.records.is_something_due(crate::domain::time::Wall::from_secs(i64::MAX / 2_000_000))
    }
}

#[tokio::test]
async fn a_time_can_be_moved_and_given_up() {
    let mut play = Play::start().await;
    let moved = play.scheduled("moved", "2026-01-01T12:01:00Z").await;
    let deleted = play.scheduled("deleted", "2026-01-01T12:01:00Z").await;
    let early = play.scheduled("early", "2026-01-01T12:01:00Z").await;
    let edited = play.scheduled("edited", "2026-01-01T12:01:00Z").await;
    let again = play.act(&moved, "schedule", r#"{"scheduled_at":"2026-01-01T12:05:00Z"}"#).await.json();
    assert_eq!(again["scheduled_at"], "2026-01-01T12:05:00.000Z");
    assert_eq!(play.rest("DELETE", &format!("/v1/posts/{deleted}"), "").await.status, 204);
    let out = play.act(&early, "publish", "").await.json();
    assert_eq!(
        (out["published_at"].as_str(), out.get("scheduled_at")),
        (Some("2026-01-01T12:00:00.000Z"), None)
    );
    let edit = play.rest("PATCH", &format!("/v1/posts/{edited}"), r#"{"body":"Edited."}"#).await.json();
    assert_eq!((&edit["status"], &edit["body"]), (&json!("scheduled"), &json!("Edited.")));

    play.sandbox.keep_up().await.unwrap();
    play.wait(60);
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.seen(&moved).await["status"], "scheduled");
    assert_eq!(play.seen(&early).await, out);
    let edited = play.seen(&edited).await;
    assert_eq!((&edited["status"], &edited["body"]), (&json!("published"), &json!("Edited.")));
    assert!(play.is_anything_due(), "the moved one");
    play.wait(240);
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.seen(&moved).await["published_at"], "2026-01-01T12:05:00.000Z");
    assert!(!play.is_anything_due(), "nothing is left of the times before");
}

#[tokio::test]
async fn a_wrong_time_is_refused_by_its_name() {
    let mut play = Play::start().await;
    let id = play.post("x").await;
    for body in [
        "{}".to_owned(),
        json!({"scheduled_at": null}).to_string(),
        json!({"scheduled_at": NOON + 60}).to_string(),
        json!({"scheduled_at": "tomorrow"}).to_string(),
        json!({"scheduled_at": "2026-01-02"}).to_string(),
        json!({"scheduled_at": "2026-01-02 00:00:00Z"}).to_string(),
        json!({"scheduled_at": "2026-01-01T12:00:00Z"}).to_string(),
        json!({"scheduled_at": "2026-01-01T12:00:00.0009Z"}).to_string(),
        json!({"scheduled_at": "2025-12-31T00:00:00Z"}).to_string(),
    ] {
        let (status, code, message) = play.act(&id, "schedule", &body).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{body}");
        assert!(message.starts_with("scheduled_at must"), "{body}: {message}");
    }
    let unknown = play.act(&id, "schedule", r#"{"scheduled_at":"2026-01-02T00:00:00Z","at":1}"#).await;
    assert!(unknown.refusal().2.contains("\"at\""));
    assert_eq!(play.seen(&id).await["status"], "draft");
    let good = r#"{"scheduled_at":"2026-01-01T12:00:00.001Z"}"#;
    assert_eq!(play.act("post_1", "schedule", good).await.refusal().1, "not_found");
    assert_eq!(play.act("post_1", "publish", "").await.status, 404);
    assert_eq!(play.rest_of(2, "POST", &format!("/v1/posts/{id}/schedule"), good).await.status, 404);
    assert_eq!(play.rest_of(2, "POST", &format!("/v1/posts/{id}/publish"), "").await.status, 404);
    assert_eq!(play.act(&id, "schedule", good).await.status, 200, "a millisecond ahead is the future");
    let refused = play.rest("GET", &format!("/v1/posts/{id}/schedule"), "").await;
    assert_eq!((refused.status, refused.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn what_was_due_while_the_sandbox_was_not_running_is_published_at_the_start() {
    let mut play = Play::start().await;
    let missed = play.scheduled("missed", "2026-01-01T12:01:00Z").await;
    let ahead = play.scheduled("ahead", "2026-01-01T13:00:00Z").await;
    play.wait(600);
    let mut play = play.restart().await;
    play.sandbox.keep_up().await.unwrap();
    let seen = play.seen(&missed).await;
    assert_eq!(
        (&seen["status"], &seen["published_at"]),
        (&json!("published"), &json!("2026-01-01T12:01:00.000Z"))
    );
    assert_eq!(play.seen(&ahead).await["status"], "scheduled");
    assert!(play.is_anything_due());
}

#[tokio::test]
async fn posts_of_one_moment_in_many_batches_are_all_published() {
    let mut play = Play::start().await;
    let due = crate::domain::time::Wall::from_secs(NOON + 60);
    let id = play.scheduled("x", "2026-01-01T12:01:00Z").await;
    let posts = ours();
    let document = play.sandbox.records.find(posts.clone(), number(&id).unwrap()).await.unwrap().unwrap();
    // Behind the doors, in one transaction: so many requests would take longer than they show.
    let inserted = play.sandbox.records.write(move |file| {
        file.write_due(|tables| {
            for number in 1..600 {
                insert_due_in(tables, &posts, number, due, |_| Ok(document.clone()))?.unwrap();
            }
            Ok(())
        })
    });
    inserted.await.unwrap();
    play.wait(60);
    play.sandbox.keep_up().await.unwrap();
    assert!(!play.is_anything_due());
    let counts = play.rest("GET", "/v1/accounts/analytics", "").await.json();
    assert_eq!(counts["data"]["posts"], json!({"draft": 0, "scheduled": 0, "published": 600}));
}

#[tokio::test]
async fn analytics_tell_what_was_counted_and_survive_a_restart() {
    let mut play = Play::start().await;
    let id = play.scheduled("héllo", "2026-01-01T12:01:00Z").await;
    let path = format!("/v1/posts/{id}/analytics");
    let expected = |status: &str, views: u64, edits: u64, characters: u64| {
        json!({"data": {
            "post_id": id, "status": status, "views": views, "edits": edits, "schedulings": 1,
            "accounts": 1, "characters": characters
        }})
    };
    assert_eq!(play.rest("GET", &path, "").await.json(), expected("scheduled", 0, 0, 5));
    for _ in 0..3 {
        play.seen(&id).await;
    }
    play.rest("HEAD", &format!("/v1/posts/{id}"), "").await;
    play.tool("posts_get", json!({"id": id})).await;
    play.rest("PATCH", &format!("/v1/posts/{id}"), r#"{"body":"other"}"#).await;
    play.rest("GET", "/v1/posts", "").await;
    assert_eq!(play.rest("GET", &path, "").await.json(), expected("scheduled", 5, 1, 5));
    play.seen(&id).await;
    play.wait(60);
    let mut play = play.restart().await;
    assert_eq!(play.rest("GET", &path, "").await.json(), expected("published", 6, 1, 5));

    assert_eq!(play.rest_of(2, "GET", &path, "").await.status, 404);
    assert_eq!(play.rest("GET", &format!("{path}?x=1"), "").await.status, 400);
    assert_eq!(play.rest("GET", "/v1/posts/post_1/analytics", "").await.refusal().1, "not_found");

    let elsewhere = json!({"body": "x", "account_ids": ["acct_2", "acct_9"]}).to_string();
    assert_eq!(play.rest("POST", "/v1/posts", &elsewhere).await.status, 201);
    let one = |draft: u64, published: u64| json!({"draft": draft, "scheduled": 0, "published": published});
    let all = play.rest("GET", "/v1/accounts/analytics", "").await;
    assert_eq!(
        (all.status, all.json()),
        (
            200,
            json!({"data": {
                "posts": one(1, 1), "views": 6, "edits": 1, "schedulings": 1,
                "accounts": [
                    {"id": "acct_1", "posts": one(0, 1)},
                    {"id": "acct_2", "posts": one(1, 0)},
                    {"id": "acct_3", "posts": one(0, 0)}
                ]
            }})
        )
    );
    let theirs = play.rest_of(2, "GET", "/v1/accounts/analytics", "").await.json();
    assert_eq!((&theirs["data"]["posts"], &theirs["data"]["views"]), (&one(0, 0), &json!(0)));
}

#[tokio::test]
async fn a_post_that_an_older_version_kept_is_read_on() {
    let play = Play::start().await;
    let old = r#"{"id":"post_00000000000000000000000000000007","status":"draft","body":"old","account_ids":["a"],
        "created_at":"2026-01-01T11:00:00.000Z","updated_at":"2026-01-01T11:00:00.000Z"}"#;
    let inserted = play.sandbox.records.insert(ours(), 7, |_| Ok(old.as_bytes().to_vec()));
    inserted.await.unwrap().unwrap();
    let mut play = play;
    let id = "post_00000000000000000000000000000007";
    assert_eq!(play.seen(id).await["body"], "old");
    assert_eq!(play.act(id, "publish", "").await.json()["status"], "published");
}

#[tokio::test]
async fn samples_say_that_they_are_samples() {
    let mut play = Play::start().await;
    let persona = play.rest("GET", "/v1/persona", "").await;
    assert_eq!((persona.status, &persona.json()["data"]["sample"]), (200, &json!(true)));
    let all = play.rest("GET", "/v1/trending", "").await.json();
    let all = all["data"].as_array().unwrap();
    assert!(all.len() > 2 && all.iter().all(|trend| trend["sample"] == true));
    let part = play.rest("GET", "/v1/trending?limit=1&offset=1", "").await.json();
    assert_eq!(part["data"], json!([all[1]]));
    for path in ["/v1/trending?limit=0", "/v1/persona?limit=1", "/v1/accounts/analytics?x=1"] {
        assert_eq!(play.rest("GET", path, "").await.refusal().1, "invalid_request", "{path}");
    }
    for path in ["/v1/trending", "/v1/persona", "/v1/accounts/analytics"] {
        let refused = play.rest("POST", path, "{}").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET"), "{path}");
    }
}
