//! Changes of keys: edits and the revoke.
//!
//! A revoke denies before it waits for the disk, is tried again when the disk refuses, and again is fine.
//!
//! Never here: a new key (creation), a new secret (rotation).

use std::sync::Arc;

use super::{ChangeRefused, run_to_the_end};
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::id::KeyId;
use crate::domain::record::{KeyPatch, KeyRecord};
use crate::engine::Engine;
use crate::engine::live::LiveKey;
use crate::engine::retries::{Narrowed, Narrowing, Undurable};
use crate::store::Urgency;

impl LiveKey {
    /// Whether the key can still be changed: neither it nor its workspace is gone for good.
    pub(super) fn check_changeable(&self) -> Result<(), ChangeRefused> {
        if self.is_revoked() {
            return Err(ChangeRefused::KeyRevoked);
        }
        if self.workspace.is_deleted() {
            return Err(ChangeRefused::WorkspaceDeleted);
        }
        Ok(())
    }
}

impl Engine {
    /// Changes a key.
    pub async fn update_key(
        self: &Arc<Self>,
        actor: Actor,
        id: KeyId,
        patch: KeyPatch,
    ) -> Result<KeyRecord, ChangeRefused> {
        let slot = self.key_slot(id).await?;
        slot.check_changeable()?;
        let audit = self.entry(actor, AuditAction::KeyUpdated, Subject::Key(id));
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let change = move |record: KeyRecord| {
                if record.revoked_at.is_some() { record } else { record.patched(patch) }
            };
            let record = engine.store.update_key(id, Urgency::Admin, audit, change).await?;
            slot.apply(&record);
            if record.revoked_at.is_some() { Err(ChangeRefused::KeyRevoked) } else { Ok(record) }
        })
        .await
    }

    /// Revokes a key, for good: it denies before this waits for the disk, and again is fine.
    pub async fn revoke_key(self: &Arc<Self>, actor: Actor, id: KeyId) -> Result<KeyRecord, ChangeRefused> {
        // A key whose profile is not served here has no slot, and is revoked in the file all the same.
        let slot = match self.key_slot(id).await {
            Err(ChangeRefused::NoSuchWorkspace) => None,
            slot => Some(slot?),
        };
        if let Some(slot) = &slot {
            slot.revoke();
        }
        let at = self.clock.now().wall;
        let audit = self.entry(actor, AuditAction::KeyRevoked, Subject::Key(id));
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let revoke = move |record: KeyRecord| record.revoked(at);
            let record = match engine.store.update_key(id, Urgency::Revoke, audit.clone(), revoke).await {
                Ok(record) => record,
                Err(error) => {
                    let narrowing = Narrowing::Revoke { key: id, slot };
                    return Err(engine.not_committed(Undurable { narrowing, audit }, error));
                }
            };
            if let Some(slot) = &slot {
                slot.apply(&record);
            }
            engine.retries.done(Narrowed::Key(id), 0);
            Ok(record)
        })
        .await
    }
}
