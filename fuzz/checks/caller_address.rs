//! Feeds `AddressRules::parse` and `caller_address` with any rules and any `X-Forwarded-For`: the first line
//! is a rule, the others are header values.
//!
//! What always holds: nothing panics; a rule that is taken is told back in a form that means the same, and
//! admits its own network's address, mapped into IPv6 or not; from a peer that is not trusted no header moves
//! the address; the address of a trusted peer's caller is one that a header named, or the peer's own.
//!
//! Not covered: how addresses are used, and other headers that proxies send.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};
use keyward::domain::address::AddressRules;
use keyward::http::forwarded::{TrustedProxies, caller_address};

const TRUSTED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub(crate) fn check(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let rule = lines.next().and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
    if let Ok(rules) = AddressRules::parse([rule]) {
        a_rule_means_what_it_says(&rules);
    }
    let mut headers = HeaderMap::new();
    let mut named = Vec::new();
    for line in lines.take(16) {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        let texts = line.split(|byte| *byte == b',').filter_map(|part| str::from_utf8(part).ok());
        named.extend(texts.filter_map(|text| text.trim_matches([' ', '\t']).parse::<IpAddr>().ok()));
        headers.append("x-forwarded-for", value);
    }
    let addresses = AddressRules::parse(["10.0.0.0/8", "2001:db8::/32"]).expect("these are rules");
    let trusted = TrustedProxies { addresses: Some(addresses), unix: true };
    let from = |peer: Ipv4Addr| caller_address(Some(peer.into()), &headers, &trusted);
    assert!(from(STRANGER) == Some(STRANGER.into()), "a stranger chose its address");
    let nobody = TrustedProxies { addresses: None, unix: false };
    assert!(caller_address(Some(TRUSTED.into()), &headers, &nobody) == Some(TRUSTED.into()));
    assert!(caller_address(None, &headers, &nobody).is_none());
    if let Some(address) = from(TRUSTED) {
        let is_named = named.iter().any(|named| named.to_canonical() == address);
        assert!(is_named || address == IpAddr::from(TRUSTED), "an address that nobody named");
    }
}

fn a_rule_means_what_it_says(rules: &AddressRules) {
    let told: Vec<_> = rules.iter().collect();
    let again = AddressRules::parse(told.iter().map(String::as_str)).expect("what is told is a rule");
    assert!(again == *rules, "a rule changes when it is told");
    let network = told[0].split('/').next().and_then(|text| text.parse::<IpAddr>().ok());
    let address = network.expect("a rule starts with an address");
    assert!(rules.admit(Some(address)), "a rule does not admit its own address");
    if let IpAddr::V4(v4) = address {
        assert!(rules.admit(Some(v4.to_ipv6_mapped().into())));
    }
    assert!(!rules.admit(None), "an unknown address is admitted");
}
