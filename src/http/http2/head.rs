//! Heads of HTTP/2 in the shape that everything behind the connection knows: one `Host`, a path as the target,
//! one `Cookie`; and answers without what belongs to connections of HTTP/1.1.
//!
//! Where a request says its host twice and differently, it is marked as in doubt and refused like any other.
//! What is malformed by RFC 9113 (connection headers, pseudo-headers out of place, capitals, a length that is
//! not the body's) never comes here: the parser resets its stream.
//!
//! A fragment is cut off by the parser without a word; what is matched and forwarded never had one.
//!
//! Never here: a choice between two hosts.

use http::header::{CONNECTION, COOKIE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Method};

use super::super::server::HEADERS_MAX;
use super::super::watch::Doubt;
use super::super::{Request, Response};

/// Headers that only a connection of HTTP/1.1 has.
const HOPS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request with more headers than we take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooManyHeaders;

/// The same request in the shape of HTTP/1.1.
pub(super) fn in_shape(mut request: Request) -> Result<Request, TooManyHeaders> {
    if request.headers().len() > HEADERS_MAX {
        return Err(TooManyHeaders);
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if !is_one_host(request.headers(), authority.as_deref()) {
        request.extensions_mut().insert(Doubt::Host);
    }
    if request.uri().scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        request.extensions_mut().insert(Doubt::Target);
    }
    if let Some(host) = authority.and_then(|authority| HeaderValue::try_from(authority).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    // A target without a path stays as it is, and is refused as one.
    if request.method() != Method::CONNECT
        && let Some(target) = origin_form(request.uri().path_and_query())
    {
        *request.uri_mut() = target;
    }
    join_cookies(request.headers_mut());
    request.headers_mut().remove(TE);
    Ok(request)
}

/// Takes away what an answer says of its connection.
pub(super) fn without_hops(answer: &mut Response) {
    for name in HOPS {
        answer.headers_mut().remove(name);
    }
}

fn is_one_host(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let same = |host: &HeaderValue| {
        authority.is_none_or(|authority| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    };
    match (hosts.next(), hosts.next()) {
        (None, _) => authority.is_some(),
        (Some(host), None) => same(host),
        (Some(_), Some(_)) => false,
    }
}

fn origin_form(target: Option<&PathAndQuery>) -> Option<Uri> {
    Some(Uri::from(target?.clone()))
}

/// A cookie may come in crumbs, which mean one header to everybody else.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let crumbs = [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes);
    let joined = crumbs.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::answer;
    use super::*;
    use http::StatusCode;

    fn hosts(hosts: &[&str], authority: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        is_one_host(&headers, authority)
    }

    #[test]
    fn an_authority_and_a_host_say_the_same_or_are_in_doubt() {
        assert!(hosts(&[], Some("a:1")) && hosts(&["A:1"], Some("a:1")) && hosts(&["a"], None));
        assert!(!hosts(&["b"], Some("a")) && !hosts(&["a", "a"], Some("a")) && !hosts(&[], None));
    }

    #[test]
    fn crumbs_are_one_cookie() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2", "c=3"] {
            headers.append(COOKIE, crumb.parse().unwrap());
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }

    #[test]
    fn an_answer_says_nothing_of_its_connection() {
        let mut response = answer::json(StatusCode::OK, "{}");
        answer::close(&mut response);
        without_hops(&mut response);
        assert!(
            !response.headers().contains_key(CONNECTION) && response.headers().contains_key("content-type")
        );
    }
}
