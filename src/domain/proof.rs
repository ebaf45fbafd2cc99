//! The comparison: does this text belong to that key?
//!
//! A [`Proof`] is made only here, by a stored fingerprint, by the digest of an imported key or by the slow hash.
//! It compares the whole text, whatever the key was found by. It names the key, and the secret by its epoch;
//! whether key and secret are still good is read from the live record on every request, never remembered in a
//! proof. A [`ProofCell`] keeps one, so that it comes out for the same text alone.
//!
//! Never here: a cache of proofs, or on which thread a comparison runs.

mod cell;

pub use cell::{IsChanging, ProofCell, TextName};

use super::hash::{Fingerprint, SecretId, SlowHashMemory};
use super::id::KeyId;
use super::key::PresentedKey;
use super::record::{KeyRecord, KeySecret};

/// Proof that a presented text is a key's. It says nothing about what the key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The key's number, without its alignment: a proof lies in a cache line with much else.
    key: [u8; 16],
    epoch: u32,
}

impl Proof {
    const fn of(key: KeyId, epoch: u32) -> Self {
        Self { key: key.as_u128().to_ne_bytes(), epoch }
    }

    /// The key.
    pub const fn key(&self) -> KeyId {
        KeyId::from_u128(u128::from_ne_bytes(self.key))
    }

    /// Which of the key's secrets.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }
}

/// What fingerprints can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// The text is this key.
    Proven(Proof),
    /// It is not.
    Different,
    /// No fingerprint of a known install secret is stored: only the slow hash knows.
    NeedsSlowHash,
}

impl KeyRecord {
    /// Compares a presented text with this key's stored fingerprints, in constant time each. `fingerprint_of`
    /// makes the text's fingerprint under the install secret of that name, where it is still known.
    pub fn prove_by_fingerprint(
        &self,
        presented: &PresentedKey<'_>,
        fingerprint_of: impl Fn(SecretId) -> Option<Fingerprint>,
    ) -> Compared {
        let mut outcome = Compared::Different;
        for secret in self.secrets.iter().filter(|secret| secret.may_be(presented)) {
            let stored = secret.fingerprint.as_ref();
            match stored.and_then(|stored| Some((stored, fingerprint_of(stored.made_by)?))) {
                Some((stored, fingerprint)) if stored.matches(&fingerprint) => {
                    return Compared::Proven(Proof::of(self.id, secret.epoch));
                }
                Some(_) => {}
                None if !secret.hash.is_slow() => {}
                None => outcome = Compared::NeedsSlowHash,
            }
        }
        outcome
    }

    /// Compares a presented text with the digests of this key's imported secrets, in constant time each and at
    /// no cost.
    pub fn prove_by_digest(&self, presented: &PresentedKey<'_>) -> Option<Proof> {
        let secret = self.secrets.iter().filter(|secret| secret.may_be(presented)).find(|secret| {
            let imported = secret.imported.as_ref();
            imported.is_some_and(|imported| secret.hash.matches_digest(presented.text(), &imported.head))
        })?;
        Some(Proof::of(self.id, secret.epoch))
    }

    /// Compares by the slow hash. Costs what the stored hash costs, so only the slow-hash workers may call
    /// it.
    pub fn prove_by_slow_hash(
        &self,
        presented: &PresentedKey<'_>,
        memory: &mut SlowHashMemory,
    ) -> Option<Proof> {
        let mut candidates =
            self.secrets.iter().filter(|secret| secret.hash.is_slow() && secret.may_be(presented));
        let secret = candidates.find(|secret| secret.hash.matches(presented, memory))?;
        Some(Proof::of(self.id, secret.epoch))
    }
}

impl KeySecret {
    /// Whether what is public of this secret is that of the presented text: its prefix, or the head of one that
    /// was made elsewhere.
    fn may_be(&self, presented: &PresentedKey<'_>) -> bool {
        match &self.imported {
            None => presented.prefix() == Some(self.prefix),
            Some(imported) => {
                let fits_hash = self.hash.text_bytes_max().is_none_or(|most| presented.text().len() <= most);
                presented.fits_shape() && fits_hash && presented.text().starts_with(imported.head.as_bytes())
            }
        }
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// A proof that nothing was compared for.
    pub(in crate::domain) const fn proof_of(key: KeyId) -> Proof {
        Proof::of(key, 1)
    }
}
