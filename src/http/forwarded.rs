//! Whose address a request came from, and whether over TLS, when proxies of ours stand in between.
//!
//! Nobody's `X-Forwarded-For` is believed unless the peer is a trusted proxy. Then the list is walked from
//! the right, past trusted proxies, to the first address that is not one. An entry that is no address makes
//! the caller's address unknown: whatever needs to know it refuses.
//!
//! Never here: `Forwarded`, `X-Real-IP` and the like, which any client can send and which our own proxies may
//! pass on.

use std::net::IpAddr;

use http::HeaderMap;

use super::Peer;
use crate::domain::address::AddressRules;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// Those with these addresses; `None` is nobody.
    pub addresses: Option<AddressRules>,
    /// Whoever may connect to our unix sockets.
    pub unix: bool,
}

impl TrustedProxies {
    fn trust(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(_) => self.addresses.as_ref().is_some_and(|addresses| addresses.admit(peer)),
            None => self.unix,
        }
    }
}

/// The caller's address; `None` when the peer has none, or is a trusted proxy that told none that can be read.
pub fn caller_address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Option<IpAddr> {
    if !trusted.trust(peer) {
        return peer;
    }
    let mut caller = peer;
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for hop in value.to_str().ok()?.rsplit(',') {
            caller = Some(hop.trim_matches([' ', '\t']).parse::<IpAddr>().ok()?.to_canonical());
            if !trusted.trust(caller) {
                return caller;
            }
        }
    }
    caller
}

/// Whether the caller spoke TLS: to us, or to a trusted proxy that says so. A proxy that says it twice, or of
/// several hops, says nothing.
pub fn caller_is_secure(peer: Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> bool {
    let is_told = || {
        let mut told = headers.get_all(X_FORWARDED_PROTO).iter();
        matches!((told.next(), told.next()), (Some(only), None) if only.as_bytes() == b"https")
    };
    peer.is_secure || (trusted.trust(peer.address) && is_told())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_says_whether_its_caller_spoke_tls_and_nobody_else_does() {
        let addresses = AddressRules::parse(["127.0.0.1"]).ok();
        let trusted = TrustedProxies { addresses, unix: false };
        let is_secure = |peer: &str, is_secure, told: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in told {
                headers.append(X_FORWARDED_PROTO, value.parse().unwrap());
            }
            caller_is_secure(Peer { address: peer.parse().ok(), is_secure }, &headers, &trusted)
        };
        assert!(is_secure("127.0.0.1", false, &["https"]));
        assert!(is_secure("203.0.113.9", true, &[]) && is_secure("127.0.0.1", true, &["http"]));
        for told in [&[][..], &["http"], &["https, http"], &["https", "https"], &["HTTPS "], &["wss"]] {
            assert!(!is_secure("127.0.0.1", false, told), "{told:?}");
        }
        assert!(!is_secure("203.0.113.9", false, &["https"]), "a stranger's word");
        assert!(!is_secure("unix", false, &["https"]), "unix sockets were not named");
    }

    fn address(peer: &str, forwarded: &[&str]) -> Option<String> {
        let addresses = AddressRules::parse(["127.0.0.1", "10.0.0.0/8"]).ok();
        let trusted = TrustedProxies { addresses, unix: peer == "trusted unix" };
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        caller_address(peer.parse().ok(), &headers, &trusted).map(|address| address.to_string())
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
    #[test]
    fn s01_a_peer_of_a_unix_socket_has_no_address_but_what_a_trusted_one_tells() {
        assert_eq!(address("unix", &["198.51.100.7"]), None);
        assert_eq!(address("trusted unix", &["198.51.100.7"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(address("trusted unix", &["198.51.100.7, 10.0.0.3"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(address("trusted unix", &["unknown"]), None);
        assert_eq!(address("trusted unix", &[]), None);
    }
}
