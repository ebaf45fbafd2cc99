//! The sandbox's redb file: documents in collections, each collection one workspace's.
//!
//! Three tables, named with their version; the one of what is due stands in `due`. A method is one transaction;
//! a write is durable (two-phase, quick to repair) when it returns. Ids only grow within a collection, so the
//! order of keys is the order of making. A file that failed is opened again by the next write.
//!
//! Never here: what a document says, an async call. Everything blocks; `records` calls it from threads that
//! may.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::due::{self, DueMark, DueRows};
use super::opening;
use crate::domain::id::WorkspaceId;
use crate::sandbox::failure::SandboxError;

/// Records of one collection at most.
pub(in crate::sandbox) const RECORDS_MAX: u64 = 10_000;

/// Records of one workspace at most, in all collections.
const WORKSPACE_RECORDS_MAX: u64 = 50_000;

/// Collections of one workspace at most. Only one that holds something counts.
pub(in crate::sandbox) const COLLECTIONS_MAX: usize = 100;

/// (workspace, collection, id) → JSON document.
const RECORDS: TableDefinition<(u128, &str, u128), &[u8]> = TableDefinition::new("records.v1");

/// (workspace, collection) → how many records it holds.
const COUNTS: TableDefinition<(u128, &str), u64> = TableDefinition::new("counts.v1");

/// The documents of one kind in one workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sandbox) struct Collection {
    pub(in crate::sandbox) workspace: WorkspaceId,
    pub(in crate::sandbox) name: Cow<'static, str>,
}

impl Collection {
    pub(in crate::sandbox) fn row(&self, id: u128) -> (u128, &str, u128) {
        (self.workspace.as_u128(), &self.name, id)
    }

    pub(in crate::sandbox) fn count(&self) -> (u128, &str) {
        (self.workspace.as_u128(), &self.name)
    }
}

/// The open file.
pub(in crate::sandbox) struct RecordFile {
    path: PathBuf,
    /// None once closed, and while a failed file could not be opened again.
    database: RwLock<Option<Database>>,
    /// A read or write failed: redb takes no more writes through this handle.
    failed: AtomicBool,
    closed: AtomicBool,
    /// When something in the file is due next.
    pub(in crate::sandbox) due: DueMark,
}

impl RecordFile {
    /// Opens the file or makes it.
    pub(in crate::sandbox) fn open(path: &Path) -> Result<Self, SandboxError> {
        Ok(Self {
            path: path.to_owned(),
            database: RwLock::new(Some(open_with_tables(path)?)),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            due: DueMark::unknown(),
        })
    }

    /// Adds a record and returns its document, or `None` when the collection is full. Its id is `proposed`,
    /// or the newest one's successor where the clock stood still or went back; `document` is told which.
    pub(in crate::sandbox) fn insert(
        &self,
        collection: &Collection,
        proposed: u128,
        document: impl FnOnce(u128) -> Result<Vec<u8>, SandboxError>,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.write(|records, counts| {
            let inserted = insert_in(records, counts, collection, proposed, document)?;
            Ok(inserted.map(|(_, document)| document))
        })
    }

    /// The document with this id.
    pub(in crate::sandbox) fn find(
        &self,
        collection: &Collection,
        id: u128,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.read(|records| {
            Ok(records.get(collection.row(id)).map_err(read)?.map(|document| document.value().to_vec()))
        })
    }

    /// Up to `limit` documents behind the `offset` newest, newest first.
    pub(in crate::sandbox) fn newest(
        &self,
        collection: &Collection,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SandboxError> {
        self.newest_that(collection, offset, limit, |_| Ok(true))
    }

    /// The same of those documents that `fits` takes.
    pub(in crate::sandbox) fn newest_that(
        &self,
        collection: &Collection,
        offset: usize,
        limit: usize,
        fits: impl Fn(&[u8]) -> Result<bool, SandboxError>,
    ) -> Result<Vec<Vec<u8>>, SandboxError> {
        self.read(|records| {
            let rows = records.range(collection.row(0)..=collection.row(u128::MAX)).map_err(read)?.rev();
            let found = rows.filter_map(|row| {
                let document = match row {
                    Ok((_, document)) => document,
                    Err(error) => return Some(Err(read(error))),
                };
                match fits(document.value()) {
                    Ok(true) => Some(Ok(document.value().to_vec())),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                }
            });
            found.skip(offset).take(limit).collect()
        })
    }

    /// How many records each collection of a workspace holds. One that holds none may be missing.
    pub(in crate::sandbox) fn counts(
        &self,
        workspace: WorkspaceId,
    ) -> Result<Vec<(String, u64)>, SandboxError> {
        self.look(|transaction| {
            let counts = transaction.open_table(COUNTS).map_err(read)?;
            counts_in(&counts, workspace, "").map_err(read)
        })
    }

    /// Up to `limit` documents with ids below `id`, newest first.
    pub(in crate::sandbox) fn older(
        &self,
        collection: &Collection,
        id: u128,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SandboxError> {
        self.read(|records| {
            records
                .range(collection.row(0)..collection.row(id))
                .map_err(read)?
                .rev()
                .take(limit)
                .map(|row| row.map(|(_, document)| document.value().to_vec()).map_err(read))
                .collect()
        })
    }

    /// Removes a record; false when there was none.
    pub(in crate::sandbox) fn remove(&self, collection: &Collection, id: u128) -> Result<bool, SandboxError> {
        self.write(|records, counts| remove_in(records, counts, collection, id))
    }

    /// Shows every document of a collection to `look`, oldest first.
    pub(in crate::sandbox) fn each(
        &self,
        collection: &Collection,
        mut look: impl FnMut(&[u8]) -> Result<(), SandboxError>,
    ) -> Result<(), SandboxError> {
        self.read(|records| {
            let mut rows = records.range(collection.row(0)..=collection.row(u128::MAX)).map_err(read)?;
            rows.try_for_each(|row| look(row.map_err(read)?.1.value()))
        })
    }

    /// Closes the file for good, once the calls under way are done.
    pub(in crate::sandbox) fn close(&self) -> Result<(), SandboxError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Relaxed);
        match database.take() {
            Some(database) => database.close().map_err(|source| SandboxError::Database {
                path: self.path.clone(),
                source: Box::new(source.into()),
            }),
            None => Ok(()),
        }
    }

    fn read<T>(
        &self,
        work: impl FnOnce(
            &redb::ReadOnlyTable<(u128, &'static str, u128), &'static [u8]>,
        ) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        self.look(|transaction| work(&transaction.open_table(RECORDS).map_err(read)?))
    }

    /// One read transaction.
    pub(in crate::sandbox) fn look<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(SandboxError::Closed)?;
        database
            .begin_read()
            .map_err(read)
            .and_then(|transaction| work(&transaction))
            .inspect_err(|error| self.note(error))
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut Records<'_>, &mut Counts<'_>) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        self.write_tables(|tables| work(&mut tables.records, &mut tables.counts))
    }

    /// One write transaction over every table.
    pub(in crate::sandbox) fn write_tables<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        if self.failed.load(Ordering::Relaxed) {
            self.reopen()?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(SandboxError::Closed)?;
        commit(database, work).inspect_err(|error| self.note(error))
    }

    /// Opens a failed file again. Until that works writes answer `Closed`, and so do reads: the old handle
    /// holds the lock, so there cannot be two.
    fn reopen(&self) -> Result<(), SandboxError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Relaxed) || !self.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        drop(database.take());
        match open_with_tables(&self.path) {
            Ok(reopened) => {
                *database = Some(reopened);
                self.failed.store(false, Ordering::Relaxed);
                tracing::info!("the sandbox file is open again");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the sandbox file failed and cannot be opened again yet");
                Err(SandboxError::Closed)
            }
        }
    }

    fn note(&self, error: &SandboxError) {
        if let SandboxError::Read(source) | SandboxError::Write(source) = error
            && matches!(**source, redb::Error::Io(_) | redb::Error::PreviousIo)
        {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

type Records<'t> = Table<'t, (u128, &'static str, u128), &'static [u8]>;
type Counts<'t> = Table<'t, (u128, &'static str), u64>;

/// What a write transaction writes to.
pub(in crate::sandbox) struct Tables<'t> {
    pub(in crate::sandbox) records: Records<'t>,
    pub(in crate::sandbox) counts: Counts<'t>,
    pub(in crate::sandbox) due: DueRows<'t>,
}

/// One write transaction: all of `work`, durable, or nothing. Work that changed nothing commits too; that is
/// rare and keeps one path.
fn commit<T>(
    database: &Database,
    work: impl FnOnce(&mut Tables<'_>) -> Result<T, SandboxError>,
) -> Result<T, SandboxError> {
    let transaction = begin(database)?;
    let outcome = work(&mut Tables {
        records: transaction.open_table(RECORDS).map_err(write)?,
        counts: transaction.open_table(COUNTS).map_err(write)?,
        due: transaction.open_table(due::DUE).map_err(write)?,
    })?;
    transaction.commit().map_err(write)?;
    Ok(outcome)
}

fn begin(database: &Database) -> Result<WriteTransaction, SandboxError> {
    let mut transaction = database.begin_write().map_err(write)?;
    transaction.set_durability(Durability::Immediate).map_err(write)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// What a workspace holds.
struct Totals {
    collections: usize,
    records: u64,
}

fn totals(counts: &Counts<'_>, workspace: WorkspaceId) -> Result<Totals, redb::StorageError> {
    let mut totals = Totals { collections: 0, records: 0 };
    // No name is empty, so this is every one.
    for (_, count) in counts_in(counts, workspace, "")? {
        // An emptied collection of an older file still has its row.
        totals.collections += usize::from(count > 0);
        totals.records = totals.records.saturating_add(count);
    }
    Ok(totals)
}

/// The collections of a workspace whose names begin so, in the order of their names, and what each holds.
pub(in crate::sandbox) fn counts_in(
    counts: &impl ReadableTable<(u128, &'static str), u64>,
    workspace: WorkspaceId,
    beginning: &str,
) -> Result<Vec<(String, u64)>, redb::StorageError> {
    let mut found = Vec::new();
    for row in counts.range((workspace.as_u128(), beginning)..)? {
        let (place, count) = row?;
        let (of, name) = place.value();
        if of != workspace.as_u128() || !name.starts_with(beginning) {
            break;
        }
        found.push((name.to_owned(), count.value()));
    }
    Ok(found)
}

/// See [`RecordFile::insert`]; gives the record's id as well.
pub(in crate::sandbox) fn insert_in(
    records: &mut Records<'_>,
    counts: &mut Counts<'_>,
    collection: &Collection,
    proposed: u128,
    document: impl FnOnce(u128) -> Result<Vec<u8>, SandboxError>,
) -> Result<Option<(u128, Vec<u8>)>, SandboxError> {
    let held = counts.get(collection.count()).map_err(write)?.map_or(0, |count| count.value());
    let others = totals(counts, collection.workspace).map_err(write)?;
    let is_one_too_many = held == 0 && others.collections >= COLLECTIONS_MAX;
    if held >= RECORDS_MAX || others.records >= WORKSPACE_RECORDS_MAX || is_one_too_many {
        return Ok(None);
    }
    let id = match newest_id(records, collection).map_err(write)? {
        Some(newest) => proposed.max(newest.saturating_add(1)),
        None => proposed,
    };
    let document = document(id)?;
    records.insert(collection.row(id), document.as_slice()).map_err(write)?;
    counts.insert(collection.count(), held.saturating_add(1)).map_err(write)?;
    Ok(Some((id, document)))
}

/// See [`RecordFile::remove`].
pub(in crate::sandbox) fn remove_in(
    records: &mut Records<'_>,
    counts: &mut Counts<'_>,
    collection: &Collection,
    id: u128,
) -> Result<bool, SandboxError> {
    if records.remove(collection.row(id)).map_err(write)?.is_none() {
        return Ok(false);
    }
    let held = counts.get(collection.count()).map_err(write)?.map_or(0, |count| count.value());
    if held > 1 {
        counts.insert(collection.count(), held - 1).map_err(write)?;
    } else {
        counts.remove(collection.count()).map_err(write)?;
    }
    Ok(true)
}

fn newest_id(records: &Records<'_>, collection: &Collection) -> Result<Option<u128>, redb::StorageError> {
    let newest = records.range(collection.row(0)..=collection.row(u128::MAX))?.next_back().transpose()?;
    Ok(newest.map(|(row, _)| row.value().2))
}

/// Opens the file and makes its tables: a read of one that was never written would be an error in redb.
fn open_with_tables(path: &Path) -> Result<Database, SandboxError> {
    let database = opening::open(path)?;
    commit(&database, |_| Ok(()))?;
    Ok(database)
}

pub(in crate::sandbox) fn read(error: impl Into<redb::Error>) -> SandboxError {
    SandboxError::Read(Box::new(error.into()))
}

pub(in crate::sandbox) fn write(error: impl Into<redb::Error>) -> SandboxError {
    SandboxError::Write(Box::new(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn collection(workspace: u128) -> Collection {
        Collection { workspace: WorkspaceId::from_u128(workspace), name: "things".into() }
    }

    fn insert(file: &RecordFile, workspace: u128, proposed: u128) -> u128 {
        let document = file
            .insert(&collection(workspace), proposed, |id| Ok(id.to_string().into_bytes()))
            .unwrap()
            .unwrap();
        String::from_utf8(document).unwrap().parse().unwrap()
    }

    fn listed(file: &RecordFile, workspace: u128) -> Vec<u128> {
        let documents = file.newest(&collection(workspace), 0, 100).unwrap();
        documents.into_iter().map(|document| String::from_utf8(document).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn ids_grow_even_when_the_proposed_ones_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = RecordFile::open(&directory.path().join("sandbox.redb")).unwrap();
        for proposed in [7, 7, 3, 20] {
            insert(&file, 1, proposed);
        }
        assert_eq!(listed(&file, 1), [20, 9, 8, 7]);
        insert(&file, 2, 5);
        assert_eq!(listed(&file, 2), [5], "another workspace counts for itself");
    }

    #[test]
    fn a_full_collection_takes_no_more_until_one_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = RecordFile::open(&directory.path().join("sandbox.redb")).unwrap();
        let id = insert(&file, 1, 1);
        file.write(|_, counts| {
            counts.insert(collection(1).count(), RECORDS_MAX).map_err(write)?;
            Ok(())
        })
        .unwrap();
        assert!(file.insert(&collection(1), 2, |_| Ok(vec![])).unwrap().is_none());
        assert!(file.remove(&collection(1), id).unwrap());
        assert!(!file.remove(&collection(1), id).unwrap(), "only what was there lowers the count");
        insert(&file, 1, 2);
        assert!(file.insert(&collection(1), 3, |_| Ok(vec![])).unwrap().is_none());
    }

    #[test]
    fn a_document_that_cannot_be_made_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let file = RecordFile::open(&directory.path().join("sandbox.redb")).unwrap();
        file.insert(&collection(1), 1, |_| Err(SandboxError::Closed)).unwrap_err();
        assert!(listed(&file, 1).is_empty());
        insert(&file, 1, 2);
        file.alter(&collection(1), 2, |_| Err::<(_, ()), _>(SandboxError::Closed)).unwrap_err();
        assert_eq!(listed(&file, 1), [2]);
    }

    #[test]
    fn a_file_that_failed_is_opened_again_by_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sandbox.redb");
        let file = RecordFile::open(&path).unwrap();
        insert(&file, 1, 1);
        file.note(&write(redb::Error::PreviousIo));

        // While it cannot be opened, nothing is acknowledged.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(file.insert(&collection(1), 2, |_| Ok(vec![])), Err(SandboxError::Closed)));
        assert!(matches!(file.find(&collection(1), 1), Err(SandboxError::Closed)));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        insert(&file, 1, 2);
        assert_eq!(listed(&file, 1), [2, 1]);
    }

    #[test]
    fn a_closed_file_stays_closed() {
        let directory = tempfile::tempdir().unwrap();
        let file = RecordFile::open(&directory.path().join("sandbox.redb")).unwrap();
        file.note(&write(redb::Error::PreviousIo));
        file.close().unwrap();
        assert!(matches!(file.insert(&collection(1), 1, |_| Ok(vec![])), Err(SandboxError::Closed)));
    }
}
