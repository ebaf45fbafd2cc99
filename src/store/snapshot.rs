//! Several look-ups as of one instant, in one short read transaction.
//!
//! A first use reads a key, its counters, its workspace and that one's meters: together they cost little more than one
//! of them.
//!
//! Never here: a transaction that outlives the call it was begun for.

use redb::{ReadOnlyTable, TableDefinition, TableError};

use super::disk::Reading;
use super::error::StoreError;
use super::reads::{indexed_key, key, key_counters};
use super::tables::{KEY_COUNTERS, KEYS, KEYS_BY_HANDLE, KEYS_BY_PREFIX, METERS, WORKSPACES};
use super::{CANDIDATES_MAX, Store, codec, imports};
use crate::domain::counts::{KeyCounters, MeterRow};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::Prefix;
use crate::domain::legacy::Handle;
use crate::domain::period::PeriodIndex;
use crate::domain::record::{KeyRecord, WorkspaceRecord};

/// The file as of one commit.
pub struct Snapshot(Reading);

impl Store {
    /// Reads what belongs together. `read` must be quick: while it runs, replaced pages stay in the file.
    pub fn at_one_instant<T>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        read(&Snapshot(self.begin_read()?))
    }
}

impl Snapshot {
    /// The key of this id.
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        key(&self.table(KEYS, "read a key")?, id)
    }

    /// The keys that have a secret of this prefix, at most [`CANDIDATES_MAX`].
    pub fn keys_by_prefix(&self, prefix: Prefix) -> Result<Vec<KeyRecord>, StoreError> {
        let failed = "read the index of prefixes";
        let index = self.table(KEYS_BY_PREFIX, failed)?;
        let all = (*prefix.as_bytes(), 0)..=(*prefix.as_bytes(), u128::MAX);
        let mut rows =
            index.range(all).map_err(StoreError::database(failed))?.take(CANDIDATES_MAX).peekable();
        if rows.peek().is_none() {
            return Ok(Vec::new());
        }
        let keys = self.table(KEYS, "read a key")?;
        rows.map(|row| {
            let (place, _) = row.map_err(StoreError::database(failed))?;
            indexed_key(&keys, "keys_by_prefix", KeyId::from_u128(place.value().1))
        })
        .collect()
    }

    /// The keys that any of these handles leads to, in their order and each once.
    pub fn keys_by_handles(&self, handles: &[Handle]) -> Result<Vec<KeyRecord>, StoreError> {
        let index = existing(self.0.open_table(KEYS_BY_HANDLE), "read the index of handles")?;
        let Some(index) = index.filter(|_| !handles.is_empty()) else { return Ok(Vec::new()) };
        let keys = self.table(KEYS, "read a key")?;
        let mut found: Vec<KeyRecord> = Vec::new();
        for id in imports::ids_of(&index, handles)? {
            if !found.iter().any(|record| record.id == id) {
                found.push(indexed_key(&keys, "keys_by_handle", id)?);
            }
        }
        Ok(found)
    }

    /// The workspace of this id.
    pub fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRecord>, StoreError> {
        let workspaces = self.table(WORKSPACES, "read a workspace")?;
        let row = workspaces.get(id.as_u128()).map_err(StoreError::database("read a workspace"))?;
        row.map(|bytes| codec::workspace::from_bytes(id, bytes.value())).transpose()
    }

    /// What was last saved of a key's counters; `None` before the first time.
    pub fn key_counters(&self, id: KeyId) -> Result<Option<KeyCounters>, StoreError> {
        key_counters(&self.table(KEY_COUNTERS, "read a key's counters")?, id)
    }

    /// The row of a meter in this period; `None` when there is none.
    pub fn meter_row(
        &self,
        workspace: WorkspaceId,
        meter: &str,
        period: PeriodIndex,
    ) -> Result<Option<MeterRow>, StoreError> {
        let meters = self.table(METERS, "read a meter")?;
        let row =
            meters.get((workspace.as_u128(), meter, period)).map_err(StoreError::database("read a meter"))?;
        row.map(|bytes| codec::counts::meter_from_bytes(workspace, meter, period, bytes.value())).transpose()
    }

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
        operation: &'static str,
    ) -> Result<ReadOnlyTable<K, V>, StoreError> {
        self.0.open_table(definition).map_err(StoreError::database(operation))
    }
}

/// A table that a file of an older version may not have yet.
pub(super) fn existing<K: redb::Key + 'static, V: redb::Value + 'static>(
    opened: Result<ReadOnlyTable<K, V>, TableError>,
    operation: &'static str,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match opened {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        opened => opened.map(Some).map_err(StoreError::database(operation)),
    }
}
