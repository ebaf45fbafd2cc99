//! Rates: what callers are told of them, several windows on one key, and the buckets beside the key's own.
//!
//! Time stands still unless a test moves it, but for the kills, where it is the machine's.
//!
//! Never here: a tolerance that a test does not derive.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options, call_tool, list_posts};
use crate::program::{Program, configured, new_workspace, saved};
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call};

const NAMES: [&str; 5] =
    ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// The five headers of an answer, in the order of `NAMES`.
fn told(answer: &Answer) -> [Option<&str>; 5] {
    NAMES.map(|name| answer.header(name))
}

async fn paced_key(daemon: &Daemon, rate: Value) -> Key {
    let workspace = daemon.workspace("free").await;
    daemon.key(&workspace, json!({"permissions": ["posts:read"], "rate": rate})).await
}

/// 2 requests a minute for each key at one route, and 1 at one tool.
const PACED: &[(&str, &str)] = &[
    ("path = \"/v1/accounts\"", "path = \"/v1/accounts\"\nrate = { limit = 2, window_s = 60 }"),
    (
        "posts_list = \"posts:read\"",
        "posts_list = { permission = \"posts:read\", rate = { limit = 1, window_s = 60 } }",
    ),
];

#[tokio::test]
async fn every_answer_to_a_proven_request_tells_where_its_rate_stands() {
    let daemon = Daemon::start().await;
    let key = paced_key(&daemon, json!({"limit": 6, "window_s": 60})).await;
    let policy = Some("\"default\";q=6;w=60");
    let stands = |current, remaining, reset| [policy, Some(current), Some("6"), Some(remaining), Some(reset)];
    // Forwarded, refused for its permission, unknown: each takes its token and is told.
    let answer = daemon.call(&list_posts(&key)).await;
    assert_eq!((answer.status, told(&answer)), (200, stands("\"default\";r=5;t=10", "5", "10")));
    let answer = daemon.call(&Call::post("/v1/posts", &json!({"text": "a"})).bearer(&key.text)).await;
    assert_eq!((answer.status, told(&answer)), (403, stands("\"default\";r=4;t=20", "4", "20")));
    let answer = daemon.call(&Call::get("/v1/nothing").bearer(&key.text)).await;
    assert_eq!((answer.status, told(&answer)), (404, stands("\"default\";r=3;t=30", "3", "30")));
    // Over JSON-RPC: forwarded, and refused.
    let answer = daemon.call(&call_tool(&key, "posts_list")).await;
    assert!(answer.json()["result"].is_object());
    assert_eq!(told(&answer), stands("\"default\";r=2;t=40", "2", "40"));
    let answer = daemon.call(&call_tool(&key, "nothing")).await;
    assert!(answer.json()["error"].is_object());
    assert_eq!(told(&answer), stands("\"default\";r=1;t=50", "1", "50"));
    // The verify call says it in JSON, and keeps the member that it had.
    let asked = daemon.verify(&key.text, json!({})).await;
    assert_eq!(asked["rate"], json!({"limit": 6, "remaining": 0, "reset_s": 60}));
    assert_eq!(asked["remaining"], 0);
    // Too fast, at both doors and there.
    for call in [list_posts(&key), call_tool(&key, "posts_list")] {
        let answer = daemon.call(&call).await;
        assert_eq!(told(&answer), stands("\"default\";r=0;t=60", "0", "60"));
        assert_eq!(answer.header("retry-after"), Some("10"));
    }
    let asked = daemon.verify(&key.text, json!({})).await;
    assert_eq!((&asked["code"], &asked["retry_after_ms"]), (&json!("rate"), &json!(10_000)));
    assert_eq!(asked["rate"], json!({"limit": 6, "remaining": 0, "reset_s": 60}));
    daemon.finish().await;
}

#[tokio::test]
async fn who_proved_nothing_is_told_nothing() {
    let daemon = Daemon::start().await;
    let key = paced_key(&daemon, json!({"limit": 6, "window_s": 60})).await;
    let wrong = Key { text: crate::credentials::near_miss(&key), ..key.clone() };
    let keyless = Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}));
    for call in [Call::get("/v1/posts"), list_posts(&wrong), call_tool(&wrong, "posts_list"), keyless] {
        let answer = daemon.call(&call).await;
        assert_eq!(told(&answer), [None; 5], "{answer:?}");
    }
    assert!(told(&daemon.call(&list_posts(&key)).await).iter().all(Option::is_some));
    daemon.finish().await;
}

#[tokio::test]
async fn several_windows_give_all_or_none_and_the_longest_wait_is_told() {
    let daemon = Daemon::start().await;
    let rate = json!([{"limit": 2, "window_s": 1}, {"limit": 3, "window_s": 60}]);
    let key = paced_key(&daemon, rate).await;
    let shown = daemon.show_key(&key).await;
    assert_eq!(shown["rate"][1], json!({"limit": 3, "window_s": 60, "burst": 3}));
    let answer = daemon.call(&list_posts(&key)).await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"w1\";q=2;w=1, \"w2\";q=3;w=60"));
    assert_eq!(answer.header("ratelimit"), Some("\"w1\";r=1;t=1"));
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    // Refused requests take from neither window.
    for _ in 0..5 {
        let refused = daemon.call(&list_posts(&key)).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    }
    daemon.advance_secs(1);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    let refused = daemon.call(&list_posts(&key)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("19")));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("3"));
    daemon.advance_micros(19_000_000 - 1);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 429, "one microsecond before");
    daemon.advance_micros(1);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200, "exactly then");
    // To one window and back, nothing refills.
    daemon.patch_key(&key, json!({"rate": {"limit": 2, "window_s": 1}})).await;
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    daemon
        .patch_key(&key, json!({"rate": [{"limit": 2, "window_s": 1}, {"limit": 3, "window_s": 60}]}))
        .await;
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 429);
    daemon.finish().await;
}

#[tokio::test]
async fn windows_come_back_after_a_restart_as_they_were() {
    let mut daemon = Daemon::start().await;
    let key = paced_key(&daemon, json!([{"limit": 9, "window_s": 1}, {"limit": 4, "window_s": 60}])).await;
    for _ in 0..4 {
        assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    }
    daemon.restart_after(|_| ()).await;
    let refused = daemon.call(&list_posts(&key)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("15")));
    daemon.advance_secs(15);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 429);
    daemon.finish().await;
}

#[tokio::test]
async fn e07_a_burst_and_seventy_steady_seconds_pass_no_more_than_the_rate_and_retry_after_is_enough() {
    let daemon = Daemon::start().await;
    let key = paced_key(&daemon, json!({"limit": 60, "window_s": 60})).await;
    let mut connection = daemon.connect().await;
    let mut passed = 0;
    let mut try_once = async |connection: &mut crate::wire::Connection| {
        let answer = connection.call(&list_posts(&key)).await;
        passed += usize::from(answer.status == 200);
        (answer.status, answer.header("retry-after").map(|secs| secs.parse::<u64>().unwrap()), passed)
    };
    for _ in 0..70 {
        try_once(&mut connection).await;
    }
    assert_eq!(try_once(&mut connection).await, (429, Some(1), 60));
    // Four requests a second for 70 seconds.
    for quarter in 1..=280 {
        daemon.advance_micros(250_000);
        let (_, _, so_far) = try_once(&mut connection).await;
        assert!(so_far <= 60 + quarter / 4 + 1, "{so_far} after {quarter} quarters of a second");
        assert!(so_far >= 60 + quarter / 4, "{so_far} after {quarter} quarters of a second");
    }
    for _ in 0..5 {
        let (status, wait, _) = try_once(&mut connection).await;
        assert_eq!(status, 429);
        daemon.advance_secs(wait.unwrap());
        assert_eq!(try_once(&mut connection).await.0, 200, "what was announced is enough");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn e08_a_kill_gives_back_at_most_what_one_checkpoint_could_lose() {
    let dir = configured();
    let mut daemon = Program::serve(dir.path()).await;
    let workspace = daemon.admin_json(new_workspace()).await;
    // So slow that no token comes back while this test runs.
    let rate = json!([{"limit": 40, "window_s": 2_678_400}, {"limit": 1000, "window_s": 1}]);
    let wanted =
        json!({"workspace_id": workspace["workspace"]["id"], "permissions": ["posts:read"], "rate": rate});
    let key = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
    let text = crate::daemon::Hidden(key["key"].as_str().unwrap().to_owned());
    let mut passed = 0;
    let mut since_saved = 0;
    for round in 0..4 {
        for _ in 0..8 {
            passed += usize::from(daemon.list_posts(&text).await.status == 200);
        }
        saved(&daemon).await;
        // What comes now may be lost with the kill.
        for _ in 0..2 {
            let came = usize::from(daemon.list_posts(&text).await.status == 200);
            (passed, since_saved) = (passed + came, since_saved + came);
        }
        daemon.kill();
        daemon = Program::serve(dir.path()).await;
        assert!(round > 0 || passed == 10, "{passed}");
    }
    let mut refused = 0;
    while refused < 3 {
        let came = usize::from(daemon.list_posts(&text).await.status == 200);
        (passed, refused) = (passed + came, refused + 1 - came);
    }
    assert!(
        (40..=40 + since_saved).contains(&passed),
        "{passed} of 40, {since_saved} of them unsaved at a kill"
    );
    daemon.kill();
}

#[tokio::test]
async fn e09_two_doors_and_the_verify_call_share_one_bucket() {
    let daemon = Daemon::start().await;
    let key =
        paced_key(&daemon, json!([{"limit": 12, "window_s": 60}, {"limit": 500, "window_s": 3600}])).await;
    let mut passed = 0;
    for _ in 0..10 {
        passed += u32::from(daemon.call(&list_posts(&key)).await.status == 200);
        passed += u32::from(daemon.call(&call_tool(&key, "posts_list")).await.json()["result"].is_object());
        passed += u32::from(daemon.verify(&key.text, json!({})).await["code"] == "valid");
    }
    assert_eq!(passed, 12);
    daemon.finish().await;
}

#[tokio::test]
async fn e10_a_list_of_rates_is_taken_exactly_or_refused() {
    let daemon = Daemon::start().await;
    let key = paced_key(&daemon, json!({"limit": 6, "window_s": 60})).await;
    let one = r#"{"limit":1,"window_s":9}"#;
    let target = format!("/api/v1/keys/{}", key.id);
    let patch = |rate: &str| {
        let call = Call::new("PATCH", &target).header("Content-Type", "application/json");
        daemon.admin(call.body(format!("{{\"rate\":{rate}}}")))
    };
    for (rate, named) in [
        ("[]".to_owned(), "1 to 4 rates"),
        (format!("[{one},{one}]"), "windows differ"),
        (format!("[{one},1,1,1,1]"), "rate: expected"),
        (format!("[{one},{{\"limit\":-1,\"window_s\":60}}]"), "rate[1].limit"),
        (format!("[{one},{{\"limit\":1.5,\"window_s\":60}}]"), "rate[1].limit"),
        (format!("[{one},{{\"limit\":1e400,\"window_s\":60}}]"), "rate"),
        (format!("[{one},{{\"limit\":\"10\",\"window_s\":60}}]"), "rate[1].limit"),
        (format!("[{one},{{\"limit\":null,\"window_s\":60}}]"), "rate[1].limit"),
        (format!("[{one},{{\"limit\":9223372036854775807,\"window_s\":60}}]"), "rate[1].limit"),
        (format!("[{one},{{\"limit\":18446744073709551615,\"window_s\":60}}]"), "rate[1].limit"),
        (format!("[{one},null]"), "rate[1]"),
        (format!("[{one},[{one}]]"), "rate[1]"),
    ] {
        let answer = patch(&rate).await;
        assert!(answer.status == 400 && answer.text().contains(named), "{rate}: {answer:?}");
    }
    assert_eq!(daemon.show_key(&key).await["rate"]["limit"], 6, "nothing was lost");
    for rate in [format!("[{one}]"), format!("[{one},{{\"limit\":2147483648,\"window_s\":2678400}}]")] {
        assert_eq!(patch(&rate).await.status, 200, "{rate}");
        assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
        daemon.advance_secs(9);
    }
    assert_eq!(patch(&format!("[{one},{{\"limit\":0,\"window_s\":60}}]")).await.status, 200);
    let refused = daemon.call(&list_posts(&key)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, None), "0 means none");
    daemon.finish().await;
}

#[tokio::test]
async fn the_keys_of_a_workspace_share_its_rate_behind_their_own() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let other = daemon.key_for(&workspace, &["posts:read"]).await;
    let rate = json!({"limit": 3, "window_s": 60});
    let shown = daemon.patch_workspace(&workspace, json!({"overrides": {"workspace_rate": rate}})).await;
    assert_eq!(shown["overrides"]["workspace_rate"], json!({"limit": 3, "window_s": 60, "burst": 3}));
    let answer = daemon.call(&list_posts(&key)).await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=600;w=60, \"workspace\";q=3;w=60"));
    assert_eq!(answer.header("ratelimit"), Some("\"workspace\";r=2;t=20"));
    assert_eq!(daemon.call(&list_posts(&other)).await.status, 200);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    let refused = daemon.call(&list_posts(&other)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("20")));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    // Another workspace has its own, and without one there is none.
    let elsewhere = daemon.workspace("free").await;
    assert_eq!(daemon.call(&list_posts(&elsewhere.default_key)).await.status, 200);
    daemon.patch_workspace(&workspace, json!({"overrides": {"workspace_rate": null}})).await;
    assert_eq!(daemon.call(&list_posts(&other)).await.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn a_route_and_a_tool_with_a_rate_are_paced_for_each_key_alone() {
    let daemon = Daemon::start_with(Options { edits: PACED, ..Options::default() }).await;
    let workspace = daemon.workspace("free").await;
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let other = daemon.key_for(&workspace, &["*:*"]).await;
    let accounts = |key: &Key| Call::get("/v1/accounts").bearer(&key.text);
    let answer = daemon.call(&accounts(&key)).await;
    assert_eq!(answer.header("ratelimit"), Some("\"route\";r=1;t=30"));
    assert_eq!(daemon.call(&accounts(&key)).await.status, 200);
    let refused = daemon.call(&accounts(&key)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("30")));
    assert_eq!(daemon.call(&accounts(&other)).await.status, 200, "another key");
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200, "another route");
    let asked = json!({"method": "GET", "path": "/v1/accounts"});
    assert_eq!(daemon.verify(&key.text, asked).await["code"], "rate");
    assert!(daemon.call(&call_tool(&key, "posts_list")).await.json()["result"].is_object());
    let refused = daemon.call(&call_tool(&key, "posts_list")).await;
    assert_eq!(refused.json()["error"]["data"]["retryAfter"], 60);
    assert_eq!(refused.header("retry-after"), Some("60"));
    daemon.advance_secs(60);
    assert!(daemon.call(&call_tool(&key, "posts_list")).await.json()["result"].is_object());
    daemon.finish().await;
}

#[tokio::test]
async fn e07_retry_after_is_enough_whichever_of_several_buckets_refuses() {
    let daemon = Daemon::start_with(Options { edits: PACED, ..Options::default() }).await;
    let accounts = |key: &Key| Call::get("/v1/accounts").bearer(&key.text);
    let every = |secs: u32| json!({"limit": 1, "window_s": secs});
    let two = json!({"limit": 2, "window_s": 200});
    // The key's rate, the workspace's, the wait that is announced: the longest, whoever refuses first.
    for (rate, shared, wait) in [
        // The workspace refuses what has just cost the key its last token.
        (two.clone(), every(10), 100),
        // The key refuses, and the workspace would.
        (every(10), every(40), 40),
        // The route refuses its third request, 30 s before its next token: the key's is nearer, and farther.
        (json!({"limit": 3, "window_s": 30}), json!({"limit": 9, "window_s": 9}), 30),
        (json!({"limit": 3, "window_s": 600}), json!({"limit": 9, "window_s": 9}), 200),
    ] {
        let workspace = daemon.workspace("free").await;
        daemon.patch_workspace(&workspace, json!({"overrides": {"workspace_rate": shared}})).await;
        let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": rate})).await;
        let mut answer = daemon.call(&accounts(&key)).await;
        while answer.status == 200 {
            answer = daemon.call(&accounts(&key)).await;
        }
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some(wait.to_string().as_str())));
        daemon.advance_secs(wait);
        assert_eq!(daemon.call(&accounts(&key)).await.status, 200, "{rate} {shared}");
    }
    // The key refuses, and the route would, 10 s later.
    let workspace = daemon.workspace("free").await;
    let rate = json!({"limit": 3, "window_s": 60});
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": rate})).await;
    for (status, wait) in [(200, None), (200, None), (429, Some("30")), (429, Some("30"))] {
        let answer = daemon.call(&accounts(&key)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, wait));
    }
    assert_eq!(daemon.call(&list_posts(&key)).await.header("retry-after"), Some("20"), "another route");
    // A rehearsal announces the longest as well.
    let workspace = daemon.workspace("free").await;
    daemon.patch_workspace(&workspace, json!({"overrides": {"workspace_rate": every(40)}})).await;
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": every(10)})).await;
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
    let rehearsed = daemon.verify(&key.text, json!({"dry_run": true})).await;
    assert_eq!((&rehearsed["code"], &rehearsed["retry_after_ms"]), (&json!("rate"), &json!(40_000)));
    daemon.finish().await;
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_changes_nothing_about_the_headers() {
    let (url, recorded, serving) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let key = paced_key(&daemon, json!({"limit": 6, "window_s": 60})).await;
    let answer = daemon.call(&list_posts(&key)).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, Some("5")));
    serving.abort();
    let _ = serving.await;
    // The kept connection may answer once more; each is told all the same.
    let answer = daemon.call(&list_posts(&key)).await;
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("4"));
    assert!(!recorded.lock().unwrap().is_empty());
    daemon.finish().await;
}
