//! What page 002 asks of the sandbox over a socket: an upload by its signed URL alone, posts that publish
//! themselves, also over a kill, and what is due done without being asked.
//!
//! Never here: a rule that the sandbox's own tests hold.

use std::time::Duration;

use keyward::domain::time::Wall;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::daemon::{Daemon, Workspace};
use crate::program::{Program, configured, new_workspace, text};
use crate::wire::{Answer, Call, PATIENCE, call_once};

/// A new upload: its id, and its URL from the path on.
async fn invited(daemon: &Daemon, workspace: &Workspace) -> (String, String) {
    let announced = json!({"filename": "a.png", "content_type": "image/png"});
    let call = Call::post("/v1/media/upload-url", &announced).bearer(&workspace.default_key.text);
    let answer = daemon.call(&call).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let data = answer.json()["data"].clone();
    let url = text(&data["upload_url"]);
    let origin = format!("http://{}", daemon.data());
    let target = url.strip_prefix(&origin).unwrap_or_else(|| panic!("{url} is not at {origin}"));
    (text(&data["id"]), target.to_owned())
}

async fn confirm(daemon: &Daemon, workspace: &Workspace, id: &str) -> Answer {
    let target = format!("/v1/media/{id}/confirm");
    daemon.call(&Call::new("POST", &target).bearer(&workspace.default_key.text)).await
}

fn put(target: &str, bytes: &[u8]) -> Call {
    Call::new("PUT", target).header("Content-Type", "image/png").body(bytes)
}

#[tokio::test]
async fn a_signed_url_takes_one_upload_from_whoever_holds_it_and_no_other() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let (id, target) = invited(&daemon, &workspace).await;
    assert_eq!(confirm(&daemon, &workspace, &id).await.status, 400, "nothing was uploaded");
    let tampered = target.replace("expires=", "expires=9");
    let refused = daemon.call(&put(&tampered, b"x")).await;
    assert_eq!((refused.status, refused.rest_error().0.as_str()), (403, "invalid_request"));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let uploaded = daemon.call(&put(&target, &bytes)).await;
    assert_eq!((uploaded.status, &uploaded.json()["data"]["size"]), (200, &json!(3_000_000)), "{uploaded:?}");
    assert_eq!(daemon.call(&put(&target, b"again")).await.status, 403);

    let other = daemon.workspace("pro").await;
    assert_eq!(confirm(&daemon, &other, &id).await.status, 404);
    let confirmed = confirm(&daemon, &workspace, &id).await;
    let ready = json!({"data": {"id": id, "status": "ready", "size": 3_000_000}});
    assert_eq!((confirmed.status, confirmed.json()), (200, ready));

    let (_, late) = invited(&daemon, &workspace).await;
    daemon.advance_secs(15 * 60);
    assert!(daemon.call(&put(&late, b"x")).await.rest_error().1.contains("expired"));
    daemon.finish().await;
}

#[tokio::test]
async fn what_nobody_uploads_goes_without_being_asked() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let (id, _) = invited(&daemon, &workspace).await;
    assert_eq!(confirm(&daemon, &workspace, &id).await.status, 400);
    daemon.advance_secs(2 * 3600);
    let gone = async {
        while confirm(&daemon, &workspace, &id).await.status != 404 {
            // Less than the rate of a key; the daemon looks twice a second.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it goes");
    daemon.finish().await;
}

#[tokio::test]
async fn a_scheduled_post_publishes_itself_and_is_not_forgotten_over_a_restart() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = workspace.default_key.clone();
    let bearer = |call: Call| call.bearer(&key.text);
    let draft = json!({"body": "Launch day is here.", "account_ids": ["acct_1"]});
    let id = text(&daemon.call(&bearer(Call::post("/v1/posts", &draft))).await.json()["id"]);
    let path = format!("/v1/posts/{id}");
    let at = daemon.in_secs(3600);
    let schedule = Call::post(&format!("{path}/schedule"), &json!({"scheduled_at": at}));
    let scheduled = daemon.call(&bearer(schedule)).await;
    assert_eq!((scheduled.status, &scheduled.json()["status"]), (200, &json!("scheduled")));
    daemon.restart_after(|_| ()).await;
    assert_eq!(daemon.call(&bearer(Call::get(&path))).await.json()["status"], "scheduled");
    daemon.advance_secs(3600);
    let published = daemon.call(&bearer(Call::get(&path))).await.json();
    assert_eq!(
        (&published["status"], &published["published_at"]),
        (&json!("published"), &scheduled.json()["scheduled_at"])
    );
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_was_acknowledged_survives_a_kill_and_is_kept_at_its_time() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let made = daemon.admin_json(new_workspace()).await;
    let key = text(&made["default_key"]["key"]);
    let post = async |daemon: &Program, call: Call| -> Value {
        let answer = call_once(daemon.data(), &call.bearer(&key)).await;
        assert!(answer.status < 300, "{answer:?}");
        answer.json()
    };
    let draft = json!({"body": "Launch day is here.", "account_ids": ["acct_1"]});
    let made = post(&daemon, Call::post("/v1/posts", &draft)).await;
    let path = format!("/v1/posts/{}", text(&made["id"]));
    // A real clock: the time itself is under test.
    let at = Wall::parse(&text(&made["created_at"])).unwrap().plus_micros(3_000_000).to_rfc3339();
    post(&daemon, Call::post(&format!("{path}/schedule"), &json!({"scheduled_at": at}))).await;
    daemon.kill();
    let daemon = Program::serve(dir.path()).await;
    let published = async {
        loop {
            let seen = post(&daemon, Call::get(&path)).await;
            if seen["status"] == "published" {
                return seen;
            }
            assert_eq!(seen["status"], "scheduled");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let published = timeout(PATIENCE, published).await.expect("its time comes");
    assert_eq!(published["published_at"], at);
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");
}
