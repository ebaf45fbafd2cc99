//! What the slow hash proved is remembered in the file: fingerprints that the next start can compare.
//!
//! Never here: a proof, or a wait of the caller for the disk.

use std::sync::Arc;

use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::causes::Causes;
use crate::domain::hash::{Fingerprint, StoredFingerprint};
use crate::domain::record::KeyRecord;
use crate::engine::Engine;
use crate::engine::live::CachedProof;
use crate::store::Urgency;

impl Engine {
    /// Stores the fingerprint of a secret that the slow hash just proved, so that its next first use needs
    /// none. In a task of its own: the caller does not wait for the disk.
    pub(in crate::engine) fn learn(&self, proven: &CachedProof, fingerprint: Fingerprint) {
        let stored = StoredFingerprint { made_by: self.fingerprinter.made_by(), fingerprint };
        let (store, key, epoch) = (self.store.clone(), Arc::clone(&proven.key), proven.proof.epoch());
        let audit = self.entry(Actor::System, AuditAction::KeyUpdated, Subject::Key(key.id()));
        tokio::spawn(async move {
            let change = move |record: KeyRecord| record.with_fingerprint(epoch, stored);
            match store.update_key(key.id(), Urgency::Admin, audit, change).await {
                Ok(record) => key.apply(&record),
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), key = %key.id(), "a fingerprint could not be learnt");
                }
            }
        });
    }
}
