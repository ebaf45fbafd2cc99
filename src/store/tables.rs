//! Every table of the file, key and value in words, and the schema's version.
//!
//! A table's name carries the version of its shape; a change of shape is a new table and a numbered
//! migration. *Records* are the versioned bytes of `codec`; an *index* has keys alone. Each row has a checksum (rows).
//!
//! Never here: a table that is opened under another definition elsewhere.

use std::sync::Arc;

use redb::{ReadTransaction, Table, TableDefinition, TableError, TableHandle, WriteTransaction};

use super::KeyWitness;
use super::error::StoreError;
use super::rows::{IndexOf, RecordsOf, Rows, Sum};
use crate::domain::audit::seal::AuditSealer;
use crate::domain::id::WorkspaceId;
use crate::domain::period::PeriodIndex;

/// The newest schema that this program knows, and the one it creates.
pub(super) const SCHEMA_VERSION: u64 = 4;
/// The row of [`META`] that holds the file's schema version.
pub(super) const SCHEMA_ROW: &str = "schema";
/// Name → number: the schema's version, as every version of this program reads it, so without a checksum. One bit
/// makes no older version of this one.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta/1");

/// The row of [`MARKS`] that holds the mark of believed time: microseconds since the Unix epoch, eight bytes, the
/// highest first. A file without it was made before there was one.
pub(super) const CLOCK_MARK_ROW: &[u8] = b"clock";

/// Name → what the file remembers for a start.
pub(super) const MARKS: RecordsOf<&[u8]> = RecordsOf::new("marks/1");
/// Workspace id → workspace record.
pub(super) const WORKSPACES: RecordsOf<u128> = RecordsOf::new("workspaces/2");
/// Key id → key record.
pub(super) const KEYS: RecordsOf<u128> = RecordsOf::new("keys/2");
/// (Prefix, key id): the index by which a presented key is found. Several keys of one prefix are allowed.
pub(super) const KEYS_BY_PREFIX: IndexOf<([u8; 8], u128)> = IndexOf::new("keys_by_prefix/2");
/// (Workspace id, key id): the keys of a workspace.
pub(super) const KEYS_BY_WORKSPACE: IndexOf<(u128, u128)> = IndexOf::new("keys_by_workspace/2");
/// Key id → counters record. Apart from [`KEYS`], so that a checkpoint rewrites no key record.
pub(super) const KEY_COUNTERS: RecordsOf<u128> = RecordsOf::new("key_counters/2");
/// Workspace id, meter's name, period index ([`meter_place`]) → meter record.
pub(super) const METERS: RecordsOf<&[u8]> = RecordsOf::new("meters/2");
/// Number from 1, without gaps → an install secret's name, a hash, a seal, and an audit record.
pub(super) const AUDIT: RecordsOf<u64> = RecordsOf::new("audit/3");
/// The name of every install secret under which a fingerprint or a seal was ever made.
pub(super) const MAKERS: IndexOf<[u8; 8]> = IndexOf::new("fingerprint_makers/2");

/// Number from 0 → record of signatures that were taken. There from a clean stop to the next start alone.
pub(super) const REPLAYS: RecordsOf<u32> = RecordsOf::new("replays/2");
/// (Handle: one byte of kind and its content, key id): the index of keys that were made elsewhere.
pub(super) const KEYS_BY_HANDLE: IndexOf<(&[u8], u128)> = IndexOf::new("keys_by_handle/2");
/// Profile's name → record of the shapes that its imported keys have.
pub(super) const LEGACY_SHAPES: RecordsOf<&[u8]> = RecordsOf::new("legacy_shapes/2");

/// A table of usage: (hour or day numbered from the Unix epoch, key id) → usage record.
pub(super) type UsageTable = RecordsOf<(u32, u128)>;
/// By hour.
pub(super) const USAGE_HOURS: UsageTable = UsageTable::new("usage_hours/2");
/// By day: what the hours were that are not in [`USAGE_HOURS`] any more.
pub(super) const USAGE_DAYS: UsageTable = UsageTable::new("usage_days/2");

pub(super) type WriteRecords<'txn, K> = Rows<Table<'txn, K, &'static [u8]>>;
pub(super) type WriteIndex<'txn, K> = Rows<Table<'txn, K, Sum>>;

/// Every table that a change may touch, open in one write transaction.
pub(super) struct WriteTables<'txn> {
    pub(super) marks: WriteRecords<'txn, &'static [u8]>,
    pub(super) workspaces: WriteRecords<'txn, u128>,
    pub(super) keys: WriteRecords<'txn, u128>,
    pub(super) keys_by_prefix: WriteIndex<'txn, ([u8; 8], u128)>,
    pub(super) keys_by_workspace: WriteIndex<'txn, (u128, u128)>,
    pub(super) key_counters: WriteRecords<'txn, u128>,
    pub(super) meters: WriteRecords<'txn, &'static [u8]>,
    pub(super) audit: WriteRecords<'txn, u64>,
    pub(super) makers: WriteIndex<'txn, [u8; 8]>,
    /// What seals the audit rows of this transaction; the writer sets it.
    pub(super) sealer: Option<Arc<AuditSealer>>,
    /// Who is told of each key record; the writer sets them.
    pub(super) witnesses: Vec<KeyWitness>,
    pub(super) replays: WriteRecords<'txn, u32>,
    pub(super) keys_by_handle: WriteIndex<'txn, (&'static [u8], u128)>,
    pub(super) legacy_shapes: WriteRecords<'txn, &'static [u8]>,
    pub(super) usage_hours: WriteRecords<'txn, (u32, u128)>,
    pub(super) usage_days: WriteRecords<'txn, (u32, u128)>,
}

/// The names of all tables.
const NAMES: [&str; 15] = [
    "meta/1",
    MARKS.name(),
    WORKSPACES.name(),
    KEYS.name(),
    KEYS_BY_PREFIX.name(),
    KEYS_BY_WORKSPACE.name(),
    KEY_COUNTERS.name(),
    METERS.name(),
    AUDIT.name(),
    MAKERS.name(),
    REPLAYS.name(),
    KEYS_BY_HANDLE.name(),
    LEGACY_SHAPES.name(),
    USAGE_HOURS.name(),
    USAGE_DAYS.name(),
];

impl<'txn> WriteTables<'txn> {
    /// Opens the tables. One that is gone is not made anew: where all is counted from 0 again, too much is let
    /// through.
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
        let opening = || StoreError::database("open its tables");
        check_names(txn.list_tables().map_err(opening())?)?;
        Self::make(txn)
    }

    /// Opens the tables; those that do not exist yet are made.
    pub(super) fn make(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Self::open_all(txn).map_err(StoreError::database("open its tables"))
    }

    fn open_all(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            marks: MARKS.write(txn)?,
            workspaces: WORKSPACES.write(txn)?,
            keys: KEYS.write(txn)?,
            keys_by_prefix: KEYS_BY_PREFIX.write(txn)?,
            keys_by_workspace: KEYS_BY_WORKSPACE.write(txn)?,
            key_counters: KEY_COUNTERS.write(txn)?,
            meters: METERS.write(txn)?,
            audit: AUDIT.write(txn)?,
            makers: MAKERS.write(txn)?,
            replays: REPLAYS.write(txn)?,
            sealer: None,
            witnesses: Vec::new(),
            keys_by_handle: KEYS_BY_HANDLE.write(txn)?,
            legacy_shapes: LEGACY_SHAPES.write(txn)?,
            usage_hours: USAGE_HOURS.write(txn)?,
            usage_days: USAGE_DAYS.write(txn)?,
        })
    }
}

/// Whether a file has all tables.
pub(super) fn check(txn: &ReadTransaction) -> Result<(), StoreError> {
    check_names(txn.list_tables().map_err(StoreError::database("open its tables"))?)
}

fn check_names(found: impl Iterator<Item = impl TableHandle>) -> Result<(), StoreError> {
    let known = found.filter(|table| NAMES.contains(&table.name())).count();
    if known == NAMES.len() { Ok(()) } else { Err(StoreError::TablesMissing) }
}

/// The key of a row of [`METERS`]: plain bytes, whose order is that of workspace, name and period, and which redb can
/// compare however they are damaged.
pub(super) fn meter_place(workspace: WorkspaceId, meter: &str, period: PeriodIndex) -> Vec<u8> {
    [&workspace.as_u128().to_be_bytes(), meter.as_bytes(), &period.to_be_bytes()].concat()
}

/// Makes every table and writes the schema's version: the first transaction of a new file.
pub(super) fn create_all(txn: &WriteTransaction) -> Result<(), StoreError> {
    WriteTables::make(txn)?;
    write_schema(txn)
}

/// Writes the schema's version.
pub(super) fn write_schema(txn: &WriteTransaction) -> Result<(), StoreError> {
    let mut meta = txn.open_table(META).map_err(StoreError::database("write its schema version"))?;
    meta.insert(SCHEMA_ROW, SCHEMA_VERSION).map_err(StoreError::database("write its schema version"))?;
    Ok(())
}
