//! What the headers of a message say of it: the era, and what the body says too.
//!
//! A header that is there agrees with the body, or the message is refused: whoever stands behind the gate may read
//! either. One that is not there says nothing. `Mcp-Param-*` are between the client and the upstream.
//!
//! Never here: a decision on a header alone.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};

use super::message::RpcMessage;
use crate::dialect::Era;
use crate::domain::denial::Invalid;
use crate::domain::mcp::names_event_stream;

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const SESSION: &str = "mcp-session-id";

// As names, since to look a text up costs several times as much.
const VERSION_HEADER: HeaderName = HeaderName::from_static(VERSION);
const METHOD_HEADER: HeaderName = HeaderName::from_static(METHOD);
const NAME_HEADER: HeaderName = HeaderName::from_static(NAME);
const SESSION_HEADER: HeaderName = HeaderName::from_static(SESSION);

/// The longest session id, in bytes.
const SESSION_BYTES_MAX: usize = 256;

/// How a name is written that no header could carry.
const ENCODED_HEAD: &[u8] = b"=?base64?";
const ENCODED_TAIL: &[u8] = b"?=";

/// Which era a client speaks.
pub(super) fn era(headers: &HeaderMap) -> Era {
    Era::of_version(headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok()))
}

/// Whether the headers say the same as the message.
pub(super) fn check(message: &RpcMessage<'_>, headers: &HeaderMap) -> Result<(), Invalid> {
    let version = only(headers, &VERSION_HEADER)?;
    if let (Some(header), Some(said)) = (version, message.version())
        && header.as_bytes() != said.as_bytes()
    {
        return Err(Invalid::HeaderMismatch);
    }
    if let Some(header) = only(headers, &METHOD_HEADER)?
        && message.method().is_none_or(|method| method.as_bytes() != header.as_bytes())
    {
        return Err(Invalid::HeaderMismatch);
    }
    let (Some(header), Some(subject)) = (only(headers, &NAME_HEADER)?, message.subject()) else {
        return Ok(());
    };
    let agrees =
        subject.is_some_and(|subject| named(header.as_bytes()).as_deref() == Some(subject.as_bytes()));
    if agrees { Ok(()) } else { Err(Invalid::HeaderMismatch) }
}

/// The id of the session that a message belongs to, as it was sent.
pub(super) fn session(headers: &HeaderMap) -> Result<Option<&[u8]>, Invalid> {
    let mut given = headers.get_all(SESSION_HEADER).iter();
    match (given.next().map(HeaderValue::as_bytes), given.next()) {
        (None, _) => Ok(None),
        (Some(id), None) if is_session(id) => Ok(Some(id)),
        _ => Err(Invalid::Header),
    }
}

/// The id of the session that an answer opens or goes on with.
pub(super) fn session_given(headers: &HeaderMap) -> Option<&[u8]> {
    session(headers).ok().flatten()
}

/// Takes out what would make an answer part of a session.
pub(super) fn strip_session(headers: &mut HeaderMap) {
    headers.remove(SESSION_HEADER);
    headers.remove("last-event-id");
}

/// Whether an event stream is asked for by its name.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(names_event_stream)
}

/// Whether a body is an event stream. A body has one type: what lists several is none.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let is_one = |value: &&str| !value.contains(',');
    let values = headers.get_all(CONTENT_TYPE).iter().filter_map(|value| value.to_str().ok());
    values.filter(is_one).any(names_event_stream)
}

/// Visible ASCII, as the protocol has it.
fn is_session(id: &[u8]) -> bool {
    (1..=SESSION_BYTES_MAX).contains(&id.len()) && id.iter().all(|byte| (0x21..=0x7e).contains(byte))
}

/// A header that is there at most once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Invalid> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (only, None) => Ok(only),
        (_, Some(_)) => Err(Invalid::HeaderMismatch),
    }
}

/// What the value of `Mcp-Name` names, plainly or encoded. What looks encoded in other letters names nothing, since
/// another reader might decode it.
pub(in crate::surface) fn named(given: &[u8]) -> Option<Cow<'_, [u8]>> {
    let head = given.get(..ENCODED_HEAD.len());
    if !head.is_some_and(|head| head.eq_ignore_ascii_case(ENCODED_HEAD)) {
        return Some(Cow::Borrowed(given));
    }
    let inner = given.strip_prefix(ENCODED_HEAD)?.strip_suffix(ENCODED_TAIL)?;
    STANDARD.decode(inner).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn checked(body: &str, lines: &[(&'static str, &str)]) -> Result<(), Invalid> {
        check(&RpcMessage::parse(body.as_bytes()).unwrap(), &headers(lines))
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"größe","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

    #[test]
    fn a_header_that_is_there_says_what_the_body_says() {
        let encoded = "=?base64?Z3LDtsOfZQ==?=";
        for lines in [
            &[][..],
            &[(METHOD, "tools/call")],
            &[(NAME, encoded)],
            &[(VERSION, "2026-07-28"), (METHOD, "tools/call"), (NAME, encoded)],
            &[("mcp-param-x", "anything"), ("mcp-param-x", "twice")],
        ] {
            assert_eq!(checked(CALL, lines), Ok(()), "{lines:?}");
        }
        for lines in [
            &[(METHOD, "tools/list")][..],
            &[(METHOD, "Tools/call")],
            &[(METHOD, "tools/call"), (METHOD, "tools/call")],
            &[(NAME, "other")],
            &[(NAME, "=?BASE64?Z3LDtsOfZQ==?=")],
            &[(NAME, "=?base64?Z3LDtsOfZQ?=")],
            &[(NAME, "=?base64?AAAA?=")],
            &[(NAME, encoded), (NAME, encoded)],
            &[(VERSION, "2025-11-25")],
            &[(VERSION, "2026-07-28"), (VERSION, "2026-07-28")],
        ] {
            assert_eq!(checked(CALL, lines), Err(Invalid::HeaderMismatch), "{lines:?}");
        }
    }

    #[test]
    fn each_method_has_its_own_subject() {
        let body = |method: &str, param: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{param}":"a"}}}}"#)
        };
        for (method, param) in [
            ("tools/call", "name"),
            ("prompts/get", "name"),
            ("resources/read", "uri"),
            ("tasks/get", "taskId"),
        ] {
            assert_eq!(checked(&body(method, param), &[(NAME, "a")]), Ok(()), "{method}");
            assert!(checked(&body(method, param), &[(NAME, "b")]).is_err(), "{method}");
            assert!(checked(&body(method, "else"), &[(NAME, "a")]).is_err(), "{method}");
        }
        assert_eq!(checked(&body("tools/list", "name"), &[(NAME, "b")]), Ok(()), "it is about no name");
        let plain_name_that_looks_encoded =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"=?base64?YQ==?="}}"#;
        assert!(checked(plain_name_that_looks_encoded, &[(NAME, "=?base64?YQ==?=")]).is_err());
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert!(checked(answer, &[(METHOD, "tools/call")]).is_err(), "an answer has no method");
    }

    #[test]
    fn a_session_is_named_once_in_visible_ascii() {
        assert_eq!(session(&headers(&[])), Ok(None));
        assert_eq!(session(&headers(&[(SESSION, "a~!")])), Ok(Some(&b"a~!"[..])));
        let (fits, long) = ("a".repeat(SESSION_BYTES_MAX), "a".repeat(SESSION_BYTES_MAX + 1));
        assert!(session(&headers(&[(SESSION, &fits)])).is_ok());
        for lines in [
            &[(SESSION, "a"), (SESSION, "a")][..],
            &[(SESSION, "")],
            &[(SESSION, "a b")],
            &[(SESSION, "ä")],
            &[(SESSION, &long)],
        ] {
            assert_eq!(session(&headers(lines)), Err(Invalid::Header), "{lines:?}");
        }
    }

    #[test]
    fn a_stream_is_asked_for_by_its_name_alone() {
        for (accept, is_asked) in [
            ("text/event-stream", true),
            ("application/json, TEXT/Event-Stream;q=0.5", true),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("text/event-streams", false),
        ] {
            assert_eq!(accepts_events(&headers(&[("accept", accept)])), is_asked, "{accept}");
        }
        assert!(!accepts_events(&headers(&[])));
    }
}
