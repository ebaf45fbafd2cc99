//! Address rules: from where a key may be used.
//!
//! An IPv4-mapped IPv6 address is its IPv4 address, in rules and in callers. Short, octal and hexadecimal
//! forms are refused when a rule is made. A key with rules and a caller of unknown address do not go
//! together.
//!
//! Never here: a name to be looked up, or whose address a caller has (http).

use std::net::IpAddr;

use ipnet::IpNet;

/// The most rules on one key.
pub const ADDRESS_RULES_MAX: usize = 64;

/// The addresses and networks a key may be used from; at least one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AddressRules(Vec<IpNet>);

/// Why a list of rules was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressRulesError {
    /// A list that would admit nobody. No rules at all is told by leaving the list out.
    Empty,
    /// More than [`ADDRESS_RULES_MAX`].
    TooMany,
    /// The rule at this place is neither an address nor a network.
    Unreadable {
        /// Its place in the list, from 0.
        place: usize,
    },
}

impl AddressRules {
    /// Reads rules such as `203.0.113.7`, `10.0.0.0/8` or `2001:db8::/32`.
    pub fn parse<'a>(rules: impl IntoIterator<Item = &'a str>) -> Result<Self, AddressRulesError> {
        let mut nets = Vec::new();
        for (place, rule) in rules.into_iter().enumerate() {
            if place >= ADDRESS_RULES_MAX {
                return Err(AddressRulesError::TooMany);
            }
            nets.push(parse_rule(rule).ok_or(AddressRulesError::Unreadable { place })?);
        }
        if nets.is_empty() {
            return Err(AddressRulesError::Empty);
        }
        Ok(Self(nets))
    }

    /// Whether a caller at `address` is inside.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|known| self.rule_for(known).is_some())
    }

    /// The first rule that `address` is inside of, in its canonical text.
    pub fn matching(&self, address: IpAddr) -> Option<String> {
        self.rule_for(address).map(text)
    }

    /// The rules in their canonical text.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(text)
    }

    fn rule_for(&self, address: IpAddr) -> Option<&IpNet> {
        let canonical = address.to_canonical();
        self.0.iter().find(|net| net.contains(&canonical))
    }
}

fn text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn parse_rule(rule: &str) -> Option<IpNet> {
    let net = if rule.contains('/') {
        rule.parse::<IpNet>().ok()?
    } else {
        IpNet::from(rule.parse::<IpAddr>().ok()?)
    };
    // `::ffff:10.0.0.0/104` is 10.0.0.0/8: the mapped part is 96 bits long.
    let canonical = match net.addr().to_canonical() {
        IpAddr::V4(v4) if net.max_prefix_len() == 128 => {
            IpNet::new(IpAddr::V4(v4), net.prefix_len().checked_sub(96)?).ok()?
        }
        _ => net,
    };
    Some(canonical.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(rules: &[&str], address: &str) -> bool {
        AddressRules::parse(rules.iter().copied()).unwrap().admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn s02_an_address_matches_by_network_and_mapped_v4_is_v4() {
        let cases: [(&[&str], &str, bool); 10] = [
            (&["127.0.0.2"], "127.0.0.2", true),
            (&["127.0.0.2"], "127.0.0.1", false),
            (&["127.0.0.2"], "::ffff:127.0.0.2", true),
            (&["::ffff:127.0.0.2"], "127.0.0.2", true),
            (&["::ffff:10.0.0.0/104"], "10.1.2.3", true),
            (&["10.0.0.0/31"], "10.0.0.1", true),
            (&["10.0.0.0/31"], "10.0.0.2", false),
            (&["0.0.0.0/0"], "203.0.113.9", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["2001:db8::/32", "10.0.0.1"], "2001:db8:ffff::1", true),
        ];
        for (rules, address, admitted) in cases {
            assert_eq!(admits(rules, address), admitted, "{rules:?} {address}");
        }
    }

    #[test]
    fn s02_short_octal_and_hexadecimal_forms_are_refused() {
        for bad in [
            "127.2",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "fe80::1%eth0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "all",
            "",
            " 10.0.0.1",
            "::ffff:10.0.0.0/90",
        ] {
            assert_eq!(AddressRules::parse([bad]), Err(AddressRulesError::Unreadable { place: 0 }), "{bad}");
        }
    }

    #[test]
    fn rules_without_a_known_address_admit_nobody_and_no_rule_is_not_a_rule() {
        assert!(!AddressRules::parse(["0.0.0.0/0", "::/0"]).unwrap().admit(None));
        assert_eq!(AddressRules::parse([]), Err(AddressRulesError::Empty));
        assert_eq!(AddressRules::parse(["10.0.0.1"; ADDRESS_RULES_MAX + 1]), Err(AddressRulesError::TooMany));
    }

    #[test]
    fn host_bits_are_cut_off_and_single_addresses_are_shown_bare() {
        let rules = AddressRules::parse(["10.1.2.3/8", "127.0.0.1"]).unwrap();
        assert_eq!(rules.iter().collect::<Vec<_>>(), ["10.0.0.0/8", "127.0.0.1"]);
    }
}
