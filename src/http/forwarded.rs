//! Whose address a request came from, when proxies of ours stand in between.
//!
//! Nobody's `X-Forwarded-For` is believed unless the peer is a trusted proxy. Then the list is walked from
//! the right, past trusted proxies, to the first address that is not one. An entry that is no address makes
//! the caller's address unknown: whatever needs to know it refuses.
//!
//! Never here: `Forwarded`, `X-Real-IP` and the like, which any client can send and which our own proxies may
//! pass on.

use std::net::IpAddr;

use http::HeaderMap;

use crate::domain::address::AddressRules;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The caller's address; `None` when the peer has none, or is a trusted proxy that told none that can be read.
pub fn caller_address(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: Option<&AddressRules>,
) -> Option<IpAddr> {
    let mut caller = peer?;
    let Some(trusted) = trusted.filter(|trusted| trusted.admit(peer)) else { return peer };
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for hop in value.to_str().ok()?.rsplit(',') {
            caller = hop.trim_matches([' ', '\t']).parse::<IpAddr>().ok()?.to_canonical();
            if !trusted.admit(Some(caller)) {
                return Some(caller);
            }
        }
    }
    Some(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> Option<String> {
        let trusted = AddressRules::parse(["127.0.0.1", "10.0.0.0/8"]).unwrap();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        caller_address(peer.parse().ok(), &headers, Some(&trusted)).map(|address| address.to_string())
    }

    #[test]
    fn s01_a_stranger_s_header_is_not_believed() {
        assert_eq!(address("203.0.113.9", &["127.0.0.2"]).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn s01_the_list_is_walked_from_the_right_past_trusted_proxies() {
        let cases: [(&[&str], Option<&str>); 7] = [
            (&["198.51.100.7"], Some("198.51.100.7")),
            (&["198.51.100.1, 198.51.100.7, 10.0.0.3"], Some("198.51.100.7")),
            (&["198.51.100.1", "198.51.100.7,10.0.0.3"], Some("198.51.100.7")),
            (&["::ffff:198.51.100.7"], Some("198.51.100.7")),
            (&["10.0.0.9, 10.0.0.3"], Some("10.0.0.9")),
            (&["198.51.100.1, unknown"], None),
            (&["198.51.100.1:80"], None),
        ];
        for (forwarded, found) in cases {
            assert_eq!(address("127.0.0.1", forwarded).as_deref(), found, "{forwarded:?}");
        }
        assert_eq!(address("127.0.0.1", &[]).as_deref(), Some("127.0.0.1"));
    }
}
