//! Several look-ups as of one instant, in one short read transaction.
//!
//! A first use reads a key, its counters, its workspace and that one's meters: together they cost little more than one
//! of them.
//!
//! Never here: a transaction that outlives the call it was begun for.

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition, TableError, Value};

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

/// What one commit left: one transaction for all who read until the next commit, with the tables of look-ups open.
pub(super) struct Committed {
    txn: ReadTransaction,
    keys: ReadOnlyTable<u128, &'static [u8]>,
    keys_by_prefix: ReadOnlyTable<([u8; 8], u128), ()>,
    keys_by_handle: Option<ReadOnlyTable<(&'static [u8], u128), ()>>,
    key_counters: ReadOnlyTable<u128, &'static [u8]>,
    workspaces: ReadOnlyTable<u128, &'static [u8]>,
    meters: ReadOnlyTable<(u128, &'static str, u32), &'static [u8]>,
}

impl Committed {
    /// What the last commit of a database left.
    pub(super) fn read(database: &Database) -> Result<Self, StoreError> {
        let txn = database.begin_read().map_err(StoreError::database("begin to read"))?;
        Ok(Self {
            keys: table(&txn, KEYS, "read a key")?,
            keys_by_prefix: table(&txn, KEYS_BY_PREFIX, "read the index of prefixes")?,
            keys_by_handle: existing(txn.open_table(KEYS_BY_HANDLE), "read the index of handles")?,
            key_counters: table(&txn, KEY_COUNTERS, "read a key's counters")?,
            workspaces: table(&txn, WORKSPACES, "read a workspace")?,
            meters: table(&txn, METERS, "read a meter")?,
            txn,
        })
    }

    pub(super) const fn txn(&self) -> &ReadTransaction {
        &self.txn
    }
}

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
        key(&self.0.committed().keys, id)
    }

    /// The keys that have a secret of this prefix, at most [`CANDIDATES_MAX`].
    pub fn keys_by_prefix(&self, prefix: Prefix) -> Result<Vec<KeyRecord>, StoreError> {
        let failed = "read the index of prefixes";
        let Committed { keys, keys_by_prefix, .. } = self.0.committed();
        let all = (*prefix.as_bytes(), 0)..=(*prefix.as_bytes(), u128::MAX);
        let rows = keys_by_prefix.range(all).map_err(StoreError::database(failed))?;
        rows.take(CANDIDATES_MAX)
            .map(|row| {
                let (place, _) = row.map_err(StoreError::database(failed))?;
                indexed_key(keys, "keys_by_prefix", KeyId::from_u128(place.value().1))
            })
            .collect()
    }

    /// The keys that any of these handles leads to, in their order and each once.
    pub fn keys_by_handles(&self, handles: &[Handle]) -> Result<Vec<KeyRecord>, StoreError> {
        let Committed { keys, keys_by_handle, .. } = self.0.committed();
        let Some(index) = keys_by_handle else { return Ok(Vec::new()) };
        let mut found: Vec<KeyRecord> = Vec::new();
        for id in imports::ids_of(index, handles)? {
            if !found.iter().any(|record| record.id == id) {
                found.push(indexed_key(keys, "keys_by_handle", id)?);
            }
        }
        Ok(found)
    }

    /// The workspace of this id.
    pub fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRecord>, StoreError> {
        let workspaces = &self.0.committed().workspaces;
        let row = workspaces.get(id.as_u128()).map_err(StoreError::database("read a workspace"))?;
        row.map(|bytes| codec::workspace::from_bytes(id, bytes.value())).transpose()
    }

    /// What was last saved of a key's counters; `None` before the first time.
    pub fn key_counters(&self, id: KeyId) -> Result<Option<KeyCounters>, StoreError> {
        key_counters(&self.0.committed().key_counters, id)
    }

    /// The row of a meter in this period; `None` when there is none.
    pub fn meter_row(
        &self,
        workspace: WorkspaceId,
        meter: &str,
        period: PeriodIndex,
    ) -> Result<Option<MeterRow>, StoreError> {
        let meters = &self.0.committed().meters;
        let row =
            meters.get((workspace.as_u128(), meter, period)).map_err(StoreError::database("read a meter"))?;
        row.map(|bytes| codec::counts::meter_from_bytes(workspace, meter, period, bytes.value())).transpose()
    }
}

fn table<K: redb::Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
    operation: &'static str,
) -> Result<ReadOnlyTable<K, V>, StoreError> {
    txn.open_table(definition).map_err(StoreError::database(operation))
}

/// A table that a file of an older version may not have yet.
pub(super) fn existing<K: redb::Key + 'static, V: Value + 'static>(
    opened: Result<ReadOnlyTable<K, V>, TableError>,
    operation: &'static str,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match opened {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        opened => opened.map(Some).map_err(StoreError::database(operation)),
    }
}
