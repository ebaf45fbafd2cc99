//! Feeds `credential` with any headers that may carry a key, each line of the input one of them.
//!
//! What always holds: it never panics; a credential that is found is a piece of one header's value, byte for
//! byte, never empty and never only spaces; with one `Authorization` alone it is what stands behind the scheme
//! and its one space; two headers that may carry a key are never a credential.
//!
//! Not covered: the parser of the header block, and whether the credential is a key.

use http::{HeaderMap, HeaderName, HeaderValue};
use keyward::domain::denial::Denial;
use keyward::surface::credential::credential;

const KEY_HEADER: &str = "x-api-key";
const NAMES: [&str; 4] = ["authorization", KEY_HEADER, "cookie", "proxy-authorization"];

pub(crate) fn check(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut carriers = 0;
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some((choice, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let name = NAMES[usize::from(*choice) % NAMES.len()];
        carriers += usize::from(name == "authorization" || name == KEY_HEADER);
        headers.append(HeaderName::from_static(name), value);
    }
    match credential(&headers, &[KEY_HEADER.to_owned()]) {
        Ok(found) => {
            assert!(carriers == 1, "a credential out of {carriers} headers");
            assert!(found.iter().any(|byte| *byte != b' '), "an empty credential");
            let raw = headers.get(KEY_HEADER).map(HeaderValue::as_bytes);
            let bearer = headers.get("authorization").map(HeaderValue::as_bytes);
            assert!(raw == Some(found) || bearer.is_some_and(|value| is_behind_scheme(value, found)));
        }
        Err(Denial::TwoCredentials) => assert!(carriers > 1),
        Err(Denial::Missing | Denial::Malformed) => assert!(carriers < 2),
        Err(other) => panic!("a credential is refused as {}", other.name()),
    }
}

fn is_behind_scheme(value: &[u8], found: &[u8]) -> bool {
    const SCHEME: usize = "bearer ".len();
    let (scheme, rest) = value.split_at(SCHEME.min(value.len()));
    scheme.eq_ignore_ascii_case(b"bearer ") && rest == found
}
