//! Several look-ups as of one instant: what the last commit left.
//!
//! A first use reads a key, its counters, its workspace and that one's meters: together they cost little more than one
//! of them. All who read between two commits share one transaction, which ends with the last of them once the next
//! commit is shown.
//!
//! Never here: a look-up that takes long, since replaced pages stay in the file meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{ReadOnlyTable, ReadTransaction, Value};

use super::disk::{Contained, Reading};
use super::error::StoreError;
use super::reads::{indexed_key, key, key_counters};
use super::rows::{Definition, Rows, Sum};
use super::tables::{KEY_COUNTERS, KEYS, KEYS_BY_HANDLE, KEYS_BY_PREFIX, METERS, WORKSPACES, meter_place};
use super::{CANDIDATES_MAX, Store, codec, imports};
use crate::domain::counts::{KeyCounters, MeterRow};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::Prefix;
use crate::domain::legacy::Handle;
use crate::domain::period::PeriodIndex;
use crate::domain::record::{KeyRecord, WorkspaceRecord};

/// The file as of one commit.
pub struct Snapshot(Reading);

type Lookup<K, V> = Rows<ReadOnlyTable<K, V>>;

/// What one commit left: one transaction for all who read until the next commit, with the tables of look-ups open.
pub(super) struct Committed {
    txn: ReadTransaction,
    keys: Lookup<u128, &'static [u8]>,
    keys_by_prefix: Lookup<([u8; 8], u128), Sum>,
    keys_by_handle: Lookup<(&'static [u8], u128), Sum>,
    key_counters: Lookup<u128, &'static [u8]>,
    workspaces: Lookup<u128, &'static [u8]>,
    meters: Lookup<&'static [u8], &'static [u8]>,
}

impl Committed {
    /// What the last commit of a database left.
    pub(super) fn read(database: &Contained) -> Result<Self, StoreError> {
        let txn = database.begin_read().map_err(StoreError::database("begin to read"))?;
        Ok(Self {
            keys: table(&txn, &KEYS, "read a key")?,
            keys_by_prefix: table(&txn, &KEYS_BY_PREFIX, "read the index of prefixes")?,
            keys_by_handle: table(&txn, &KEYS_BY_HANDLE, "read the index of handles")?,
            key_counters: table(&txn, &KEY_COUNTERS, "read a key's counters")?,
            workspaces: table(&txn, &WORKSPACES, "read a workspace")?,
            meters: table(&txn, &METERS, "read a meter")?,
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
        let read = || read(&Snapshot(self.begin_read()?));
        // redb may panic at a page that makes no sense; whoever asked was not told anything about a key.
        catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(StoreError::BrokeOff))
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
        let (first, last) = ((*prefix.as_bytes(), 0), (*prefix.as_bytes(), u128::MAX));
        let rows = keys_by_prefix.keys_between(&first, &last).map_err(StoreError::database(failed))?;
        rows.take(CANDIDATES_MAX)
            .map(|row| {
                let place = row.map_err(StoreError::database(failed))?;
                indexed_key(keys, "keys_by_prefix", KeyId::from_u128(place.value().1))
            })
            .collect()
    }

    /// The keys that any of these handles leads to, in their order and each once.
    pub fn keys_by_handles(&self, handles: &[Handle]) -> Result<Vec<KeyRecord>, StoreError> {
        let Committed { keys, keys_by_handle: index, .. } = self.0.committed();
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
        let place = meter_place(workspace, meter, period);
        let row =
            self.0.committed().meters.get(place.as_slice()).map_err(StoreError::database("read a meter"))?;
        row.map(|bytes| codec::counts::meter_from_bytes(workspace, meter, period, bytes.value())).transpose()
    }
}

fn table<K: redb::Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    definition: &Definition<K, V>,
    operation: &'static str,
) -> Result<Lookup<K, V>, StoreError> {
    definition.read(txn).map_err(StoreError::database(operation))
}
