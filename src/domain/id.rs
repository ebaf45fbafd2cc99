//! Ids of keys, workspaces and audit subjects: UUID version 7 (RFC 9562), shown as a word and 26 letters of
//! Crockford's base 32 in lower case, as the `TypeID` specification writes them.
//!
//! An id is public: it shows when it was made and proves nothing.
//!
//! Never here: a clock or randomness; both come in as arguments.

use std::fmt;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Letters behind the word: 26 × 5 bits hold 128.
const LETTERS: usize = 26;
/// The longest word with its `_`, and the letters.
const SHOWN_BYTES_MAX: usize = 4 + LETTERS;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The id with this number.
            pub const fn from_u128(number: u128) -> Self {
                Self(number)
            }

            /// The id's number; ids made later have greater ones.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// A new id, from the wall's milliseconds and ten random bytes.
            pub fn new(unix_millis: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid().as_u128())
            }

            /// Reads the shown form; only the canonical spelling.
            pub fn parse(text: &str) -> Option<Self> {
                parse(text.strip_prefix(concat!($word, "_"))?).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(concat!($word, "_"), self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// Names a key for its whole life, through every rotation.
    KeyId,
    "key"
);
id!(
    /// Names a workspace, the paying account.
    WorkspaceId,
    "ws"
);

impl WorkspaceId {
    /// The workspace that the admin keys belong to: the same number in every installation, and one that no
    /// clock gives.
    pub const SYSTEM: Self = Self(1);
}

fn show(word: &str, number: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Written as one piece, since every verify call is told two.
    let (mut shown, mut left) = ([b'0'; SHOWN_BYTES_MAX], number);
    let end = word.len() + LETTERS;
    let (shown_word, letters) =
        shown.get_mut(..end).and_then(|text| text.split_at_mut_checked(word.len())).ok_or(fmt::Error)?;
    shown_word.copy_from_slice(word.as_bytes());
    for letter in letters.iter_mut().rev() {
        let five = usize::try_from(left & 31).unwrap_or(0);
        *letter = ALPHABET.get(five).copied().unwrap_or(b'0');
        left >>= 5;
    }
    // All of it is ASCII.
    f.write_str(shown.get(..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default())
}

fn parse(letters: &str) -> Option<u128> {
    // 26 letters hold 130 bits: the first may not use its two highest.
    if letters.len() != LETTERS || letters.as_bytes().first()? > &b'7' {
        return None;
    }
    letters.bytes().try_fold(0u128, |number, letter| {
        let five = ALPHABET.iter().position(|known| *known == letter)?;
        Some((number << 5) | u128::try_from(five).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_shown_as_the_typeid_specification_shows_it() {
        // Vector "valid-uuidv7" of the TypeID specification, version 0.3.
        let number = 0x0188_bac7_4afa_78aa_bc3b_bd1e_ef28_d881;
        assert_eq!(KeyId::from_u128(number).to_string(), "key_01h2xcejqtf2nbrexx3vqjhp41");
    }

    #[test]
    fn an_id_that_overflows_or_has_strange_letters_is_none() {
        for bad in [
            "key_81h2xcejqtf2nbrexx3vqjhp41",
            "key_01H2XCEJQTF2NBREXX3VQJHP41",
            "key_",
            "ws_01h2xcejqtf2nbrexx3vqjhp41",
            "key_01h2xcejqtf2nbrexx3vqjhp4",
        ] {
            assert!(KeyId::parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parse_gives_back_what_was_shown(number: u128) {
            let id = WorkspaceId::from_u128(number);
            prop_assert_eq!(WorkspaceId::parse(&id.to_string()), Some(id));
        }
    }
}
