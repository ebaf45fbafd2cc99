//! Where a server listens, as a value: an address and a port, or the path of a unix socket.
//!
//! A value of this type can be bound as far as its form goes: a path is absolute and short enough for every
//! system. It reads and prints as configurations write it.
//!
//! Never here: opening a socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The most bytes of a unix socket's path. Linux takes 107; what is left is for the name under which it is
/// made ready.
const UNIX_PATH_BYTES_MAX: usize = 100;
/// What the path of a unix socket stands behind.
const UNIX: &str = "unix:";

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ListenAddress {
    /// TCP; port 0 is any free one.
    Tcp(SocketAddr),
    /// A unix socket at this absolute path, of at most 100 bytes.
    Unix(PathBuf),
}

impl ListenAddress {
    /// What [`parse`](Self::parse) reads, for messages.
    pub const FORM: &str = "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, or unix: and an absolute path of at most 100 bytes, such as unix:/run/keyward/api.sock";

    /// Reads `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/keyward/api.sock`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(path) = text.strip_prefix(UNIX) else { return text.parse().ok().map(Self::Tcp) };
        let fits = path.len() <= UNIX_PATH_BYTES_MAX
            && Path::new(path).is_absolute()
            && Path::new(path).file_name().is_some()
            && !path.ends_with('/')
            && !path.contains(char::is_control);
        fits.then(|| Self::Unix(path.into()))
    }

    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether it means one socket wherever it stands, rather than any free port.
    pub fn is_fixed(&self) -> bool {
        self.tcp().is_none_or(|address| address.port() != 0)
    }

    /// The address and port, when it has some.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// A server as its callers reach it: `http://ADDRESS`, `https://ADDRESS` or `unix:PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: ListenAddress,
    /// Whether it speaks TLS.
    pub is_secure: bool,
}

impl Endpoint {
    /// The address and port, when it has some.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        self.address.tcp()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            ListenAddress::Tcp(address) if self.is_secure => write!(f, "https://{address}"),
            ListenAddress::Tcp(address) => write!(f, "http://{address}"),
            unix @ ListenAddress::Unix(_) => unix.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_is_written() {
        for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/keyward/api.sock"] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        let longest = format!("unix:/{}", "a".repeat(UNIX_PATH_BYTES_MAX - 1));
        assert!(ListenAddress::parse(&longest).is_some());
        for bad in [
            "",
            "localhost:80",
            "127.0.0.1",
            "unix:",
            "unix:api.sock",
            "unix:/",
            "unix:/run/",
            "unix:/a\nb",
            "unix:/..",
            &format!("{longest}a"),
        ] {
            assert_eq!(ListenAddress::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_unix_socket_is_this_machines_alone() {
        let local = |text: &str| ListenAddress::parse(text).unwrap().is_local();
        assert!(local("unix:/run/a") && local("127.0.0.1:0") && local("[::ffff:127.0.0.1]:1"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("10.0.0.1:1"));
    }

    #[test]
    fn an_endpoint_says_how_it_is_spoken_to() {
        let told = |text: &str, is_secure| {
            Endpoint { address: ListenAddress::parse(text).unwrap(), is_secure }.to_string()
        };
        assert_eq!(told("127.0.0.1:1", false), "http://127.0.0.1:1");
        assert_eq!(told("[::1]:1", true), "https://[::1]:1");
        assert_eq!(told("unix:/run/a", false), "unix:/run/a");
    }
}
