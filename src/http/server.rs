//! The accept loop: lets in as many connections as there are places, and waits for the last of them.
//!
//! The listener, the shutdown signal and the handler come from outside. At most so many connections are open;
//! what each of them may do is `connection`'s.
//!
//! Never here: a byte of a connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Request, Response, connection};

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
    /// Its address, where its kind of socket has one; an IPv4 address is never written as IPv6.
    pub address: Option<IpAddr>,
    /// Whether it came over TLS.
    pub is_secure: bool,
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
            connection::http1(socket, peer, &options, &shutdown, handler).await;
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
                return (socket, Peer { address: Some(address.ip().to_canonical()), is_secure: false });
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

#[cfg(test)]
mod tests;
