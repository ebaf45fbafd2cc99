//! Reading: each method reads the state of one commit, the last when it began.
//!
//! Lists and walks are long, so callers run them off the async threads. Lists hold one page in memory, however
//! many records there are, and pass over a record that cannot be read; a look-up of that record says what is
//! wrong with it.
//!
//! Never here: a reading that outlives its method. A long one keeps every replaced page in the file.

use redb::ReadOnlyTable;

use super::error::StoreError;
use super::rows::{Record, Rows};
use super::tables::{KEY_COUNTERS, KEYS, KEYS_BY_WORKSPACE, WORKSPACES};
use super::{Store, codec};
use crate::domain::counts::{KeyCounters, MeterRow};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::Prefix;
use crate::domain::period::PeriodIndex;
use crate::domain::record::{KeyRecord, WorkspaceRecord, WorkspaceStatus};

/// The most keys that one prefix yields. Creation keeps prefixes apart, so more than one is an import's
/// doing, and imports stay below this.
pub const CANDIDATES_MAX: usize = 16;
/// The most records of one page, and rows of one piece of the audit log.
pub const PAGE_MAX: usize = 1_000;

/// Which part of a list is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    /// `limit` records behind the first `offset`; at most [`PAGE_MAX`].
    pub const fn new(offset: usize, limit: usize) -> Self {
        Self { offset, limit: if limit < PAGE_MAX { limit } else { PAGE_MAX } }
    }
}

/// One page of a list, in the order of ids, which is that of making.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed<T> {
    /// The page.
    pub items: Vec<T>,
    /// How many records there are on all pages, unreadable ones among them.
    pub total: u64,
    /// How many records the list met that cannot be read; they are not among the items.
    pub unreadable: u64,
}

/// A condition on a key and what is counted of it.
pub type KeyCondition<'a> = &'a dyn Fn(&KeyRecord, KeyCounters) -> bool;

/// Which keys are listed. Without a condition, only the page's records are read.
#[derive(Clone, Copy, Default)]
pub struct KeyFilter<'a> {
    /// Of this workspace alone.
    pub workspace: Option<WorkspaceId>,
    /// Not of this workspace.
    pub leave_out_workspace: Option<WorkspaceId>,
    /// Those alone for which this holds; a key that was never counted has default counters.
    pub condition: Option<KeyCondition<'a>>,
}

/// Which workspaces are listed.
#[derive(Clone, Copy, Default, Debug)]
pub struct WorkspaceFilter<'a> {
    /// Not those of this profile.
    pub leave_out_profile: Option<&'a str>,
    /// Those of this status alone; without one, all that are not deleted.
    pub status: Option<WorkspaceStatus>,
}

impl Store {
    /// The key of this id.
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.at_one_instant(|file| file.key(id))
    }

    /// The keys that have a secret of this prefix, at most [`CANDIDATES_MAX`].
    pub fn keys_by_prefix(&self, prefix: Prefix) -> Result<Vec<KeyRecord>, StoreError> {
        self.at_one_instant(|file| file.keys_by_prefix(prefix))
    }

    /// The workspace of this id.
    pub fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRecord>, StoreError> {
        self.at_one_instant(|file| file.workspace(id))
    }

    /// Lists workspaces.
    pub fn workspaces(
        &self,
        filter: WorkspaceFilter<'_>,
        page: Page,
    ) -> Result<Listed<WorkspaceRecord>, StoreError> {
        let txn = self.begin_read()?;
        let workspaces = txn.open_table(&WORKSPACES).map_err(StoreError::database("list workspaces"))?;
        let mut listing = Listing::new(page);
        for row in workspaces.records().map_err(StoreError::database("list workspaces"))? {
            let record = row.map_err(StoreError::database("list workspaces")).and_then(|(id, bytes)| {
                codec::workspace::from_bytes(WorkspaceId::from_u128(id.value()), bytes.value())
            });
            let left_out = |record: &WorkspaceRecord| {
                let fits = filter
                    .status
                    .map_or(record.status != WorkspaceStatus::Deleted, |status| record.status == status);
                !fits || filter.leave_out_profile.is_some_and(|profile| profile == record.profile)
            };
            if !record.as_ref().is_ok_and(left_out) {
                listing.meet(record)?;
            }
        }
        Ok(listing.listed)
    }

    /// Lists keys.
    pub fn keys(&self, filter: &KeyFilter<'_>, page: Page) -> Result<Listed<KeyRecord>, StoreError> {
        let txn = self.begin_read()?;
        let keys = txn.open_table(&KEYS).map_err(StoreError::database("list keys"))?;
        let index = txn.open_table(&KEYS_BY_WORKSPACE).map_err(StoreError::database("list keys"))?;
        let counters = txn.open_table(&KEY_COUNTERS).map_err(StoreError::database("list keys"))?;
        let mut listing = Listing::new(page);
        let mut meet = |row: Result<(KeyId, Record<'_>), StoreError>| match (row, filter.condition) {
            (Err(error), _) => listing.meet(Err(error)),
            (Ok((id, bytes)), Some(condition)) => {
                let met = codec::key::from_bytes(id, bytes.value())
                    .and_then(|record| Ok((record, key_counters(&counters, id)?.unwrap_or_default())));
                match met {
                    Ok((record, counted)) if condition(&record, counted) => listing.meet(Ok(record)),
                    Ok(_) => Ok(()),
                    Err(error) => listing.meet(Err(error)),
                }
            }
            (Ok((id, bytes)), None) if listing.is_in_page() => {
                listing.meet(codec::key::from_bytes(id, bytes.value()))
            }
            (Ok(_), None) => {
                listing.pass_over();
                Ok(())
            }
        };
        if let Some(workspace) = filter.workspace {
            if filter.leave_out_workspace == Some(workspace) {
                return Ok(listing.listed);
            }
            let (first, last) = ((workspace.as_u128(), 0), (workspace.as_u128(), u128::MAX));
            for row in index.keys_between(&first, &last).map_err(StoreError::database("list keys"))? {
                meet(row.map_err(StoreError::database("list keys")).and_then(|place| {
                    let id = KeyId::from_u128(place.value().1);
                    let bytes = keys.get(id.as_u128()).map_err(StoreError::database("list keys"))?;
                    Ok((id, bytes.ok_or_else(|| dangling("keys_by_workspace", id))?))
                }))?;
            }
            return Ok(listing.listed);
        }
        for row in keys.records().map_err(StoreError::database("list keys"))? {
            let row = row.map_err(StoreError::database("list keys"));
            let left_out = match (&row, filter.leave_out_workspace) {
                (Ok((id, _)), Some(workspace)) => {
                    index.has((workspace.as_u128(), id.value())).map_err(StoreError::database("list keys"))?
                }
                _ => false,
            };
            if !left_out {
                meet(row.map(|(id, bytes)| (KeyId::from_u128(id.value()), bytes)))?;
            }
        }
        Ok(listing.listed)
    }

    /// What was last saved of a key's counters; `None` before the first time.
    pub fn key_counters(&self, id: KeyId) -> Result<Option<KeyCounters>, StoreError> {
        self.at_one_instant(|file| file.key_counters(id))
    }

    /// The row of a meter in this period; `None` when there is none.
    pub fn meter_row(
        &self,
        workspace: WorkspaceId,
        meter: &str,
        period: PeriodIndex,
    ) -> Result<Option<MeterRow>, StoreError> {
        self.at_one_instant(|file| file.meter_row(workspace, meter, period))
    }
}

pub(super) fn key(
    keys: &Rows<ReadOnlyTable<u128, &'static [u8]>>,
    id: KeyId,
) -> Result<Option<KeyRecord>, StoreError> {
    let row = keys.get(id.as_u128()).map_err(StoreError::database("read a key"))?;
    row.map(|bytes| codec::key::from_bytes(id, bytes.value())).transpose()
}

/// The key that a row of the index `table` leads to.
pub(super) fn indexed_key(
    keys: &Rows<ReadOnlyTable<u128, &'static [u8]>>,
    table: &'static str,
    id: KeyId,
) -> Result<KeyRecord, StoreError> {
    key(keys, id)?.ok_or_else(|| dangling(table, id))
}

pub(super) fn key_counters(
    counters: &Rows<ReadOnlyTable<u128, &'static [u8]>>,
    id: KeyId,
) -> Result<Option<KeyCounters>, StoreError> {
    let row = counters.get(id.as_u128()).map_err(StoreError::database("read a key's counters"))?;
    row.map(|bytes| codec::counts::counters_from_bytes(id, bytes.value())).transpose()
}

/// An index row without its key; no transaction of ours leaves one.
fn dangling(table: &'static str, id: KeyId) -> StoreError {
    StoreError::Corrupt { table, key: id.to_string(), what: "its key is missing" }
}

/// A list in the making.
struct Listing<T> {
    page: Page,
    met: usize,
    listed: Listed<T>,
}

impl<T> Listing<T> {
    fn new(page: Page) -> Self {
        Self { page, met: 0, listed: Listed { items: Vec::new(), total: 0, unreadable: 0 } }
    }

    /// Whether the next record belongs to the page.
    fn is_in_page(&self) -> bool {
        self.met.checked_sub(self.page.offset).is_some_and(|place| place < self.page.limit)
    }

    fn pass_over(&mut self) {
        self.met += 1;
        self.listed.total += 1;
    }

    fn meet(&mut self, record: Result<T, StoreError>) -> Result<(), StoreError> {
        match record {
            Ok(record) if self.is_in_page() => self.listed.items.push(record),
            Ok(_) => {}
            Err(error) if error.is_of_one_record() => self.listed.unreadable += 1,
            Err(error) => return Err(error),
        }
        self.pass_over();
        Ok(())
    }
}
