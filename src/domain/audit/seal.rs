//! What the audit log's chain is made of: each row's hash stands for the row and for all rows before it, and
//! each hash is sealed under a key that is derived from the install secret.
//!
//! The hash needs no key, so whoever kept the newest one elsewhere can tell later, with the file alone, whether
//! the rows before it are what they were. The seal is what an intruder cannot make who has the file and not
//! the install secret. Since the hash counts every row in, a seal also vouches for the rows before it that
//! were sealed under another install secret, or are older than seals.
//!
//! Never here: what a row says, or which install secrets there are.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use crate::domain::hash::{Fingerprinter, INSTALL_SECRET_LEN, SecretId};

const SEAL_CONTEXT: &str = "keyward 2026-11-22 audit chain";
const HASH_CONTEXT: &str = "keyward 2026-11-22 hash of an audit row";

/// Stands where an install secret's name would, in rows that were written before there were seals.
pub const UNSEALED: SecretId = SecretId::from_bytes([0; 8]);

/// Stands for an audit row and for all rows before it. No secret: it is shown, and kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditHash([u8; 32]);

impl AuditHash {
    /// What the first row counts in.
    pub const START: Self = Self([0; 32]);

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of a row behind `before`. `made_by` names the install secret that seals it.
    #[must_use]
    pub fn next(&self, seq: u64, made_by: SecretId, record: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        hasher.update(&self.0).update(&seq.to_be_bytes()).update(made_by.as_bytes()).update(record);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditHash({self})")
    }
}

/// The newest row of an audit log. Kept elsewhere, it is an anchor: a log that was cut behind it is found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditHead {
    /// The row's number.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
}

impl AuditHead {
    /// Reads `SEQ:HEX`: a row's number from 1, and its hash as 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes).ok()?;
        Some(Self { seq, hash: AuditHash(bytes) })
    }
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// What only the holder of an install secret can make of a hash.
#[derive(Clone, Copy)]
pub struct AuditSeal([u8; 32]);

impl AuditSeal {
    /// In the place of a seal, in rows that were written before there were any.
    pub const NONE: Self = Self([0; 32]);

    /// The seal with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AuditSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditSeal")
    }
}

/// Seals audit rows under one install secret. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct AuditSealer {
    key: [u8; 32],
    #[zeroize(skip)]
    made_by: SecretId,
}

impl AuditSealer {
    /// The sealer of an install secret.
    pub fn new(install_secret: &[u8; INSTALL_SECRET_LEN]) -> Self {
        let made_by = Fingerprinter::new(install_secret).made_by();
        Self { key: blake3::derive_key(SEAL_CONTEXT, install_secret), made_by }
    }

    /// Which install secret it seals under.
    pub const fn made_by(&self) -> SecretId {
        self.made_by
    }

    /// Seals a hash.
    pub fn seal(&self, hash: &AuditHash) -> AuditSeal {
        AuditSeal(*blake3::keyed_hash(&self.key, hash.as_bytes()).as_bytes())
    }

    /// Whether this install secret sealed that hash, in constant time.
    pub fn made(&self, seal: &AuditSeal, hash: &AuditHash) -> bool {
        self.seal(hash).0.ct_eq(&seal.0).into()
    }
}

impl fmt::Debug for AuditSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditSealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_all_that_goes_into_it() {
        let hash = AuditHash::START.next(1, UNSEALED, b"row");
        assert_eq!(hash, AuditHash::START.next(1, UNSEALED, b"row"));
        let others = [
            hash.next(1, UNSEALED, b"row"),
            AuditHash::START.next(2, UNSEALED, b"row"),
            AuditHash::START.next(1, SecretId::from_bytes([1; 8]), b"row"),
            AuditHash::START.next(1, UNSEALED, b"raw"),
        ];
        assert!(others.iter().all(|other| *other != hash));
    }

    #[test]
    fn a_seal_is_of_one_hash_and_one_install_secret_and_neither_shows() {
        let (one, other) = (AuditSealer::new(&[1; 32]), AuditSealer::new(&[2; 32]));
        let hash = AuditHash::START.next(1, one.made_by(), b"row");
        let seal = one.seal(&hash);
        assert!(one.made(&seal, &hash));
        assert!(!one.made(&seal, &AuditHash::START));
        assert!(!other.made(&seal, &hash) && other.made_by() != one.made_by());
        assert_eq!(one.made_by(), Fingerprinter::new(&[1; 32]).made_by());
        assert_eq!(format!("{one:?} {seal:?}"), "AuditSealer AuditSeal");
    }

    #[test]
    fn an_anchor_is_a_number_and_a_hash() {
        let head = AuditHead { seq: 7, hash: AuditHash([0xAB; 32]) };
        assert_eq!(AuditHead::parse(&head.to_string()), Some(head));
        let hash = "ab".repeat(32);
        assert!(AuditHead::parse(&format!("7:{hash}")).is_some());
        for bad in ["", "7", "7:", &hash, &format!(":{hash}"), &format!("0:{hash}"), &format!("-1:{hash}")] {
            assert_eq!(AuditHead::parse(bad), None, "{bad}");
        }
        assert_eq!(AuditHead::parse(&format!("7:{hash}0")), None);
        assert_eq!(AuditHead::parse(&format!("7:{}", "xy".repeat(32))), None);
    }
}
