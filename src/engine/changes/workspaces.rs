//! Changes of workspaces.
//!
//! A suspension and a deletion deny before they wait for the disk, and again is fine. A move of the billing
//! anchor and a checkpoint keep out of each other's way.
//!
//! Never here: a new workspace (creation).

use std::sync::Arc;

use super::{ChangeRefused, run_to_the_end};
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::id::WorkspaceId;
use crate::domain::record::{WorkspacePatch, WorkspaceRecord, WorkspaceStatus};
use crate::engine::Engine;
use crate::engine::loading::read_failed;
use crate::store::Urgency;

impl Engine {
    /// Changes a workspace.
    pub async fn update_workspace(
        self: &Arc<Self>,
        actor: Actor,
        id: WorkspaceId,
        patch: WorkspacePatch,
    ) -> Result<WorkspaceRecord, ChangeRefused> {
        let record = self.workspace(id).await?;
        let slot = self.fill_workspace(&record).await.map_err(|error| read_failed(&error))?;
        let slot = slot.ok_or(ChangeRefused::NoSuchWorkspace)?;
        if record.status == WorkspaceStatus::Deleted || slot.is_deleted() {
            return Err(ChangeRefused::WorkspaceDeleted);
        }
        let is_suspension = patch.status == Some(WorkspaceStatus::Suspended);
        if is_suspension {
            slot.suspend();
        }
        let sets_status = patch.status.is_some();
        // A suspension takes something away from somebody: it goes before other changes.
        let urgency = if is_suspension { Urgency::Revoke } else { Urgency::Admin };
        let audit = self.entry(actor, AuditAction::WorkspaceUpdated, Subject::Workspace(id));
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let new_anchor = patch.billing_anchor;
            let change = move |record: WorkspaceRecord| record.patched(patch);
            // No checkpoint may save what was numbered from the old anchor behind the move.
            let _numbering = match new_anchor {
                Some(_) => Some(engine.numbering.lock().await),
                None => None,
            };
            let now = engine.clock.now().wall;
            let moved = new_anchor.map_or_else(Vec::new, |anchor| slot.meters_from(anchor, now));
            let record = engine.store.update_workspace(id, urgency, audit, change, moved).await?;
            slot.apply(&record, now);
            if sets_status {
                slot.status_is_committed();
            }
            engine.slots.note_workspace(&slot);
            // A deletion that came between left nothing to change.
            if record.status == WorkspaceStatus::Deleted {
                return Err(ChangeRefused::WorkspaceDeleted);
            }
            Ok(record)
        })
        .await
    }

    /// Deletes a workspace, for good: all its keys are denied before this waits for the disk, and again is fine.
    /// Its record and its keys' stay, so that what happened can still be seen.
    pub async fn delete_workspace(
        self: &Arc<Self>,
        actor: Actor,
        id: WorkspaceId,
    ) -> Result<WorkspaceRecord, ChangeRefused> {
        // A workspace whose profile is not served here has no slot, and is deleted in the file all the same.
        let mut slot = self.slots.workspace(id);
        if slot.is_none() {
            let record = self.workspace(id).await?;
            slot = self.fill_workspace(&record).await.map_err(|error| read_failed(&error))?;
        }
        if let Some(slot) = &slot {
            slot.delete();
        }
        let audit = self.entry(actor, AuditAction::WorkspaceDeleted, Subject::Workspace(id));
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let delete = WorkspaceRecord::deleted;
            let record =
                engine.store.update_workspace(id, Urgency::Revoke, audit, delete, Vec::new()).await?;
            if let Some(slot) = &slot {
                slot.apply(&record, engine.clock.now().wall);
            }
            Ok(record)
        })
        .await
    }
}
