//! Permissions: `resource:action`, the resource a dotted path.
//!
//! Holding a parent holds its children (`contacts:read` covers `contacts.emails:read`), never the other way;
//! one action never implies another; `*` as resource or action is any. Compared by whole segments: `contacts`
//! does not cover `contactsx`.
//!
//! A profile's [`Catalogue`] numbers the permissions that its routes and tools ask for. What a key holds is
//! compiled against it once, so that a request asks for one bit.
//!
//! Never here: a permission that is given because nobody said otherwise.

use std::fmt;

/// The longest text of one permission, in bytes.
pub const PERMISSION_LEN_MAX: usize = 120;
/// The most permissions that one profile may declare.
pub const CATALOGUE_MAX: usize = 256;

/// One permission, held or asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    text: Box<str>,
    colon: usize,
}

impl Permission {
    /// Reads `resource:action`; `None` when either part is not `*` or lower-case words of `a-z`, `0-9`, `_`,
    /// `-` (dots between a resource's).
    pub fn parse(text: &str) -> Option<Self> {
        let (resource, action) = text.split_once(':')?;
        let resource_fits = resource == "*" || resource.split('.').all(is_word);
        let fits = text.len() <= PERMISSION_LEN_MAX && resource_fits && (action == "*" || is_word(action));
        fits.then(|| Self { text: text.into(), colon: resource.len() })
    }

    /// The permission that covers every other.
    pub fn everything() -> Self {
        Self { text: "*:*".into(), colon: 1 }
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether holding `self` holds `other`.
    pub fn covers(&self, other: &Self) -> bool {
        let same_action = self.action() == "*" || self.action() == other.action();
        same_action && covers_resource(self.resource(), other.resource())
    }

    fn resource(&self) -> &str {
        self.text.get(..self.colon).unwrap_or_default()
    }

    fn action(&self) -> &str {
        self.text.get(self.colon + 1..).unwrap_or_default()
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn covers_resource(held: &str, asked: &str) -> bool {
    held == "*" || asked.strip_prefix(held).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The number of a permission in its profile's catalogue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PermissionNo(u8);

impl PermissionNo {
    pub(super) const fn numbered(number: u8) -> Self {
        Self(number)
    }

    pub(super) const fn number(self) -> u8 {
        self.0
    }

    /// Its place in the catalogue, from 0.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// The permissions that a profile's routes and tools ask for, numbered.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    permissions: Vec<Permission>,
}

impl Catalogue {
    /// Numbers `permissions`; `None` when there are more than [`CATALOGUE_MAX`] or one is given twice.
    pub fn new(permissions: Vec<Permission>) -> Option<Self> {
        let distinct: std::collections::BTreeSet<_> = permissions.iter().collect();
        let fits = permissions.len() <= CATALOGUE_MAX && distinct.len() == permissions.len();
        fits.then_some(Self { permissions })
    }

    /// The number of exactly this permission.
    pub fn number(&self, permission: &Permission) -> Option<PermissionNo> {
        let place = self.permissions.iter().position(|known| known == permission)?;
        u8::try_from(place).ok().map(PermissionNo)
    }

    /// The permission with this number.
    pub fn permission(&self, number: PermissionNo) -> Option<&Permission> {
        self.permissions.get(number.place())
    }

    /// Every permission in order.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.permissions.iter()
    }

    /// Whether a key may be given `permission`: it covers at least one that is asked for somewhere.
    pub fn knows(&self, permission: &Permission) -> bool {
        self.permissions.iter().any(|known| permission.covers(known))
    }

    /// What holding `held` amounts to.
    pub fn compile(&self, held: &[Permission]) -> PermissionBits {
        let mut bits = PermissionBits::default();
        for (place, asked) in self.permissions.iter().enumerate() {
            if held.iter().any(|permission| permission.covers(asked))
                && let Some(word) = bits.0.get_mut(place / 64)
            {
                *word |= 1 << (place % 64);
            }
        }
        bits
    }
}

/// What a key holds of a catalogue, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PermissionBits([u64; CATALOGUE_MAX / 64]);

impl PermissionBits {
    /// Whether the numbered permission is held.
    pub fn holds(&self, asked: PermissionNo) -> bool {
        let word = self.0.get(usize::from(asked.0 / 64)).copied().unwrap_or(0);
        word >> (asked.0 % 64) & 1 == 1
    }

    /// Whether everything that `other` holds is held.
    pub fn covers(&self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(own, other)| other & !own == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn permission(text: &str) -> Permission {
        Permission::parse(text).unwrap()
    }

    #[test]
    fn a_parent_covers_its_children_by_whole_segments() {
        let cases = [
            ("contacts:read", "contacts:read", true),
            ("contacts:read", "contacts.emails:read", true),
            ("contacts:read", "contacts.emails.old:read", true),
            ("contacts.emails:read", "contacts:read", false),
            ("contacts:read", "contactsx:read", false),
            ("contacts:read", "contacts-emails:read", false),
            ("contact:read", "contacts:read", false),
            ("contacts:read", "contacts:write", false),
            ("contacts:write", "contacts:read", false),
            ("contacts:*", "contacts.emails:delete", true),
            ("*:read", "contacts.emails:read", true),
            ("*:read", "contacts:write", false),
            ("*:*", "contacts:write", true),
            ("contacts:read", "*:read", false),
            ("contacts:read", "contacts:*", false),
        ];
        for (held, asked, covered) in cases {
            assert_eq!(permission(held).covers(&permission(asked)), covered, "{held} covers {asked}");
        }
    }

    #[test]
    fn a_malformed_permission_is_refused() {
        for bad in [
            "",
            "posts",
            "posts:",
            ":read",
            "POSTS:READ",
            " posts:read",
            "posts:read,posts:write",
            "a..b:read",
            ".a:read",
            "a:b:c",
            "p*:read",
        ] {
            assert!(Permission::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn bits_say_what_covering_says_beyond_one_word() {
        let all: Vec<_> = (0..CATALOGUE_MAX).map(|n| permission(&format!("r{n}:read"))).collect();
        let catalogue = Catalogue::new(all.clone()).unwrap();
        let bits = catalogue.compile(&[permission("r0:read"), permission("r64:*"), permission("r255:read")]);
        let held: Vec<_> =
            all.iter().filter(|p| bits.holds(catalogue.number(p).unwrap())).map(Permission::as_str).collect();
        assert_eq!(held, ["r0:read", "r64:read", "r255:read"]);
        let fewer = catalogue.compile(&[permission("r64:read")]);
        assert!(bits.covers(fewer) && bits.covers(bits) && !fewer.covers(bits));
    }

    #[test]
    fn a_key_may_be_given_only_what_somebody_asks_for() {
        let catalogue = Catalogue::new(vec![permission("contacts.emails:read")]).unwrap();
        assert!(catalogue.knows(&permission("contacts:read")));
        assert!(catalogue.knows(&permission("*:*")));
        assert!(!catalogue.knows(&permission("contacts.phones:read")));
        assert!(!catalogue.knows(&permission("contacts:write")));
    }

    proptest! {
        #[test]
        fn a_parent_covers_every_child_and_no_child_its_parent(parent in "[a-z]{1,4}(\\.[a-z]{1,4}){0,2}", child in "[a-z]{1,4}", action in "[a-z]{1,4}") {
            let over = permission(&format!("{parent}:{action}"));
            let under = permission(&format!("{parent}.{child}:{action}"));
            prop_assert!(over.covers(&under));
            prop_assert!(!under.covers(&over));
            let sibling = permission(&format!("{parent}{child}:{action}"));
            prop_assert!(!over.covers(&sibling));
        }

        #[test]
        fn covering_is_transitive(a in "[ab](\\.[ab]){0,2}", b in "[ab](\\.[ab]){0,2}", c in "[ab](\\.[ab]){0,2}") {
            let [a, b, c] = [a, b, c].map(|resource| permission(&format!("{resource}:read")));
            prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        }
    }
}
