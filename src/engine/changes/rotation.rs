//! Rotation: a key gets a new secret.
//!
//! The text is drawn and hashed first, then the key is changed as it is by then. A rotation without an overlap
//! takes something away, so it goes before other changes; once it is answered the old text opens nothing.
//!
//! Never here: which secrets stay (`domain::rotation`).

use std::sync::Arc;

use super::creation::{PREFIXES_MAX, mint};
use super::{ChangeRefused, run_to_the_end};
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::denial::Fault;
use crate::domain::id::KeyId;
use crate::domain::key::RawKey;
use crate::domain::record::KeyRecord;
use crate::domain::rotation::Overlap;
use crate::engine::{Engine, KeyView};
use crate::store::{ChangeError, Urgency};

/// A key with a new secret, with the one copy of its text.
#[derive(Debug)]
pub struct RotatedKey {
    /// The key; the last secret of its record is the new one.
    pub view: KeyView,
    /// The text, to be shown once.
    pub raw: RawKey,
}

impl Engine {
    /// Gives a key a new secret. The one before stays good for the overlap.
    pub async fn rotate_key(
        self: &Arc<Self>,
        actor: Actor,
        id: KeyId,
        overlap: Overlap,
    ) -> Result<RotatedKey, ChangeRefused> {
        let slot = self.key_slot(id).await?;
        slot.check_changeable()?;
        // What cannot be is refused before it costs a slow hash.
        let present = self.key_view(id).await?.record;
        present.can_rotate(self.clock.now().wall, overlap)?;
        let tag = slot.workspace.profile.tag.clone();
        let urgency = if overlap == Overlap::NONE { Urgency::Revoke } else { Urgency::Admin };
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            for _ in 0..PREFIXES_MAX {
                let raw = mint(&tag).ok_or(ChangeRefused::Failed(Fault::Internal))?;
                let (raw, mut secret) = engine.secret_of(raw, engine.clock.now().wall).await?;
                let at = engine.clock.now().wall;
                secret.created_at = at;
                let audit = engine.entry(actor, AuditAction::KeyRotated, Subject::Key(id));
                let new = secret.clone();
                let change =
                    move |record: KeyRecord| record.clone().rotated(new, at, overlap).unwrap_or(record);
                let record = match engine.store.update_key(id, urgency, audit, change).await {
                    Ok(record) => record,
                    Err(ChangeError::PrefixTaken) => continue,
                    Err(error) => return Err(error.into()),
                };
                slot.apply(&record);
                // What was used when is saved anew, under the secrets that there are now.
                engine.slots.note_key(&slot);
                if record.prefix() != Some(secret.prefix) {
                    // Refused on the state of that moment, which is what came back; it says why once more.
                    record.rotated(secret, at, overlap)?;
                    return Err(ChangeRefused::Failed(Fault::Internal));
                }
                // No read of the file: nothing may stand between the commit and the one answer with the text.
                return Ok(RotatedKey { view: engine.view(record, None), raw });
            }
            Err(ChangeRefused::Failed(Fault::Internal))
        })
        .await
    }
}
