//! Uploads: forms as clients send them, and forms that are none.
//!
//! Never here: a credential; the gate has decided before.

use std::sync::atomic::Ordering;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::json;

use super::{NOON, Play, Seen};
use crate::domain::id::WorkspaceId;

const EDGE: &str = "----edge";

fn part(head: &str, content: &str) -> String {
    format!("--{EDGE}\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
}

fn file(content: &str) -> String {
    part("name=\"file\"; filename=\"notes.txt\"", content)
}

fn purpose(text: &str) -> String {
    part("name=\"purpose\"", text)
}

fn request(workspace: u128, kind: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/v1/files")
        .header("host", "upstream")
        .header("content-type", kind)
        .header("x-keyward-workspace", WorkspaceId::from_u128(workspace).to_string())
        .body(Full::new(body.into()))
        .unwrap()
}

async fn upload(play: &mut Play, parts: &[String]) -> Seen {
    let body = format!("{}--{EDGE}--\r\n", parts.concat());
    play.send(request(1, &format!("multipart/form-data; boundary={EDGE}"), body)).await
}

fn on_disk(play: &Play) -> usize {
    play.directory.path().join("sandbox-files").read_dir().unwrap().count()
}

#[tokio::test]
async fn a_file_is_uploaded_listed_read_and_deleted_in_openais_shape() {
    let mut play = Play::start().await;
    for parts in [[file("one\r\ntwo"), purpose("batch")], [purpose("batch"), file("one\r\ntwo")]] {
        let seen = upload(&mut play, &parts).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        let made = seen.json();
        let id = made["id"].as_str().unwrap();
        assert!(id.starts_with("file-"), "{id}");
        let expected = json!({
            "id": id, "object": "file", "bytes": 8, "created_at": NOON, "filename": "notes.txt",
            "purpose": "batch", "status": "processed"
        });
        assert_eq!(made, expected);
        let path = format!("/v1/files/{id}");
        assert_eq!(play.rest("GET", &path, "").await.json(), made);
        let list = play.rest("GET", "/v1/files", "").await.json();
        assert_eq!(list, json!({"object": "list", "data": [made], "has_more": false}));
        let content = play.rest("GET", &format!("{path}/content"), "").await;
        assert_eq!((content.status, content.body.as_str()), (200, "one\r\ntwo"));
        for (name, value) in [
            ("content-type", "application/octet-stream"),
            ("x-content-type-options", "nosniff"),
            ("content-disposition", "attachment; filename*=UTF-8''notes.txt"),
            ("content-length", "8"),
        ] {
            assert_eq!(content.header(name), value);
        }
        for (method, path) in
            [("GET", path.clone()), ("GET", format!("{path}/content")), ("DELETE", path.clone())]
        {
            assert_eq!(play.rest_of(2, method, &path, "").await.status, 404, "another workspace's: {path}");
        }
        let gone = play.rest("DELETE", &path, "").await;
        assert_eq!((gone.status, gone.json()), (200, json!({"id": id, "object": "file", "deleted": true})));
        assert_eq!(play.rest("GET", &format!("{path}/content"), "").await.status, 404);
        assert_eq!(play.rest("DELETE", &path, "").await.status, 404);
        assert_eq!(on_disk(&play), 0);
    }
}

#[tokio::test]
async fn a_list_of_files_goes_on_behind_the_last_one_seen() {
    let mut play = Play::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(
            upload(&mut play, &[file("x"), purpose("a")]).await.json()["id"].as_str().unwrap().to_owned(),
        );
    }
    ids.reverse();
    let mut page = async |query: &str| {
        let list = play.rest("GET", &format!("/v1/files?{query}"), "").await.json();
        let data = list["data"].as_array().unwrap().clone();
        let seen: Vec<_> = data.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        (seen, list["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(page(&format!("limit=2&after={}", ids[1])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(&format!("after={}", ids[3])).await, (ids[4..].to_vec(), false));
    assert_eq!(page("offset=4").await, (ids[4..].to_vec(), false));
    for bad in [
        format!("after={}&offset=1", ids[0]),
        "after=x".to_owned(),
        "after=a&after=b".to_owned(),
        "q=1".to_owned(),
    ] {
        assert_eq!(play.rest("GET", &format!("/v1/files?{bad}"), "").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_form_that_is_none_is_refused_by_name_and_leaves_nothing() {
    let mut play = Play::start().await;
    let long = "x".repeat(300 << 10);
    let cases = [
        (vec![purpose("a")], "file is missing"),
        (vec![file("x")], "purpose is missing"),
        (vec![file("x"), file("y"), purpose("a")], "file is given twice"),
        (vec![purpose("a"), purpose("a"), file("x")], "purpose is given twice"),
        (vec![file("x"), part("name=\"expires\"", "1")], "\"expires\" is not known"),
        (vec![part("name=\"file\"", "x"), purpose("a")], "file must have a filename"),
        (vec![file("x"), purpose("")], "purpose must"),
        (vec![file("x"), purpose("two words")], "purpose must"),
        (vec![file("x"), purpose(&"x".repeat(65))], "purpose must"),
        (vec![purpose(&long), file("x")], "purpose must"),
        (vec![long.clone()], "cannot be read"),
        (
            vec![format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{long}\"\r\n\r\nx\r\n")],
            "cannot be read",
        ),
    ];
    for (parts, said) in cases {
        let (status, code, message) = upload(&mut play, &parts).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{said}");
        assert!(message.contains(said), "{said}: {message}");
        assert_eq!(on_disk(&play), 0, "{said}");
    }
    let good = format!("{}{}--{EDGE}--\r\n", file("x"), purpose("a"));
    for kind in ["application/json", "multipart/form-data", "multipart/mixed; boundary=----edge", ""] {
        assert_eq!(play.send(request(1, kind, good.clone())).await.refusal().0, 415, "{kind}");
    }
    let kind = format!("multipart/form-data; boundary={EDGE}");
    for cut in [file("half of it"), format!("{}--{EDGE}\r\nContent-", file("x"))] {
        assert_eq!(play.send(request(1, &kind, cut)).await.refusal().2, "The body ended too early.");
        assert_eq!(on_disk(&play), 0);
    }
    assert_eq!(play.send(request(1, &kind, good)).await.status, 200);
}

#[tokio::test]
async fn a_files_name_is_kept_without_its_folders_and_shown_without_a_way_out() {
    let mut play = Play::start().await;
    for (sent, kept, shown) in [
        ("C:\\home\\a b.txt", "a b.txt", "a%20b.txt"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("é;x=.html", "é;x=.html", "%C3%A9%3Bx%3D.html"),
    ] {
        let named = part(&format!("name=\"file\"; filename=\"{sent}\""), "x");
        let made = upload(&mut play, &[named, purpose("a")]).await.json();
        assert_eq!(made["filename"], kept, "{sent}");
        let content =
            play.rest("GET", &format!("/v1/files/{}/content", made["id"].as_str().unwrap()), "").await;
        assert_eq!(content.header("content-disposition"), format!("attachment; filename*=UTF-8''{shown}"));
    }
    assert!(play.directory.path().join("sandbox-files").read_dir().unwrap().all(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    }));
}

#[tokio::test]
async fn a_large_file_comes_back_as_it_was_and_survives_a_restart() {
    let mut play = Play::start().await;
    let content: String = (0..400_000).map(|number: u32| char::from(b'a' + (number % 23) as u8)).collect();
    let made = upload(&mut play, &[file(&content), purpose("a")]).await.json();
    assert_eq!(made["bytes"], content.len());
    let path = format!("/v1/files/{}/content", made["id"].as_str().unwrap());
    assert_eq!(play.rest("GET", &path, "").await.body, content);
    let head = play.rest("HEAD", &path, "").await;
    assert_eq!((head.body.as_str(), head.header("content-length")), ("", content.len().to_string().as_str()));
    play.seconds.store(NOON + 60, Ordering::Relaxed);
    let mut play = play.restart().await;
    assert_eq!(play.rest("GET", &path, "").await.body, content);
    assert_eq!(on_disk(&play), 1);
}

#[tokio::test]
async fn an_upload_whose_sender_leaves_is_gone() {
    let play = Play::start().await;
    let (near, far) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(play.sandbox.clone().serve(far));
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nx-keyward-workspace: {}\r\ncontent-length: 9000\r\n\
         content-type: multipart/form-data; boundary={EDGE}\r\n\r\n{}",
        WorkspaceId::from_u128(1),
        file("the beginning of it").trim_end()
    );
    let mut near = near;
    tokio::io::AsyncWriteExt::write_all(&mut near, head.as_bytes()).await.unwrap();
    while on_disk(&play) == 0 {
        tokio::task::yield_now().await;
    }
    drop(near);
    serving.await.unwrap();
    assert_eq!(on_disk(&play), 0);
    assert_eq!(play.sandbox.close().await.map_err(|error| error.to_string()), Ok(()));
}

#[tokio::test]
async fn a_file_that_is_being_read_is_read_to_its_end_when_it_is_deleted() {
    let mut play = Play::start().await;
    let content = "x".repeat(300_000);
    let made = upload(&mut play, &[file(&content), purpose("a")]).await.json();
    let path = format!("/v1/files/{}", made["id"].as_str().unwrap());
    let mut other = super::connect(&play.sandbox).await;
    let get = Request::get(format!("{path}/content"))
        .header("host", "upstream")
        .header("x-keyward-workspace", WorkspaceId::from_u128(1).to_string());
    let answer = other.send_request(get.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(play.rest("DELETE", &path, "").await.status, 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), content.len());
}
