//! A service of the user's own behind ten lines of profile, and what else such a profile can say: tails, several
//! methods in one route, bodies of any size, bounds on them, a base of `/`.
//!
//! The upstream is a plain listener that keeps the bytes it was sent.
//!
//! Never here: a shipped product.

use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::recording;
use crate::wire::{Call, Connection};

/// All that it takes.
const TEN_LINES: &str = r#"name = "parcels"
tag = "pk_live_"
rate = { limit = 6, window_s = 60 }
permission = [{ name = "parcels:read" }, { name = "parcels:write" }]
plan = [{ name = "standard" }]
[rest]
base = "/v1"
envelope = "error"
words = "standard"
route = [{ method = "GET", path = "/v1/{*path}", permission = "parcels:read" }, { method = ["POST", "DELETE"], path = "/v1/{*path}", permission = "parcels:write" }]"#;

/// What the ten lines leave out.
const MORE: &str = r#"
name = "parcels"
tag = "pk_live_"

[[permission]]
name = "parcels:read"

[[permission]]
name = "parcels:secret"

[[plan]]
name = "standard"

[rest]
base = "/"
envelope = "error+type"
max_body = 100

[rest.words]
base = "standard"
not_found = { status = 404, code = "nothing_here", type = "api_error", message = "There is nothing here." }
address = { status = 403, code = "ip_not_allowed", type = "permission_error", message = "Not from this address." }

[[rest.route]]
method = "*"
path = "/{*path}"
permission = "parcels:read"

[[rest.route]]
method = "GET"
path = "/reports/secret"
permission = "parcels:secret"

[[rest.route]]
method = ["PUT", "POST"]
path = "/blobs/{id}"
permission = "parcels:read"
max_body = "none"

[[rest.route]]
method = "PUT"
path = "/notes/{id}"
permission = "parcels:read"
max_body = 5

[[rest.public]]
method = "GET"
path = "/status"
"#;

fn behind(profile: &'static str, url: String) -> Options {
    Options { own_profile: Some(profile), ..Options::of("parcels", Some(url.leak())) }
}

#[tokio::test]
async fn ten_lines_protect_a_service() {
    assert_eq!(TEN_LINES.lines().count(), 10);
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(behind(TEN_LINES, url)).await;
    let workspace = daemon.workspace("standard").await;
    let reader = daemon.key_for(&workspace, &["parcels:read"]).await;
    let writer = daemon.key_for(&workspace, &["parcels:write"]).await;
    for (told, call, status, code) in [
        ("read", Call::get("/v1/parcels/7?full=1").bearer(&reader.text), 200, ""),
        ("write", Call::post("/v1/parcels", &json!({})).bearer(&writer.text), 200, ""),
        ("no key", Call::get("/v1/parcels/7"), 401, "unauthorized"),
        ("no such key", Call::get("/v1/parcels/7").bearer("pk_live_nope"), 401, "unauthorized"),
        ("not its right", Call::new("DELETE", "/v1/parcels/7").bearer(&reader.text), 403, "forbidden_scope"),
        ("outside", Call::get("/v2/parcels").bearer(&reader.text), 404, "not_found"),
        ("no method of it", Call::new("PUT", "/v1/parcels/7").bearer(&reader.text), 405, "invalid_request"),
        (
            "no method at all",
            Call::new("TRACE", "/v1/parcels/7").bearer(&reader.text),
            405,
            "invalid_request",
        ),
        ("one more", Call::get("/v1/parcels/8").bearer(&reader.text), 200, ""),
        ("too fast", Call::get("/v1/parcels/9").bearer(&reader.text), 429, "rate_limited"),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rest_error().0.as_str()), (status, code), "{told}: {answer:?}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, DELETE"));
        }
    }
    let seen = recorded.lock().unwrap().clone();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].starts_with("GET /v1/parcels/7?full=1 HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[0].contains("x-keyward-scopes: parcels:read\r\n"), "{}", seen[0]);
    assert!(!seen.concat().contains(&*reader.text));
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_star_takes_what_is_left_and_nothing_that_has_a_route_of_its_own() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(behind(MORE, url)).await;
    let workspace = daemon.workspace("standard").await;
    let reader = daemon.key_for(&workspace, &["parcels:read"]).await;
    let secret = daemon.key_for(&workspace, &["parcels:secret"]).await;
    for (path, of_reader, of_secret) in [
        ("/reports", 200, 403),
        ("/reports/a/b/c.txt", 200, 403),
        ("/reports/a/", 200, 403),
        ("/reports/secret", 403, 200),
        ("/reports/secret/", 404, 404),
        ("/reports/%73ecret", 400, 400),
        ("/reports/x/%2e%2e/secret", 400, 400),
        ("/reports/x%2fsecret", 400, 400),
        ("/reports//secret", 400, 400),
        ("/reports/./secret", 400, 400),
        ("/reports/secret;a", 400, 400),
        ("/", 404, 404),
    ] {
        let statuses = [
            daemon.call(&Call::get(path).bearer(&reader.text)).await.status,
            daemon.call(&Call::get(path).bearer(&secret.text)).await.status,
        ];
        assert_eq!(statuses, [of_reader, of_secret], "{path}");
    }
    // What has a route of its own has its methods as well.
    let other = daemon.call(&Call::post("/reports/secret", &json!({})).bearer(&reader.text)).await;
    assert_eq!((other.status, other.header("allow")), (405, Some("GET, HEAD")));
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(
            daemon.call(&Call::new(method, "/any").bearer(&reader.text)).await.status,
            200,
            "{method}"
        );
    }
    for method in ["OPTIONS", "TRACE", "PROPFIND", "get"] {
        let answer = daemon.call(&Call::new(method, "/any").bearer(&reader.text)).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let open = daemon.call(&Call::get("/status")).await;
    assert_eq!(open.status, 200, "{open:?}");
    let seen = recorded.lock().unwrap().concat();
    assert!(!seen.contains("secret/") && !seen.contains("OPTIONS") && !seen.contains("TRACE"), "{seen}");
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_word_of_its_own_stands_among_the_standard_ones() {
    let (url, _, upstream) = recording().await;
    let daemon = Daemon::start_with(behind(MORE, url)).await;
    let workspace = daemon.workspace("standard").await;
    let key = daemon.key_for(&workspace, &["parcels:read"]).await;
    let nothing = daemon.call(&Call::get("/").bearer(&key.text)).await;
    let error = json!({"code": "nothing_here", "message": "There is nothing here.", "type": "api_error"});
    assert_eq!((nothing.status, nothing.json()), (404, json!({"error": error})));
    let standard = daemon.call(&Call::get("/reports/secret").bearer(&key.text)).await;
    assert_eq!(
        standard.rest_error(),
        ("insufficient_permissions".to_owned(), "This key lacks the scope parcels:secret.".to_owned())
    );
    // Only this profile says openly that an address is the wrong one, and only to who holds the key.
    daemon.patch_key(&key, json!({"ip_allow": ["192.0.2.1"]})).await;
    let elsewhere = daemon.call(&Call::get("/any").bearer(&key.text)).await;
    assert_eq!((elsewhere.status, elsewhere.rest_error().0.as_str()), (403, "ip_not_allowed"));
    assert_eq!(elsewhere.header("www-authenticate"), None);
    let mistyped = daemon.call(&Call::get("/any").bearer("pk_live_nope")).await;
    assert_eq!((mistyped.status, mistyped.rest_error().0.as_str()), (401, "invalid_api_key"));
    daemon.finish().await;
    upstream.abort();
}

fn chunked(method: &str, path: &str, len: usize) -> Call {
    let mut body = Vec::new();
    for piece in vec![b'x'; len].chunks(60_000) {
        body.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        body.extend(piece);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    Call::new(method, path).header("Transfer-Encoding", "chunked").body(body)
}

#[tokio::test]
async fn a_body_is_bounded_by_its_route_or_its_door_or_by_nothing() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(behind(MORE, url)).await;
    let workspace = daemon.workspace("standard").await;
    let key = daemon.key_for(&workspace, &["parcels:read"]).await;
    // By the route, then by the door, each to the byte; and not at all.
    for (method, path, len, status) in [
        ("PUT", "/notes/1", 5, 200),
        ("PUT", "/notes/1", 6, 413),
        ("PATCH", "/any", 100, 200),
        ("PATCH", "/any", 101, 413),
        ("PUT", "/blobs/1", 500_000, 200),
    ] {
        let announced = Call::new(method, path).body(vec![b'x'; len]);
        for call in [announced, chunked(method, path, len)] {
            let answer = daemon.call(&call.bearer(&key.text)).await;
            assert_eq!(answer.status, status, "{method} {path} {len}: {answer:?}");
        }
    }
    let seen = recorded.lock().unwrap().clone();
    assert_eq!(seen.iter().filter(|seen| seen.contains("/blobs/1") && seen.len() > 500_000).count(), 2);
    assert_eq!(seen.len(), 6, "no refused body went on whole");
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn an_endless_body_ends_with_its_key() {
    let (url, recorded, upstream) = recording().await;
    let daemon = Daemon::start_with(behind(MORE, url)).await;
    let workspace = daemon.workspace("standard").await;
    let key = daemon.key_for(&workspace, &["parcels:read"]).await;
    let mut connection = Connection::open(daemon.data()).await.unwrap();
    let call = Call::new("PUT", "/blobs/1").header("Transfer-Encoding", "chunked").bearer(&key.text);
    connection.send(&call.bytes(daemon.data())).await;
    connection.send(b"5\r\nhello\r\n").await;
    daemon.revoke(&key).await;
    let sending = async {
        loop {
            connection.send(b"5\r\nhello\r\n").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // It goes on for longer than a key may stand after its end.
    let _ = tokio::time::timeout(Duration::from_secs(3), sending).await;
    let answer = connection.answer_unless_cut("PUT").await;
    assert!(answer.is_none_or(|answer| answer.status == 401), "the upload goes on after its key");
    assert_eq!(recorded.lock().unwrap().len(), 0);
    daemon.finish().await;
    upstream.abort();
}
