//! Believed time over the life of an installation: what a wild clock does to keys, what a restart goes on from,
//! and the operator's word.
//!
//! A daemon's clock is ticked by each question about it, so a test that asked knows what was noticed.
//!
//! Never here: the rules of which step is believed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin_input::check_problem;
use crate::daemon::{Daemon, Options, list_posts};
use crate::program::{Program, configured, new_workspace, run, text};
use crate::wire::{Call, call_once};

const DAY: i64 = 24 * 60 * 60;

async fn started() -> Daemon {
    Daemon::start_with(Options { ticked_clock: true, ..Options::default() }).await
}

async fn clock(daemon: &Daemon) -> Value {
    daemon.admin_json(Call::get("/api/v1/clock")).await
}

fn confirm() -> Call {
    Call::post("/api/v1/clock/confirm", &json!({}))
}

#[tokio::test]
async fn a_wild_clock_is_told_and_acts_once_an_operator_confirms_it() {
    let daemon = started().await;
    let workspace = daemon.workspace("pro").await;
    let lasting = &workspace.default_key;
    let key =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(3_600)})).await;
    let told = clock(&daemon).await;
    assert_eq!(
        (&told["state"], &told["by_s"], &told["believed"]),
        (&json!("ok"), &json!(0), &told["machine"])
    );

    daemon.set_wall(40 * DAY);
    let told = clock(&daemon).await;
    assert_eq!((&told["state"], &told["by_s"]), (&json!("ahead"), &json!(40 * DAY)));
    assert_eq!(
        (&told["believed"], &told["machine"]),
        (&json!("2027-03-10T12:00:00.000Z"), &json!("2027-04-19T12:00:00.000Z"))
    );
    daemon.is_well(&key).await;
    assert_eq!(daemon.admin_bare(&Call::get("/readyz")).await.status, 200);
    let metrics = daemon.admin_bare(&Call::get("/metrics")).await.text();
    for line in [
        r#"keyward_clock_state{state="ahead"} 1"#,
        r#"keyward_clock_state{state="ok"} 0"#,
        "keyward_clock_offset_seconds 3456000",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    check_problem(
        "a field",
        &daemon.admin(Call::post("/api/v1/clock/confirm", &json!({"to": "x"}))).await,
        400,
        "to",
    );
    check_problem("a query", &daemon.admin(Call::get("/api/v1/clock?x=1")).await, 400, "x");
    assert_eq!(clock(&daemon).await["state"], "ahead");

    let told = daemon.admin_json(confirm()).await;
    assert_eq!((&told["state"], &told["believed"]), (&json!("ok"), &json!("2027-04-19T12:00:00.000Z")));
    assert_eq!(told["mark"], "2027-04-19T12:00:02.000Z");
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 401);
    daemon.is_well(lasting).await;

    daemon.set_wall(0);
    assert_eq!(clock(&daemon).await["state"], "behind");
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 401);
    let told = daemon.admin_json(confirm()).await;
    assert_eq!((&told["state"], &told["believed"]), (&json!("ok"), &json!("2027-03-10T12:00:00.000Z")));
    daemon.is_well(&key).await;

    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let rows: Vec<_> =
        audit["data"].as_array().unwrap().iter().filter(|row| row["action"] == "clock.confirmed").collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["subject"], "installation");
    let said = rows[0].to_string();
    assert!(said.contains("2027-03-10T12:00:00.000Z") && said.contains("2027-04-19T12:00:00.000Z"), "{said}");
    daemon.finish().await;
}

#[tokio::test]
async fn only_who_holds_the_permission_confirms_a_clock() {
    let daemon = started().await;
    let system = "ws_00000000000000000000000001";
    let reader = json!({"workspace_id": system, "permissions": ["clock:read"]});
    let reader = daemon.admin_json(Call::post("/api/v1/keys", &reader)).await;
    let reader = reader["key"].as_str().unwrap();
    daemon.set_wall(40 * DAY);
    let read = daemon.admin_bare(&Call::get("/api/v1/clock").bearer(reader)).await;
    assert_eq!((read.status, &read.json()["state"]), (200, &json!("ahead")));
    check_problem("a reader", &daemon.admin_bare(&confirm().bearer(reader)).await, 403, "");
    assert_eq!(clock(&daemon).await["state"], "ahead");
    daemon.finish().await;
}

#[tokio::test]
async fn a_restart_with_the_clock_set_back_keeps_what_expired_expired_and_a_clean_stop_is_exact() {
    let mut daemon = started().await;
    let workspace = daemon.workspace("pro").await;
    let lasting = workspace.default_key.clone();
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(60)})).await;
    daemon.is_well(&key).await;
    daemon.advance_secs(60);
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 401);
    daemon.is_well(&lasting).await;
    let used = daemon.show_key(&lasting).await["last_used_at"].clone();
    let stopped = clock(&daemon).await["believed"].clone();
    daemon.set_wall(60);
    daemon.restart_after(|_| {}).await;
    let told = clock(&daemon).await;
    assert_eq!((&told["believed"], &told["mark"], &told["state"]), (&stopped, &stopped, &json!("ok")));

    daemon.set_wall(-2 * DAY);
    daemon.restart_after(|_| {}).await;
    let told = clock(&daemon).await;
    assert_eq!((&told["believed"], &told["state"]), (&stopped, &json!("behind")));
    assert_eq!(daemon.call(&list_posts(&key)).await.status, 401);
    daemon.is_well(&lasting).await;
    // D18: a last use neither moves back nor lies ahead of what is believed.
    assert_eq!(daemon.show_key(&lasting).await["last_used_at"], used);

    daemon.set_wall(3 * DAY);
    daemon.restart_after(|_| {}).await;
    let told = clock(&daemon).await;
    assert_eq!((&told["state"], &told["believed"]), (&json!("ahead_at_start"), &told["machine"]));
    assert_eq!(daemon.admin_json(confirm()).await["state"], "ok");
    daemon.finish().await;
}

#[tokio::test]
async fn e13_a_process_that_was_stopped_goes_on_without_a_word() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let made = daemon.admin_json(new_workspace()).await;
    let key = text(&made["default_key"]["key"]);
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    let before = text(&daemon.admin_json(Call::get("/api/v1/clock")).await["believed"]);
    daemon.signal("STOP");
    // Time itself is under test: a stopped process that wakes after longer than it ever sleeps.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    daemon.signal("CONT");
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    let told = daemon.admin_json(Call::get("/api/v1/clock")).await;
    assert_eq!(told["state"], "ok");
    assert!(text(&told["believed"]) > before);

    let admin = format!("http://{}", daemon.admin);
    let shell = |command: &'static str| {
        let (dir, admin) = (dir.path().to_owned(), admin.clone());
        let arguments =
            move || ["clock", command, "--admin", &admin, "--admin-key-file", "admin.key"].map(str::to_owned);
        tokio::task::spawn_blocking(move || run(&dir, &arguments().each_ref().map(String::as_str)))
    };
    for command in ["show", "confirm"] {
        let (code, out, err) = shell(command).await.unwrap();
        assert!(code == Some(0) && out.contains("state     ok\n"), "{command}: {out} {err}");
    }
    assert_eq!(call_once(daemon.admin, &Call::get("/readyz")).await.status, 200);
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");
    assert!(!said.contains("panicked") && !said.contains("machine's clock"), "{said}");
}
