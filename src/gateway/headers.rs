//! Which headers cross the gate, in either direction.
//!
//! Hop-by-hop headers end here (RFC 9110, section 7.6.1), those that `Connection` names before ours are
//! added, so that no caller can have ours removed. The caller's credential, whatever claims to be our
//! identity, and whatever would have the upstream read the request as another one are dropped, also in
//! spellings with `_` that some servers take for `-`.
//!
//! Never here: a header of ours that a caller could have written.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::trace;
use super::upstream::Arrival;
use crate::domain::identity::Identity;

/// What begins the name of every header that speaks of identity.
const OURS: &str = "x-keyward-";

const KEY_ID: HeaderName = HeaderName::from_static("x-keyward-key-id");
const WORKSPACE: HeaderName = HeaderName::from_static("x-keyward-workspace");
const PLAN: HeaderName = HeaderName::from_static("x-keyward-plan");
const SCOPES: HeaderName = HeaderName::from_static("x-keyward-scopes");
const ASSERTION: HeaderName = HeaderName::from_static("x-keyward-assertion");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-keyward-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether the upstream may encode its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encodings {
    /// As the caller accepts.
    AsAsked,
    /// Not at all: the answer will be read here.
    Plain,
}

/// Takes out of a request what must not reach an upstream.
pub(super) fn strip_request(headers: &mut HeaderMap, key_headers: &[String], encodings: Encodings) {
    let dropped = named_by_connection(headers);
    // Asked for by name, since nearly every request has them.
    for name in [AUTHORIZATION, HOST, CONTENT_LENGTH, CONNECTION] {
        headers.remove(name);
    }
    drop_also(headers, dropped, |name| ends_here(name, key_headers));
    if encodings == Encodings::Plain {
        headers.remove(ACCEPT_ENCODING);
    }
    trace::strip(headers);
}

/// Takes out of an answer what must not reach the caller.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    let mut dropped = named_by_connection(headers);
    // Of a length beside a coding, the coding was obeyed.
    if headers.contains_key(TRANSFER_ENCODING) {
        dropped.push(CONTENT_LENGTH);
    }
    drop_also(headers, dropped, |name| is_hop_by_hop(name) || name.starts_with(OURS));
}

/// Drops what was named, and what `ends_here`.
fn drop_also(headers: &mut HeaderMap, mut dropped: Vec<HeaderName>, ends_here: impl Fn(&str) -> bool) {
    dropped.extend(headers.keys().filter(|name| ends_here(name.as_str())).cloned());
    for name in &dropped {
        headers.remove(name);
    }
}

/// What an upstream is told of a request beside what its caller said: who asks, and how it came.
#[derive(Debug)]
pub(super) struct Introduction {
    identity: Option<Written>,
    request_id: HeaderValue,
    address: Option<HeaderValue>,
    host: Option<HeaderValue>,
    is_secure: bool,
}

impl Introduction {
    /// `None` when something of it cannot stand in a header; then nothing may be forwarded.
    pub(super) fn new(
        identity: Option<Box<Identity>>,
        arrival: Arrival,
        host: Option<HeaderValue>,
    ) -> Option<Self> {
        let identity = match identity {
            Some(identity) => Some(Written::of(*identity)?),
            None => None,
        };
        let address = match arrival.address {
            Some(address) => Some(value(address.to_string())?),
            None => None,
        };
        Some(Self { identity, request_id: arrival.request_id, address, host, is_secure: arrival.is_secure })
    }

    /// Tells each of its headers. None of them is among what crosses the gate of a caller's.
    pub(super) fn each(&self, mut tell: impl FnMut(HeaderName, &HeaderValue)) {
        if let Some(identity) = &self.identity {
            let Written { key, workspace, plan, scopes, assertion } = identity;
            for (name, value) in [(KEY_ID, key), (WORKSPACE, workspace), (PLAN, plan), (SCOPES, scopes)] {
                tell(name, value);
            }
            if let Some(assertion) = assertion {
                tell(ASSERTION, assertion);
            }
        }
        tell(REQUEST_ID, &self.request_id);
        if let Some(address) = &self.address {
            tell(FORWARDED_FOR, address);
        }
        if let Some(host) = &self.host {
            tell(FORWARDED_HOST, host);
        }
        tell(FORWARDED_PROTO, &HeaderValue::from_static(if self.is_secure { "https" } else { "http" }));
    }
}

/// Says who asks. `None` when something of it cannot stand in a header.
pub(super) fn identify(headers: &mut HeaderMap, identity: Identity) -> Option<()> {
    let Written { key, workspace, plan, scopes, assertion } = Written::of(identity)?;
    for (name, value) in [(KEY_ID, key), (WORKSPACE, workspace), (PLAN, plan), (SCOPES, scopes)] {
        headers.insert(name, value);
    }
    if let Some(assertion) = assertion {
        headers.insert(ASSERTION, assertion);
    }
    Some(())
}

/// An identity as it stands in headers.
#[derive(Debug)]
struct Written {
    key: HeaderValue,
    workspace: HeaderValue,
    plan: HeaderValue,
    scopes: HeaderValue,
    assertion: Option<HeaderValue>,
}

impl Written {
    /// `None` when something of it cannot stand in a header.
    fn of(identity: Identity) -> Option<Self> {
        let assertion = match identity.assertion {
            Some(assertion) => {
                let mut assertion = HeaderValue::from_str(&assertion).ok()?;
                assertion.set_sensitive(true);
                Some(assertion)
            }
            None => None,
        };
        Some(Self {
            key: value(identity.key.to_string())?,
            workspace: value(identity.workspace.to_string())?,
            plan: value(identity.plan)?,
            scopes: value(identity.scopes)?,
            assertion,
        })
    }
}

/// Says which request this is, and no more.
pub(super) fn number(headers: &mut HeaderMap, request_id: HeaderValue) {
    headers.insert(REQUEST_ID, request_id);
}

fn value(text: String) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let options = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let options = options.map(str::trim).filter(|option| !is_about_connection(option));
    options.filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok()).collect()
}

fn is_about_connection(option: &str) -> bool {
    option.is_empty() || option.eq_ignore_ascii_case("close") || option.eq_ignore_ascii_case("keep-alive")
}

fn ends_here(name: &str, key_headers: &[String]) -> bool {
    if name.contains('_') {
        let spelt = name.replace('_', "-");
        return is_ours_to_say(&spelt) || ends_here(&spelt, key_headers);
    }
    is_hop_by_hop(name)
        || name.starts_with(OURS)
        || redirects(name)
        || key_headers.iter().any(|header| header == name)
}

/// Whether a header that the gate answers for would be said a second time, in a spelling that it did not
/// check.
fn is_ours_to_say(spelt: &str) -> bool {
    spelt == AUTHORIZATION.as_str()
        || spelt == HOST.as_str()
        || spelt == CONTENT_LENGTH.as_str()
        || spelt == CONTENT_TYPE.as_str()
        || spelt == CONTENT_ENCODING.as_str()
        // What an MCP message is part of, and what it is.
        || matches!(
            spelt,
            "mcp-session-id" | "mcp-protocol-version" | "mcp-method" | "mcp-name" | "last-event-id"
        )
}

fn is_hop_by_hop(name: &str) -> bool {
    name == CONNECTION.as_str()
        || name == TE.as_str()
        || name == TRAILER.as_str()
        || name == TRANSFER_ENCODING.as_str()
        || name == UPGRADE.as_str()
        || name == EXPECT.as_str()
        || matches!(name, "keep-alive" | "http2-settings")
        || name.starts_with("proxy-")
}

/// Whether a header would have some servers see another method, path, host or caller than was decided about.
fn redirects(name: &str) -> bool {
    name == "forwarded"
        || name.starts_with("x-forwarded")
        || names_an_address(name)
        || matches!(
            name,
            "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
                | "x-original-url"
                | "x-original-uri"
                | "x-original-host"
                | "x-rewrite-url"
                | "x-host"
        )
}

/// Whether some servers take a header's word for where the caller is. They are what proxies and delivery
/// networks set; ours says it in `X-Forwarded-For` alone.
fn names_an_address(name: &str) -> bool {
    matches!(
        name,
        "true-client-ip"
            | "cf-connecting-ip"
            | "cf-connecting-ipv6"
            | "fastly-client-ip"
            | "fly-client-ip"
            | "client-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-real-ip"
            | "x-remote-ip"
            | "x-remote-addr"
            | "x-originating-ip"
            | "x-original-forwarded-for"
            | "x-envoy-external-address"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        strip_request(&mut headers, &["x-api-key".to_owned()], Encodings::Plain);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_speaks_of_identity_or_another_request_does_not_cross() {
        for name in [
            "authorization",
            "Authorization_",
            "x-api-key",
            "X_Api_Key",
            "x-keyward-key-id",
            "x_keyward_key_id",
            "X-Keyward-Anything",
            "x-forwarded-for",
            "x_forwarded_host",
            "x-forwarded",
            "forwarded",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-method-override",
            "x-real-ip",
            "X_Real_IP",
            "True-Client-IP",
            "true_client_ip",
            "CF-Connecting-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "Client-IP",
            "x-forwarded-port",
            "host",
            "content_length",
            "Content_Type",
            "content_encoding",
            "Mcp_Session_Id",
            "mcp-session_id",
            "mcp_protocol_version",
            "mcp_method",
            "mcp_name",
            "last_event_id",
            "transfer_encoding",
            "te",
            "trailer",
            "transfer-encoding",
            "content-length",
            "upgrade",
            "expect",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "connection",
            "accept-encoding",
            "http2-settings",
        ] {
            let left = stripped(&[(name, "a"), (name, "b"), ("accept", "c")]);
            // A trailing `_` makes another name even to servers that read `_` as `-`.
            let expected =
                if name == "Authorization_" { vec!["authorization_", "accept"] } else { vec!["accept"] };
            assert_eq!(left, expected, "{name}");
        }
        let kept = [("mcp-session-id", "a"), ("mcp-param-user_id", "d"), ("x-custom", "b"), ("cookie", "c")];
        assert_eq!(stripped(&kept).len(), kept.len());
    }

    #[test]
    fn what_connection_names_does_not_cross_and_cannot_take_ours_along() {
        let lines = [
            ("connection", "close, X-Custom,x-keyward-key-id, bad name"),
            ("x-custom", "a"),
            ("accept", "b"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_request(&mut headers, &[], Encodings::AsAsked);
        let arrival = Arrival { address: None, is_secure: true, request_id: HeaderValue::from_static("r1") };
        let introduction = Introduction::new(None, arrival, None).unwrap();
        introduction.each(|name, value| drop(headers.insert(name, value.clone())));
        assert_eq!(headers[FORWARDED_PROTO], "https");
        assert!(!headers.contains_key("x-custom"));
        assert_eq!(headers[REQUEST_ID], "r1");
        assert_eq!(headers["accept"], "b");
    }

    #[test]
    fn an_answer_loses_its_hops_and_our_names_alone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "a"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("x-keyward-plan", "pro"),
            ("location", "http://elsewhere/"),
            ("set-cookie", "a=b"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_answer(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["location", "set-cookie"]);
    }
}
