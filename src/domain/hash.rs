//! The two ways in which a key's text is remembered: the fingerprint and the stored hash.
//!
//! A [`Fingerprint`] is keyed BLAKE3 of the whole text, under a key derived from the install secret; without
//! that secret it tells nothing. A [`StoredHash`] is argon2id for keys of our own making and may be another
//! kind for imported ones; its cost lies inside stated bounds, checked when it is read and never by running
//! it. Both compare in constant time and neither shows itself in debug output.
//!
//! Never here: where the install secret lives, or on which thread the slow hash runs.

mod argon2id;
mod bcrypt;
mod cost;
mod scrypt;
mod sha256;
mod stored_hash;

use std::fmt;
use std::hash::{Hash, Hasher};

use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use super::key::PresentedKey;

pub use cost::{SlowHashCost, SlowHashMemory};
pub use sha256::{read_sha256, sha256};
pub use stored_hash::{HashKind, HashRefused, StoredHash};

/// Bytes of the install secret.
pub const INSTALL_SECRET_LEN: usize = 32;
/// Bytes of salt in a hash of our own making.
pub const SALT_LEN: usize = 16;

const FINGERPRINT_CONTEXT: &str = "keyward 2026-11-22 fingerprint of a key text";
const SECRET_ID_CONTEXT: &str = "keyward 2026-11-22 name of an install secret";

/// Names an install secret without telling it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SecretId([u8; 8]);

impl SecretId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Makes fingerprints. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct Fingerprinter {
    key: [u8; 32],
    #[zeroize(skip)]
    made_by: SecretId,
}

impl Fingerprinter {
    /// The fingerprinter of an install secret.
    pub fn new(install_secret: &[u8; INSTALL_SECRET_LEN]) -> Self {
        let mut made_by = [0; 8];
        blake3::Hasher::new_derive_key(SECRET_ID_CONTEXT)
            .update(install_secret)
            .finalize_xof()
            .fill(&mut made_by);
        Self { key: blake3::derive_key(FINGERPRINT_CONTEXT, install_secret), made_by: SecretId(made_by) }
    }

    /// The fingerprint of a whole key text, tag and check included.
    pub fn fingerprint(&self, presented: &PresentedKey<'_>) -> Fingerprint {
        self.fingerprint_unread(presented.text())
    }

    /// The same of a text that nobody has read yet, to see whether it is one that is known.
    pub fn fingerprint_unread(&self, text: &[u8]) -> Fingerprint {
        Fingerprint(*blake3::keyed_hash(&self.key, text).as_bytes())
    }

    /// Which install secret made it.
    pub const fn made_by(&self) -> SecretId {
        self.made_by
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter")
    }
}

/// Keyed BLAKE3 of a whole key text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A fingerprint is uniform to whoever does not know the install secret, so its first eight bytes are as good
/// a hash as any.
impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        state.write_u64(u64::from_le_bytes(first));
    }
}

impl Fingerprint {
    /// The fingerprint with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// A fingerprint as it stands in the store, with the name of the install secret that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredFingerprint {
    /// The install secret it was made under.
    pub made_by: SecretId,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
}

impl StoredFingerprint {
    /// Whether both are of one text, in constant time. Meaningful only under one install secret.
    pub(super) fn matches(&self, presented: &Fingerprint) -> bool {
        self.fingerprint.0.ct_eq(&presented.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};

    fn key(byte: u8) -> RawKey {
        RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[byte; MINT_RANDOM_BYTES]).unwrap()
    }

    #[test]
    fn fingerprints_differ_by_text_and_by_install_secret() {
        let (one, other) = (Fingerprinter::new(&[1; 32]), Fingerprinter::new(&[2; 32]));
        let fingerprint = one.fingerprint(&key(1).as_presented());
        assert!(fingerprint == one.fingerprint(&key(1).as_presented()));
        assert!(fingerprint != one.fingerprint(&key(2).as_presented()));
        assert!(fingerprint != other.fingerprint(&key(1).as_presented()));
        assert_ne!(one.made_by(), other.made_by());
        assert_eq!(format!("{one:?} {fingerprint:?}"), "Fingerprinter Fingerprint");
    }
}
