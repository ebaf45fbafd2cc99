//! The request target: a path that can be read in one way only, and the query as it came.
//!
//! What is matched is what is forwarded: a path that some server might decode, normalise or cut differently
//! is refused, never repaired. So is an escape of a character that needs none: `%73ecrets` is `secrets` to a
//! server that decodes before it routes. A trailing slash is left standing; it simply matches nothing.
//!
//! Never here: decoding for use. Whoever needs a segment's text decodes it after matching.

use http::Uri;
use percent_encoding::percent_decode;

use crate::domain::denial::Invalid;

/// An unambiguous target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the target of a request.
    pub fn parse(uri: &'a Uri) -> Result<Self, Invalid> {
        let query = uri.query();
        let query_is_plain = query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
        if !query_is_plain {
            return Err(Invalid::Target);
        }
        Ok(Self { path: canonical(uri.path()).ok_or(Invalid::Target)?, query })
    }

    /// The path, exactly as it is forwarded.
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// What stands behind the `?`, raw.
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }
}

fn canonical(path: &str) -> Option<&str> {
    let segments = path.strip_prefix('/')?;
    if segments.is_empty() {
        return Some(path);
    }
    let inner = segments.strip_suffix('/').unwrap_or(segments);
    inner.as_bytes().split(|byte| *byte == b'/').all(is_plain).then_some(path)
}

/// Whether a segment is one segment to everybody.
fn is_plain(segment: &[u8]) -> bool {
    let mut is_encoded = false;
    let is_readable = segment.iter().all(|byte| {
        is_encoded |= *byte == b'%';
        is_unencoded(*byte) || *byte == b'%'
    });
    match segment {
        _ if !is_readable => false,
        b"" | b"." | b".." => false,
        _ if is_encoded => is_plainly_encoded(segment),
        _ => true,
    }
}

/// RFC 3986's `pchar`, without `;`, which some servers take for the start of parameters, and without percent
/// signs.
const fn is_unencoded(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// RFC 3986's `unreserved`: with or without an escape it is the same character (section 6.2.2.2), and route
/// literals hold no other.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_plainly_encoded(segment: &[u8]) -> bool {
    let needed = |escape: &[u8]| escaped(escape).is_some_and(|byte| !is_unreserved(byte));
    if !segment.split(|byte| *byte == b'%').skip(1).all(needed) {
        return false;
    }
    let decoded: Vec<u8> = percent_decode(segment).collect();
    let Ok(text) = std::str::from_utf8(&decoded) else {
        return false;
    };
    let splits = |c: char| matches!(c, '/' | '\\') || c.is_control();
    !text.contains(splits) && !is_encoded_twice(&decoded)
}

/// The byte that an escape stands for; `escape` begins behind its percent sign.
fn escaped(escape: &[u8]) -> Option<u8> {
    let &[first, second, ..] = escape else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(first)? * 16 + digit(second)?).ok()
}

fn is_encoded_twice(decoded: &[u8]) -> bool {
    let is_escape =
        |three: &[u8]| matches!(three, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    decoded.windows(3).any(is_escape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::{Access, Found, Requirement, Route, Routes, Verb};
    use proptest::prelude::*;

    fn accepts(target: &str) -> bool {
        target.parse::<Uri>().is_ok_and(|uri| Target::parse(&uri).is_ok())
    }

    #[test]
    fn plain_targets_pass_unchanged() {
        for target in [
            "/",
            "/v1/posts",
            "/v1/posts/",
            "/v1/posts/7?limit=1&limit=2&a[b]={c}|%zz",
            "/v1/a.b/..c/c..",
            "/v1/caf%C3%A9/a%20b/50%25",
            "/v1/a%40b.example/%3A%21%7b",
            "/~a/b@c:d,e=f!$&'()*+",
        ] {
            let uri: Uri = target.parse().unwrap();
            let parsed = Target::parse(&uri).unwrap();
            let again = parsed.query().map_or(parsed.path().to_owned(), |q| format!("{}?{q}", parsed.path()));
            assert_eq!(again, target);
        }
    }

    #[test]
    fn what_can_be_read_two_ways_is_refused() {
        for target in [
            "/v1/../admin",
            "/v1/./posts",
            "/..",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/%2e",
            "/v1/a%2Fb",
            "/v1/a%2fb",
            "/v1/a%5Cb",
            "/v1/a\\b",
            "/v1/a%00",
            "/v1/a%0d%0ab",
            "/v1/a%7f",
            "/v1/a%C2%85",
            "/v1/%252e%252e/admin",
            "/v1/%25%32%65",
            "/v1/a%252Fb",
            "//host/v1",
            "/v1//posts",
            "/v1/posts//",
            "/v1/posts;a=b",
            "/v1/a%",
            "/v1/a%2",
            "/v1/a%zz",
            "/v1/a%+5",
            "/v1/files/%73ecrets",
            "/v1/files/secret%73",
            "/v1/files/%7Ea",
            "/v1/files/a%2Db",
            "/v1/files/a%2E",
            "/v1/files/a%5f",
            "/v1/files/%C3%A9%30",
            "/v1/%C0%AE%C0%AE/admin",
            "/v1/%FF",
            "/v1/a b",
            "/v1/{id}",
            "/v1/caf\u{e9}",
            "*",
            "",
        ] {
            assert!(!accepts(target), "{target}");
        }
    }

    /// The path with every escape undone that needs none: what a server that normalises routes by.
    fn normalised(path: &str) -> String {
        let mut escapes = path.split('%');
        let mut text = escapes.next().unwrap_or_default().to_owned();
        for escape in escapes {
            match u8::from_str_radix(&escape[..2], 16).map(char::from) {
                Ok(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => text.extend([c]),
                _ => text.extend(["%", &escape[..2]]),
            }
            text.push_str(&escape[2..]);
        }
        text
    }

    fn decoded(text: &str) -> String {
        percent_decode(text.as_bytes()).decode_utf8().unwrap().into_owned()
    }

    fn routes() -> Routes {
        let patterns = ["/{a}", "/a", "/a/{b}", "/a/b", "/a/b/{c}", "/a/b/a-z", "/{a}/b"];
        let route = |pattern: &str| Route {
            verb: Verb::Get,
            pattern: pattern.to_owned(),
            requirement: Requirement::default(),
            max_body_bytes: None,
            access: Access::Keyed,
            websocket: false,
        };
        Routes::new(patterns.map(route).into()).unwrap()
    }

    fn found<'a>(routes: &'a Routes, path: &str) -> Option<&'a str> {
        match routes.find(Some(Verb::Get), path) {
            Found::Route(route) => Some(&route.pattern),
            Found::OtherVerbs(_) | Found::Nothing => None,
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_the_same_to_whoever_decodes_once_twice_or_not_at_all(
            path in "(/([abz.-]|%2[eEfFdD05]|%5[cCfF]|%6[12]|%7[aAeE]|%25|%C3%A9|%0|[;%]|\\.\\.){0,4}){1,5}",
        ) {
            let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
            if let Ok(target) = Target::parse(&uri) {
                prop_assert_eq!(target.path(), &path);
                prop_assert_eq!(&normalised(&path), &path);
                let once = decoded(&path);
                prop_assert_eq!(&decoded(&once), &once);
                prop_assert_eq!(once.split('/').count(), path.split('/').count());
                for (text, raw) in once.split('/').zip(path.split('/')) {
                    prop_assert_eq!(text, decoded(raw));
                    prop_assert!(!matches!(text, "." | ".."), "{}", path);
                }
                prop_assert!(!once.trim_end_matches('/').contains("//"), "{}", once);
                let routes = routes();
                prop_assert_eq!(found(&routes, &once), found(&routes, &path));
            }
        }
    }

    #[test]
    fn an_escaped_literal_does_not_take_the_route_of_a_parameter() {
        let path = "/a/%62";
        assert_eq!(found(&routes(), path), Some("/a/{b}"));
        assert_eq!(found(&routes(), &decoded(path)), Some("/a/b"));
        assert!(!accepts(path));
    }
}
