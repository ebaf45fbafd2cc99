//! From a credential to a proof: the cache, the file's fingerprints, the slow hash, in this order.
//!
//! Given a well-formed credential every failed proof is the same answer. Failures never enter the cache.
//!
//! Never here: a verdict; what the proven key may do is read from its live record (verify).

use std::net::IpAddr;
use std::sync::Arc;

use super::live::{CachedProof, LiveKey};
use super::slow_hash::{Flown, FoundBy};
use super::{Engine, credential_fault};
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::domain::key::PresentedKey;
use crate::domain::profile::Profile;
use crate::domain::proof::Compared;
use crate::domain::record::KeyRecord;

impl Engine {
    /// Finds the key that a credential is: from the cache, or by comparison.
    pub(super) async fn prove(
        &self,
        credential: &Result<&[u8], Denial>,
        profile: &Arc<Profile>,
        address: Option<IpAddr>,
    ) -> Result<CachedProof, Refusal> {
        let text = credential.as_ref().map_err(Clone::clone)?;
        let presented = PresentedKey::parse(&profile.tag, text).ok_or(Denial::Malformed)?;
        let print = self.keyring.load().fingerprint(&presented);
        if let Some(known) = self.proofs.find(&print) {
            return Ok(known);
        }
        self.prove_from_file(profile, &presented, address).await
    }

    /// Compares with what the file has, and remembers the proof.
    async fn prove_from_file(
        &self,
        profile: &Arc<Profile>,
        presented: &PresentedKey<'_>,
        address: Option<IpAddr>,
    ) -> Result<CachedProof, Refusal> {
        // One keyring from here on, and the fingerprint by it: the install secret may be replaced meanwhile.
        let keyring = self.keyring.load_full();
        let print = keyring.fingerprint(presented);
        let prefix = presented.prefix();
        let read = self.read(move |store| store.keys_by_prefix(prefix)).await;
        let candidates = read.map_err(|error| credential_fault(&error))?;
        let mut unsure = Vec::new();
        for record in candidates {
            let print_of = |maker| keyring.fingerprint_by(maker, presented, print);
            match record.prove_by_fingerprint(presented, print_of) {
                Compared::Proven(proof) => {
                    let proven = CachedProof { proof, key: self.slot_of(&record, profile).await? };
                    self.proofs.insert(print, proven.clone());
                    if !record.has_fingerprint_by(proof.epoch(), keyring.made_by()) {
                        self.learn(&proven, keyring.stored(print));
                    }
                    return Ok(proven);
                }
                Compared::Different => {}
                Compared::NeedsSlowHash => unsure.push(record),
            }
        }
        if unsure.is_empty() {
            return Err(Denial::Unknown.into());
        }
        let (candidates, known) = (unsure.clone(), || self.proofs.peek(&print));
        let found_by = FoundBy::Prefix(prefix);
        match self.prove_slowly(address, found_by, print, presented.to_raw(), candidates, known).await? {
            Flown::Known(proven) => Ok(proven),
            Flown::Refuted => Err(Denial::Unknown.into()),
            Flown::Proven(proof, landing) => {
                let record =
                    unsure.iter().find(|record| record.id == proof.key()).ok_or(Fault::Credential)?;
                let proven = CachedProof { proof, key: self.slot_of(record, profile).await? };
                self.proofs.insert(print, proven.clone());
                if landing.is_first_home() {
                    self.learn(&proven, keyring.stored(print));
                }
                Ok(proven)
            }
        }
    }

    /// The slot of a key that was just read, provided that it belongs to `profile`.
    async fn slot_of(&self, record: &KeyRecord, profile: &Arc<Profile>) -> Result<Arc<LiveKey>, Refusal> {
        let slot = self.fill_key(record).await.map_err(|error| credential_fault(&error))?;
        match slot {
            Some(slot) if Arc::ptr_eq(&slot.workspace.profile, profile) => Ok(slot),
            _ => Err(Denial::Unknown.into()),
        }
    }
}
