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

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::Places;
use super::socket::{Socket, Stream};
use super::tls::ServerTls;
use super::{Request, Response, opening};

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
    /// The places of its connections, which several servers may share; who finds none waits in the system's
    /// queue.
    pub places: Places,
    /// What it says it is, where it speaks TLS.
    pub tls: Option<Arc<ServerTls>>,
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
            places: Places::default(),
            tls: None,
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
    socket: impl Into<Socket>,
    options: ServerOptions,
    shutdown: CancellationToken,
    handler: S,
) where
    S: Fn(Request, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let socket = socket.into();
    let connections = TaskTracker::new();
    let options = Arc::new(options);
    // The place comes first: what cannot be served stays in the system's queue and costs us no descriptor.
    while let Some(Some(free)) = shutdown.run_until_cancelled(options.places.free()).await {
        let Some((stream, peer)) = shutdown.run_until_cancelled(accept(&socket)).await else {
            break;
        };
        let Some(place) = free.taken_by(peer.address) else {
            tracing::debug!(address = ?peer.address, "an address has all the connections that one may have");
            continue;
        };
        let (options, shutdown, handler) = (Arc::clone(&options), shutdown.child_token(), handler.clone());
        connections.spawn(async move {
            opening::serve(stream, peer, &options, &shutdown, handler).await;
            drop(place);
        });
    }
    drop(socket);
    connections.close();
    connections.wait().await;
}

async fn accept(socket: &Socket) -> (Stream, Peer) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
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
pub(super) mod tests;
