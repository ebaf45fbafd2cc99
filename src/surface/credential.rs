//! Exactly one credential out of a request's headers.
//!
//! `Authorization: Bearer KEY` (RFC 6750, the scheme in any letter case), or a raw key in a header that the
//! profile names. Two of them, equal or not, are refused before anything is looked up. Nothing is trimmed
//! into shape: what stands behind the scheme and its one space is the credential, byte for byte.
//!
//! Never here: a key from a URL, a cookie or a body.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::domain::denial::Denial;

/// The credential's bytes; `Missing` when there is none, `Malformed` when it is not a bearer's,
/// `TwoCredentials` when there are two.
pub fn credential<'a>(headers: &'a HeaderMap, key_headers: &[String]) -> Result<&'a [u8], Denial> {
    // One way through all of them: to look up a name that is a text costs more than to compare it with some.
    let mut given = headers.iter().filter_map(|(name, value)| {
        if name == AUTHORIZATION {
            Some(bearer(value.as_bytes()))
        } else if key_headers.iter().any(|known| known == name.as_str()) {
            Some(whole(value.as_bytes()))
        } else {
            None
        }
    });
    match (given.next(), given.next()) {
        (None, _) => Err(Denial::Missing),
        (Some(only), None) => only,
        (Some(_), Some(_)) => Err(Denial::TwoCredentials),
    }
}

fn bearer(value: &[u8]) -> Result<&[u8], Denial> {
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    match rest.strip_prefix(b" ") {
        _ if value.is_empty() => Err(Denial::Missing),
        _ if !scheme.eq_ignore_ascii_case(b"bearer") => Err(Denial::Malformed),
        Some(token) => whole(token),
        None => Err(Denial::Missing),
    }
}

fn whole(token: &[u8]) -> Result<&[u8], Denial> {
    if token.iter().all(|byte| *byte == b' ') { Err(Denial::Missing) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn found(given: &[(&str, &str)]) -> Result<Vec<u8>, Denial> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        credential(&headers, &["x-api-key".to_owned()]).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_bearer_or_a_key_header_is_the_credential() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(found(&[("authorization", &format!("{scheme} k"))]).unwrap(), b"k");
        }
        assert_eq!(found(&[("x-api-key", "k")]).unwrap(), b"k");
    }

    #[test]
    fn nothing_is_trimmed_into_a_key() {
        assert_eq!(found(&[("authorization", "Bearer  k")]).unwrap(), b" k");
        assert_eq!(found(&[("authorization", "Bearer k,")]).unwrap(), b"k,");
        assert_eq!(found(&[("authorization", "Bearer k k")]).unwrap(), b"k k");
        assert_eq!(found(&[("authorization", "Bearer\tk")]), Err(Denial::Malformed));
    }

    #[test]
    fn other_schemes_are_malformed_and_empty_ones_missing() {
        for malformed in ["Basic c2s6", "Token k", "k", "Bearerk"] {
            assert_eq!(found(&[("authorization", malformed)]), Err(Denial::Malformed), "{malformed}");
        }
        for missing in ["", "Bearer", "Bearer ", "bearer    "] {
            assert_eq!(found(&[("authorization", missing)]), Err(Denial::Missing), "{missing}");
        }
        assert_eq!(found(&[("cookie", "key=k")]), Err(Denial::Missing));
    }

    #[test]
    fn two_credentials_are_refused_even_when_equal() {
        let pairs = [
            [("authorization", "Bearer k"), ("authorization", "Bearer k")],
            [("authorization", "Bearer k"), ("x-api-key", "k")],
            [("x-api-key", "k"), ("x-api-key", "l")],
            [("authorization", ""), ("x-api-key", "k")],
        ];
        for pair in pairs {
            assert_eq!(found(&pair), Err(Denial::TwoCredentials), "{pair:?}");
        }
    }
}
