//! From a credential to a proof: the cache, the file's fingerprints and digests, the slow hash, in this order.
//!
//! A text that is known by its fingerprint is one that was read before, to the last character, and needs no reading.
//! One that is neither of our own form nor of a legacy shape is looked up nowhere, and one that is known to be no
//! key (known) not in the file, so a wrong secret costs the same as an unknown prefix. Given a well-formed
//! credential every failed proof is the same answer, whatever was found on the way. All that the slow hash must
//! compare with one text is one job. Failures never enter the cache, and a proof opens the doors of its own
//! profile alone.
//!
//! Never here: a verdict; what the proven key may do is read from its live record (verify).

use std::net::IpAddr;
use std::sync::Arc;

use super::live::{CachedProof, LiveKey};
use super::loading::Loaded;
use super::slow_hash::{Flown, FoundBy};
use super::soft_delay::AskedBy;
use super::{Engine, credential_fault};
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::domain::hash::SecretId;
use crate::domain::key::{BODY_LEN, PresentedKey};
use crate::domain::legacy::{Handle, LegacyShape, handles_of};
use crate::domain::profile::Profile;
use crate::domain::proof::Compared;
use crate::domain::record::{KeyRecord, KeySecret};
use crate::store::Snapshot;

/// What is known of a text without a wait.
pub(super) enum AtOnce<'a> {
    /// It is this key.
    Proven(CachedProof),
    /// It may be one; only the file can tell.
    Unsure(PresentedKey<'a>),
}

impl Engine {
    /// The key that a credential is, as far as that is known without a wait.
    #[inline]
    pub(super) fn prove_at_once<'a>(
        &self,
        credential: &Result<&'a [u8], Denial>,
        profile: &Arc<Profile>,
    ) -> Result<AtOnce<'a>, Refusal> {
        let text = *credential.as_ref().map_err(Clone::clone)?;
        match self.proven_before(text, profile) {
            Some(known) => Ok(AtOnce::Proven(known)),
            None => self.read_anew(text, profile),
        }
    }

    #[inline]
    fn proven_before(&self, text: &[u8], profile: &Arc<Profile>) -> Option<CachedProof> {
        // What does not even look like one of our own is read first, which costs less than a fingerprint.
        let body = text.strip_prefix(profile.tag.as_str().as_bytes())?;
        if body.len() != BODY_LEN {
            return None;
        }
        let fingerprint = self.keyring.load().fingerprint_unread(text);
        self.proofs.find(&fingerprint).filter(|known| opens(known, profile))
    }

    /// Reads a text that is not known to be a key, as far as its own form tells.
    fn read_anew<'a>(&self, text: &'a [u8], profile: &Arc<Profile>) -> Result<AtOnce<'a>, Refusal> {
        let presented = PresentedKey::parse(&profile.tag, text)
            .or_else(|| PresentedKey::legacy(text, &self.legacy.shapes_of(&profile.name)))
            .ok_or(Denial::Malformed)?;
        let keyring = self.keyring.load();
        let made = keyring.stored(keyring.fingerprint(&presented));
        drop(keyring);
        if let Some(known) = self.proofs.find(&made.fingerprint).filter(|known| opens(known, profile)) {
            return Ok(AtOnce::Proven(known));
        }
        let shapes = self.legacy.shapes_of(&profile.name);
        let presented = presented.or_legacy(&shapes);
        if !self.may_be_key(profile, &presented, &shapes, &made) {
            return Err(Denial::Unknown.into());
        }
        Ok(AtOnce::Unsure(presented))
    }

    /// Finds the key that a credential is: from the cache, or by comparison.
    pub(super) async fn prove(
        &self,
        credential: &Result<&[u8], Denial>,
        profile: &Arc<Profile>,
        address: Option<IpAddr>,
    ) -> Result<CachedProof, Refusal> {
        match self.prove_at_once(credential, profile)? {
            AtOnce::Proven(known) => Ok(known),
            // Boxed, since it is rare and large: what most requests carry stays small.
            AtOnce::Unsure(presented) => Box::pin(self.prove_late(presented, profile, address)).await,
        }
    }

    /// The same of what only the file can tell.
    pub(super) async fn prove_late(
        &self,
        presented: PresentedKey<'_>,
        profile: &Arc<Profile>,
        address: Option<IpAddr>,
    ) -> Result<CachedProof, Refusal> {
        let shapes = self.legacy.shapes_of(&profile.name);
        self.prove_from_file(profile, &presented, &shapes, AskedBy::Caller(address)).await
    }

    /// Compares with what the file has, and remembers the proof.
    pub(super) async fn prove_from_file(
        &self,
        profile: &Arc<Profile>,
        presented: &PresentedKey<'_>,
        shapes: &[LegacyShape],
        asked_by: AskedBy,
    ) -> Result<CachedProof, Refusal> {
        // One keyring from here on, and the fingerprint by it: the install secret may be replaced meanwhile.
        let keyring = Arc::clone(&self.keyring.load());
        let fingerprint = keyring.fingerprint(presented);
        let handles = handles_of(presented.text(), &profile.name, shapes, fingerprint);
        let mut unsure = Vec::new();
        for loaded in self.candidates(profile, presented, &handles).await? {
            let record = &loaded.record;
            let fingerprint_of = |maker| keyring.fingerprint_by(maker, presented, fingerprint);
            let is_known = |maker| keyring.names().any(|name| name == maker);
            let with_known = self.legacy.with_fingerprints_in_memory(record, is_known);
            let compared =
                with_known.as_ref().unwrap_or(record).prove_by_fingerprint(presented, fingerprint_of);
            let proof = match compared {
                Compared::Proven(proof) => Some(proof),
                Compared::Different | Compared::NeedsSlowHash => record.prove_by_digest(presented),
            };
            if let Some(proof) = proof {
                let is_by_fingerprint = matches!(compared, Compared::Proven(_));
                let is_news = is_by_fingerprint && is_news(record, proof.epoch(), keyring.made_by());
                let slot = self.place_or_load(loaded).await.map_err(|error| credential_fault(&error))?;
                let proven = CachedProof { proof, key: of_profile(slot, profile)?.into() };
                self.proofs.insert(&fingerprint, &proven);
                if is_news {
                    self.learn(&proven, keyring.stored(fingerprint));
                }
                return Ok(proven);
            }
            if compared == Compared::NeedsSlowHash {
                unsure.push(loaded.record);
            }
        }
        let Some(found_by) = found_by(presented, &unsure) else { return Err(Denial::Unknown.into()) };
        let known = || self.proofs.find(&fingerprint).filter(|known| opens(known, profile));
        let candidates = unsure.clone();
        match self
            .prove_slowly(asked_by, found_by, fingerprint, presented.to_raw(), candidates, known)
            .await?
        {
            Flown::Known(proven) => Ok(proven),
            Flown::Refuted => Err(Denial::Unknown.into()),
            Flown::Proven(proof, landing) => {
                let record =
                    unsure.iter().find(|record| record.id == proof.key()).ok_or(Fault::Credential)?;
                // Read again: what was read before the wait may be old.
                let slot = self.fill_key(record).await.map_err(|error| credential_fault(&error))?;
                let proven = CachedProof { proof, key: of_profile(slot, profile)?.into() };
                self.proofs.insert(&fingerprint, &proven);
                if landing.is_first_home() {
                    self.remember(record, &proven, presented, keyring.stored(fingerprint));
                }
                Ok(proven)
            }
        }
    }

    /// The keys that a text may be: those of its prefix, and those that were made elsewhere and whose handles it
    /// has. One read with all that their slots need, whatever it finds.
    async fn candidates(
        &self,
        profile: &Profile,
        presented: &PresentedKey<'_>,
        handles: &[Handle],
    ) -> Result<Vec<Loaded>, Refusal> {
        let loader = self.loader();
        let read = |file: &Snapshot| {
            let mut found =
                presented.prefix().map_or(Ok(Vec::new()), |prefix| file.keys_by_prefix(prefix))?;
            for record in file.keys_by_handles(handles)? {
                if !found.iter().any(|known| known.id == record.id) && is_taken_at(&record, &profile.name) {
                    found.push(record);
                }
            }
            found.into_iter().map(|record| loader.load(file, record)).collect()
        };
        let read = self.look_up(read).await;
        Ok(read.map_err(|error| credential_fault(&error))?)
    }
}

/// A slot that was just filled, provided that it belongs to `profile`.
fn of_profile(slot: Option<Arc<LiveKey>>, profile: &Arc<Profile>) -> Result<Arc<LiveKey>, Denial> {
    slot.filter(|slot| Arc::ptr_eq(&slot.workspace.profile, profile)).ok_or(Denial::Unknown)
}

/// Whether the fingerprint of a secret is to be stored that was just proven by the one of a retired install secret.
fn is_news(record: &KeyRecord, epoch: u32, made_by: SecretId) -> bool {
    let secret = record.secrets.iter().find(|secret| secret.epoch == epoch);
    secret.is_some_and(KeySecret::may_store_fingerprint) && !record.has_fingerprint_by(epoch, made_by)
}

/// What leads to the keys that only the slow hash can tell from a text; none when there are none. A text that may
/// be another system's stands in its lane.
fn found_by(presented: &PresentedKey<'_>, unsure: &[KeyRecord]) -> Option<FoundBy> {
    let secrets = || unsure.iter().flat_map(|record| &record.secrets);
    let mut heads = secrets().filter_map(|secret| secret.imported.as_ref()).map(|imported| &imported.head);
    let head = heads.find(|head| presented.fits_shape() && presented.text().starts_with(head.as_bytes()));
    let prefix = || presented.prefix().filter(|_| !unsure.is_empty());
    head.cloned().map(FoundBy::Head).or_else(|| prefix().map(FoundBy::Prefix))
}

/// Whether a key has a text that was made elsewhere and is taken at the doors of this profile. A digest leads to
/// the keys of all.
fn is_taken_at(record: &KeyRecord, profile: &str) -> bool {
    let mut imported = record.secrets.iter().filter_map(|secret| secret.imported.as_ref());
    imported.any(|imported| *imported.profile == *profile)
}

/// Whether a proof that was remembered at the doors of any profile is of a key of `profile`: one text may be a key
/// in two.
fn opens(known: &CachedProof, profile: &Arc<Profile>) -> bool {
    Arc::ptr_eq(&known.key.workspace.profile, profile)
}
