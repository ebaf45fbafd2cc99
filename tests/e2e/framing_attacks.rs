//! Requests that two readers could take for two things, sent to a whole daemon before an upstream that keeps
//! what it is sent.
//!
//! What is refused here is refused before it is looked at, so the upstream sees nothing of it. A good request
//! passes before and after.
//!
//! Never here: what a lenient upstream would make of such bytes; it never gets any.

use serde_json::json;

use crate::daemon::{Daemon, Key, Options};
use crate::upstreams::recording::{Recorded, recording};
use crate::wire::{Call, Connection};

struct Gate {
    daemon: Daemon,
    key: Key,
    recorded: Recorded,
    task: tokio::task::JoinHandle<()>,
}

impl Gate {
    async fn start() -> Self {
        let (url, recorded, task) = recording().await;
        let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
        let key = daemon.workspace("enterprise").await.default_key;
        let gate = Self { daemon, key, recorded, task };
        gate.lets_a_good_request_through().await;
        gate
    }

    async fn lets_a_good_request_through(&self) {
        let before = self.forwarded();
        let answer = self.daemon.call(&Call::get("/v1/posts").bearer(&self.key.text)).await;
        assert_eq!((answer.status, self.forwarded()), (200, before + 1), "{answer:?}");
    }

    fn forwarded(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    /// Sends bytes, in which `KEY` is a good key, over a connection of their own and reads all statuses until
    /// the end.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let with_key = if text.contains("KEY") {
            text.replace("KEY", &self.key.text).into_bytes()
        } else {
            bytes.to_vec()
        };
        let mut connection = Connection::open(self.daemon.data()).await.unwrap();
        connection.send(&with_key).await;
        let mut statuses = Vec::new();
        while let Some(answer) = connection.answer_unless_cut("GET").await {
            statuses.push(answer.status);
        }
        statuses
    }

    /// Every one of these is refused, and not a byte of it reaches the upstream.
    async fn refuses(&self, attacks: &[(&str, String)]) {
        let before = self.forwarded();
        for (told, bytes) in attacks {
            let statuses = self.statuses(bytes.as_bytes()).await;
            assert!(statuses.iter().all(|status| (400..600).contains(status)), "{told}: {statuses:?}");
            assert!(statuses.len() <= 1, "{told}: what follows was read as requests: {statuses:?}");
            assert_eq!(self.forwarded(), before, "{told} was forwarded");
        }
    }

    async fn finish(self) {
        self.lets_a_good_request_through().await;
        self.daemon.finish().await;
        self.task.abort();
    }
}

/// A request with a good key, this line and these header lines; each ends in a line end.
fn request(line: &str, headers: &str) -> String {
    format!("{line}\r\nAuthorization: Bearer KEY\r\n{headers}\r\n")
}

#[tokio::test]
async fn f01_a_host_that_is_missing_doubled_or_no_host_is_refused_and_routes_by_nothing() {
    let gate = Gate::start().await;
    let line = "GET /v1/posts HTTP/1.1";
    let mut attacks = vec![
        ("no host", request(line, "")),
        ("two hosts", request(line, "Host: a\r\nHost: b\r\n")),
        ("the same twice", request(line, "Host: a\r\nHost: a\r\n")),
        ("another authority", request("GET http://b.example/v1/posts HTTP/1.1", "Host: a.example\r\n")),
        ("a user", request("GET http://u@a.example/v1/posts HTTP/1.1", "Host: a.example\r\n")),
    ];
    for host in ["a/v1/posts", "a#@b", "u:p@a", "a b", "a,b", "", "a:0", "a\\b", "[::1", "a?b", "a%2e"] {
        attacks.push(("no host's form", request(line, &format!("Host: {host}\r\n"))));
    }
    gate.refuses(&attacks).await;
    gate.finish().await;
}

#[tokio::test]
async fn f02_lines_that_end_or_begin_in_two_ways_are_refused() {
    let gate = Gate::start().await;
    let line = "GET /v1/posts HTTP/1.1";
    let host = "Host: a\r\n";
    let attacks = [
        ("a bare line feed", request(line, "Host: a\nX: y\r\n")),
        ("a bare carriage return", request(line, "Host: a\r\nX: y\rZ: a\r\n")),
        ("a zero in a value", request(line, "Host: a\r\nX: y\0z\r\n")),
        ("a zero in a name", request(line, "Host: a\r\nX\0Y: z\r\n")),
        ("a space before the colon", request(line, "Host: a\r\nContent-Length : 0\r\n")),
        ("a folded line", request(line, "Host: a\r\nX: y\r\n z\r\n")),
        ("a first line that is folded", format!("{line}\r\n Host: a\r\nAuthorization: Bearer KEY\r\n\r\n")),
        ("an empty name", request(line, "Host: a\r\n: y\r\n")),
        ("a tab in a name", request(line, "Host: a\r\nX\tY: z\r\n")),
        ("two spaces in the line", request("GET  /v1/posts HTTP/1.1", host)),
        ("a tab in the line", request("GET\t/v1/posts HTTP/1.1", host)),
        (
            "bare line feeds alone",
            "GET /v1/posts HTTP/1.1\nHost: a\nAuthorization: Bearer KEY\n\n".to_owned(),
        ),
    ];
    gate.refuses(&attacks).await;
    gate.finish().await;
}

#[tokio::test]
async fn f05_an_expectation_is_answered_by_the_refusal_and_any_other_is_refused() {
    let gate = Gate::start().await;
    let before = gate.forwarded();
    for (expect, key, expected) in
        [("100-continue", "sk_live_wrong", 401), ("200-ok", "KEY", 417), ("100-continue, x", "KEY", 417)]
    {
        let bytes = format!(
            "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nExpect: {expect}\r\n\
             Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        );
        let mut connection = Connection::open(gate.daemon.data()).await.unwrap();
        connection.send(bytes.replace("KEY", &gate.key.text).as_bytes()).await;
        let answer = connection.answer_with_interim("POST").await;
        assert_eq!(answer, [expected], "{expect}: no 100 comes before the refusal");
    }
    assert_eq!(gate.forwarded(), before);
    gate.finish().await;
}

#[tokio::test]
async fn f06_other_versions_are_refused_or_mean_what_they_meant() {
    let gate = Gate::start().await;
    let host = "Host: a\r\n";
    let mut attacks = vec![
        ("0.9", "GET /v1/posts\r\n\r\n".to_owned()),
        ("2.0 as text", request("GET /v1/posts HTTP/2.0", host)),
        ("1.9", request("GET /v1/posts HTTP/1.9", host)),
        ("no digits", request("GET /v1/posts HTTP/x.y", host)),
        ("another protocol", request("GET /v1/posts FTP/1.1", host)),
    ];
    let coded = "Host: a\r\nTransfer-Encoding: chunked\r\n";
    attacks.push(("chunks in 1.0", request("POST /v1/posts HTTP/1.0", coded) + "0\r\n\r\n"));
    gate.refuses(&attacks).await;
    // HTTP/1.0 ends its connection, so nothing behind its body is a request.
    let before = gate.forwarded();
    let old = request("GET /v1/posts HTTP/1.0", host);
    let mut stream = tokio::net::TcpStream::connect(gate.daemon.data()).await.unwrap();
    let bytes = format!("{old}{}", request("GET /v1/posts HTTP/1.1", host)).replace("KEY", &gate.key.text);
    tokio::io::AsyncWriteExt::write_all(&mut stream, bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer);
    let _ = tokio::time::timeout(crate::wire::PATIENCE, read).await.expect("it is closed");
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert_eq!((answer.matches("HTTP/1.").count(), gate.forwarded()), (1, before + 1));
    gate.finish().await;
}

#[tokio::test]
async fn f07_heads_that_are_too_large_are_refused() {
    let gate = Gate::start().await;
    let line = "GET /v1/posts HTTP/1.1";
    gate.refuses(&[
        ("10,000 headers", request(line, &format!("Host: a\r\n{}", "X: y\r\n".repeat(10_000)))),
        ("65 headers", request(line, &format!("Host: a\r\n{}", "X: y\r\n".repeat(64)))),
        ("a header of 1 MB", request(line, &format!("Host: a\r\nX: {}\r\n", "y".repeat(1 << 20)))),
        ("a target of 65 KB", request(&format!("GET /v1/{} HTTP/1.1", "p".repeat(65 << 10)), "Host: a\r\n")),
    ])
    .await;
    gate.finish().await;
}

#[tokio::test]
async fn f12_pipelined_requests_are_answered_in_order_each_by_its_own_key() {
    let gate = Gate::start().await;
    let other = gate.daemon.workspace("enterprise").await.default_key;
    let revoked = gate.daemon.workspace("enterprise").await.default_key;
    gate.daemon.revoke(&revoked).await;
    let before = gate.forwarded();
    let keys = ["sk_live_wrong", &gate.key.text, &revoked.text, &other.text, "sk_live_wrong"];
    let one = |key: &str| {
        format!("GET /v1/posts?k={} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n", key.len())
    };
    let bytes: String = keys.iter().map(|key| one(key)).collect();
    let bytes = bytes.trim_end().to_owned() + "\r\nConnection: close\r\n\r\n";
    assert_eq!(gate.statuses(bytes.as_bytes()).await, [401, 200, 401, 200, 401]);
    assert_eq!(gate.forwarded(), before + 2);
    let ids = [&gate.key, &other].map(|key| format!("x-keyward-key-id: {}", key.id));
    let forwarded = gate.recorded.lock().unwrap()[before..].to_vec();
    for (seen, id) in forwarded.iter().zip(ids) {
        assert!(seen.to_ascii_lowercase().contains(&id.to_ascii_lowercase()), "{id}");
    }
    gate.finish().await;
}

#[tokio::test]
async fn f15_a_target_never_leads_anywhere_but_to_the_configured_upstream() {
    let gate = Gate::start().await;
    let admin = gate.daemon.admin_address();
    let at = |target: &str| request(&format!("GET {target} HTTP/1.1"), "Host: a.example\r\n");
    let attacks = [
        ("the admin listener", at(&format!("http://{admin}/api/v1/keys"))),
        (
            "the admin listener by its host",
            request(&format!("GET http://{admin}/v1/posts HTTP/1.1"), "Host: a.example\r\n"),
        ),
        ("another scheme", at("ftp://a.example/v1/posts")),
        ("a file", at("file:///etc/passwd")),
        ("no scheme", at("//evil.example/v1/posts")),
        ("an authority alone", at("evil.example:80")),
        ("a star", request("OPTIONS * HTTP/1.1", "Host: a.example\r\n")),
        ("a star that is asked for", at("*")),
        ("a tunnel", request("CONNECT a.example:80 HTTP/1.1", "Host: a.example:80\r\n")),
        (
            "a tunnel to the admin listener",
            request(&format!("CONNECT {admin} HTTP/1.1"), &format!("Host: {admin}\r\n")),
        ),
        ("a user", at("http://a.example@evil.example/v1/posts")),
    ];
    gate.refuses(&attacks).await;
    // An absolute target that names its own host is that host's.
    let own = request("GET http://a.example/v1/posts HTTP/1.1", "Host: a.example\r\nConnection: close\r\n");
    assert_eq!(gate.statuses(own.as_bytes()).await, [200]);
    assert!(gate.recorded.lock().unwrap().last().unwrap().starts_with("GET /v1/posts HTTP/1.1\r\n"));
    gate.finish().await;
}

#[tokio::test]
async fn x06_what_is_compressed_is_not_opened() {
    let gate = Gate::start().await;
    let bomb = "x".repeat(100);
    let compressed = |coding: &str| {
        let headers = format!(
            "Host: a\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: 100\r\n"
        );
        request("POST /api/mcp-app HTTP/1.1", &headers) + &bomb
    };
    let coded =
        request("POST /v1/posts HTTP/1.1", "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n";
    let attacks = [("gzip", compressed("gzip")), ("br", compressed("br")), ("a transfer coding", coded)];
    gate.refuses(&attacks).await;
    gate.finish().await;
}

#[tokio::test]
async fn f20_a_body_in_another_coding_or_charset_is_not_read() {
    let gate = Gate::start().await;
    let key = &gate.key.text;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(gate.daemon.call(&Call::rpc(&ping).bearer(key)).await.status, 200);
    let before = gate.forwarded();
    let wide: Vec<u8> = ping.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let labelled = |label: &str, body: Vec<u8>| {
        let call = Call::new("POST", "/api/mcp-app").bearer(key).header("Content-Type", label).body(body);
        call.header("Accept", "application/json, text/event-stream")
    };
    let plain = || ping.to_string().into_bytes();
    for (told, call, status) in [
        ("utf-16", labelled("application/json; charset=utf-16", wide.clone()), 415),
        ("utf-16 in disguise", labelled("application/json", wide), 400),
        ("utf-7", labelled("application/json; charset=utf-7", plain()), 415),
        ("two charsets", labelled("application/json; charset=utf-8; charset=utf-7", plain()), 415),
        ("no json", labelled("text/plain", plain()), 415),
        ("gzip", Call::rpc(&ping).bearer(key).header("Content-Encoding", "gzip"), 400),
        ("two codings", Call::rpc(&ping).bearer(key).header("Content-Encoding", "identity, gzip"), 400),
    ] {
        let answer = gate.daemon.call(&call).await;
        assert_eq!(answer.status, status, "{told}: {answer:?}");
    }
    assert_eq!(gate.forwarded(), before);
    gate.finish().await;
}
