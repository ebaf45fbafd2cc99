//! Request sanity: what must hold before anything else is read out of a request.
//!
//! The parser refuses broken syntax and obeys one reading of what is ambiguous; here the ambiguous is refused
//! as well: two hosts, a target that names another host, two lengths, codings that we do not undo, methods
//! and expectations that mean something to a proxy. So is a request that a page of a foreign site had a
//! browser send, for the upstream can no longer tell: it sees another host than the caller named.
//!
//! Never here: choosing between two readings.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, ORIGIN, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};

use super::watch::Doubt;
use crate::domain::denial::Invalid;

/// Refuses a request that could be framed or addressed in two ways.
pub fn check<B>(request: &Request<B>) -> Result<(), Invalid> {
    let headers = request.headers();
    match request.extensions().get::<Doubt>() {
        Some(Doubt::Framing) => return Err(Invalid::Framing),
        Some(Doubt::Target) => return Err(Invalid::Target),
        Some(Doubt::Host) => return Err(Invalid::Host),
        None => {}
    }
    let said = Said::of(headers);
    let host = check_host(said.host, request.version())?;
    check_form(request, host)?;
    said.check_lengths()?;
    if said.expects_else { Err(Invalid::Expectation) } else { Ok(()) }
}

/// What headers say that frame and address a request: gathered in one way through all of them, which costs most
/// requests less than to look up one.
#[derive(Default)]
struct Said<'a> {
    host: Given<'a>,
    length: Given<'a>,
    coding: Given<'a>,
    /// Something else than `100-continue` is expected.
    expects_else: bool,
}

/// A header that may be there once.
#[derive(Clone, Copy, Default)]
enum Given<'a> {
    #[default]
    Nothing,
    Once(&'a HeaderValue),
    Again,
}

impl<'a> Said<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                said.host = said.host.and(value);
            } else if *name == CONTENT_LENGTH {
                said.length = said.length.and(value);
            } else if *name == TRANSFER_ENCODING {
                said.coding = said.coding.and(value);
            } else if *name == EXPECT {
                said.expects_else |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
        }
        said
    }

    fn check_lengths(&self) -> Result<(), Invalid> {
        match (self.length, self.coding) {
            (Given::Nothing | Given::Once(_), Given::Nothing) => Ok(()),
            (Given::Nothing, Given::Once(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                Ok(())
            }
            _ => Err(Invalid::Framing),
        }
    }
}

impl<'a> Given<'a> {
    const fn and(self, value: &'a HeaderValue) -> Self {
        match self {
            Self::Nothing => Self::Once(value),
            Self::Once(_) | Self::Again => Self::Again,
        }
    }
}

/// Refuses a body that would have to be decoded before it can be read, for doors that read it. One that is only
/// passed on is the upstream's to decode.
pub fn check_readable<B>(request: &Request<B>) -> Result<(), Invalid> {
    if all_are(request.headers(), &CONTENT_ENCODING, "identity") { Ok(()) } else { Err(Invalid::Framing) }
}

/// Whether the request's host is one that a listener serves. `hosts` are names, with or without a port, in
/// lower case; with none, any host is served.
pub fn check_served<B>(request: &Request<B>, hosts: &[String]) -> Result<(), Invalid> {
    let host = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if hosts.is_empty() || host().is_some_and(|host| is_among(host, hosts)) {
        Ok(())
    } else {
        Err(Invalid::ForeignHost)
    }
}

/// Whether the page that sent the request, when a page did, is one of a listener's own. `hosts` as for
/// [`check_served`]; with none, an origin is this machine or the host that was asked. For doors that no
/// foreign page has business at; a REST API may be called by any.
pub fn check_origin<B>(request: &Request<B>, hosts: &[String]) -> Result<(), Invalid> {
    let headers = request.headers();
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(());
    };
    let origin = origin.to_str().ok().and_then(host_of_origin).ok_or(Invalid::ForeignHost)?;
    let is_own = if hosts.is_empty() {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        is_this_machine(origin) || host.is_some_and(|host| host.eq_ignore_ascii_case(origin))
    } else {
        is_among(origin, hosts)
    };
    if is_own && origins.next().is_none() { Ok(()) } else { Err(Invalid::ForeignHost) }
}

/// Whether a host is listed, as it stands or without its port.
pub(super) fn is_among(host: &str, hosts: &[String]) -> bool {
    let name = split_port(host).map_or(host, |(name, _)| name);
    hosts.iter().any(|known| known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(name))
}

/// What stands behind the scheme of an origin that a page can have. `null` has no host and is nobody's.
fn host_of_origin(origin: &str) -> Option<&str> {
    let (scheme, host) = origin.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (is_web && is_host(host)).then_some(host)
}

/// Whether a name can only mean the machine itself, whatever a name server says.
fn is_this_machine(host: &str) -> bool {
    let name = split_port(host).map_or(host, |(name, _)| name);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || literal
            .and_then(|literal| literal.parse::<Ipv6Addr>().ok())
            .is_some_and(|address| address.is_loopback())
}

/// The one host of a request. Only HTTP/1.0 may leave it out.
fn check_host(host: Given<'_>, version: Version) -> Result<Option<&str>, Invalid> {
    match host {
        Given::Nothing if version == Version::HTTP_10 => Ok(None),
        Given::Once(host) => {
            let host = host.to_str().map_err(|_| Invalid::Host)?;
            if is_host(host) { Ok(Some(host)) } else { Err(Invalid::Host) }
        }
        Given::Nothing | Given::Again => Err(Invalid::Host),
    }
}

/// Whether this is a name or an address, and at most a port.
fn is_host(host: &str) -> bool {
    let Some((name, port)) = split_port(host) else {
        return false;
    };
    is_host_name(name) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// A host's name and its port, when it has one.
fn split_port(host: &str) -> Option<(&str, Option<&str>)> {
    // By bytes: nearly every request has a host, and to search a text for a character costs several times as much.
    let first = |wanted: u8| host.bytes().position(|byte| byte == wanted);
    let end_of_name =
        if host.starts_with('[') { first(b']')? + 1 } else { first(b':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at_checked(end_of_name)?;
    if rest.is_empty() {
        return Some((name, None));
    }
    let port = rest.strip_prefix(':')?;
    // `u16` would read a sign as well.
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some((name, Some(port)))
}

fn is_host_name(name: &str) -> bool {
    if let Some(literal) = name.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(|literal| literal.parse::<Ipv6Addr>().is_ok());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.bytes().all(plain)
}

/// Path and nothing else, or an absolute URI that names the same host.
fn check_form<B>(request: &Request<B>, host: Option<&str>) -> Result<(), Invalid> {
    let uri = request.uri();
    if request.method() == Method::CONNECT || !uri.path().starts_with('/') {
        return Err(Invalid::Target);
    }
    match (uri.scheme(), uri.authority()) {
        (None, None) => Ok(()),
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
            let same = host.is_some_and(|host| authority.as_str().eq_ignore_ascii_case(host));
            if same { Ok(()) } else { Err(Invalid::Host) }
        }
        _ => Err(Invalid::Target),
    }
}

fn all_are(headers: &HeaderMap, name: &HeaderName, only: &str) -> bool {
    headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(only.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Invalid> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn ordinary_requests_pass() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:65535", "[::1]", "a_b.example."] {
            assert_eq!(checked("GET", "/v1", &[("host", host)]), Ok(()), "{host}");
        }
        let framed = [
            ("host", "a"),
            ("transfer-encoding", "Chunked"),
            ("content-encoding", "identity"),
            ("expect", "100-Continue"),
        ];
        assert_eq!(checked("POST", "/v1", &framed), Ok(()));
        assert_eq!(checked("GET", "http://A:80/v1", &[("host", "a:80")]), Ok(()));
    }

    #[test]
    fn a_host_that_is_not_one_plain_host_is_refused() {
        for host in [
            "", "a/b", "a@b", "a:b", "a:", "a:0", "a:65536", "a:+80", "a#b", "a b", "a,b", "[::1", "[::1]x",
            "[zz]", "::1", "a%2f", ":80", "a?b", "a\\b", "*",
        ] {
            assert_eq!(checked("GET", "/", &[("host", host)]), Err(Invalid::Host), "{host}");
        }
        assert_eq!(checked("GET", "/", &[]), Err(Invalid::Host));
        assert_eq!(checked("GET", "/", &[("host", "a"), ("host", "a")]), Err(Invalid::Host));
        assert_eq!(checked("GET", "http://b/", &[("host", "a")]), Err(Invalid::Host));
        assert_eq!(checked("GET", "http://a@a/", &[("host", "a")]), Err(Invalid::Host));
    }

    #[test]
    fn only_the_old_version_may_leave_the_host_out() {
        let old = Request::builder().version(Version::HTTP_10).body(()).unwrap();
        assert_eq!(check(&old), Ok(()));
    }

    #[test]
    fn targets_that_are_no_path_are_refused() {
        assert_eq!(checked("CONNECT", "a:80", &[("host", "a:80")]), Err(Invalid::Target));
        assert_eq!(checked("OPTIONS", "*", &[("host", "a")]), Err(Invalid::Target));
        assert_eq!(checked("GET", "ftp://a/", &[("host", "a")]), Err(Invalid::Target));
    }

    #[test]
    fn framing_that_can_be_read_two_ways_is_refused() {
        for framed in [
            &[("content-length", "1"), ("transfer-encoding", "chunked")][..],
            &[("content-length", "1"), ("content-length", "1")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            let headers = [&[("host", "a")], framed].concat();
            assert_eq!(checked("POST", "/", &headers), Err(Invalid::Framing), "{framed:?}");
        }
        assert_eq!(checked("POST", "/", &[("host", "a"), ("expect", "200-ok")]), Err(Invalid::Expectation));
    }

    #[test]
    fn a_body_that_is_read_comes_as_it_is() {
        let readable = |encodings: &[&str]| {
            let mut request = Request::builder();
            for encoding in encodings {
                request = request.header("content-encoding", *encoding);
            }
            check_readable(&request.body(()).unwrap())
        };
        assert_eq!((readable(&[]), readable(&["Identity"])), (Ok(()), Ok(())));
        for encodings in [&["gzip"][..], &["identity", "br"], &["identity, gzip"], &[""]] {
            assert_eq!(readable(encodings), Err(Invalid::Framing), "{encodings:?}");
        }
    }

    #[test]
    fn a_listener_with_names_serves_no_other() {
        let served = |host: &str, hosts: &[&str]| {
            let request = Request::builder().header("host", host).body(()).unwrap();
            check_served(&request, &hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(served("evil.example", &[]), Ok(()));
        assert_eq!(served("API.example:8080", &["api.example"]), Ok(()));
        assert_eq!(served("api.example:8080", &["api.example:8080"]), Ok(()));
        assert_eq!(served("[::1]:8080", &["[::1]"]), Ok(()));
        assert_eq!(served("api.example:9", &["api.example:8080"]), Err(Invalid::ForeignHost));
        assert_eq!(served("evil.example", &["api.example"]), Err(Invalid::ForeignHost));
    }

    fn from(host: &str, origins: &[&str], hosts: &[&str]) -> Result<(), Invalid> {
        let mut request = Request::builder().header("host", host);
        for origin in origins {
            request = request.header("origin", *origin);
        }
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        check_origin(&request.body(()).unwrap(), &hosts)
    }

    #[test]
    fn a_listener_with_names_serves_no_page_of_another_site() {
        let hosts = ["api.example", "other.example:8080"];
        for origin in ["https://api.example", "http://API.example:3000", "https://other.example:8080"] {
            assert_eq!(from("api.example", &[origin], &hosts), Ok(()), "{origin}");
        }
        for origin in ["http://evil.example", "http://localhost", "https://other.example", "null"] {
            assert_eq!(from("api.example", &[origin], &hosts), Err(Invalid::ForeignHost), "{origin}");
        }
    }

    #[test]
    fn a_listener_without_names_serves_pages_of_this_machine_and_of_the_host_asked() {
        for origin in [
            "http://localhost",
            "https://LOCALHOST:5173",
            "http://127.0.0.1:6274",
            "http://127.8.9.1",
            "http://[::1]:3000",
            "http://api.example:8080",
        ] {
            assert_eq!(from("API.example:8080", &[origin], &[]), Ok(()), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "http://api.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://128.0.0.1",
            "http://evil.example@localhost",
            "http://localhost:evil.example",
            "http://localhost:",
            "http://localhost/",
            "http://[::2]",
            "file://localhost",
            "localhost",
            "null",
            "",
            "http://",
            "http://loc\u{e9}lhost",
        ] {
            assert_eq!(from("api.example:8080", &[origin], &[]), Err(Invalid::ForeignHost), "{origin}");
        }
        let twice = ["http://localhost", "http://localhost"];
        assert_eq!(from("a", &twice, &[]), Err(Invalid::ForeignHost));
    }
}
