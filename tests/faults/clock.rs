//! The machine's clock set about under the real binary, over kills: an hour ahead, forty days ahead, and back.
//!
//! The rules of what is believed are shown in the process (`tests/e2e/clock.rs`, `engine::tests::clock`); here the
//! binary reads a wall clock that a library in front of the C library sets off, and keeps what it believed in its file.
//!
//! Never here: a clock of the machine's that is really set.

use serde_json::{Value, json};

use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, configured, new_workspace, text};
use crate::harness::wire::{Call, PATIENCE};
use crate::shim::Shim;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;
/// What the month sells.
const LIMIT: u64 = 3;
/// What a bucket holds that never fills again in a test.
const BURST: u64 = 5;

async fn clock(daemon: &Program) -> Value {
    daemon.admin_json(Call::get("/api/v1/clock")).await
}

/// Waits until the clock is in this state, as it is at the daemon's next look at it.
async fn is_told(daemon: &Program, state: &str) -> Value {
    let told = async {
        loop {
            let told = clock(daemon).await;
            if told["state"] == state {
                break told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("the clock is never {state}"))
}

async fn new_key(daemon: &Program, workspace: &str, mut fields: Value) -> (Hidden, String) {
    fields["workspace_id"] = json!(workspace);
    let made = daemon.admin_json(Call::post("/api/v1/keys", &fields)).await;
    (Hidden(text(&made["key"])), text(&made["id"]))
}

async fn verdict(daemon: &Program, key: &str, permission: &str) -> String {
    let asked = Call::post("/api/v1/verify", &json!({"key": key, "permission": permission}));
    text(&daemon.admin_json(asked).await["code"])
}

/// Uses what is left of the month; how many calls that were.
async fn use_up(daemon: &Program, key: &str) -> u64 {
    let mut passed = 0;
    loop {
        match verdict(daemon, key, "ai:generate").await.as_str() {
            "valid" => passed += 1,
            "quota" => return passed,
            other => panic!("a metered call is {other}"),
        }
    }
}

#[tokio::test]
async fn e12_a_clock_that_leaps_and_comes_back_over_kills_sells_one_more_month_and_revives_nothing() {
    let Some(shim) = Shim::build() else { return };
    let dir = configured();
    let mut daemon = shim.serve(dir.path()).await;
    let made = daemon.admin_json(new_workspace()).await;
    let workspace = text(&made["workspace"]["id"]);
    let limits = json!({"overrides": {"meters": {"ai": LIMIT}}});
    let path = format!("/api/v1/workspaces/{workspace}");
    daemon.admin_json(Call::new("PATCH", &path).json(&limits)).await;
    let (lasting, lasting_id) = new_key(&daemon, &workspace, json!({"permissions": ["*:*"]})).await;
    let rate = json!({"limit": BURST, "window_s": 2_678_400});
    let (paced, _) = new_key(&daemon, &workspace, json!({"permissions": ["*:*"], "rate": rate})).await;
    let began = text(&clock(&daemon).await["believed"]);
    let ends_at = in_two_days(&began);
    let (short, _) =
        new_key(&daemon, &workspace, json!({"permissions": ["*:*"], "expires_at": ends_at})).await;
    assert_eq!(use_up(&daemon, &lasting).await, LIMIT);
    assert_eq!(verdict(&daemon, &short, "posts:read").await, "valid");

    // Somewhat ahead is a clock that was set right.
    shim.set_wall_off(HOUR - 10 * 60);
    let told = is_told(&daemon, "ok").await;
    assert!(text(&told["believed"]) >= began, "{told}");
    // Forty days are not believed while it runs: nothing expires, no month begins.
    shim.set_wall_off(40 * DAY);
    let told = is_told(&daemon, "ahead").await;
    assert!(told["by_s"].as_i64().unwrap() > 38 * DAY, "{told}");
    assert_eq!(verdict(&daemon, &short, "posts:read").await, "valid");
    assert_eq!(use_up(&daemon, &lasting).await, 0);
    // However it is set, a bucket fills by time that passed.
    let mut passed = 0;
    for step in 0..4 * BURST {
        shim.set_wall_off([0, 40 * DAY, -40 * DAY, HOUR][usize::try_from(step % 4).unwrap()]);
        passed += u64::from(verdict(&daemon, &paced, "posts:read").await == "valid");
    }
    assert_eq!(passed, BURST);
    let _ = clock(&daemon).await;
    daemon.kill();

    // A start believes a clock that is ahead, and tells it: the machine may have been off. One month, not more.
    shim.set_wall_off(40 * DAY);
    daemon = shim.serve(dir.path()).await;
    assert_eq!(clock(&daemon).await["state"], "ahead_at_start");
    assert_eq!(verdict(&daemon, &short, "posts:read").await, "expired");
    assert_eq!(use_up(&daemon, &lasting).await, LIMIT);
    let used_at = last_use(&daemon, &lasting_id).await;
    crate::harness::program::saved(&daemon).await;
    daemon.kill();

    // Back again: what was believed stays, over another kill too.
    shim.set_wall_off(0);
    for _ in 0..2 {
        daemon = shim.serve(dir.path()).await;
        let told = clock(&daemon).await;
        assert_eq!(told["state"], "behind", "{told}");
        assert_eq!(verdict(&daemon, &short, "posts:read").await, "expired", "a clock set back revives a key");
        assert_eq!(use_up(&daemon, &lasting).await, 0, "a clock set back opens a third month");
        let now_used_at = last_use(&daemon, &lasting_id).await;
        assert!(now_used_at >= used_at, "a last use moved back from {used_at} to {now_used_at}");
        assert!(now_used_at <= text(&clock(&daemon).await["believed"]), "a last use lies ahead");
        daemon.kill();
    }

    // The operator's word alone leads back, into the first month, which is sold already.
    daemon = shim.serve(dir.path()).await;
    let told = daemon.admin_json(Call::post("/api/v1/clock/confirm", &json!({}))).await;
    assert_eq!(told["state"], "ok", "{told}");
    assert_eq!(verdict(&daemon, &short, "posts:read").await, "valid");
    assert_eq!(use_up(&daemon, &lasting).await, 0, "the first month is sold twice");
    daemon.kill();
    daemon = shim.serve(dir.path()).await;
    assert_eq!(clock(&daemon).await["state"], "ok", "what an operator confirmed outlasts a kill");
    assert_eq!(use_up(&daemon, &lasting).await, 0);
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

async fn last_use(daemon: &Program, id: &str) -> String {
    text(&daemon.admin_json(Call::get(&format!("/api/v1/keys/{id}"))).await["last_used_at"])
}

fn in_two_days(time: &str) -> String {
    let time = keyward::domain::time::Wall::parse(time).unwrap();
    keyward::domain::time::Wall::from_secs(time.secs() + 2 * DAY).to_rfc3339()
}
