//! How an upstream is reached: over TCP, or over a pipe in memory to one that lives in this process.
//!
//! Both look the same from above; the address is fixed when the connector is made, so no request can choose
//! where it goes.
//!
//! Never here: HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower_service::Service;

/// The bytes that each direction of a connection in memory holds.
const MEMORY_BUFFER_BYTES: usize = 64 * 1024;
/// The most connections in memory that wait to be accepted.
pub(super) const MEMORY_QUEUE_MAX: usize = 128;

/// Opens connections to an upstream in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryDialer(mpsc::Sender<DuplexStream>);

impl MemoryDialer {
    /// A dialer, and where the other ends of its connections arrive.
    pub fn new() -> (Self, mpsc::Receiver<DuplexStream>) {
        let (sender, receiver) = mpsc::channel(MEMORY_QUEUE_MAX);
        (Self(sender), receiver)
    }

    async fn dial(&self) -> io::Result<DuplexStream> {
        let (near, far) = duplex(MEMORY_BUFFER_BYTES);
        self.0.send(far).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    }
}

/// Makes connections to one upstream.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    dial: Dial,
    time_max: Duration,
}

#[derive(Clone, Debug)]
enum Dial {
    Tcp(HttpConnector),
    Memory(MemoryDialer),
}

impl Connector {
    pub(super) fn tcp(time_max: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(time_max));
        Self { dial: Dial::Tcp(connector), time_max }
    }

    pub(super) const fn memory(dialer: MemoryDialer, time_max: Duration) -> Self {
        Self { dial: Dial::Memory(dialer), time_max }
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.dial {
            Dial::Tcp(connector) => connector.poll_ready(cx).map_err(io::Error::other),
            Dial::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connecting: Connecting = match &mut self.dial {
            Dial::Tcp(connector) => {
                let connecting = connector.call(uri);
                Box::pin(async { connecting.await.map(Link::Tcp).map_err(io::Error::other) })
            }
            Dial::Memory(dialer) => {
                let dialer = dialer.clone();
                Box::pin(async move { Ok(Link::Memory(TokioIo::new(dialer.dial().await?))) })
            }
        };
        // The resolver has no limit of its own.
        let time_max = self.time_max;
        Box::pin(async move { timeout(time_max, connecting).await.map_err(io::Error::from)? })
    }
}

/// One connection to an upstream.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(TokioIo<TcpStream>),
    Memory(TokioIo<DuplexStream>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Memory(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl Write for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Memory(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Memory(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Memory(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Memory(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Memory(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
