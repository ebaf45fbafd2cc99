//! Changes of workspaces.
//!
//! A suspension and a deletion deny before they wait for the disk, are tried again when the disk refuses, and
//! again is fine. A change of limits or of the billing anchor writes the meters in its own transaction.
//!
//! Never here: a new workspace (creation).

use std::sync::Arc;

use super::{ChangeRefused, run_to_the_end};
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::id::WorkspaceId;
use crate::domain::record::{WorkspacePatch, WorkspaceRecord, WorkspaceStatus};
use crate::engine::Engine;
use crate::engine::loading::read_failed;
use crate::engine::retries::{LAST_WORD, Narrowed, Narrowing, Undurable};
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
        let number = match patch.status {
            Some(WorkspaceStatus::Suspended) => Some(slot.suspend()),
            Some(WorkspaceStatus::Active | WorkspaceStatus::Deleted) => Some(slot.next_status_number()),
            None => None,
        };
        // A suspension takes something away from somebody: it goes before other changes.
        let urgency = if is_suspension { Urgency::Revoke } else { Urgency::Admin };
        let audit = self.entry(actor, AuditAction::WorkspaceUpdated, Subject::Workspace(id));
        let suspension = number.filter(|_| is_suspension).map(|number| {
            // Of a change that does more than suspend, the suspension alone is tried again.
            let slot = Arc::clone(&slot);
            Undurable { narrowing: Narrowing::Suspend { workspace: id, slot, number }, audit: audit.clone() }
        });
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let change = move |record: WorkspaceRecord| record.patched(patch);
            let meters = engine.meter_write(&slot);
            let of = Narrowed::Workspace(id);
            // The later word wins: a suspension that waits to be tried again must not follow this one.
            let activates = number.is_some() && suspension.is_none();
            let replaced = if activates { engine.retries.withdraw(of) } else { None };
            let record =
                match engine.store.update_workspace(id, urgency, audit, change, Some(Arc::new(meters))).await
                {
                    Ok(record) => record,
                    Err(error) => {
                        if let Some(replaced) = replaced {
                            engine.retries.give_back(replaced);
                        }
                        return Err(match suspension {
                            Some(suspension) => engine.not_committed(suspension, error),
                            None => error.into(),
                        });
                    }
                };
            slot.apply(&record);
            if let Some(number) = number {
                slot.status_is_committed(number);
                engine.retries.done(of, number);
            }
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
            let (delete, urgency) = (WorkspaceRecord::deleted, Urgency::Revoke);
            let deleted = engine.store.update_workspace(id, urgency, audit.clone(), delete, None);
            let record = match deleted.await {
                Ok(record) => record,
                Err(error) => {
                    let narrowing = Narrowing::Delete { workspace: id, slot };
                    return Err(engine.not_committed(Undurable { narrowing, audit }, error));
                }
            };
            if let Some(slot) = &slot {
                slot.apply(&record);
            }
            engine.retries.done(Narrowed::Workspace(id), LAST_WORD);
            Ok(record)
        })
        .await
    }
}
