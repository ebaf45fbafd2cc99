//! The first bytes of a connection: TLS where the server speaks it, then HTTP/2 or HTTP/1.1.
//!
//! TLS says by ALPN which of them it will be; without TLS the preface of HTTP/2 does, which no request of
//! HTTP/1.1 begins with. Whoever does not say it in time is let go.
//!
//! Never here: a request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connection::{http1, linger};
use super::server::{Peer, ServerOptions};
use super::sniffed::Sniffed;
use super::socket::Stream;
use super::tls::{ALPN_HTTP2, ServerTls};
use super::virtual_hosts::AskedName;
use super::{Request, Response, http2};

/// What every connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What every TLS connection begins with: a record of its handshake.
const HANDSHAKE: &[u8] = &[0x16];
/// The longest that a TLS handshake may take: two ways there and back over the worst of links, and a client's
/// own slowness.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// What a client reads that sent plain HTTP to a TLS server.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 38\r\nconnection: close\r\n\r\nThis port speaks HTTPS: use https://.\n";

/// A connection that has said what it speaks.
enum Opened {
    Plain(Sniffed<Stream>, Version),
    Secure(Box<Sniffed<TlsStream<Sniffed<Stream>>>>, Version, Option<AskedName>),
    /// Plain HTTP where TLS is spoken.
    Mistaken(Sniffed<Stream>),
    /// Nothing that could be served.
    Broken,
}

enum Version {
    Http1,
    Http2,
}

/// Serves one connection until it ends.
pub(super) async fn serve<S, F>(
    stream: Stream,
    peer: Peer,
    options: &ServerOptions,
    shutdown: &CancellationToken,
    handler: S,
) where
    S: Fn(Request, Peer) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let time_max = options.head_time_max;
    let opening = timeout(time_max, open(stream, options.tls.as_deref(), time_max));
    match shutdown.run_until_cancelled(opening).await {
        Some(Ok(Ok(Opened::Plain(socket, version)))) => {
            spoken(socket, version, peer, options, shutdown, handler).await;
        }
        Some(Ok(Ok(Opened::Secure(socket, version, name)))) => {
            let peer = Peer { is_secure: true, ..peer };
            let handler = move |mut request: Request, peer| {
                if let Some(name) = &name {
                    request.extensions_mut().insert(name.clone());
                }
                handler(request, peer)
            };
            spoken(*socket, version, peer, options, shutdown, handler).await;
        }
        Some(Ok(Ok(Opened::Mistaken(mut socket)))) => {
            let _ = timeout(options.linger_max, async {
                if socket.write_all(NOT_TLS).await.is_ok() {
                    linger(socket).await;
                }
            })
            .await;
        }
        Some(Ok(Err(error))) => tracing::debug!(%error, "a connection broke off before it was one"),
        Some(Ok(Ok(Opened::Broken)) | Err(_)) | None => {}
    }
}

async fn spoken<T, S, F>(
    socket: T,
    version: Version,
    peer: Peer,
    options: &ServerOptions,
    shutdown: &CancellationToken,
    handler: S,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request, Peer) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    match version {
        Version::Http1 => http1(socket, peer, options, shutdown, handler).await,
        Version::Http2 => http2::serve(socket, peer, options, shutdown, handler).await,
    }
}

async fn open(stream: Stream, tls: Option<&ServerTls>, time_max: Duration) -> io::Result<Opened> {
    let mut socket = Sniffed::new(stream);
    let Some(tls) = tls else {
        let version = if socket.begins_with(PREFACE).await? { Version::Http2 } else { Version::Http1 };
        return Ok(Opened::Plain(socket, version));
    };
    let handshake_time_max = HANDSHAKE_TIME_MAX.min(time_max);
    let handshake = async {
        if !socket.begins_with(HANDSHAKE).await? {
            return Ok(Err(socket));
        }
        let acceptor = TlsAcceptor::from(tls.config());
        acceptor.accept(socket).await.map(Ok)
    };
    let secure = match timeout(handshake_time_max, handshake).await {
        Ok(Ok(Ok(secure))) => secure,
        Ok(Ok(Err(mistaken))) => return Ok(Opened::Mistaken(mistaken)),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(Opened::Broken),
    };
    let (_, session) = secure.get_ref();
    let name = session.server_name().map(|name| AskedName(Arc::from(name)));
    let speaks_http2 = session.alpn_protocol() == Some(ALPN_HTTP2);
    let mut secure = Sniffed::new(secure);
    // Who chose a version must speak it; until the preface is there nothing else would count the time.
    let version = match speaks_http2 {
        true if secure.begins_with(PREFACE).await? => Version::Http2,
        true => return Ok(Opened::Broken),
        false => Version::Http1,
    };
    Ok(Opened::Secure(Box::new(secure), version, name))
}
