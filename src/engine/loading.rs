//! Filling slots: from records in the file to living state.
//!
//! A slot is filled from a record that was just read, and only when it is empty: whoever comes second takes
//! what the first one made. Since every change fills the slot of what it changes before its commit, an older
//! record can never take the place of a newer one.
//!
//! Never here: a change.

use std::sync::Arc;

use super::live::{LiveKey, LiveWorkspace};
use super::{ChangeRefused, Engine};
use crate::domain::causes::Causes;
use crate::domain::denial::Fault;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::period::Period;
use crate::domain::record::{KeyRecord, WorkspaceRecord};
use crate::store::StoreError;

impl Engine {
    /// The newest record of a workspace.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<WorkspaceRecord, ChangeRefused> {
        let read = self.read(move |store| store.workspace(id)).await;
        read.map_err(|error| read_failed(&error))?.ok_or(ChangeRefused::NoSuchWorkspace)
    }

    /// The slot of a key, filled from the file when it is empty.
    pub(super) async fn key_slot(&self, id: KeyId) -> Result<Arc<LiveKey>, ChangeRefused> {
        if let Some(slot) = self.slots.key(id) {
            return Ok(slot);
        }
        let record = self.read(move |store| store.key(id)).await.map_err(|error| read_failed(&error))?;
        let record = record.ok_or(ChangeRefused::NoSuchKey)?;
        self.fill_key(&record)
            .await
            .map_err(|error| read_failed(&error))?
            .ok_or(ChangeRefused::NoSuchWorkspace)
    }

    /// Fills a key's empty slot from a record that was just read; `None` when its workspace's profile is not
    /// served here.
    pub(super) async fn fill_key(&self, record: &KeyRecord) -> Result<Option<Arc<LiveKey>>, StoreError> {
        if let Some(slot) = self.slots.key(record.id) {
            return Ok(Some(slot));
        }
        let (id, workspace) = (record.id, record.workspace);
        let (counters, workspace) =
            self.read(move |store| Ok((store.key_counters(id)?, store.workspace(workspace)?))).await?;
        let Some(workspace) = workspace else { return Ok(None) };
        let Some(workspace) = self.fill_workspace(&workspace).await? else { return Ok(None) };
        let made = LiveKey::new(record, counters, workspace, self.clock.now());
        Ok(Some(self.slots.fill_key(record.id, made)))
    }

    /// Fills a workspace's empty slot; `None` when its profile is not served here.
    pub(super) async fn fill_workspace(
        &self,
        record: &WorkspaceRecord,
    ) -> Result<Option<Arc<LiveWorkspace>>, StoreError> {
        if let Some(slot) = self.slots.workspace(record.id) {
            return Ok(Some(slot));
        }
        let Some(profile) = self.profile(&record.profile).map(Arc::clone) else { return Ok(None) };
        let now = self.clock.now().wall;
        let index = Period::containing(record.billing_anchor, now).index;
        let (id, meters) = (record.id, Arc::clone(&profile));
        let stored = self
            .read(move |store| {
                let of = |name: &String| store.meter_row(id, name, index);
                // One that cannot be read stops its own meter and nothing else: a key can still be revoked.
                Ok(meters.meters.iter().map(of).collect::<Vec<_>>())
            })
            .await?;
        let made = LiveWorkspace::new(record, profile, &stored, now);
        Ok(Some(self.slots.fill_workspace(record.id, made)))
    }
}

/// A read that failed beside a change or a list: logged once, here, since the caller learns nothing.
pub(super) fn read_failed(error: &StoreError) -> ChangeRefused {
    tracing::error!(error = %Causes(error), "a record could not be read");
    ChangeRefused::Failed(Fault::Internal)
}
