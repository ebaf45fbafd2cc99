//! The life of one connection: its requests, its end, and what a client still sends behind its last answer.
//!
//! A connection is bounded in the time its heads, its stalled writes and its end may take. A client whose
//! request was answered early sees its answer: what it still sends is read and dropped for a while before the
//! connection closes. A panic in a handler costs that connection and nothing else.
//!
//! Never here: a look into a request, beyond where it ends and how many headers it has. hyper answers unreadable heads
//! itself, with 400, 414 or 431 and no body.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::server::{BUFFER_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, LINGER_BYTES_MAX, Peer, ServerOptions};
use super::tethered::CurrentTether;
use super::tunnel::Tunnel;
use super::until_stop::until_stop;
use super::watch::Doubts;
use super::wire::Wire;
use super::{Request, Response, answer};
use crate::domain::causes::Causes;

/// Serves the requests of one HTTP/1.1 connection, one after the other, until it ends.
pub(super) async fn http1<T, S, F>(
    socket: T,
    peer: Peer,
    options: &ServerOptions,
    shutdown: &CancellationToken,
    handler: S,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request, Peer) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let doubts = Doubts::new();
    let current_tether = CurrentTether::default();
    let wire = Wire::new(socket, doubts.clone(), options.stall_max, current_tether.clone());
    let requests = AtomicU64::new(0);
    let tunnel = Mutex::new(None);
    // Its requests borrow what they share: to count who holds it, at each of them, would cost as much as a check.
    let (current_tether, opened) = (&current_tether, &tunnel);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(doubt) = doubts.about(requests.fetch_add(1, Ordering::Relaxed)) {
            request.extensions_mut().insert(doubt);
        }
        // In a room of its own, given back with the answer: hyper keeps what a service returns in the connection, for
        // as long as that lasts. It goes there at once, since every step that it took before would copy it. Headers
        // are counted here: hyper counts within its own hundred for nothing, and for another bound fills tables at
        // each head.
        let handling = (request.headers().len() <= HEADERS_MAX)
            .then(|| catch_unwind(AssertUnwindSafe(|| Box::pin(handler(request, peer)))).ok());
        async move {
            let mut answer = match handling {
                Some(handling) => answered(handling).await?,
                None => too_many_headers(),
            };
            answer.body_mut().end_at(shutdown);
            current_tether.follow(&answer);
            if let Some(tunnel) = Tunnel::of(&mut answer) {
                *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_time_max)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(wire), service);

    let running = until_stop(shutdown, &mut connection).await;
    let outcome = if let Some(outcome) = running {
        outcome
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        let Ok(outcome) = timeout(options.drain_max, &mut connection).await else {
            tracing::debug!("a request in flight was cut off by the shutdown");
            return;
        };
        outcome
    };
    if let Err(error) = &outcome {
        tracing::debug!(error = %Causes(error), "a connection broke off");
    }
    let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(tunnel) = tunnel {
        // Without an error, the answer that opened it has gone and hyper has left the socket as it is.
        if outcome.is_ok() {
            let parts = connection.into_parts();
            let running = tunnel.run(parts.io.into_inner().into_socket(), parts.read_buf);
            // A tunnel has no end of its own that a stop could wait for.
            tokio::select! {
                () = running => {}
                () = async { shutdown.cancelled().await; sleep(options.drain_max).await } => {}
            }
        }
        return;
    }
    // hyper has flushed the answer and shut the write side by now, also behind its own 400. To close while
    // bytes are still coming would reset the connection and could take the answer away from a client that has
    // not read it yet.
    if outcome.is_ok() || outcome.is_err_and(|error| error.is_parse()) {
        let parts = connection.into_parts();
        let wire = parts.io.into_inner();
        if !wire.is_between_requests() || !parts.read_buf.is_empty() {
            let _ = timeout(options.linger_max, linger(wire.into_socket())).await;
        }
    }
}

fn too_many_headers() -> Response {
    let mut response = answer::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    answer::close(&mut response);
    response
}

/// Awaits a handler's answer. A panic becomes a bare 500 that ends the connection, since nobody knows what
/// was left undone.
pub(super) async fn answered<F: Future<Output = Response>>(
    handling: Option<F>,
) -> Result<Response, Infallible> {
    let answered = match handling {
        Some(handling) => {
            let mut handling = pin!(handling);
            poll_fn(|cx| {
                let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
                polled.map_or(Poll::Ready(None), |answer| answer.map(Some))
            })
            .await
        }
        None => None,
    };
    Ok(answered.unwrap_or_else(|| {
        tracing::error!("a handler panicked; its connection is closed");
        let mut response = answer::empty(StatusCode::INTERNAL_SERVER_ERROR);
        answer::close(&mut response);
        response
    }))
}

/// Reads and drops what a client still sends, until it closes too.
pub(super) async fn linger(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = socket.shutdown().await;
    let mut dropped = vec![0; 16 * 1024];
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        match socket.read(&mut dropped).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}
