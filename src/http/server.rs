//! The accept loop and the life of one connection.
//!
//! The listener, the shutdown signal and the handler come from outside. At most so many connections are open;
//! each is bounded in the time its heads, its stalled writes and its end may take. A client whose request was
//! answered early sees its answer: what it still sends is read and dropped for a while before the connection
//! closes. A panic in a handler costs that connection and nothing else.
//!
//! Never here: a look into a request, beyond where it ends. hyper answers unreadable heads itself, with 400,
//! 414 or 431 and no body.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tethered::CurrentTether;
use super::watch::Doubts;
use super::wire::Wire;
use super::{Request, Response, answer};
use crate::domain::causes::Causes;

/// The most bytes of one request head: far above what clients send, small enough to hold for every
/// connection.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most headers of one request.
pub const HEADERS_MAX: usize = 64;
/// The most bytes that one connection buffers on its way in, or out.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The most bytes read and dropped behind a last answer.
pub const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long accepting rests when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The most connections open at once; more wait in the system's queue.
    pub connections_max: usize,
    /// The longest that a head may take to arrive, and that a connection may lie idle. Above the idle time of
    /// common client pools, or their next request would meet our close.
    pub head_time_max: Duration,
    /// The longest that a client may leave an answer lying.
    pub stall_max: Duration,
    /// The longest that a client is read from behind its last answer.
    pub linger_max: Duration,
    /// The longest that requests in flight may take to end after the shutdown signal.
    pub drain_max: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            head_time_max: Duration::from_secs(30),
            stall_max: Duration::from_secs(30),
            linger_max: Duration::from_secs(2),
            drain_max: Duration::from_secs(10),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address; an IPv4 address is never written as IPv6.
    pub address: IpAddr,
}

/// Serves until `shutdown`, then lets requests in flight end. Returns when no connection is left.
pub async fn serve<S, F>(
    listener: TcpListener,
    options: ServerOptions,
    shutdown: CancellationToken,
    handler: S,
) where
    S: Fn(Request, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(options.connections_max));
    let connections = TaskTracker::new();
    let options = Arc::new(options);
    // The place comes first: what cannot be served stays in the system's queue and costs us no descriptor.
    while let Some(Ok(place)) = shutdown.run_until_cancelled(Arc::clone(&places).acquire_owned()).await {
        let Some((socket, peer)) = shutdown.run_until_cancelled(accept(&listener)).await else {
            break;
        };
        let (options, shutdown, handler) = (Arc::clone(&options), shutdown.child_token(), handler.clone());
        connections.spawn(async move {
            connection(socket, peer, &options, &shutdown, handler).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, Peer) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                // Answers go out whole; waiting for more to send would only delay them. A socket that refuses
                // is already dead.
                let _ = socket.set_nodelay(true);
                return (socket, Peer { address: address.ip().to_canonical() });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection<S, F>(
    socket: TcpStream,
    peer: Peer,
    options: &ServerOptions,
    shutdown: &CancellationToken,
    handler: S,
) where
    S: Fn(Request, Peer) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let doubts = Doubts::new();
    let current_tether = CurrentTether::default();
    let wire = Wire::new(socket, doubts.clone(), options.stall_max, current_tether.clone());
    let requests = AtomicU64::new(0);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(doubt) = doubts.about(requests.fetch_add(1, Ordering::Relaxed)) {
            request.extensions_mut().insert(doubt);
        }
        let answering = answered(catch_unwind(AssertUnwindSafe(|| handler(request, peer))).ok());
        let current_tether = current_tether.clone();
        async move { answering.await.inspect(|answer| current_tether.follow(answer)) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_time_max)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(wire), service);

    let running = shutdown.run_until_cancelled(&mut connection).await;
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

/// Awaits a handler's answer. A panic becomes a bare 500 that ends the connection, since nobody knows what
/// was left undone.
async fn answered<F: Future<Output = Response>>(handling: Option<F>) -> Result<Response, Infallible> {
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
async fn linger(mut socket: TcpStream) {
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

#[cfg(test)]
mod tests;
