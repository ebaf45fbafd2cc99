//! What is kept of workspaces and keys: the shapes that the store holds and the admin API edits.
//!
//! A record's `version` grows by one with every change, so that whoever holds two of them knows the newer. A
//! changed record is made from the newest one by a function here; nothing edits a record in place.
//!
//! Never here: raw key text, or how a record is written down.

use std::collections::BTreeMap;

use super::address::AddressRules;
use super::hash::{SecretId, StoredFingerprint, StoredHash};
use super::id::{KeyId, WorkspaceId};
use super::key::Prefix;
use super::legacy::{Handle, ImportedText};
use super::permission::Permission;
use super::rate::{Rate, Rates};
use super::time::Wall;

/// The most characters of a name or brand.
pub const LABEL_CHARS_MAX: usize = 200;
/// The most characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// The most bytes of a key's metadata, as JSON text.
pub const METADATA_BYTES_MAX: usize = 8_192;
/// The most brands of a workspace.
pub const BRANDS_MAX: usize = 100;
/// The most secrets of one key: the newest, and during a rotation the one before.
pub const SECRETS_MAX: usize = 2;
/// The most permissions on one key.
pub const PERMISSIONS_MAX: usize = 256;

/// A name that people gave: 1 to 200 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Label(Box<str>);

impl Label {
    /// Reads a label.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.trim().is_empty()
            && text.chars().count() <= LABEL_CHARS_MAX
            && !text.chars().any(is_unprintable);
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters, and the two separators that some log readers take for a line's end.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The paying account.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkspaceRecord {
    /// Its id.
    pub id: WorkspaceId,
    /// Grows by one with every change.
    pub version: u64,
    /// Its name.
    pub name: Label,
    /// The profile it belongs to, for good.
    pub profile: String,
    /// Its plan, by name.
    pub plan: String,
    /// Where its billing months are counted from.
    pub billing_anchor: Wall,
    /// Brands under the account; every key reaches them all.
    pub brands: Vec<Label>,
    /// Whether its keys work.
    pub status: WorkspaceStatus,
    /// What is set apart from the plan.
    pub overrides: Overrides,
    /// When it was made.
    pub created_at: Wall,
}

/// Whether the keys of a workspace work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkspaceStatus {
    /// They do.
    Active,
    /// None does, until it is active again.
    Suspended,
    /// None does, for good. The record stays, so that what happened can still be seen.
    Deleted,
}

impl WorkspaceStatus {
    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

/// What one workspace has apart from its plan.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Overrides {
    /// The rates of each of its keys.
    pub rate: Option<Rates>,
    /// The rate of all its keys together.
    pub workspace_rate: Option<Rate>,
    /// Monthly limits by the meter's name; the plan's grace applies on top.
    pub meters: BTreeMap<String, u64>,
}

/// A wanted change of a workspace; what is `None` stays.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WorkspacePatch {
    /// A new name.
    pub name: Option<Label>,
    /// Another plan.
    pub plan: Option<String>,
    /// Another anchor.
    pub billing_anchor: Option<Wall>,
    /// Other brands.
    pub brands: Option<Vec<Label>>,
    /// Suspend or activate.
    pub status: Option<WorkspaceStatus>,
    /// Set (`Some`) or clear (`None`) the rates of each key.
    pub rate: Option<Option<Rates>>,
    /// Set or clear the rate of all keys together.
    pub workspace_rate: Option<Option<Rate>>,
    /// Set or clear limits, by the meter's name.
    pub meters: BTreeMap<String, Option<u64>>,
}

impl WorkspaceRecord {
    /// The record after `patch`; one that is deleted stays as it is.
    #[must_use]
    pub fn patched(mut self, patch: WorkspacePatch) -> Self {
        if self.status == WorkspaceStatus::Deleted {
            return self;
        }
        self.version += 1;
        self.name = patch.name.unwrap_or(self.name);
        self.plan = patch.plan.unwrap_or(self.plan);
        self.billing_anchor = patch.billing_anchor.unwrap_or(self.billing_anchor);
        self.brands = patch.brands.unwrap_or(self.brands);
        self.status = patch.status.unwrap_or(self.status);
        self.overrides.rate = patch.rate.unwrap_or(self.overrides.rate);
        self.overrides.workspace_rate = patch.workspace_rate.unwrap_or(self.overrides.workspace_rate);
        for (meter, limit) in patch.meters {
            match limit {
                Some(limit) => self.overrides.meters.insert(meter, limit),
                None => self.overrides.meters.remove(&meter),
            };
        }
        self
    }

    /// The record after being deleted, for good; one that was deleted before stays as it was.
    #[must_use]
    pub fn deleted(mut self) -> Self {
        if self.status != WorkspaceStatus::Deleted {
            self.version += 1;
            self.status = WorkspaceStatus::Deleted;
        }
        self
    }
}

/// One key.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyRecord {
    /// Its id, through every rotation.
    pub id: KeyId,
    /// Grows by one with every change.
    pub version: u64,
    /// The workspace it is bound to.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: Option<Label>,
    /// What it is for.
    pub description: Option<String>,
    /// What it may do; empty is nothing.
    pub permissions: Vec<Permission>,
    /// Its secrets: one, or two while a rotation overlaps.
    pub secrets: Vec<KeySecret>,
    /// When it was made.
    pub created_at: Wall,
    /// From this moment on it is refused.
    pub expires_at: Option<Wall>,
    /// When it was revoked, for good.
    pub revoked_at: Option<Wall>,
    /// From where it may be used; `None` is anywhere.
    pub addresses: Option<AddressRules>,
    /// Its own rates, over workspace, plan and profile.
    pub rate: Option<Rates>,
    /// A JSON object of the user's own, as text.
    pub metadata: Option<String>,
    /// Whether every request must be signed.
    pub require_signature: bool,
    /// How often one signature is taken inside its window.
    pub signature_replay: SignatureReplay,
}

/// How often one signature is taken inside its window of time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SignatureReplay {
    /// Once. Two equal requests of one second collide where a signature has no nonce.
    #[default]
    Once,
    /// As often as it comes: whoever sees a signed request can repeat it until the window ends.
    Window,
}

/// One secret of a key.
#[derive(Clone, PartialEq, Debug)]
pub struct KeySecret {
    /// Its public prefix.
    pub prefix: Prefix,
    /// Tells it from the key's other secrets, past and future.
    pub epoch: u32,
    /// Its slow hash.
    pub hash: StoredHash,
    /// Its fingerprint, when one may be stored.
    pub fingerprint: Option<StoredFingerprint>,
    /// How its text is found and kept, of a secret that was made elsewhere. Its prefix is ours all the same, and
    /// stands in no presented text.
    pub imported: Option<ImportedText>,
    /// When it was made.
    pub created_at: Wall,
    /// From this moment on it is refused (an overlap's end).
    pub ends_at: Option<Wall>,
}

impl KeySecret {
    /// Whether a fingerprint of it may stand in the file: of a text that may be guessed, it would be a fast hash
    /// to try guesses on for whoever has the file and the install secret.
    pub fn may_store_fingerprint(&self) -> bool {
        self.imported.as_ref().is_none_or(|imported| imported.is_random)
    }

    /// By what a presented text finds this secret, if it was made elsewhere; one of our own is found by its
    /// prefix and has none.
    pub fn handles(&self) -> Vec<Handle> {
        let Some(imported) = &self.imported else { return Vec::new() };
        let by_hash = match self.hash.digest() {
            Some(digest) => Handle::Digest(*digest),
            None => Handle::Head { profile: imported.profile.clone(), text: imported.head.clone() },
        };
        let by_print = self.fingerprint.as_ref().map(|stored| Handle::Fingerprint(stored.fingerprint));
        std::iter::once(by_hash).chain(by_print).collect()
    }
}

/// A wanted change of a key; what is `None` stays, an inner `None` clears.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct KeyPatch {
    /// Its name.
    pub name: Option<Option<Label>>,
    /// Its description.
    pub description: Option<Option<String>>,
    /// Its permissions, all of them.
    pub permissions: Option<Vec<Permission>>,
    /// Its expiry.
    pub expires_at: Option<Option<Wall>>,
    /// Its address rules.
    pub addresses: Option<Option<AddressRules>>,
    /// Its rates.
    pub rate: Option<Option<Rates>>,
    /// Its metadata.
    pub metadata: Option<Option<String>>,
    /// Whether it must sign.
    pub require_signature: Option<bool>,
    /// How often one signature is taken.
    pub signature_replay: Option<SignatureReplay>,
}

impl KeyRecord {
    /// The record after `patch`.
    #[must_use]
    pub fn patched(mut self, patch: KeyPatch) -> Self {
        self.version += 1;
        self.name = patch.name.unwrap_or(self.name);
        self.description = patch.description.unwrap_or(self.description);
        self.permissions = patch.permissions.unwrap_or(self.permissions);
        self.expires_at = patch.expires_at.unwrap_or(self.expires_at);
        self.addresses = patch.addresses.unwrap_or(self.addresses);
        self.rate = patch.rate.unwrap_or(self.rate);
        self.metadata = patch.metadata.unwrap_or(self.metadata);
        self.require_signature = patch.require_signature.unwrap_or(self.require_signature);
        self.signature_replay = patch.signature_replay.unwrap_or(self.signature_replay);
        self
    }

    /// The record after being revoked at `at`; one that was revoked before stays as it was.
    #[must_use]
    pub fn revoked(mut self, at: Wall) -> Self {
        if self.revoked_at.is_none() {
            self.version += 1;
            self.revoked_at = Some(at);
        }
        self
    }

    /// The record with the fingerprint of one of its secrets; unchanged when that secret is gone, has this very
    /// one or may have none.
    #[must_use]
    pub fn with_fingerprint(mut self, epoch: u32, stored: StoredFingerprint) -> Self {
        let secret = self.secrets.iter_mut().find(|secret| secret.epoch == epoch);
        let secret = secret.filter(|secret| secret.may_store_fingerprint());
        if let Some(secret) = secret.filter(|secret| secret.fingerprint.as_ref() != Some(&stored)) {
            secret.fingerprint = Some(stored);
            self.version += 1;
        }
        self
    }

    /// The record without any fingerprint; unchanged when there is none.
    #[must_use]
    pub fn without_fingerprints(mut self) -> Self {
        let mut had_one = false;
        for secret in &mut self.secrets {
            had_one |= secret.fingerprint.take().is_some();
        }
        self.version += u64::from(had_one);
        self
    }

    /// Whether the fingerprint of one of its secrets is stored as this install secret makes it.
    pub fn has_fingerprint_by(&self, epoch: u32, made_by: SecretId) -> bool {
        let stored = self.secrets.iter().find(|secret| secret.epoch == epoch);
        stored.and_then(|secret| secret.fingerprint.as_ref()).is_some_and(|stored| stored.made_by == made_by)
    }

    /// The record with another hash of the same text for one of its secrets; unchanged when that secret is gone
    /// or has this very one.
    #[must_use]
    pub fn with_hash(mut self, epoch: u32, hash: StoredHash) -> Self {
        let secret = self.secrets.iter_mut().find(|secret| secret.epoch == epoch);
        if let Some(secret) = secret.filter(|secret| secret.hash != hash) {
            secret.hash = hash;
            self.version += 1;
        }
        self
    }

    /// The prefix to show: the newest secret's.
    pub fn prefix(&self) -> Option<Prefix> {
        self.secrets.last().map(|secret| secret.prefix)
    }

    /// Whether the key is active, expired or revoked at `now`.
    pub fn status(&self, now: Wall) -> KeyStatus {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => KeyStatus::Revoked,
            (None, Some(end)) if now >= end => KeyStatus::Expired,
            _ => KeyStatus::Active,
        }
    }
}

/// What a list shows of a key's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyStatus {
    /// It works.
    Active,
    /// It has passed its expiry.
    Expired,
    /// It was revoked.
    Revoked,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_no_control_characters_and_is_not_blank() {
        assert!(Label::parse("Müller & Söhne 🚀").is_some());
        for bad in ["", "   ", "a\nb", "a\u{1b}[31m", "a\u{2028}b", &"x".repeat(LABEL_CHARS_MAX + 1)] {
            assert!(Label::parse(bad).is_none(), "{bad:?}");
        }
    }
}
