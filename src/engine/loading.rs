//! Filling slots: from records in the file to living state.
//!
//! A slot is filled from a record that was just read, and only when it is empty: whoever comes second takes
//! what the first one made. Since every change fills the slot of what it changes before its commit, an older
//! record can never take the place of a newer one.
//!
//! Never here: a change.

use std::collections::HashMap;
use std::sync::Arc;

use super::live::{LiveKey, LiveWorkspace};
use super::slots::{LoadTicket, MayBeOld, Slots};
use super::{ChangeRefused, Engine};
use crate::domain::causes::Causes;
use crate::domain::counts::{KeyCounters, MeterRow};
use crate::domain::denial::Fault;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::period::Period;
use crate::domain::profile::Profile;
use crate::domain::record::{KeyRecord, WorkspaceRecord};
use crate::domain::time::Wall;
use crate::store::{Snapshot, StoreError};

impl Engine {
    /// The newest record of a workspace.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<WorkspaceRecord, ChangeRefused> {
        let read = self.look_up(|file| file.workspace(id)).await;
        read.map_err(|error| read_failed(&error))?.ok_or(ChangeRefused::NoSuchWorkspace)
    }

    /// The slot of a key, filled from the file when it is empty.
    pub(super) async fn key_slot(&self, id: KeyId) -> Result<Arc<LiveKey>, ChangeRefused> {
        if let Some(slot) = self.slots.key(id) {
            return Ok(slot);
        }
        let record = self.look_up(|file| file.key(id)).await.map_err(|error| read_failed(&error))?;
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
        // The record is read once more: the one at hand may be older than a slot that was let go.
        self.load_key(record.id).await
    }

    /// Fills a key's empty slot from the file, reading again as long as a slot was let go meanwhile.
    async fn load_key(&self, id: KeyId) -> Result<Option<Arc<LiveKey>>, StoreError> {
        loop {
            let loader = self.loader();
            let read = |file: &Snapshot| file.key(id)?.map(|record| loader.load(file, record)).transpose();
            let Some(found) = self.look_up(read).await? else { return Ok(None) };
            if let Ok(slot) = self.place_key(found) {
                return Ok(slot);
            }
        }
    }

    /// Fills a workspace's empty slot; `None` when its profile is not served here.
    pub(super) async fn fill_workspace(
        &self,
        record: &WorkspaceRecord,
    ) -> Result<Option<Arc<LiveWorkspace>>, StoreError> {
        if let Some(slot) = self.slots.workspace(record.id) {
            return Ok(Some(slot));
        }
        let loader = self.loader();
        let home = self.look_up(|file| Ok(loader.home_of(file, record.clone()))).await?;
        Ok(self.place_workspace(home))
    }

    /// What readers of the file need of this engine.
    pub(super) fn loader(&self) -> Loader<'_> {
        Loader {
            slots: &self.slots,
            profiles: &self.profiles,
            now: self.clock.now().wall,
            ticket: self.slots.ticket(),
        }
    }

    /// Fills a key's empty slot with what was just read, or, when that may be old, with what is read anew; `None`
    /// when its workspace's profile is not served here.
    pub(super) async fn place_or_load(&self, loaded: Loaded) -> Result<Option<Arc<LiveKey>>, StoreError> {
        let id = loaded.record.id;
        match self.place_key(loaded) {
            Ok(slot) => Ok(slot),
            Err(MayBeOld) => self.load_key(id).await,
        }
    }

    fn place_key(&self, loaded: Loaded) -> Result<Option<Arc<LiveKey>>, MayBeOld> {
        let Loaded { record, counters, home, ticket } = loaded;
        if let Some(slot) = self.slots.key(record.id) {
            return Ok(Some(slot));
        }
        let Some(workspace) = self.place_workspace(home) else { return Ok(None) };
        let made = LiveKey::new(&record, counters, workspace, self.clock.now());
        self.slots.fill_key(made, ticket).map(Some)
    }

    fn place_workspace(&self, home: Home) -> Option<Arc<LiveWorkspace>> {
        match home {
            Home::InUse(slot) => Some(slot),
            Home::NotServed => None,
            Home::Read { record, profile, meters, at } => {
                let made = LiveWorkspace::new(&record, profile, self.clock.clone(), &meters, at);
                Some(self.slots.fill_workspace(record.id, made))
            }
        }
    }
}

/// A key as it was read, and what else its slot is filled with.
pub(super) struct Loaded {
    pub(super) record: KeyRecord,
    counters: Option<KeyCounters>,
    home: Home,
    ticket: LoadTicket,
}

/// The workspace of a key that was read.
enum Home {
    /// It has a slot.
    InUse(Arc<LiveWorkspace>),
    /// It is gone, or its profile is not served here.
    NotServed,
    /// It was read.
    Read {
        record: Box<WorkspaceRecord>,
        profile: Arc<Profile>,
        /// The time that its present period was chosen by.
        at: Wall,
        /// The rows of that period. One that cannot be read stops its own meter and nothing else: a key can still
        /// be revoked.
        meters: Vec<Result<Option<MeterRow>, StoreError>>,
    },
}

/// Reads what slots are filled with.
pub(super) struct Loader<'a> {
    slots: &'a Slots,
    profiles: &'a HashMap<String, Arc<Profile>>,
    now: Wall,
    /// Taken before anything is read.
    ticket: LoadTicket,
}

impl Loader<'_> {
    /// The rest of what the slot of this key is filled with.
    pub(super) fn load(&self, file: &Snapshot, record: KeyRecord) -> Result<Loaded, StoreError> {
        let counters = file.key_counters(record.id)?;
        let home = self.home(file, record.workspace)?;
        Ok(Loaded { record, counters, home, ticket: self.ticket })
    }

    fn home(&self, file: &Snapshot, workspace: WorkspaceId) -> Result<Home, StoreError> {
        if let Some(slot) = self.slots.workspace(workspace) {
            return Ok(Home::InUse(slot));
        }
        let Some(record) = file.workspace(workspace)? else { return Ok(Home::NotServed) };
        Ok(self.home_of(file, record))
    }

    fn home_of(&self, file: &Snapshot, record: WorkspaceRecord) -> Home {
        let Some(profile) = self.profiles.get(&record.profile).map(Arc::clone) else {
            return Home::NotServed;
        };
        let index = Period::containing(record.billing_anchor, self.now).index;
        let meters = profile.meters.iter().map(|name| file.meter_row(record.id, name, index)).collect();
        Home::Read { record: Box::new(record), profile, at: self.now, meters }
    }
}

/// A read that failed beside a change or a list: logged once, here, since the caller learns nothing.
pub(super) fn read_failed(error: &StoreError) -> ChangeRefused {
    tracing::error!(error = %Causes(error), "a record could not be read");
    ChangeRefused::Failed(Fault::Internal)
}
