//! What a forwarded exchange does when the key behind it stops standing, at each place where it can be then.
//!
//! The waits here are the tick by which a standing exchange is asked about, so they are real time; nothing
//! asserts how long they took but for a bound far above it.
//!
//! Never here: a key.

use super::pass::granted_until;
use super::*;
use crate::gateway::link::MEMORY_QUEUE_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const REVOKED: Refusal = Refusal::Denied(Denial::Revoked);
/// Far above the tick, far below every other bound in these tests.
const SOON: Duration = Duration::from_secs(10);

/// An upstream that is patient about everything, so that nothing but the tether can end an exchange.
fn patient() -> UpstreamOptions {
    UpstreamOptions {
        connect_max: LONG,
        answer_max: LONG,
        send_max: LONG,
        pause_max: LONG,
        ..UpstreamOptions::default()
    }
}

fn end(over: &Arc<AtomicBool>) {
    over.store(true, Ordering::SeqCst);
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it ends by itself")
}

#[tokio::test]
async fn nothing_of_a_request_whose_key_ended_before_its_turn_reaches_the_upstream() {
    let (upstream, mut arriving) = in_memory(patient());
    let (pass, over) = granted_until();
    end(&over);
    assert_eq!(upstream.forward(pass, get("/a")).await.unwrap_err(), REVOKED);
    drop(upstream);
    assert!(arriving.recv().await.is_none(), "not even a connection was made");
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_never_reaches_the_upstream_once_its_key_ended() {
    for a_connection_comes in [false, true] {
        // So many connections wait to be accepted that one more has to wait to be made.
        let (upstream, mut arriving) = in_memory(patient());
        let mut others = JoinSet::new();
        for _ in 0..MEMORY_QUEUE_MAX {
            let upstream = upstream.clone();
            others.spawn(async move { upstream.forward(granted(), get("/other")).await.map(drop) });
        }
        while arriving.len() < MEMORY_QUEUE_MAX {
            tokio::task::yield_now().await;
        }
        let (pass, over) = granted_until();
        let near = upstream.clone();
        let waiting = tokio::spawn(async move { near.forward(pass, get("/mine")).await.map(drop) });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        end(&over);
        // Either it is asked about while it waits, or the place that comes free wakes it.
        while !a_connection_comes && !waiting.is_finished() {
            tokio::task::yield_now().await;
        }
        let far = tokio::spawn(async move {
            let mut saying = JoinSet::new();
            while let Some(stream) = arriving.recv().await {
                saying.spawn(say(stream, OK));
            }
            saying.join_all().await
        });
        assert_eq!(soon(waiting).await.unwrap(), Err(REVOKED));
        for other in others.join_all().await {
            other.unwrap();
        }
        drop(upstream);
        // A connection may have been made for it, but nothing was sent over that.
        let seen = soon(far).await.unwrap();
        assert_eq!(seen.iter().filter(|head| head.starts_with("GET /other ")).count(), MEMORY_QUEUE_MAX);
        assert!(seen.iter().all(|head| head.is_empty() || head.starts_with("GET /other ")), "{seen:?}");
    }
}

#[tokio::test]
async fn a_wait_for_an_answer_ends_with_the_key_and_takes_the_upstream_request_along() {
    let (upstream, mut arriving) = in_memory(patient());
    let (pass, over) = granted_until();
    let waiting = tokio::spawn(async move { upstream.forward(pass, get("/a")).await.map(drop) });
    let mut far = arriving.recv().await.unwrap();
    far.read_exact(&mut [0; 16]).await.unwrap();
    end(&over);
    assert_eq!(soon(waiting).await.unwrap(), Err(REVOKED));
    soon(far.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_comes_after_the_key_ended_is_not_brought_back() {
    let (upstream, mut arriving) = in_memory(patient());
    let (pass, over) = granted_until();
    let far = tokio::spawn(async move {
        let mut stream = arriving.recv().await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        end(&over);
        stream.write_all(OK).await.unwrap();
        stream
    });
    assert_eq!(soon(upstream.forward(pass, get("/a"))).await.unwrap_err(), REVOKED);
    drop(far.await.unwrap());
}

#[tokio::test]
async fn an_answer_under_way_is_cut_off_with_the_key_whether_it_trickles_or_stands_still() {
    for trickles in [true, false] {
        let (upstream, mut arriving) = in_memory(patient());
        let (pass, over) = granted_until();
        let far = tokio::spawn(async move {
            let mut stream = arriving.recv().await.unwrap();
            stream.read_exact(&mut [0; 16]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\na").await.unwrap();
            if trickles {
                while stream.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            // The gate lets go of its connection.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let response = upstream.forward(pass, get("/a")).await.unwrap();
        let mut body = response.into_body();
        let first = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        assert!(!first.into_data().unwrap().is_empty());
        end(&over);
        let cut = soon(body::read(&mut body, 1_000_000, LONG)).await.unwrap_err();
        assert!(matches!(cut, BodyError::Untethered(Denial::Revoked)), "{cut:?}");
        drop(body);
        soon(far).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_ends_in_time_is_whole_and_its_key_may_end_after_it() {
    let (upstream, mut arriving) = in_memory(patient());
    let far = tokio::spawn(async move { say(arriving.recv().await.unwrap(), OK).await });
    let (pass, over) = granted_until();
    let response = upstream.forward(pass, get("/a")).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "ok");
    end(&over);
    far.await.unwrap();
}

/// A gate whose one pass ends when it is told.
async fn gate_until(
    upstream: Upstream,
) -> (SocketAddr, Arc<AtomicBool>, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (pass, over) = granted_until();
    let pass = Arc::new(std::sync::Mutex::new(Some(pass)));
    let handler = move |request: crate::http::Request, _| {
        let (upstream, pass) = (upstream.clone(), pass.lock().unwrap().take().unwrap());
        async move {
            let request = request.map(|body| Body::Relayed(Relayed::new(body, u64::MAX, LONG)));
            upstream.forward(pass, outgoing(request)).await.unwrap_or_else(|refusal| {
                let mut refused = answer::json(StatusCode::IM_A_TEAPOT, format!("{refusal:?}"));
                answer::close(&mut refused);
                refused
            })
        }
    };
    // A stalled client is the tether's alone to end.
    let options = ServerOptions { stall_max: LONG, ..ServerOptions::default() };
    let serving = tokio::spawn(serve(listener, options, shutdown.clone(), handler));
    (address, over, shutdown, serving)
}

#[tokio::test]
async fn a_body_that_is_being_sent_stops_with_the_key_and_its_sender_sees_the_refusal() {
    let (upstream, mut arriving) = in_memory(patient());
    let (address, over, near_end, near) = gate_until(upstream).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc").await.unwrap();
    let mut far = arriving.recv().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"abc") {
        assert!(far.read_buf(&mut got).await.unwrap() > 0);
    }
    end(&over);
    client.write_all(b"defgh").await.unwrap();
    let mut all = String::new();
    soon(client.read_to_string(&mut all)).await.unwrap();
    assert!(all.contains("418") && all.contains("Revoked"), "{all}");
    let mut rest = Vec::new();
    soon(far.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"", "nothing of the body was passed on after the key ended");
    near_end.cancel();
    near.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off_with_the_key_as_well() {
    let (upstream, mut arriving) = in_memory(patient());
    let (address, over, near_end, near) = gate_until(upstream).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut far = arriving.recv().await.unwrap();
    far.read_exact(&mut [0; 16]).await.unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
    // Until every buffer between here and the client is full.
    let piece = vec![b'a'; 64 * 1024];
    while tokio::time::timeout(Duration::from_millis(300), far.write_all(&piece)).await.is_ok() {}
    end(&over);
    let closed = soon(async { while far.write_all(&piece).await.is_ok() {} });
    closed.await;
    drop(client);
    near_end.cancel();
    near.await.unwrap();
}
