//! Where an upstream is and how it is spoken to, as configuration says it.
//!
//! An address has no path, query or user: what is forwarded is what was decided about, and nothing in front
//! of it. The name that a server is called by is also the one that its certificate must have.
//!
//! Never here: a connection, or an address that a request named.

use std::path::PathBuf;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::upstream::UpstreamOptions;

/// The longest path of a unix socket, in bytes: what the operating system takes.
const SOCKET_PATH_LEN_MAX: usize = 107;
/// What a server behind a unix socket is called where nothing else is said.
const SOCKET_NAME: &str = "localhost";

/// Where a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// A host and perhaps a port, in the clear; port 80 where none is given.
    Http(Authority),
    /// The same over TLS; port 443 where none is given.
    Https(Authority),
    /// A unix socket, in the clear; its path is absolute.
    Unix(PathBuf),
}

/// Whether a server is spoken to in HTTP/2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Http2 {
    /// Over TLS if the server chooses it, else not.
    #[default]
    IfOffered,
    /// Always: in the clear without asking first, over TLS or not at all.
    Always,
    /// Never.
    Never,
}

/// A server that stands behind a gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: ServerAddress,
    /// What it is called instead of its address: in `Host` and, over TLS, by its certificate.
    pub host: Option<Authority>,
    /// Whether it is spoken to in HTTP/2.
    pub http2: Http2,
    /// A PEM file of the authorities that its certificate may come from; the system's without one.
    pub authorities: Option<PathBuf>,
    /// Its bounds.
    pub options: UpstreamOptions,
}

/// Why a text is no server's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// It is no URL of a scheme that is known.
    #[error("http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
    Unreadable,
    /// It is more than an address. A path in front would make what is forwarded differ from what was decided.
    #[error("http://HOST:PORT, https://HOST:PORT or unix:/PATH: no path, query or user name behind a host")]
    NotAnAddress,
    /// It is no path that a socket can have.
    #[error("unix: and an absolute path of at most {SOCKET_PATH_LEN_MAX} bytes")]
    SocketPath,
}

impl ServerAddress {
    /// Reads `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/PATH`. An error says what is expected.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.starts_with('/') && path.len() > 1 && path.len() <= SOCKET_PATH_LEN_MAX;
            let plain = fits && !path.contains(char::is_control);
            return if plain { Ok(Self::Unix(path.into())) } else { Err(AddressError::SocketPath) };
        }
        let uri: Uri = text.parse().map_err(|_| AddressError::Unreadable)?;
        let over_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(AddressError::Unreadable),
        };
        let authority = uri.authority().ok_or(AddressError::Unreadable)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains(['#', '@']) {
            return Err(AddressError::NotAnAddress);
        }
        let authority = plain_authority(authority.as_str()).ok_or(AddressError::Unreadable)?;
        Ok(if over_tls { Self::Https(authority) } else { Self::Http(authority) })
    }

    /// Its host and its port, with the scheme's own where none was given; none of a unix socket.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (authority, default) = match self {
            Self::Http(authority) => (authority, 80),
            Self::Https(authority) => (authority, 443),
            Self::Unix(_) => return None,
        };
        Some((authority.host(), authority.port_u16().unwrap_or(default)))
    }
}

impl UpstreamServer {
    /// A server at this address, with nothing else said about it.
    pub fn at(address: ServerAddress) -> Self {
        let (host, http2, authorities) = (None, Http2::default(), None);
        Self { address, host, http2, authorities, options: UpstreamOptions::default() }
    }

    /// What it is called.
    pub(super) fn name(&self) -> Authority {
        match (&self.host, &self.address) {
            (Some(host), _) => host.clone(),
            (None, ServerAddress::Http(authority) | ServerAddress::Https(authority)) => authority.clone(),
            (None, ServerAddress::Unix(_)) => Authority::from_static(SOCKET_NAME),
        }
    }
}

/// A host and perhaps a port from 1 on, and nothing else.
pub fn plain_authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    let port_fits = match text.strip_prefix(host)? {
        "" => true,
        port => authority.port_u16().is_some_and(|number| number != 0 && port.len() > 1),
    };
    (port_fits && !host.is_empty() && !text.contains('@')).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_or_a_socket_and_nothing_more() {
        let host_of = |text| {
            ServerAddress::parse(text)
                .map(|address| address.host_and_port().map(|(host, port)| (host.to_owned(), port)))
        };
        for (text, host, port) in [
            ("http://127.0.0.1:3000", "127.0.0.1", 3000),
            ("http://[::1]:3000/", "[::1]", 3000),
            ("http://example.com", "example.com", 80),
            ("https://example.com", "example.com", 443),
            ("https://example.com:8443/", "example.com", 8443),
        ] {
            assert_eq!(host_of(text), Ok(Some((host.to_owned(), port))), "{text}");
        }
        assert_eq!(host_of("unix:/run/a.sock"), Ok(None));
        for text in
            ["", "localhost:3000", "/a", "ftp://a", "http://", "http://a:", "http://a:0", "http://a:70000"]
        {
            assert_eq!(host_of(text), Err(AddressError::Unreadable), "{text}");
        }
        for text in ["http://a/b", "https://a?b", "http://u:p@a", "https://a#b"] {
            assert_eq!(host_of(text), Err(AddressError::NotAnAddress), "{text}");
        }
        for text in ["unix:", "unix:/", "unix:a", "unix:/a\n", &format!("unix:/{}", "a".repeat(107))] {
            assert_eq!(host_of(text), Err(AddressError::SocketPath), "{text}");
        }
    }

    #[test]
    fn a_server_is_called_by_its_host_else_by_its_address() {
        let at = |text: &str| UpstreamServer::at(ServerAddress::parse(text).unwrap());
        assert_eq!(at("http://a:3000").name(), "a:3000");
        assert_eq!(at("unix:/a").name(), "localhost");
        let named = UpstreamServer { host: plain_authority("api.example"), ..at("https://192.0.2.1") };
        assert_eq!(named.name(), "api.example");
    }
}
