//! How an upstream is reached: over TCP, in TLS or not, over a unix socket, or over a pipe in memory to one
//! that lives in this process.
//!
//! All look the same from above. The address is fixed when the connector is made, so no request can choose
//! where it goes; a certificate that does not have the server's name is a connection that was not made, and
//! nothing is tried instead.
//!
//! Never here: HTTP.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// The bytes that each direction of a connection in memory holds.
const MEMORY_BUFFER_BYTES: usize = 64 * 1024;
/// The most connections in memory that wait to be accepted.
pub(super) const MEMORY_QUEUE_MAX: usize = 128;
/// After how long without a byte the system asks whether the other machine is still there, and how often and
/// how many times it asks again.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 6;

/// The protocols by their names in TLS.
const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

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

/// Which versions of HTTP a connection may be for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Versions {
    /// HTTP/1.1 alone.
    One,
    /// HTTP/2 alone.
    Two,
    /// Over TLS whichever the server prefers; HTTP/1.1 elsewhere.
    Either,
}

/// Makes connections to one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    dial: Dial,
    time_max: Duration,
}

#[derive(Clone, Debug)]
enum Dial {
    Tcp(HttpConnector, Uri),
    Tls(HttpConnector, Uri, Tls),
    Unix(PathBuf),
    Memory(MemoryDialer),
}

/// What a connection in TLS insists on.
#[derive(Clone, Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    versions: Versions,
}

impl Connector {
    pub(super) fn tcp(to: Authority, time_max: Duration) -> Self {
        let dial = Dial::Tcp(tcp_connector(time_max), target(Scheme::HTTP, to));
        Self { dial, time_max }
    }

    /// Connects to `to`, which must prove to be `name`. None when that is no name that a certificate can have.
    pub(super) fn tls(
        to: Authority,
        name: &Authority,
        mut config: ClientConfig,
        versions: Versions,
        time_max: Duration,
    ) -> Option<Self> {
        let literal = name.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(literal.to_owned()).ok()?;
        let protocols: &[&[u8]] = match versions {
            Versions::One => &[ALPN_HTTP1],
            Versions::Two => &[ALPN_HTTP2],
            Versions::Either => &[ALPN_HTTP2, ALPN_HTTP1],
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let tls = Tls { config: Arc::new(config), name, versions };
        Some(Self { dial: Dial::Tls(tcp_connector(time_max), target(Scheme::HTTPS, to), tls), time_max })
    }

    pub(super) const fn unix(path: PathBuf, time_max: Duration) -> Self {
        Self { dial: Dial::Unix(path), time_max }
    }

    pub(super) const fn memory(dialer: MemoryDialer, time_max: Duration) -> Self {
        Self { dial: Dial::Memory(dialer), time_max }
    }

    /// The scheme that requests over these connections have.
    pub(super) fn scheme(&self) -> Scheme {
        if matches!(self.dial, Dial::Tls(..)) { Scheme::HTTPS } else { Scheme::HTTP }
    }
}

fn tcp_connector(time_max: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(time_max));
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    connector.set_keepalive_retries(Some(KEEPALIVE_TIMES));
    // Else it would know no port for https.
    connector.enforce_http(false);
    connector
}

fn target(scheme: Scheme, authority: Authority) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    // The parts of a URI that was read, or of a name.
    Uri::from_parts(parts).unwrap_or_default()
}

impl Dial {
    async fn link(self) -> io::Result<Link> {
        match self {
            Self::Tcp(connector, to) => Ok(Link::plain(Socket::Tcp(dial_tcp(connector, to).await?))),
            Self::Tls(connector, to, tls) => tls.over(dial_tcp(connector, to).await?).await,
            Self::Unix(path) => Ok(Link::plain(Socket::Unix(UnixStream::connect(path).await?))),
            Self::Memory(dialer) => Ok(Link::plain(Socket::Memory(dialer.dial().await?))),
        }
    }
}

async fn dial_tcp(mut connector: HttpConnector, to: Uri) -> io::Result<TcpStream> {
    let dialled = connector.call(to).await.map_err(io::Error::other)?;
    Ok(dialled.into_inner())
}

impl Tls {
    async fn over(self, socket: TcpStream) -> io::Result<Link> {
        let stream = TlsConnector::from(self.config).connect(self.name, socket).await?;
        let negotiated_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
        if self.versions == Versions::Two && !negotiated_h2 {
            return Err(io::Error::other("the server does not speak HTTP/2, and http2 = true asks for it"));
        }
        Ok(Link { negotiated_h2, ..Link::plain(Socket::Tls(Box::new(stream))) })
    }
}

impl Connector {
    /// Makes a connection, within the time that it may take.
    pub(super) async fn connect(&self) -> io::Result<Link> {
        // One limit over all: neither the resolver nor a handshake has its own.
        timeout(self.time_max, self.dial.clone().link()).await.map_err(io::Error::from)?
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Link>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.dial {
            Dial::Tcp(connector, _) | Dial::Tls(connector, ..) => {
                connector.poll_ready(cx).map_err(io::Error::other)
            }
            Dial::Unix(_) | Dial::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    /// What the request says of its target does not matter here.
    fn call(&mut self, _: Uri) -> Connecting {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// One connection to an upstream.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    negotiated_h2: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    Memory(DuplexStream),
}

impl Link {
    const fn plain(socket: Socket) -> Self {
        Self { socket, negotiated_h2: false }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.negotiated_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Memory(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Memory(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Memory(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
            Socket::Unix(socket) => socket.is_write_vectored(),
            Socket::Memory(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Memory(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Memory(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
