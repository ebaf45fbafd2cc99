//! What fingerprints are made with: the current install secret's sub-key, and those of the retired ones.
//!
//! The proof cache is keyed by current fingerprints alone. One of a retired secret is made only to compare it
//! with a stored one that the same secret made.
//!
//! Never here: a secret itself, or the file it stands in.

use crate::domain::hash::{Fingerprint, Fingerprinter, SecretId, StoredFingerprint};
use crate::domain::key::PresentedKey;

/// The sub-keys of the install secrets that are known.
#[derive(Debug)]
pub(super) struct Keyring {
    current: Fingerprinter,
    retired: Vec<Fingerprinter>,
}

impl Keyring {
    pub(super) const fn new(current: Fingerprinter, retired: Vec<Fingerprinter>) -> Self {
        Self { current, retired }
    }

    /// The fingerprint under the current secret.
    pub(super) fn fingerprint(&self, presented: &PresentedKey<'_>) -> Fingerprint {
        self.current.fingerprint(presented)
    }

    /// The same of a text that nobody has read yet.
    pub(super) fn fingerprint_unread(&self, text: &[u8]) -> Fingerprint {
        self.current.fingerprint_unread(text)
    }

    /// The same as it is stored, with its maker's name.
    pub(super) fn stored(&self, fingerprint: Fingerprint) -> StoredFingerprint {
        StoredFingerprint { made_by: self.made_by(), fingerprint }
    }

    /// The current secret's name.
    pub(super) const fn made_by(&self) -> SecretId {
        self.current.made_by()
    }

    /// The fingerprint under the secret of this name, given the current one's; `None` when no such secret is
    /// known.
    pub(super) fn fingerprint_by(
        &self,
        maker: SecretId,
        presented: &PresentedKey<'_>,
        current: Fingerprint,
    ) -> Option<Fingerprint> {
        if maker == self.made_by() {
            return Some(current);
        }
        let retired = self.retired.iter().find(|retired| retired.made_by() == maker)?;
        Some(retired.fingerprint(presented))
    }

    /// The fingerprints under all secrets, given the current one's, which comes first.
    pub(super) fn fingerprints(
        &self,
        presented: &PresentedKey<'_>,
        current: Fingerprint,
    ) -> impl Iterator<Item = Fingerprint> {
        let retired = self.retired.iter().map(|retired| retired.fingerprint(presented));
        std::iter::once(current).chain(retired)
    }

    /// The names of all secrets, the current one's first.
    pub(super) fn names(&self) -> impl Iterator<Item = SecretId> + '_ {
        std::iter::once(&self.current).chain(&self.retired).map(Fingerprinter::made_by)
    }
}
