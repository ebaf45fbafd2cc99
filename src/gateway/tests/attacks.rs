//! What a broken or hostile upstream, and a caller who wants more than one request there, get done: nothing.
//!
//! The upstream speaks in raw bytes. Whatever it said at first, the next request has a connection of its own
//! and its own answer.
//!
//! Never here: an upstream that keeps to the rules, but as the control behind each attack.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A raw upstream: its first connection answers with `first`, all others properly.
struct Raw {
    upstream: Upstream,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Raw {
    async fn saying(first: Vec<u8>, ends: bool) -> Self {
        let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
                let piece = if is_first { first.clone() } else { OK.to_vec() };
                open.spawn(async move {
                    let mut got = Vec::new();
                    while stream.read_buf(&mut got).await.unwrap_or(0) > 0 {
                        if got.ends_with(b"\r\n\r\n") {
                            got.clear();
                            // The gate may have turned away in the middle.
                            let _ = stream.write_all(&piece).await;
                            if ends && is_first {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { upstream, connections, task }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const CLOSING: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// What a client sees when the upstream says `piece`, then that the next request is answered by itself.
async fn seen_of(method: &str, piece: impl Into<Vec<u8>>, ends: bool) -> String {
    let raw = Raw::saying(piece.into(), ends).await;
    let (address, near_end, near) = gate(raw.upstream.clone()).await;
    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let seen = exchange(address, request.as_bytes()).await;
    assert_eq!(seen.matches("HTTP/1.1 ").count(), 1, "one answer: {seen}");
    assert!(!seen.contains("poison"), "{seen}");
    let next = exchange(address, CLOSING).await;
    assert!(next.starts_with("HTTP/1.1 200 OK\r\n") && next.ends_with("\r\n\r\nok"), "{next}");
    assert_eq!(raw.connections.load(Ordering::SeqCst), 2, "a connection of its own behind {seen}");
    near_end.cancel();
    near.await.unwrap();
    seen
}

const BROKEN: &str = "Failed(UpstreamBroken)";

#[tokio::test]
async fn f13_what_an_upstream_says_behind_its_answer_is_nobodys_answer() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let ok = String::from_utf8(OK.to_vec()).unwrap();
    for (method, piece, ending) in [
        ("GET", format!("{ok}{poison}"), "\r\n\r\nok"),
        ("GET", format!("{ok}poison"), "\r\n\r\nok"),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison{poison}"), "\r\n\r\n"),
        ("GET", format!("HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\npoison{poison}"), "\r\n\r\n"),
        ("HEAD", format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison{poison}"), "\r\n\r\n"),
        (
            "GET",
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"),
            "2\r\nok\r\n0\r\n\r\n",
        ),
    ] {
        let seen = seen_of(method, piece.clone(), false).await;
        assert!(seen.ends_with(ending), "{piece}: {seen}");
    }
}

#[tokio::test]
async fn f13_an_answer_that_cannot_be_read_one_way_is_broken() {
    let long = "a".repeat(200_000);
    let many = "x-a: b\r\n".repeat(200);
    for piece in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: +6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a : b\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: b\r\n folded\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: b\rc\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 2000 OK\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/2 200\r\ncontent-length: 6\r\n\r\npoison".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\npoison"
            .to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nx-a: {long}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        "HTTP/1.1 103 Early Hints\r\nx-a: b\r\n\r\n".repeat(100) + "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let seen = seen_of("GET", piece.clone(), false).await;
        assert!(seen.ends_with(BROKEN), "{}: {seen}", &piece[..piece.len().min(200)]);
    }
    // The connection ends behind these.
    for piece in ["", "poison", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        assert!(seen_of("GET", piece, true).await.ends_with(BROKEN), "{piece}");
    }
}

#[tokio::test]
async fn f13_a_body_that_breaks_the_rules_midway_breaks_its_connection() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
    for (piece, ends) in [
        (format!("{chunked}zz\r\npoison"), false),
        (format!("{chunked}-1\r\npoison"), false),
        (format!("{chunked}fffffffffffffffff\r\npoison"), false),
        (format!("{chunked}1\r\n"), true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok".to_owned(), true),
    ] {
        let seen = seen_of("GET", piece.clone(), ends).await;
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && !seen.ends_with("0\r\n\r\n"), "{piece}: {seen}");
        let announced = seen.contains("content-length: 9\r\n") && seen.ends_with("\r\n\r\nok");
        assert!(announced || seen.contains("chunked"), "{piece}: {seen}");
    }
}

#[tokio::test]
async fn a_few_interim_answers_are_swallowed_and_the_answer_comes() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: poison\r\n\r\n";
    let piece = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    let seen = seen_of("GET", piece, false).await;
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && seen.ends_with("\r\n\r\nok"), "{seen}");
}

#[tokio::test]
async fn f04_trailers_of_either_side_end_at_the_gate() {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    let (address, near_end, near) = gate(upstream).await;
    let far = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stream.read_buf(&mut got).await.unwrap() > 0);
        }
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-late\r\n\r\n\
            2\r\nok\r\n0\r\nx-late: hidden\r\nx-keyward-plan: hidden\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(got).unwrap()
    });
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-keyward-plan\r\n\
        connection: close\r\n\r\n3\r\nabc\r\n0\r\nauthorization: hidden\r\nx-api-key: hidden\r\nx-keyward-plan: hidden\r\n\r\n";
    let answer = exchange(address, request.as_bytes()).await;
    assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
    let got = far.await.unwrap();
    assert!(got.ends_with("3\r\nabc\r\n0\r\n\r\n") && got.contains("x-keyward-plan: pro\r\n"), "{got}");
    assert!(!got.contains("hidden") && !answer.contains("hidden"), "{got}{answer}");
    near_end.cancel();
    near.await.unwrap();
}

#[tokio::test]
async fn f16_a_redirect_is_the_callers_to_follow() {
    for location in ["http://127.0.0.1:8089/api/v1/keys", "//elsewhere.example/", "/v1/other"] {
        for status in ["301 A", "302 A", "303 A", "307 A", "308 A"] {
            let piece = format!(
                "HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let seen = seen_of("GET", piece, false).await;
            assert!(seen.starts_with(&format!("HTTP/1.1 {}", &status[..3])), "{seen}");
            assert!(seen.contains(&format!("location: {location}\r\n")), "{seen}");
        }
    }
}

#[tokio::test]
async fn f17_what_was_sent_is_not_sent_again_and_what_was_not_finds_another_connection() {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    let post = || outgoing(Request::post("/a").body(Body::from(Bytes::from_static(b"{}"))).unwrap());
    for round in 0..20 {
        // A kept connection that the upstream closes while nobody uses it.
        let near = upstream.clone();
        let first = tokio::spawn(async move { text(near.forward(granted(), post()).await.unwrap()).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"{}") {
            assert!(stream.read_buf(&mut got).await.unwrap() > 0);
        }
        stream.write_all(OK).await.unwrap();
        assert_eq!(first.await.unwrap().unwrap(), "ok");
        drop(stream);
        // The close may be noticed before the next request, while it is handed over, or behind it. Only in the
        // last case was anything sent, and then the caller is told.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let near = upstream.clone();
        let mut second = tokio::spawn(async move { near.forward(granted(), post()).await.map(drop) });
        let sent = tokio::select! {
            refused = &mut second => {
                assert_eq!(refused.unwrap().unwrap_err(), Refusal::Failed(Fault::UpstreamBroken));
                None
            }
            accepted = listener.accept() => Some(accepted.unwrap().0),
        };
        if let Some(mut stream) = sent {
            let mut got = Vec::new();
            while !got.ends_with(b"{}") {
                assert!(stream.read_buf(&mut got).await.unwrap() > 0);
            }
            // Now it was sent: the connection dies, and nobody tries again.
            drop(stream);
            let refused = second.await.unwrap().unwrap_err();
            assert_eq!(refused, Refusal::Failed(Fault::UpstreamBroken));
        }
        let again = tokio::time::timeout(Duration::from_millis(5), listener.accept()).await;
        assert!(again.is_err(), "round {round}: it was sent again");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_long_ago_costs_no_request() {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    for _ in 0..20 {
        let near = upstream.clone();
        let answered =
            tokio::spawn(async move { text(near.forward(granted(), get("/a")).await.unwrap()).await });
        say(listener.accept().await.unwrap().0, OK).await;
        assert_eq!(answered.await.unwrap().unwrap(), "ok");
        // Until the close has arrived.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
