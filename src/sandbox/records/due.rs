//! What is due: an index of the records that something happens to at a time of their own.
//!
//! Its rows change in the transaction that changes their records, so a crash leaves both or neither. When the
//! next one is due lies in memory as well: asking costs no read of the file.
//!
//! Never here: what happens to a record that is due, or the clock.

use std::sync::atomic::{AtomicI64, Ordering};

use redb::{ReadableTable, Table, TableDefinition};

use super::file::{Collection, RecordFile, Tables, insert_in, read, remove_in, write};
use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;
use crate::sandbox::failure::SandboxError;

/// (microseconds since the epoch, workspace, collection, id) → nothing.
pub(in crate::sandbox) const DUE: TableDefinition<(i64, u128, &str, u128), ()> =
    TableDefinition::new("due.v1");

/// The table in a write transaction.
pub(in crate::sandbox) type DueRows<'t> = Table<'t, (i64, u128, &'static str, u128), ()>;

/// A record that something is to happen to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sandbox) struct Due {
    pub(in crate::sandbox) at: Wall,
    pub(in crate::sandbox) collection: Collection,
    pub(in crate::sandbox) id: u128,
}

/// What becomes of a record.
#[derive(Debug)]
pub(in crate::sandbox) enum Alteration {
    /// It stays as it is, and so does what is due for it.
    Nothing,
    /// It is replaced.
    Replaced {
        /// The new document.
        document: Vec<u8>,
        /// When the old one was due, if it was.
        was_due: Option<Wall>,
        /// When the new one is.
        due: Option<Wall>,
    },
    /// It goes.
    Removed {
        /// When it was due, if it was.
        was_due: Option<Wall>,
    },
}

/// When the next record is due, as far as is known without a look at the file: never later than it is.
#[derive(Debug)]
pub(in crate::sandbox) struct DueMark(AtomicI64);

impl DueMark {
    /// The mark of a file that was not looked at.
    pub(in crate::sandbox) const fn unknown() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    /// Whether something may be due by now.
    pub(in crate::sandbox) fn is_reached(&self, now: Wall) -> bool {
        self.0.load(Ordering::Relaxed) <= now.micros()
    }

    fn set(&self, micros: Option<i64>) {
        self.0.store(micros.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn forget(&self) {
        self.0.store(i64::MIN, Ordering::Relaxed);
    }
}

impl RecordFile {
    /// The same as [`RecordFile::insert`] for a record that is due at some time.
    pub(in crate::sandbox) fn insert_due(
        &self,
        collection: &Collection,
        proposed: u128,
        due: Wall,
        document: impl FnOnce(u128) -> Result<Vec<u8>, SandboxError>,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.write_due(|tables| insert_due_in(tables, collection, proposed, due, document))
    }

    /// Lets `work` look at a record and say what becomes of it. Gives what `work` gave, or `None` when there is
    /// no such record.
    pub(in crate::sandbox) fn alter<T>(
        &self,
        collection: &Collection,
        id: u128,
        work: impl FnOnce(&[u8]) -> Result<(Alteration, T), SandboxError>,
    ) -> Result<Option<T>, SandboxError> {
        self.write_due(|tables| alter_in(tables, collection, id, work))
    }

    /// The same for records that are due, in one transaction. What was due for them no longer is, unless their
    /// alteration says when it is next.
    pub(in crate::sandbox) fn settle(
        &self,
        due: &[Due],
        mut work: impl FnMut(&Due, &[u8]) -> Result<Alteration, SandboxError>,
    ) -> Result<(), SandboxError> {
        self.write_due(|tables| {
            for one in due {
                tables.due.remove(row(one.at, &one.collection, one.id)).map_err(write)?;
                alter_in(tables, &one.collection, one.id, |document| Ok((work(one, document)?, ())))?;
            }
            Ok(())
        })
    }

    /// Up to `most` records of collections with this name that are due by now, the earliest first. To be called when no
    /// write is under way, since it moves the mark.
    pub(in crate::sandbox) fn due_by(
        &self,
        now: Wall,
        most: usize,
        name: &'static str,
    ) -> Result<Vec<Due>, SandboxError> {
        self.look(|transaction| {
            let rows = transaction.open_table(DUE).map_err(read)?;
            self.due.set(first(&rows)?);
            let mut found = Vec::new();
            for row in rows.iter().map_err(read)? {
                let row = row.map_err(read)?.0;
                let (at, workspace, named, id) = row.value();
                if at > now.micros() || found.len() == most {
                    break;
                }
                if named == name {
                    let collection =
                        Collection { workspace: WorkspaceId::from_u128(workspace), name: name.into() };
                    found.push(Due { at: Wall::from_micros(at), collection, id });
                }
            }
            Ok(found)
        })
    }

    /// One write transaction that may change what is due.
    pub(in crate::sandbox) fn write_due<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        // The mark is set before the commit, so it may come too early and never too late; a commit that fails
        // leaves it to be looked up.
        self.write_tables(|tables| {
            let given = work(tables)?;
            self.due.set(first(&tables.due)?);
            Ok(given)
        })
        .inspect_err(|_| self.due.forget())
    }
}

/// See [`RecordFile::insert_due`].
pub(in crate::sandbox) fn insert_due_in(
    tables: &mut Tables<'_>,
    collection: &Collection,
    proposed: u128,
    due: Wall,
    document: impl FnOnce(u128) -> Result<Vec<u8>, SandboxError>,
) -> Result<Option<Vec<u8>>, SandboxError> {
    let inserted = insert_in(&mut tables.records, &mut tables.counts, collection, proposed, document)?;
    let Some((id, document)) = inserted else { return Ok(None) };
    note(tables, collection, id, Some(due))?;
    Ok(Some(document))
}

/// See [`RecordFile::alter`].
pub(in crate::sandbox) fn alter_in<T>(
    tables: &mut Tables<'_>,
    collection: &Collection,
    id: u128,
    work: impl FnOnce(&[u8]) -> Result<(Alteration, T), SandboxError>,
) -> Result<Option<T>, SandboxError> {
    let (alteration, given) = match tables.records.get(collection.row(id)).map_err(write)? {
        Some(document) => work(document.value())?,
        None => return Ok(None),
    };
    apply(tables, collection, id, alteration)?;
    Ok(Some(given))
}

/// Notes when a record is due.
fn note(
    tables: &mut Tables<'_>,
    collection: &Collection,
    id: u128,
    due: Option<Wall>,
) -> Result<(), SandboxError> {
    if let Some(at) = due {
        tables.due.insert(row(at, collection, id), ()).map_err(write)?;
    }
    Ok(())
}

fn apply(
    tables: &mut Tables<'_>,
    collection: &Collection,
    id: u128,
    alteration: Alteration,
) -> Result<(), SandboxError> {
    let was_due = match &alteration {
        Alteration::Nothing => return Ok(()),
        Alteration::Replaced { was_due, .. } | Alteration::Removed { was_due } => *was_due,
    };
    if let Some(at) = was_due {
        tables.due.remove(row(at, collection, id)).map_err(write)?;
    }
    match alteration {
        Alteration::Replaced { document, due, .. } => {
            tables.records.insert(collection.row(id), document.as_slice()).map_err(write)?;
            note(tables, collection, id, due)
        }
        Alteration::Removed { .. } | Alteration::Nothing => {
            remove_in(&mut tables.records, &mut tables.counts, collection, id).map(drop)
        }
    }
}

fn row(at: Wall, collection: &Collection, id: u128) -> (i64, u128, &str, u128) {
    (at.micros(), collection.workspace.as_u128(), &collection.name, id)
}

fn first(
    rows: &impl ReadableTable<(i64, u128, &'static str, u128), ()>,
) -> Result<Option<i64>, SandboxError> {
    Ok(rows.first().map_err(read)?.map(|(row, _)| row.value().0))
}
