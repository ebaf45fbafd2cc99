//! Rows with a checksum: the one layer between redb and the codecs, through which every read and write goes.
//!
//! Behind each value stands the CRC-32 of its table's name, its key and itself, and it is compared whenever the row is
//! read: redb has checksums of its pages and looks at them only when it repairs a file. A row that fails is an error
//! of that row; its neighbours can be read. That nothing is there is believed only where the rows beside the place are
//! whole and in order, since a row whose key was damaged is found under none.
//!
//! Never here: what a value says, or a defence against people, who can reckon a checksum too (audit).

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use redb::{
    AccessGuard, Key, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, StorageError,
    Table, TableDefinition, TableError, Value, WriteTransaction,
};

use super::error::{Failed, StoreError};
use crate::domain::id::{KeyId, WorkspaceId};

const SUM_BYTES: usize = 4;

/// The checksum of a row, in the byte order of its file: all that a row of an index has beside its key.
pub(super) type Sum = [u8; SUM_BYTES];

/// A table of records: what a codec wrote, and its checksum.
pub(super) type RecordsOf<K> = Definition<K, &'static [u8]>;
/// A table whose keys say everything.
pub(super) type IndexOf<K> = Definition<K, Sum>;

/// A table by its name in the file.
pub(super) struct Definition<K, V> {
    name: &'static str,
    row: PhantomData<(K, V)>,
}

impl<K: Key + 'static, V: Value + 'static> Definition<K, V> {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, row: PhantomData }
    }

    /// Its name in the file.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Opens it to be written; it is made when it is not there.
    pub(super) fn write<'txn>(
        &self,
        txn: &'txn WriteTransaction,
    ) -> Result<Rows<Table<'txn, K, V>>, TableError> {
        let table = txn.open_table(TableDefinition::new(self.name))?;
        Ok(Rows { table, name: self.name })
    }

    /// Opens it to be read.
    pub(super) fn read(&self, txn: &ReadTransaction) -> Result<Rows<ReadOnlyTable<K, V>>, TableError> {
        let table = txn.open_table(TableDefinition::new(self.name))?;
        Ok(Rows { table, name: self.name })
    }
}

/// A table that is open.
pub(super) struct Rows<T> {
    table: T,
    name: &'static str,
}

/// A record that was read and is what was written.
pub(super) struct Record<'a>(AccessGuard<'a, &'static [u8]>);

impl Record<'_> {
    /// Its bytes.
    pub(super) fn value(&self) -> &[u8] {
        let stored = self.0.value();
        stored.split_last_chunk::<SUM_BYTES>().map_or(stored, |(record, _)| record)
    }
}

/// Why a row could not be read.
#[derive(Debug)]
pub(super) enum RowError {
    /// redb could not.
    Storage(StorageError),
    /// It is not what was written.
    Damaged { table: &'static str, key: String, what: &'static str },
}

impl From<StorageError> for RowError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Failed for RowError {
    fn during(self, operation: &'static str) -> StoreError {
        match self {
            Self::Storage(error) => error.during(operation),
            Self::Damaged { table, key, what } => StoreError::Corrupt { table, key, what },
        }
    }
}

/// Rows that are there, one after the other.
impl<T> Rows<T> {
    /// The record under a key.
    pub(super) fn get<'k, K: RowKey>(
        &self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<Record<'_>>, RowError>
    where
        T: ReadableTable<K, &'static [u8]>,
    {
        let found = self.find::<K, &'static [u8]>(key.borrow())?;
        Ok(found.map(Record))
    }

    /// Whether an index has this key.
    pub(super) fn has<'k, K: RowKey>(&self, key: impl Borrow<K::SelfType<'k>>) -> Result<bool, RowError>
    where
        T: ReadableTable<K, Sum>,
    {
        let found = self.find::<K, Sum>(key.borrow())?;
        Ok(found.is_some())
    }

    /// The records whose keys lie in a range. One that is damaged is an error in its place, and the next follows.
    pub(super) fn records_in<'a, 'k, K: RowKey, Bounds>(
        &'a self,
        range: impl RangeBounds<Bounds> + 'k,
    ) -> Result<impl Iterator<Item = Result<(AccessGuard<'a, K>, Record<'a>), RowError>>, RowError>
    where
        T: ReadableTable<K, &'static [u8]>,
        Bounds: Borrow<K::SelfType<'k>> + 'k,
    {
        let rows = self.table.range(range)?;
        Ok(rows.map(|row| {
            let (key, stored) = row?;
            self.check::<K, &'static [u8]>(&key.value(), &stored)?;
            Ok((key, Record(stored)))
        }))
    }

    /// All records.
    pub(super) fn records<K: RowKey>(
        &self,
    ) -> Result<impl Iterator<Item = Result<(AccessGuard<'_, K>, Record<'_>), RowError>>, RowError>
    where
        T: ReadableTable<K, &'static [u8]>,
    {
        self.records_in::<K, K::SelfType<'_>>(..)
    }

    /// The records whose keys lie in a range, as they are, for a reader that checks them otherwise.
    pub(super) fn unchecked_in<'a, 'k, K: RowKey, Bounds>(
        &'a self,
        range: impl RangeBounds<Bounds> + 'k,
    ) -> Result<
        impl DoubleEndedIterator<Item = Result<(AccessGuard<'a, K>, Record<'a>), StorageError>>,
        StorageError,
    >
    where
        T: ReadableTable<K, &'static [u8]>,
        Bounds: Borrow<K::SelfType<'k>> + 'k,
    {
        Ok(self.table.range(range)?.map(|row| row.map(|(key, stored)| (key, Record(stored)))))
    }

    /// The keys of an index from `first` to `last`, both included. That there are none is looked into.
    pub(super) fn keys_between<'a, 'k, K: RowKey>(
        &'a self,
        first: &'k K::SelfType<'k>,
        last: &'k K::SelfType<'k>,
    ) -> Result<impl Iterator<Item = Result<AccessGuard<'a, K>, RowError>>, RowError>
    where
        T: ReadableTable<K, Sum>,
    {
        let mut rows = self.table.range::<&K::SelfType<'k>>(first..=last)?.peekable();
        if rows.peek().is_none() {
            self.check_gap::<K, Sum>(first, last)?;
        }
        Ok(rows.map(|row| self.key_of(row)))
    }

    /// All keys of an index.
    pub(super) fn keys<K: RowKey>(
        &self,
    ) -> Result<impl Iterator<Item = Result<AccessGuard<'_, K>, RowError>>, RowError>
    where
        T: ReadableTable<K, Sum>,
    {
        Ok(self.table.iter()?.map(|row| self.key_of(row)))
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> Result<u64, RowError>
    where
        T: ReadableTableMetadata,
    {
        Ok(self.table.len()?)
    }

    fn key_of<'a, K: RowKey>(
        &self,
        row: Result<(AccessGuard<'a, K>, AccessGuard<'a, Sum>), StorageError>,
    ) -> Result<AccessGuard<'a, K>, RowError> {
        let (key, stored) = row?;
        self.check::<K, Sum>(&key.value(), &stored)?;
        Ok(key)
    }

    fn find<K: RowKey, V: Value + 'static>(
        &self,
        key: &K::SelfType<'_>,
    ) -> Result<Option<AccessGuard<'_, V>>, RowError>
    where
        T: ReadableTable<K, V>,
    {
        let found = self.table.get(key)?;
        match &found {
            Some(stored) => self.check::<K, V>(key, stored)?,
            None => self.check_gap::<K, V>(key, key)?,
        }
        Ok(found)
    }

    /// Compares a row with its checksum.
    fn check<K: RowKey, V: Value + 'static>(
        &self,
        key: &K::SelfType<'_>,
        stored: &AccessGuard<'_, V>,
    ) -> Result<(), RowError> {
        let stored = stored.value();
        let bytes = V::as_bytes(&stored);
        let is_whole = bytes
            .as_ref()
            .split_last_chunk()
            .is_some_and(|(value, found)| *found == sum(self.name, K::as_bytes(key).as_ref(), value));
        if is_whole { Ok(()) } else { Err(self.damaged::<K>(key, "its checksum does not fit")) }
    }

    /// Looks at the rows on either side of where nothing was found. A search is misled by a damaged key, in a leaf or
    /// above it, only so far as to end beside it.
    fn check_gap<K: RowKey, V: Value + 'static>(
        &self,
        first: &K::SelfType<'_>,
        last: &K::SelfType<'_>,
    ) -> Result<(), RowError>
    where
        T: ReadableTable<K, V>,
    {
        let (from, to) = (K::as_bytes(first), K::as_bytes(last));
        let (from, to) = (from.as_ref(), to.as_ref());
        let below = (Bound::Unbounded, Bound::Excluded(K::from_bytes(from)));
        let above = (Bound::Excluded(K::from_bytes(to)), Bound::Unbounded);
        let below = self.table.range::<K::SelfType<'_>>(below)?.next_back();
        let above = self.table.range::<K::SelfType<'_>>(above)?.next();
        for (beside, of, expected) in [(below, from, Ordering::Less), (above, to, Ordering::Greater)] {
            let Some((key, stored)) = beside.transpose()? else { continue };
            let key = key.value();
            let order = K::compare(K::as_bytes(&key).as_ref(), of);
            if order != expected || self.check::<K, V>(&key, &stored).is_err() {
                return Err(self.damaged::<K>(first, "a row beside its place is damaged"));
            }
        }
        Ok(())
    }

    fn damaged<K: RowKey>(&self, key: &K::SelfType<'_>, what: &'static str) -> RowError {
        let table = self.name.split_once('/').map_or(self.name, |(table, _)| table);
        RowError::Damaged { table, key: K::shown(table, key), what }
    }
}

impl<K: RowKey> Rows<Table<'_, K, &'static [u8]>> {
    /// Writes a record over whatever stands there.
    pub(super) fn insert<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        record: &[u8],
    ) -> Result<(), StorageError> {
        let key = key.borrow();
        let sum = sum(self.name, K::as_bytes(key).as_ref(), record);
        let mut stored = self.table.insert_reserve(key, record.len() + SUM_BYTES)?;
        let stored: &mut [u8] = stored.as_mut();
        if let Some((place, end)) = stored.split_last_chunk_mut() {
            place.copy_from_slice(record);
            *end = sum;
        }
        Ok(())
    }
}

impl<K: RowKey> Rows<Table<'_, K, Sum>> {
    /// Writes a key.
    pub(super) fn add<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) -> Result<(), StorageError> {
        let key = key.borrow();
        let sum = sum(self.name, K::as_bytes(key).as_ref(), &[]);
        self.table.insert(key, sum).map(drop)
    }
}

impl<K: RowKey, V: Value + 'static> Rows<Table<'_, K, V>> {
    /// Removes a row, whatever its state.
    pub(super) fn remove<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) -> Result<(), StorageError> {
        self.table.remove(key).map(drop)
    }

    /// Removes the rows of a range, whatever their state.
    pub(super) fn remove_in<'k, Bounds: Borrow<K::SelfType<'k>> + 'k>(
        &mut self,
        range: impl RangeBounds<Bounds> + 'k,
    ) -> Result<(), StorageError> {
        self.table.retain_in(range, |_, _| false)
    }
}

/// The checksum of a row.
fn sum(table: &str, key: &[u8], value: &[u8]) -> Sum {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(table.as_bytes());
    // So that no key and value read like another two.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// A key that can be told to an operator: ids and numbers, never what a text is found by.
pub(super) trait RowKey: Key + 'static {
    fn shown(table: &str, key: &Self::SelfType<'_>) -> String;
}

impl RowKey for u128 {
    fn shown(table: &str, key: &Self::SelfType<'_>) -> String {
        match table {
            "workspaces" => WorkspaceId::from_u128(*key).to_string(),
            _ => KeyId::from_u128(*key).to_string(),
        }
    }
}

impl RowKey for u64 {
    fn shown(_: &str, key: &Self::SelfType<'_>) -> String {
        key.to_string()
    }
}

impl RowKey for u32 {
    fn shown(_: &str, key: &Self::SelfType<'_>) -> String {
        key.to_string()
    }
}

impl RowKey for &'static [u8] {
    fn shown(_: &str, key: &Self::SelfType<'_>) -> String {
        key.escape_ascii().to_string()
    }
}

impl RowKey for [u8; 8] {
    fn shown(_: &str, key: &Self::SelfType<'_>) -> String {
        hex::encode(key)
    }
}

impl RowKey for ([u8; 8], u128) {
    fn shown(_: &str, (_, id): &Self::SelfType<'_>) -> String {
        KeyId::from_u128(*id).to_string()
    }
}

impl RowKey for (&'static [u8], u128) {
    fn shown(_: &str, (_, id): &Self::SelfType<'_>) -> String {
        KeyId::from_u128(*id).to_string()
    }
}

impl RowKey for (u128, u128) {
    fn shown(_: &str, (_, id): &Self::SelfType<'_>) -> String {
        KeyId::from_u128(*id).to_string()
    }
}

impl RowKey for (u32, u128) {
    fn shown(_: &str, (number, id): &Self::SelfType<'_>) -> String {
        format!("{number} {}", KeyId::from_u128(*id))
    }
}

impl RowKey for (u128, &'static [u8], u32) {
    fn shown(_: &str, (id, meter, period): &Self::SelfType<'_>) -> String {
        format!("{} {} {period}", WorkspaceId::from_u128(*id), meter.escape_ascii())
    }
}
