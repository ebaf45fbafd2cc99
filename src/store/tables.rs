//! Every table of the file, key and value in words, and the schema's version.
//!
//! A table's name carries the version of its shape; a change of shape is a new table and a numbered
//! migration. Values called *record* are the versioned bytes of `codec`.
//!
//! Never here: a table that is opened under another definition elsewhere.

use std::sync::Arc;

use redb::{Table, TableDefinition, TableError, WriteTransaction};

use super::KeyWitness;
use super::error::StoreError;
use crate::domain::audit::seal::AuditSealer;

/// The newest schema that this program knows, and the one it creates.
pub(super) const SCHEMA_VERSION: u64 = 3;
/// The row of [`META`] that holds the file's schema version.
pub(super) const SCHEMA_ROW: &str = "schema";

/// The row of [`META`] that holds the mark of believed time: microseconds since the Unix epoch. It came without a
/// step of the schema: a file without it was made before there was one.
pub(super) const CLOCK_MARK_ROW: &str = "clock_mark";

/// Name → number: what the file says of itself.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta/1");
/// Workspace id → workspace record.
pub(super) const WORKSPACES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("workspaces/1");
/// Key id → key record.
pub(super) const KEYS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("keys/1");
/// (Prefix, key id): the index by which a presented key is found. Several keys of one prefix are allowed.
pub(super) const KEYS_BY_PREFIX: TableDefinition<'_, ([u8; 8], u128), ()> =
    TableDefinition::new("keys_by_prefix/1");
/// (Workspace id, key id): the keys of a workspace.
pub(super) const KEYS_BY_WORKSPACE: TableDefinition<'_, (u128, u128), ()> =
    TableDefinition::new("keys_by_workspace/1");
/// Key id → counters record. Apart from [`KEYS`], so that a checkpoint rewrites no key record.
pub(super) const KEY_COUNTERS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("key_counters/1");
/// (Workspace id, meter's name, period index) → meter record.
pub(super) const METERS: TableDefinition<'_, (u128, &str, u32), &[u8]> = TableDefinition::new("meters/1");
/// Number from 1, without gaps → an install secret's name, a hash, a seal, and an audit record.
pub(super) const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/2");
/// The name of every install secret under which a fingerprint or a seal was ever made.
pub(super) const MAKERS: TableDefinition<'_, [u8; 8], ()> = TableDefinition::new("fingerprint_makers/1");

/// Number from 0 → record of signatures that were taken. There from a clean stop to the next start alone.
pub(super) const REPLAYS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("replays/1");
/// (Handle: one byte of kind and its content, key id): the index of keys that were made elsewhere.
pub(super) const KEYS_BY_HANDLE: TableDefinition<'_, (&[u8], u128), ()> =
    TableDefinition::new("keys_by_handle/1");
/// Profile's name → record of the shapes that its imported keys have.
pub(super) const LEGACY_SHAPES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("legacy_shapes/1");

/// A table of usage: (hour or day numbered from the Unix epoch, key id) → usage record.
pub(super) type UsageTable = TableDefinition<'static, (u32, u128), &'static [u8]>;
/// By hour.
pub(super) const USAGE_HOURS: UsageTable = TableDefinition::new("usage_hours/1");
/// By day: what the hours were that are not in [`USAGE_HOURS`] any more.
pub(super) const USAGE_DAYS: UsageTable = TableDefinition::new("usage_days/1");

/// Every table that a change may touch, open in one write transaction.
pub(super) struct WriteTables<'txn> {
    pub(super) meta: Table<'txn, &'static str, u64>,
    pub(super) workspaces: Table<'txn, u128, &'static [u8]>,
    pub(super) keys: Table<'txn, u128, &'static [u8]>,
    pub(super) keys_by_prefix: Table<'txn, ([u8; 8], u128), ()>,
    pub(super) keys_by_workspace: Table<'txn, (u128, u128), ()>,
    pub(super) key_counters: Table<'txn, u128, &'static [u8]>,
    pub(super) meters: Table<'txn, (u128, &'static str, u32), &'static [u8]>,
    pub(super) audit: Table<'txn, u64, &'static [u8]>,
    pub(super) makers: Table<'txn, [u8; 8], ()>,
    /// What seals the audit rows of this transaction; the writer sets it.
    pub(super) sealer: Option<Arc<AuditSealer>>,
    /// Who is told of each key record; the writer sets them.
    pub(super) witnesses: Vec<KeyWitness>,
    pub(super) replays: Table<'txn, u32, &'static [u8]>,
    pub(super) keys_by_handle: Table<'txn, (&'static [u8], u128), ()>,
    pub(super) legacy_shapes: Table<'txn, &'static str, &'static [u8]>,
    pub(super) usage_hours: Table<'txn, (u32, u128), &'static [u8]>,
    pub(super) usage_days: Table<'txn, (u32, u128), &'static [u8]>,
}

impl<'txn> WriteTables<'txn> {
    /// Opens the tables; those that do not exist yet are made.
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Self::open_all(txn).map_err(StoreError::database("open its tables"))
    }

    fn open_all(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            workspaces: txn.open_table(WORKSPACES)?,
            keys: txn.open_table(KEYS)?,
            keys_by_prefix: txn.open_table(KEYS_BY_PREFIX)?,
            keys_by_workspace: txn.open_table(KEYS_BY_WORKSPACE)?,
            key_counters: txn.open_table(KEY_COUNTERS)?,
            meters: txn.open_table(METERS)?,
            audit: txn.open_table(AUDIT)?,
            makers: txn.open_table(MAKERS)?,
            replays: txn.open_table(REPLAYS)?,
            sealer: None,
            witnesses: Vec::new(),
            keys_by_handle: txn.open_table(KEYS_BY_HANDLE)?,
            legacy_shapes: txn.open_table(LEGACY_SHAPES)?,
            usage_hours: txn.open_table(USAGE_HOURS)?,
            usage_days: txn.open_table(USAGE_DAYS)?,
        })
    }
}

/// Makes every table and writes the schema's version: the first transaction of a new file.
pub(super) fn create_all(txn: &WriteTransaction) -> Result<(), StoreError> {
    WriteTables::open(txn)?;
    let mut meta = txn.open_table(META).map_err(StoreError::database("create its tables"))?;
    meta.insert(SCHEMA_ROW, SCHEMA_VERSION).map_err(StoreError::database("create its tables"))?;
    Ok(())
}
