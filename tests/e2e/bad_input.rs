//! Requests that are wrong in form: bodies, queries, framing, headers. Each gets a clear answer in its door's
//! envelope, and the daemon is none the worse.
//!
//! Never here: a well-formed request of somebody who may not.

use serde_json::json;

use crate::daemon::{Daemon, Key, list_posts};
use crate::wire::{Answer, Call, Connection};

fn post_body(key: &Key, body: impl Into<Vec<u8>>) -> Call {
    Call::new("POST", "/v1/posts").bearer(&key.text).header("Content-Type", "application/json").body(body)
}

fn check_rest(told: &str, answer: &Answer, status: u16) {
    let (code, message) = answer.rest_error();
    assert_eq!((answer.status, code.as_str()), (status, "invalid_request"), "{told}: {answer:?}");
    assert!(!message.is_empty(), "{told}");
}

#[tokio::test]
async fn a_body_that_is_no_post_is_refused_with_what_was_expected() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    for (body, named) in [
        ("", ""),
        ("{", ""),
        ("not json", ""),
        ("[]", ""),
        ("7", ""),
        ("{}", "body"),
        (r#"{"body":"x"}"#, "account_ids"),
        (r#"{"account_ids":["a"]}"#, "body"),
        (r#"{"body":7,"account_ids":["a"]}"#, "body"),
        (r#"{"body":"","account_ids":["a"]}"#, "body"),
        (r#"{"body":"   ","account_ids":["a"]}"#, "body"),
        (r#"{"body":"x","account_ids":"a"}"#, "account_ids"),
        (r#"{"body":"x","account_ids":[]}"#, "account_ids"),
        (r#"{"body":"x","account_ids":[7]}"#, "account_ids"),
        (r#"{"body":"x","account_ids":["a"],"status":"published"}"#, "status"),
        (r#"{"body":"x","body":"y","account_ids":["a"]}"#, "body"),
        (r#"{"body":"x","account_ids":["a"]} y"#, ""),
    ] {
        let answer = daemon.call(&post_body(&key, body)).await;
        check_rest(body, &answer, 400);
        assert!(answer.rest_error().1.contains(named), "{body}: {answer:?}");
    }
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(r#"{{"body":{nested},"account_ids":["a"]}}"#);
    check_rest("100,000 deep", &daemon.call(&post_body(&key, deep)).await, 400);
    let latin = b"{\"body\":\"\xe9\",\"account_ids\":[\"a\"]}".to_vec();
    check_rest("not UTF-8", &daemon.call(&post_body(&key, latin)).await, 400);
    assert_eq!(daemon.call(&list_posts(&key)).await.json(), json!({"data": []}));
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn f20_a_body_of_another_content_type_or_coding_is_not_read() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let good = json!({"body": "x", "account_ids": ["a"]}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "",
    ] {
        let call = Call::new("POST", "/v1/posts").bearer(&key.text).header("Content-Type", kind).body(&*good);
        check_rest(kind, &daemon.call(&call).await, 415);
    }
    check_rest(
        "none",
        &daemon.call(&Call::new("POST", "/v1/posts").bearer(&key.text).body(&*good)).await,
        415,
    );
    for coding in ["gzip", "deflate", "br", "gzip, identity", "x"] {
        let call = post_body(&key, &*good).header("Content-Encoding", coding);
        let answer = daemon.call(&call).await;
        assert!(matches!(answer.status, 400 | 415), "{coding}: {answer:?}");
    }
    assert_eq!(daemon.call(&list_posts(&key)).await.json(), json!({"data": []}));
    assert_eq!(daemon.call(&post_body(&key, good)).await.status, 201);
    daemon.finish().await;
}

#[tokio::test]
async fn a_query_that_a_list_does_not_take_is_400() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    for query in [
        "limit=51",
        "limit=0",
        "limit=-1",
        "limit=1e3",
        "limit=",
        "limit=1&limit=50",
        "limit[]=1",
        "limit=1;offset=2",
        "offset=-1",
        "page=2",
        "LIMIT=1",
    ] {
        let answer = daemon.call(&Call::get(&format!("/v1/posts?{query}")).bearer(&key.text)).await;
        check_rest(query, &answer, 400);
    }
    for query in ["limit=1", "limit=50", "limit=50&offset=0", "offset=4294967295", ""] {
        let answer = daemon.call(&Call::get(&format!("/v1/posts?{query}")).bearer(&key.text)).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
    }
    daemon.finish().await;
}

/// A body of 3 MiB is three times its route's bound. The client writes all of it before it reads a byte.
#[tokio::test]
async fn a_client_that_writes_3_mib_sees_the_413() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    daemon.is_well(key).await;
    let big = vec![b'a'; 3 << 20];
    let told = |how: &str, answer: &Answer| {
        check_rest(how, answer, 413);
        assert!(answer.rest_error().1.contains("1048576"), "{how}: {answer:?}");
    };
    let mut connection = daemon.connect().await;
    told("with a length", &connection.call(&post_body(key, big.clone())).await);
    assert!(connection.is_closed().await, "what was not read must not be read as a request");

    let mut connection = daemon.connect().await;
    let head = format!(
        "POST /v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        &*key.text
    );
    connection.send(head.as_bytes()).await;
    for part in big.chunks(64 << 10) {
        connection.send(format!("{:x}\r\n", part.len()).as_bytes()).await;
        connection.send(part).await;
        connection.send(b"\r\n").await;
    }
    connection.send(b"0\r\n\r\n").await;
    told("in chunks", &connection.answer_to("POST").await);

    let reader = daemon.key_for(&workspace, &["posts:read"]).await;
    for (how, call, status) in [
        ("without a key", Call::new("POST", "/v1/posts").body(big.clone()), 401),
        ("with a bad key", Call::new("POST", "/v1/posts").bearer("x").body(big.clone()), 401),
        ("without the scope", post_body(&reader, vec![b'a'; 900 << 10]), 403),
        ("on an unknown route", Call::new("POST", "/v1/nope").bearer(&key.text).body(big), 404),
    ] {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, status, "{how}: {answer:?}");
    }
    let whole = json!({"body": "x", "account_ids": ["a".repeat(100)]}).to_string();
    let padded = format!("{whole}{}", " ".repeat((1 << 20) - whole.len()));
    assert_eq!(daemon.call(&post_body(key, padded.clone())).await.status, 201, "exactly 1 MiB is taken");
    told("one byte more", &daemon.call(&post_body(key, format!("{padded} "))).await);
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_small_body_that_nobody_wanted_costs_no_connection() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let mut connection: Connection = daemon.connect().await;
    for _ in 0..3 {
        let refused =
            connection.call(&Call::new("POST", "/v1/posts").bearer("x").body(vec![b'a'; 10_000])).await;
        assert_eq!((refused.status, refused.header("connection")), (401, None));
        assert_eq!(connection.call(&list_posts(&key)).await.status, 200);
    }
    daemon.finish().await;
}

/// Heads as bytes; `KEY` stands for a good key. None may reach a route, whoever sends it.
const BAD_HEADS: [(&str, &str); 24] = [
    ("no host", "GET /v1/posts HTTP/1.1\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("two hosts", "GET /v1/posts HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a host with a path", "GET /v1/posts HTTP/1.1\r\nHost: a/b\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a host with a user", "GET /v1/posts HTTP/1.1\r\nHost: u@a\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("an empty host", "GET /v1/posts HTTP/1.1\r\nHost: \r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("another authority", "GET http://b/v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a fragment", "GET /v1/posts#x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a space in the target", "GET /v1/posts x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a space before the colon", "GET /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer KEY\r\n\r\n"),
    ("a folded header", "GET /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\r\n KEY\r\n\r\n"),
    (
        "a NUL in a value",
        "GET /v1/posts HTTP/1.1\r\nHost: a\r\nX-A: a\0b\r\nAuthorization: Bearer KEY\r\n\r\n",
    ),
    (
        "a bare CR in a value",
        "GET /v1/posts HTTP/1.1\r\nHost: a\r\nX-A: a\rb\r\nAuthorization: Bearer KEY\r\n\r\n",
    ),
    ("an empty name", "GET /v1/posts HTTP/1.1\r\nHost: a\r\n: b\r\nAuthorization: Bearer KEY\r\n\r\n"),
    (
        "two lengths",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ),
    (
        "a length twice",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    ),
    (
        "a list of lengths",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nContent-Length: 2, 2\r\n\r\n{}",
    ),
    (
        "a signed length",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nContent-Length: +2\r\n\r\n{}",
    ),
    (
        "a length and chunks",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "another coding",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("another protocol", "GET /v1/posts HTTP/2.0\r\nHost: a\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a tunnel", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nAuthorization: Bearer KEY\r\n\r\n"),
    ("a star", "OPTIONS * HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\n\r\n"),
    (
        "an expectation",
        "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    ),
];

#[tokio::test]
async fn a_head_that_could_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    for (told, head) in BAD_HEADS {
        let mut connection = daemon.connect().await;
        connection.send(head.replace("KEY", &key.text).as_bytes()).await;
        // Had the daemon another idea of where this ends, a request that follows would be smuggled.
        connection.send(&list_posts(&key).bytes(daemon.data())).await;
        let answer = connection.answer_to("GET").await;
        let expected = if told == "an expectation" { [417, 417] } else { [400, 405] };
        assert!(expected.contains(&answer.status), "{told}: {answer:?}");
        assert!(connection.is_closed().await, "{told}: the connection goes on");
    }
    assert_eq!(daemon.call(&list_posts(&key)).await.json(), json!({"data": []}));
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_head_without_a_measure_is_refused() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let headers = |count: usize| {
        (0..count).fold(list_posts(&key), |call, number| call.header(&format!("X-{number}"), "a"))
    };
    for (told, call) in [
        ("10,000 headers", headers(10_000)),
        ("a header of 1 MB", list_posts(&key).header("X-A", "a".repeat(1 << 20))),
        ("a target of 65 KB", Call::get(&format!("/v1/posts/{}", "a".repeat(65_536))).bearer(&key.text)),
    ] {
        let answer = daemon.call(&call).await;
        assert!(matches!(answer.status, 400 | 414 | 431), "{told}: {answer:?}");
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn requests_in_one_segment_are_answered_in_order_each_by_its_own_key() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let none = daemon.key_for(&workspace, &[]).await;
    let good = list_posts(&workspace.default_key);
    let calls = [
        (Call::get("/v1/posts").bearer("nonsense"), 401),
        (good.clone(), 200),
        (list_posts(&none), 403),
        (Call::get("/v1/posts"), 401),
        (good, 200),
    ];
    let mut connection = daemon.connect().await;
    let segment: Vec<u8> = calls.iter().flat_map(|(call, _)| call.bytes(daemon.data())).collect();
    connection.send(&segment).await;
    for (number, (_, status)) in calls.iter().enumerate() {
        assert_eq!(connection.answer_to("GET").await.status, *status, "answer {number}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn garbage_of_any_kind_leaves_the_daemon_well() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let samples: [&[u8]; 8] = [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/posts\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &tls_hello,
        &[0; 1024],
        &[0xff; 1024],
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n\r\n",
    ];
    for address in [daemon.data(), daemon.admin_address()] {
        for sample in samples {
            let mut connection = Connection::open(address).await.unwrap();
            connection.send(sample).await;
            // What it answers is its own affair; that it goes on is not.
            drop(connection);
        }
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}
