//! Rates and meters, exactly: how many pass, when the next one does, and what a month is.
//!
//! Time stands still unless a test moves it, so each figure is the one that was promised and not a near one.
//!
//! Never here: a tolerance.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Workspace, call_tool, list_posts};
use crate::wire::Call;

#[tokio::test]
async fn six_hundred_pass_in_a_minute_and_then_one_more_exactly_when_it_was_announced() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let mut connection = daemon.connect().await;
    for number in 1..=600 {
        let answer = connection.call(&list_posts(&key)).await;
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
    }
    let refused = connection.call(&list_posts(&key)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    let asked = daemon.verify(&key.text, json!({"dry_run": true})).await;
    assert_eq!((&asked["code"], &asked["retry_after_ms"]), (&json!("rate"), &json!(100)));
    daemon.advance_micros(99_999);
    assert_eq!(connection.call(&list_posts(&key)).await.status, 429, "one microsecond before");
    daemon.advance_micros(1);
    assert_eq!(connection.call(&list_posts(&key)).await.status, 200, "exactly then");
    assert_eq!(connection.call(&list_posts(&key)).await.status, 429, "and one alone");
    // A bucket that has rested is full, and no fuller.
    daemon.advance_secs(86_400);
    for _ in 0..600 {
        assert_eq!(connection.call(&list_posts(&key)).await.status, 200);
    }
    assert_eq!(connection.call(&list_posts(&key)).await.status, 429);
    daemon.finish().await;
}

#[tokio::test]
async fn a_refused_request_does_not_put_the_next_one_off() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let key = daemon
        .key(&workspace, json!({"permissions": ["posts:read"], "rate": {"limit": 1, "window_s": 10}}))
        .await;
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    for secs in (1..=10).rev() {
        let refused = daemon.call(&list_posts(&key)).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some(secs.to_string().as_str())));
        daemon.advance_secs(1);
    }
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn each_key_has_a_bucket_of_its_own_and_all_doors_share_it() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let fields = json!({"permissions": ["posts:read"], "rate": {"limit": 3, "window_s": 60}});
    let (key, other) = (daemon.key(&workspace, fields.clone()).await, daemon.key(&workspace, fields).await);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    assert!(daemon.call(&call_tool(&key, "posts_list")).await.json()["result"].is_object());
    assert_eq!(daemon.verify(&key.text, json!({})).await["code"], "valid");
    let refused = daemon.call(&call_tool(&key, "posts_list")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (200, Some("20")));
    assert_eq!(
        refused.json()["error"],
        json!({"code": -32004, "message": "Rate limit exceeded", "data": {"retryAfter": 20}})
    );
    assert_eq!(refused.json()["id"], 1);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 429);
    assert_eq!(daemon.call(&list_posts(&other)).await.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn the_keys_own_rate_stands_over_the_workspaces_and_that_over_the_profiles() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let full = async || {
        daemon.advance_secs(86_400);
        daemon.verify(&key.text, json!({})).await["remaining"].as_u64().unwrap() + 1
    };
    assert_eq!(full().await, 600);
    daemon.patch_workspace(&workspace, json!({"overrides": {"rate": {"limit": 50, "window_s": 60}}})).await;
    assert_eq!(full().await, 50);
    daemon.patch_key(&key, json!({"rate": {"limit": 5, "window_s": 60, "burst": 7}})).await;
    assert_eq!(full().await, 7);
    daemon.patch_key(&key, json!({"rate": null})).await;
    assert_eq!(full().await, 50);
    daemon.patch_workspace(&workspace, json!({"overrides": {"rate": null}})).await;
    assert_eq!(full().await, 600);
    daemon.finish().await;
}

async fn rewrites(daemon: &Daemon, key: &Key, times: usize) -> Vec<u16> {
    let mut connection = daemon.connect().await;
    let call = Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&key.text);
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(connection.call(&call).await.status);
    }
    statuses
}

async fn metered(plan: &str, ai: Option<u64>) -> (Daemon, Workspace) {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace(plan).await;
    if let Some(ai) = ai {
        daemon.patch_workspace(&workspace, json!({"overrides": {"meters": {"ai": ai}}})).await;
    }
    (daemon, workspace)
}

#[tokio::test]
async fn a_metered_answer_tells_the_month_its_marks_and_the_instant_of_its_end() {
    let (daemon, workspace) = metered("pro", Some(5)).await;
    let resets_at = daemon.ai_meter(&workspace).await["resets_at"].as_str().unwrap().to_owned();
    let call =
        Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&workspace.default_key.text);
    let mut told = Vec::new();
    for _ in 0..6 {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.header("x-quota-limit"), Some("5"));
        assert_eq!(answer.header("x-quota-reset"), Some(resets_at.as_str()), "{answer:?}");
        let left = answer.header("x-quota-remaining").unwrap().to_owned();
        told.push((answer.status, left, answer.header("x-quota-mark").unwrap_or("").to_owned()));
    }
    let expected = [(200, "4", ""), (200, "3", ""), (200, "2", ""), (200, "1", "80%"), (200, "0", "100%")];
    let expected = expected.into_iter().chain([(402, "0", "100%")]);
    let expected: Vec<_> =
        expected.map(|(status, left, mark)| (status, left.to_owned(), mark.to_owned())).collect();
    assert_eq!(told, expected);
    let unmetered = daemon.call(&list_posts(&workspace.default_key)).await;
    assert_eq!((unmetered.status, unmetered.header("x-quota-limit")), (200, None));
    daemon.finish().await;
}

#[tokio::test]
async fn a_month_admits_exactly_its_limit_over_rest_whatever_the_upstream_answers() {
    let (daemon, workspace) = metered("pro", Some(2)).await;
    assert_eq!(rewrites(&daemon, &workspace.default_key, 4).await, [200, 200, 402, 402]);
    let meter = daemon.ai_meter(&workspace).await;
    assert_eq!((&meter["used"], &meter["admitted"]), (&json!(2), &json!(2)));
    // Another key of the workspace finds the same meter, another workspace its own.
    let second = daemon.key_for(&workspace, &["ai:generate"]).await;
    assert_eq!(rewrites(&daemon, &second, 1).await, [402]);
    let other = daemon.workspace("pro").await;
    assert_eq!(rewrites(&daemon, &other.default_key, 1).await, [200]);
    daemon.finish().await;
}

#[tokio::test]
async fn the_pro_plan_sells_a_thousand_and_not_one_more() {
    let (daemon, workspace) = metered("pro", None).await;
    let key = daemon
        .key(&workspace, json!({"permissions": ["ai:generate"], "rate": {"limit": 10_000, "window_s": 60}}))
        .await;
    let ask = json!({"permission": "ai:generate", "cost": 333});
    for _ in 0..3 {
        assert_eq!(daemon.verify(&key.text, ask.clone()).await["code"], "valid");
    }
    assert_eq!(daemon.verify(&key.text, ask).await["code"], "quota", "999 and 333 are more than 1,000");
    assert_eq!(daemon.verify(&key.text, json!({"permission": "ai:generate"})).await["code"], "valid");
    assert_eq!(rewrites(&daemon, &key, 1).await, [402]);
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 1000);
    daemon.finish().await;
}

#[tokio::test]
async fn the_last_units_are_sold_once_however_many_ask_at_once() {
    let (daemon, workspace) = metered("pro", Some(20)).await;
    let daemon = std::sync::Arc::new(daemon);
    let key = workspace.default_key.clone();
    let asking = (0..8).map(|_| {
        let (daemon, key) = (std::sync::Arc::clone(&daemon), key.clone());
        tokio::spawn(async move { rewrites(&daemon, &key, 5).await })
    });
    let mut statuses = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        statuses.extend(asked.await.unwrap());
    }
    let count = |status: u16| statuses.iter().filter(|given| **given == status).count();
    assert_eq!((count(200), count(402)), (20, 20));
    std::sync::Arc::into_inner(daemon).unwrap().finish().await;
}

#[tokio::test]
async fn a_month_ends_at_the_anniversary_of_the_anchors_day() {
    let (daemon, workspace) = metered("pro", Some(1)).await;
    // The clock starts on 10 March 2027; the anchor's day does not exist in every month.
    daemon.patch_workspace(&workspace, json!({"billing_anchor": "2026-01-31T06:00:00Z"})).await;
    assert_eq!(daemon.ai_meter(&workspace).await["resets_at"], "2027-03-31T06:00:00.000Z");
    assert_eq!(rewrites(&daemon, &workspace.default_key, 2).await, [200, 402]);
    let asked = daemon.verify(&workspace.default_key.text, json!({"permission": "ai:generate"})).await;
    assert_eq!((&asked["code"], &asked["resets_at"]), (&json!("quota"), &json!("2027-03-31T06:00:00.000Z")));
    let to_the_31st = 21 * 86_400 - 6 * 3600;
    daemon.advance_micros(to_the_31st * 1_000_000 - 1);
    assert_eq!(rewrites(&daemon, &workspace.default_key, 1).await, [402], "one microsecond before");
    daemon.advance_micros(1);
    assert_eq!(daemon.ai_meter(&workspace).await["resets_at"], "2027-04-30T06:00:00.000Z");
    assert_eq!(rewrites(&daemon, &workspace.default_key, 2).await, [200, 402], "the new month");
    daemon.advance_secs(30 * 86_400);
    assert_eq!(daemon.ai_meter(&workspace).await["resets_at"], "2027-05-31T06:00:00.000Z");
    assert_eq!(rewrites(&daemon, &workspace.default_key, 2).await, [200, 402], "the one after");
    daemon.finish().await;
}

#[tokio::test]
async fn a_changed_limit_counts_what_was_sold_before() {
    let (daemon, workspace) = metered("pro", Some(3)).await;
    let key = &workspace.default_key;
    assert_eq!(rewrites(&daemon, key, 2).await, [200, 200]);
    for (patch, statuses) in [
        (json!({"overrides": {"meters": {"ai": 1}}}), vec![402]),
        (json!({"overrides": {"meters": {"ai": 3}}}), vec![200, 402]),
        (json!({"name": "Renamed"}), vec![402]),
        (json!({"overrides": {"meters": {"ai": null}}}), vec![200]),
        (json!({"overrides": {"meters": {"ai": 0}}}), vec![402]),
        (json!({"plan": "enterprise"}), vec![402]),
        (json!({"overrides": {"meters": {"ai": null}}}), vec![200, 200]),
    ] {
        daemon.patch_workspace(&workspace, patch.clone()).await;
        assert_eq!(rewrites(&daemon, key, statuses.len()).await, statuses, "{patch}");
    }
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 6);
    assert_eq!(daemon.ai_meter(&workspace).await["admitted"], Value::Null);
    daemon.finish().await;
}

#[tokio::test]
async fn a_number_is_taken_exactly_or_refused() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let patch = |target: &str, body: String| {
        let call = Call::new("PATCH", target).header("Content-Type", "application/json").body(body);
        daemon.admin(call)
    };
    let key_path = format!("/api/v1/keys/{}", key.id);
    let workspace_path = format!("/api/v1/workspaces/{}", workspace.id);
    let refused = [
        "-1",
        "1.5",
        "1e400",
        "\"10\"",
        "true",
        "[]",
        "{}",
        "18446744073709551616",
        "99999999999999999999999",
        "1e3",
        "1.0",
        "0x10",
    ];
    for number in refused {
        for body in [
            format!("{{\"rate\":{{\"limit\":{number},\"window_s\":60}}}}"),
            format!("{{\"rate\":{{\"limit\":1,\"window_s\":{number}}}}}"),
        ] {
            let answer = patch(&key_path, body).await;
            assert_eq!(answer.status, 400, "rate {number}: {answer:?}");
        }
        let answer =
            patch(&workspace_path, format!("{{\"overrides\":{{\"meters\":{{\"ai\":{number}}}}}}}")).await;
        assert_eq!(answer.status, 400, "meter {number}: {answer:?}");
    }
    for (limit, window, status) in [
        ("0", "1", 200),
        ("1", "1", 200),
        ("2147483648", "2678400", 200),
        ("1", "0", 400),
        ("1", "4294967297", 400),
        ("9223372036854775807", "60", 400),
        ("18446744073709551615", "60", 400),
    ] {
        let answer =
            patch(&key_path, format!("{{\"rate\":{{\"limit\":{limit},\"window_s\":{window}}}}}")).await;
        assert_eq!(answer.status, status, "{limit} in {window}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.json()["rate"]["limit"].to_string(), limit);
        }
    }
    // The largest number is a limit like any other, and none is none.
    for (limit, code) in [
        ("18446744073709551615", "valid"),
        ("9223372036854775807", "valid"),
        ("0", "quota"),
        ("null", "valid"),
    ] {
        let answer =
            patch(&workspace_path, format!("{{\"overrides\":{{\"meters\":{{\"ai\":{limit}}}}}}}")).await;
        assert_eq!(answer.status, 200, "{limit}: {answer:?}");
        let asked = daemon
            .verify(&workspace.default_key.text, json!({"permission": "ai:generate", "dry_run": true}))
            .await;
        assert_eq!(asked["code"], code, "{limit}");
    }
    daemon.finish().await;
}
