//! Uploads: a URL, its bytes, and their confirmation; and everything that is no upload.
//!
//! Never here: a key; the URL is all that an upload brings.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Play, Seen};

const PNG: &str = r#"{"filename":"a.png","content_type":"image/png"}"#;

impl Play {
    /// A new upload of workspace 1: its id, and its URL from the path on.
    async fn invited(&mut self) -> (String, String) {
        let seen = self.rest("POST", "/v1/media/upload-url", PNG).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        let data = seen.json()["data"].clone();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        let target = text("upload_url").strip_prefix("http://upstream").unwrap().to_owned();
        (text("id"), target)
    }

    async fn put(&mut self, target: &str, kind: &str, body: &[u8]) -> Seen {
        let request = Request::put(target).header("host", "upstream").header("content-type", kind);
        self.send(request.body(Full::from(body.to_vec())).unwrap()).await
    }

    async fn confirm(&mut self, id: &str) -> Seen {
        self.rest("POST", &format!("/v1/media/{id}/confirm"), "").await
    }

    /// The files that uploads lie in.
    fn files(&self) -> Vec<PathBuf> {
        let folder = self.directory.path().join("sandbox-files");
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[tokio::test]
async fn an_upload_is_invited_put_and_confirmed_and_its_bytes_lie_on_the_disk() {
    let mut play = Play::start().await;
    let seen = play.rest("POST", "/v1/media/upload-url", PNG).await;
    let data = seen.json()["data"].clone();
    assert_eq!((seen.status, data.as_object().unwrap().len()), (201, 3));
    assert_eq!(data["expires_at"], "2026-01-01T12:15:00.000Z");
    let id = data["id"].as_str().unwrap();
    let url = data["upload_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://upstream/v1/media/{id}/content?")), "{url}");
    let target = url.strip_prefix("http://upstream").unwrap();

    let early = play.confirm(id).await.refusal();
    assert!(early.0 == 400 && early.2.contains("Nothing was uploaded"), "{early:?}");
    let bytes = vec![7; 300_000];
    let put = play.put(target, "IMAGE/png", &bytes).await;
    assert_eq!(
        (put.status, put.json()),
        (200, json!({"data": {"id": id, "status": "uploaded", "size": 300_000}}))
    );
    let files = play.files();
    assert_eq!(std::fs::read(&files[0]).unwrap(), bytes);
    assert_eq!(files.len(), 1);
    let ready = json!({"data": {"id": id, "status": "ready", "size": 300_000}});
    for _ in 0..2 {
        let seen = play.confirm(id).await;
        assert_eq!((seen.status, seen.json()), (200, ready.clone()), "again is the same");
    }
    // What is ready stays, however long.
    play.seconds.fetch_add(90 * 86_400, Ordering::Relaxed);
    let mut play = play.restart().await;
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.confirm(id).await.json(), ready);
    assert_eq!(play.files(), files);
}

#[tokio::test]
async fn the_url_names_the_public_address() {
    let mut play = Play::start().await;
    let request = Request::post("/v1/media/upload-url")
        .header("host", "upstream")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "api.example.com:8443")
        .header("content-type", "application/json")
        .header("x-keyward-workspace", crate::domain::id::WorkspaceId::from_u128(1).to_string());
    let seen = play.send(request.body(Full::from(PNG)).unwrap()).await;
    let url = seen.json()["data"]["upload_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://api.example.com:8443/v1/media/media_"), "{url}");
}

#[tokio::test]
async fn a_url_serves_one_upload() {
    let mut play = Play::start().await;
    let (id, target) = play.invited().await;
    assert_eq!(play.put(&target, "image/png", b"first").await.status, 200);
    for _ in 0..2 {
        let (status, code, message) = play.put(&target, "image/png", b"second!").await.refusal();
        assert_eq!((status, code.as_str()), (403, "invalid_request"));
        assert!(message.contains("was used"), "{message}");
    }
    assert_eq!(play.confirm(&id).await.json()["data"]["size"], 5);
    assert_eq!(play.put(&target, "image/png", b"third").await.status, 403);
    assert_eq!(std::fs::read(&play.files()[0]).unwrap(), b"first");
}

#[tokio::test]
async fn whoever_changes_a_url_has_none() {
    let mut play = Play::start().await;
    let (id, target) = play.invited().await;
    let (other, _) = play.invited().await;
    let path = target.split('?').next().unwrap();
    let mut cases = vec![
        path.to_owned(),
        format!("{path}?"),
        format!("{target}&x=1"),
        target.replace(&id, &other),
        target.replace(&id, "media_1"),
        target.replace("expires=", "expires=9"),
        target.replace("workspace=", "workspaces="),
    ];
    let last = target.chars().last().unwrap();
    let another = if last == '0' { '1' } else { '0' };
    cases.push(format!("{}{another}", &target[..target.len() - 1]));
    let foreign = crate::domain::id::WorkspaceId::from_u128(2).to_string();
    cases.push(target.replace(&crate::domain::id::WorkspaceId::from_u128(1).to_string(), &foreign));
    for target in cases {
        let (status, code, message) = play.put(&target, "image/png", b"x").await.refusal();
        assert_eq!((status, code.as_str()), (403, "invalid_request"), "{target}");
        assert!(message.contains("no upload URL of ours"), "{target}: {message}");
    }
    assert!(play.files().is_empty());
    // A header of a workspace says nothing here.
    let request = Request::put(&target)
        .header("host", "upstream")
        .header("content-type", "image/png")
        .header("x-keyward-workspace", foreign);
    assert_eq!(play.send(request.body(Full::from("good")).unwrap()).await.status, 200);
    assert_eq!(play.rest_of(2, "POST", &format!("/v1/media/{id}/confirm"), "").await.status, 404);
    assert_eq!(play.confirm(&id).await.status, 200);
    assert_eq!(play.confirm("media_1").await.refusal().1, "not_found");
}

#[tokio::test]
async fn a_url_ends_after_a_quarter_of_an_hour() {
    let mut play = Play::start().await;
    let (early, in_time) = play.invited().await;
    let (_, late) = play.invited().await;
    play.seconds.fetch_add(15 * 60 - 1, Ordering::Relaxed);
    assert_eq!(play.put(&in_time, "image/png", b"x").await.status, 200, "a second before");
    play.seconds.fetch_add(1, Ordering::Relaxed);
    let (status, _, message) = play.put(&late, "image/png", b"x").await.refusal();
    assert!(status == 403 && message.contains("expired at 2026-01-01T12:15:00.000Z"), "{message}");
    assert_eq!(play.confirm(&early).await.status, 200, "what came in time can be confirmed later");
    assert_eq!(play.files().len(), 1);
}

#[tokio::test]
async fn what_is_not_as_announced_is_refused_and_may_be_tried_again() {
    let mut play = Play::start().await;
    let (id, target) = play.invited().await;
    for kind in ["image/jpeg", "image/png; a=b", "", "text/plain"] {
        let (status, code, message) = play.put(&target, kind, b"x").await.refusal();
        assert_eq!((status, code.as_str()), (415, "invalid_request"), "{kind}");
        assert!(message.contains("image/png"), "{message}");
    }
    assert!(play.put(&target, "image/png", b"").await.refusal().2.contains("at least one byte"));
    let longer = vec![0; (50 << 20) + 1];
    let (status, _, message) = play.put(&target, "image/png", &longer).await.refusal();
    assert!(status == 413 && message.contains("52428800"), "{message}");
    assert!(play.files().is_empty(), "nothing of it is left");
    let mut play = play.reconnected().await;
    let seen = play.put(&target, "image/png", &longer[1..]).await;
    assert_eq!((seen.status, &seen.json()["data"]["size"]), (200, &json!(50 << 20)));
    assert_eq!(play.confirm(&id).await.json()["data"]["size"], 50 << 20);
    let refused = play.rest("GET", &target, "").await;
    assert_eq!((refused.status, refused.header("allow")), (405, "PUT"));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_may_be_tried_again() {
    let mut play = Play::start().await;
    let (id, target) = play.invited().await;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: upstream\r\ncontent-type: image/png\r\ncontent-length: 100\r\n\r\n"
    );
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let served = tokio::spawn(play.sandbox.clone().serve(far));
    near.write_all(format!("{head}half").as_bytes()).await.unwrap();
    while play.files().is_empty() {
        tokio::task::yield_now().await;
    }
    let (status, _, message) = play.put(&target, "image/png", b"meanwhile").await.refusal();
    assert!(status == 400 && message.contains("under way"), "{message}");
    drop(near);
    served.await.unwrap();
    assert!(play.files().is_empty());
    assert_eq!(play.confirm(&id).await.status, 400);

    // The same by one whose write side ends while it still listens.
    let (near, far) = tokio::io::duplex(64 << 10);
    let served = tokio::spawn(play.sandbox.clone().serve(far));
    let (mut listening, mut writing) = tokio::io::split(near);
    writing.write_all(format!("{head}half").as_bytes()).await.unwrap();
    writing.shutdown().await.unwrap();
    let mut answer = String::new();
    listening.read_to_string(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    drop((listening, writing));
    served.await.unwrap();
    assert!(play.files().is_empty());
    assert_eq!(play.put(&target, "image/png", b"whole").await.status, 200);
    assert_eq!(play.confirm(&id).await.json()["data"]["size"], 5);
}

#[tokio::test]
async fn what_nobody_uploads_or_confirms_goes_and_gives_its_room_back() {
    let mut play = Play::start().await;
    let (unused, _) = play.invited().await;
    let (uploaded, target) = play.invited().await;
    let (ready, second) = play.invited().await;
    for target in [&target, &second] {
        assert_eq!(play.put(target, "image/png", b"x").await.status, 200);
    }
    assert_eq!(play.confirm(&ready).await.status, 200);
    play.seconds.fetch_add(75 * 60 - 1, Ordering::Relaxed);
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.confirm(&unused).await.status, 400);
    play.seconds.fetch_add(1, Ordering::Relaxed);
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.confirm(&unused).await.status, 404);
    assert_eq!(play.files().len(), 2);
    play.seconds.fetch_add(86_400 - 75 * 60, Ordering::Relaxed);
    play.sandbox.keep_up().await.unwrap();
    assert_eq!(play.confirm(&uploaded).await.status, 404);
    assert_eq!((play.files().len(), play.confirm(&ready).await.status), (1, 200));
}

/// A crash may come when the bytes have their name and the record does not know it yet.
#[tokio::test]
async fn bytes_that_a_crash_left_behind_do_not_stand_in_the_way() {
    let mut play = Play::start().await;
    let (_, target) = play.invited().await;
    assert_eq!(play.put(&target, "image/png", b"x").await.status, 200);
    let named = play.files().remove(0);
    let (id, target) = play.invited().await;
    let number = id.strip_prefix("media_").unwrap();
    let text = named.to_str().unwrap();
    let left = format!("{}{number}", &text[..text.len() - number.len()]);
    std::fs::write(&left, b"left by a crash").unwrap();
    assert_eq!(play.put(&target, "image/png", b"anew").await.status, 200);
    assert_eq!(std::fs::read(&left).unwrap(), b"anew");
}

#[tokio::test]
async fn what_cannot_be_announced_is_refused_by_its_name() {
    let mut play = Play::start().await;
    let long = "x".repeat(256);
    let cases: [(Value, &str); 12] = [
        (json!({}), "filename must"),
        (json!({"content_type": "image/png"}), "filename must"),
        (json!({"filename": "a.png"}), "content_type must"),
        (json!({"filename": 1, "content_type": "image/png"}), "filename must"),
        (json!({"filename": "", "content_type": "image/png"}), "filename must"),
        (json!({"filename": " ", "content_type": "image/png"}), "filename must"),
        (json!({"filename": "../a", "content_type": "image/png"}), "filename must"),
        (json!({"filename": "a\nb", "content_type": "image/png"}), "filename must"),
        (json!({"filename": long, "content_type": "image/png"}), "filename must"),
        (json!({"filename": "a", "content_type": "png"}), "content_type must"),
        (json!({"filename": "a", "content_type": "image/png; x=1"}), "content_type must"),
        (json!({"filename": "a", "content_type": "image/png", "size": 1}), "\"size\""),
    ];
    for (body, said) in cases {
        let (status, code, message) =
            play.rest("POST", "/v1/media/upload-url", &body.to_string()).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{body}");
        assert!(message.contains(said), "{body}: {message}");
    }
}
