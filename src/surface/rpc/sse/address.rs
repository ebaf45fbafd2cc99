//! The address that an upstream names for messages, read as path and query at that same upstream.
//!
//! It may be absolute, as long as it is of the upstream's own origin, or relative to the stream's path. What could
//! be read in two ways, and whatever is elsewhere, is refused.
//!
//! Never here: an address that a caller named.

use hyper::Uri;

use crate::gateway::Upstream;
use crate::http::target::Target;

/// The longest address, in bytes.
const ADDRESS_LEN_MAX: usize = 2048;

/// Path and query of what `data` names; `stream_path` is where its stream is. Else why it cannot be used, for the
/// log.
pub(super) fn resolve(data: &[u8], stream_path: &str, upstream: &Upstream) -> Result<Uri, &'static str> {
    resolve_by(data, stream_path, |uri| upstream.is_origin_of(uri))
}

fn resolve_by(data: &[u8], stream_path: &str, is_own: impl Fn(&Uri) -> bool) -> Result<Uri, &'static str> {
    const UNREADABLE: &str = "the address that it names cannot be read";
    const ELSEWHERE: &str = "the address that it names is of another origin";
    let text = str::from_utf8(data).map_err(|_| UNREADABLE)?;
    // A reader that resolves addresses takes a backslash for a slash, and drops what stands behind a `#`.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#');
    if text.is_empty() || text.len() > ADDRESS_LEN_MAX || !text.bytes().all(is_plain) {
        return Err(UNREADABLE);
    }
    let head = text.split(['/', '?']).next().unwrap_or_default();
    let whole = if head.contains(':') {
        let absolute: Uri = text.parse().map_err(|_| UNREADABLE)?;
        if !is_own(&absolute) {
            return Err(ELSEWHERE);
        }
        absolute.path_and_query().map(ToString::to_string).ok_or(UNREADABLE)?
    } else if text.starts_with("//") {
        return Err(ELSEWHERE);
    } else if text.starts_with('/') {
        text.to_owned()
    } else if text.starts_with('?') {
        format!("{stream_path}{text}")
    } else {
        let folder = stream_path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{text}")
    };
    let address: Uri = whole.parse().map_err(|_| UNREADABLE)?;
    Target::parse(&address).map_err(|_| UNREADABLE)?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, &'static str> {
        let is_own = |uri: &Uri| {
            uri.scheme_str() == Some("http") && uri.authority().is_some_and(|at| at == "up.example:3000")
        };
        resolve_by(text.as_bytes(), "/a/sse", is_own).map(|uri| uri.to_string())
    }

    #[test]
    fn an_address_is_resolved_against_the_stream_that_names_it() {
        for (named, address) in [
            ("/messages/?session_id=0a-b", "/messages/?session_id=0a-b"),
            ("/message", "/message"),
            ("message?sessionId=7", "/a/message?sessionId=7"),
            ("?sessionId=7", "/a/sse?sessionId=7"),
            ("?to=http://else.example/", "/a/sse?to=http://else.example/"),
            ("http://up.example:3000/m?s=1", "/m?s=1"),
            ("http://up.example:3000?s=1", "/?s=1"),
        ] {
            assert_eq!(resolved(named).as_deref(), Ok(address), "{named}");
        }
    }

    #[test]
    fn an_address_elsewhere_or_of_two_readings_is_refused() {
        for named in [
            "",
            "http://else.example/m",
            "https://up.example:3000/m",
            "http://up.example:3000@else.example/m",
            "http:/m",
            "//else.example/m",
            "/\\else.example/m",
            "file:///etc/passwd",
            "javascript:1",
            "/a/../m",
            "../m",
            "/m/%2e%2e/n",
            "/m//n",
            "/m#n",
            "/m n",
            "/m\nn",
            "/caf\u{e9}",
            &format!("/{}", "a".repeat(2048)),
        ] {
            assert!(resolved(named).is_err(), "{named}");
        }
        assert!(resolve_by(b"/\xff", "/sse", |_| true).is_err());
    }
}
