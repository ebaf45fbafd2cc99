//! What is told of use: the report of a key against what was asked, keys that nobody uses, and what a kill leaves
//! of last uses.
//!
//! Never here: a figure that is nearly right.

use keyward::domain::time::Wall;
use serde_json::{Value, json};

use crate::admin_input::check_problem;
use crate::daemon::{Daemon, Hidden, Key, call_tool, list_posts, list_tools};
use crate::program::{Program, configured, new_workspace, text};
use crate::wire::{Call, call_once};

async fn usage(daemon: &Daemon, key: &Key, query: &str) -> Value {
    daemon.admin_json(Call::get(&format!("/api/v1/keys/{}/usage{query}", key.id))).await
}

/// One line for each place of a report: requests, granted ones, refusals, answers.
fn places(report: &Value) -> Vec<String> {
    let figures = |entry: &Value| {
        let name = entry["place"].as_str().unwrap();
        format!("{name} {} {} {} {}", entry["requests"], entry["valid"], entry["refused"], entry["answers"])
    };
    report["places"].as_array().unwrap().iter().map(figures).collect()
}

#[tokio::test]
async fn e06_a_report_says_what_was_asked_through_every_door_and_agrees_with_the_meter() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": 3}}})).await;
    let key = daemon.key_for(&workspace, &["posts:read", "ai:generate"]).await;
    let rewrite = || Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&key.text);
    let statuses = async |calls: Vec<Call>| {
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(daemon.call(&call).await.status);
        }
        statuses
    };
    let posts = vec![list_posts(&key), list_posts(&key), Call::get("/v1/posts/77").bearer(&key.text)];
    assert_eq!(statuses(posts).await, [200, 200, 404]);
    assert_eq!(statuses(vec![rewrite(), rewrite(), rewrite(), rewrite()]).await, [200, 200, 200, 402]);
    let strange = [
        Call::get("/v1/nope").bearer(&key.text),
        Call::new("PUT", "/v1/posts").bearer(&key.text),
        Call::new("DELETE", "/v1/posts/1").bearer(&key.text),
        Call::post("/v1/ai/rewrite", &json!({"text": "a".repeat(2 << 20)})).bearer(&key.text),
    ];
    assert_eq!(statuses(strange.to_vec()).await, [404, 405, 403, 413]);
    assert_eq!(
        statuses(vec![list_tools(&key), call_tool(&key, "posts_list"), call_tool(&key, "nope")]).await,
        [200, 200, 403]
    );
    let asked = daemon.verify(&key.text, json!({"permission": "ai:generate"})).await;
    assert_eq!(asked["code"], "quota");
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    assert_eq!(
        daemon.verify(&key.text, json!({"method": "GET", "path": "/v1/posts"})).await["code"],
        "valid"
    );
    assert_eq!(
        daemon.verify(&key.text, json!({"dry_run": true})).await["code"],
        "valid",
        "and is not counted"
    );
    daemon.revoke(&key).await;
    assert_eq!(statuses(vec![list_posts(&key)]).await, [401]);
    assert_eq!(daemon.call(&list_tools(&key)).await.status, 401);
    let rehearsed = daemon.verify(&key.text, json!({"dry_run": true})).await;
    assert_eq!(rehearsed["code"], "revoked", "and is counted as little");

    let expected = [
        r#"DELETE /v1/posts/{id} 1 0 {"permission":1} {}"#,
        r#"GET /v1/posts 4 3 {"revoked":1} {"ok":2}"#,
        r#"GET /v1/posts/{id} 1 1 {} {"4xx":1}"#,
        r#"POST /v1/ai/rewrite 5 3 {"quota":1,"too_large":1} {"ok":3}"#,
        r#"ai:generate 1 0 {"quota":1} {}"#,
        "key 1 1 {} {}",
        r#"other 4 0 {"method":1,"not_found":1,"permission":1,"revoked":1} {}"#,
        r#"posts_list 1 1 {} {"ok":1}"#,
        r#"tools/list 1 1 {} {"ok":1}"#,
    ];
    let report = usage(&daemon, &key, "").await;
    assert_eq!(places(&report), expected);
    let total = &report["total"];
    assert_eq!((&total["requests"], &total["valid"]), (&json!(19), &json!(10)));
    // Of eight answers one was a 404.
    assert_eq!(total["error_rate"], 0.125);
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 3);
    let data = report["data"].as_array().unwrap();
    assert_eq!((data.len(), data.last().unwrap()["requests"].as_u64()), (24, Some(19)));
    assert_eq!(data.last().unwrap()["at"], "2027-03-10T12:00:00.000Z");
    assert!(data[..23].iter().all(|hour| hour["requests"] == 0 && hour["error_rate"].is_null()));

    daemon.restart_after(|_| ()).await;
    assert_eq!(usage(&daemon, &key, "").await, report, "after a restart");
    daemon.advance_secs(86_400);
    assert_eq!(usage(&daemon, &key, "").await["total"]["requests"], 0, "a day later");
    let by_day = usage(&daemon, &key, "?step=day").await;
    assert_eq!((by_day["data"].as_array().unwrap().len(), &by_day["total"]), (30, total));
    assert_eq!(by_day["data"][28]["at"], "2027-03-10T00:00:00.000Z");
    assert_eq!(by_day["data"][28]["requests"], 19);
    let narrow = usage(&daemon, &key, "?from=2027-03-10T12:00:00Z&to=2027-03-10T13:00:00Z").await;
    assert_eq!((narrow["data"].as_array().unwrap().len(), &narrow["total"]), (1, total));
    daemon.finish().await;
}

#[tokio::test]
async fn a_message_that_finds_no_room_is_counted_and_told_its_rate_like_any_other() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = &workspace.default_key;
    // A workspace may have so many messages under way that announce 1 MiB: 32 MiB of them.
    let mut stalled = Vec::new();
    for _ in 0..32 {
        let mut connection = daemon.connect().await;
        let unfinished = list_tools(key).header("Content-Length", "1048576").bytes(daemon.data());
        connection.send(&unfinished).await;
        stalled.push(connection);
    }
    let (mut valid, mut answer) = (0, daemon.call(&list_tools(key)).await);
    while answer.status == 200 {
        valid += 1;
        answer = daemon.call(&list_tools(key)).await;
    }
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.header("ratelimit").is_some(), "{answer:?}");
    let total = usage(&daemon, key, "").await["total"].clone();
    assert_eq!((&total["valid"], &total["refused"]), (&json!(valid), &json!({"busy": 1})));
    drop(stalled);
    daemon.finish().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_given_is_refused_with_what_can() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let path = format!("/api/v1/keys/{}/usage", workspace.default_key.id);
    for (query, named) in [
        ("?step=minute", "hour or day"),
        ("?from=today", "RFC 3339"),
        ("?from=2027-03-10T11:00:00Z&to=2027-03-10T11:00:00Z", "before `to`"),
        ("?from=2026-12-01T00:00:00Z", "35 days"),
        ("?step=day&from=2025-12-01T00:00:00Z", "400 days"),
        ("?to=2029-01-01T00:00:00Z&from=2027-03-10T00:00:00Z", "840 hours"),
        ("?from=2027-03-10T00:00:00Z&from=2027-03-10T00:00:00Z", "at most once"),
        ("?place=a", "from, to, step"),
    ] {
        check_problem(query, &daemon.admin(Call::get(&format!("{path}{query}"))).await, 400, named);
    }
    for id in ["key_01h2xcejqtf2nbrexx3vqjhp41", "nonsense"] {
        let answer = daemon.admin(Call::get(&format!("/api/v1/keys/{id}/usage"))).await;
        check_problem(id, &answer, 404, "");
    }
    assert_eq!(daemon.admin(Call::get(&format!("{path}?step=day"))).await.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn keys_that_nobody_uses_are_found_by_their_last_use_or_their_making() {
    const DAY: u64 = 86_400;
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    // Ids stand in the order of making, as far as a clock tells it.
    daemon.advance_secs(1);
    let used = daemon.key_for(&workspace, &["posts:read"]).await;
    daemon.advance_secs(1);
    let revoked = daemon.key_for(&workspace, &[]).await;
    daemon.revoke(&revoked).await;
    daemon.advance_secs(10 * DAY);
    let unused = async |daemon: &Daemon, query: &str| {
        let listed = daemon.admin_json(Call::get(&format!("/api/v1/keys?{query}"))).await;
        let data = listed["data"].as_array().unwrap().clone();
        let ids: Vec<_> = data.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
        (ids, listed["total"].as_u64().unwrap())
    };
    let never = [&workspace.default_key.id, &used.id, &revoked.id].map(String::clone);
    assert_eq!(unused(&daemon, "unused_for=10d").await, (never.to_vec(), 3));
    assert_eq!(unused(&daemon, "unused_for=864003s").await, (vec![], 0), "one second more");
    assert_eq!(daemon.call(&list_posts(&used)).await.status, 200);
    let without = vec![never[0].clone(), never[2].clone()];
    assert_eq!(unused(&daemon, "unused_for=1s").await, (without.clone(), 2), "known at once");
    assert_eq!(unused(&daemon, "unused_for=10d&status=active").await, (vec![never[0].clone()], 1));
    assert_eq!(unused(&daemon, "unused_for=10d&limit=1&offset=1").await, (vec![never[2].clone()], 2));
    let of_admin = "unused_for=10d&workspace_id=ws_00000000000000000000000001";
    assert_eq!(unused(&daemon, of_admin).await, (vec![], 0), "the admin key is in use");
    daemon.restart_after(|_| ()).await;
    daemon.advance_secs(DAY);
    assert_eq!(unused(&daemon, "unused_for=24h").await, (never.to_vec(), 3), "read from the file");
    assert_eq!(unused(&daemon, "unused_for=1441m").await, (without, 2));
    for wrong in
        ["30", "d", "0d", "-1d", "1.5d", "+1d", "30D", "3651d", "99999999999999d", "", "1w", "1%C3%A9"]
    {
        let answer = daemon.admin(Call::get(&format!("/api/v1/keys?unused_for={wrong}"))).await;
        check_problem(wrong, &answer, 400, "unused_for: expected a whole number and a unit");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn d18_a_last_use_survives_a_kill_never_newer_than_it_was_never_moved_back_and_five_seconds_old_at_most()
 {
    let dir = configured();
    let file = dir.path().join("keyward.toml");
    // What a configuration has that does not say.
    let config = std::fs::read_to_string(&file).unwrap().replace("100ms", "1s");
    std::fs::write(&file, config).unwrap();
    let mut daemon = Program::serve(dir.path()).await;
    let workspace = text(&daemon.admin_json(new_workspace()).await["workspace"]["id"]);
    let fields =
        json!({"workspace_id": workspace, "permissions": ["*:*"], "rate": {"limit": 100_000, "window_s": 1}});
    let made = daemon.admin_json(Call::post("/api/v1/keys", &fields)).await;
    let (path, key) = (format!("/api/v1/keys/{}", text(&made["id"])), Hidden(text(&made["key"])));
    // The key's own last use, and that of its one secret.
    let last_uses = async |daemon: &Program| {
        let shown = daemon.admin_json(Call::get(&path)).await;
        [&shown["last_used_at"], &shown["secrets"][0]["last_used_at"]]
            .map(|at| at.as_str().and_then(Wall::parse).map_or(0, Wall::micros))
    };
    let mut before = [0; 2];
    // Used for so long, in milliseconds; the last one longer than what may be lost.
    for used_for in [0, 300, 1_700, 6_500] {
        assert_eq!(daemon.list_posts(&key).await.status, 200);
        let first = last_uses(&daemon).await;
        let mut latest = first;
        while latest[0] < first[0] + used_for * 1_000 {
            assert_eq!(call_once(daemon.data(), &Call::get("/v1/posts").bearer(&key)).await.status, 200);
            latest = last_uses(&daemon).await;
        }
        daemon.kill();
        daemon = Program::serve(dir.path()).await;
        let kept = last_uses(&daemon).await;
        for ((kept, latest), before) in kept.into_iter().zip(latest).zip(before) {
            assert!(kept <= latest, "newer than it was, after {used_for} ms");
            assert!(kept >= before, "moved back, after {used_for} ms");
            let lost = if kept == 0 { used_for * 1_000 } else { latest - kept };
            assert!(lost <= 5_000_000, "{lost} µs were lost after {used_for} ms");
        }
        before = kept;
    }
    daemon.kill();
}
