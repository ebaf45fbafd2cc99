//! What can go wrong in the store, in two types: [`StoreError`] for opening and reading, [`ChangeError`] for
//! a change.
//!
//! A variant says which operation failed and holds the cause; the cause's text is not repeated. No error
//! carries anything of a record but its id, so that no hash or fingerprint can reach a log through one. Both
//! are cheap to clone: every waiter of one failed transaction gets the same.
//!
//! Never here: a status code, or a redb type in a public field.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The store could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the file open.
    #[error("{} is in use by another process: stop the other keyward, or give this one its own data directory", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Group or others may read or write the file.
    #[error("{} has mode {mode:04o}, expected 0600 (owner alone): run chmod 600 on it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is another user's.
    #[error("{} belongs to user {owner}, expected user {expected}, as whom this runs: run it as the file's owner, or chown the file", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process' effective user.
        expected: u32,
    },
    /// The path is a symbolic link, a directory or another thing that is not a regular file.
    #[error("{} is {found}, expected a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A file is there, but it is no Keyward store or a damaged one. It is never replaced by an empty one.
    #[error("{} is not a whole Keyward store ({found}): restore it from a backup, or move it away to start empty", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A newer Keyward wrote the file; it was left untouched.
    #[error("{} has schema version {found}, expected at most {expected}: a newer keyward wrote it; use that version", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The newest version that this program knows.
        expected: u64,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: Arc<io::Error>,
    },
    /// A record has a format byte that this program does not know.
    #[error("record {key} of table {table} has format {found}, expected at most {expected}")]
    NewerFormat {
        /// The table's name.
        table: &'static str,
        /// The record's key, as text.
        key: String,
        /// The format byte.
        found: u8,
        /// The newest format that this program knows.
        expected: u8,
    },
    /// A record cannot be read.
    #[error("record {key} of table {table} cannot be read: {what}")]
    Corrupt {
        /// The table's name.
        table: &'static str,
        /// The record's key, as text.
        key: String,
        /// What is wrong with it; never its content.
        what: &'static str,
    },
    /// A table of the file is gone, so nothing that is not found in it can be believed.
    #[error("the store is damaged: a table is missing; restore it from a backup")]
    TablesMissing,
    /// The database refused an operation, most often for an I/O error.
    #[error("the store could not {operation}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// The disk refuses writes, and has done so since an earlier one.
    #[error("the disk refuses writes")]
    Ill,
    /// No sealer of audit rows was set; a defect in this program.
    #[error("the audit log cannot be sealed: no install secret was set")]
    Unsealed,
    /// A transaction was given up because of a defect in this program.
    #[error("a store transaction broke off and was given up")]
    BrokeOff,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Wraps what failed below the store under the name of the operation that met it.
    pub(super) fn database<E: Failed>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |error| error.during(operation)
    }

    /// Wraps a file error.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File { operation, path: path.to_owned(), cause: Arc::new(error) }
    }

    /// Whether this speaks of one record alone, so that its neighbours are none the worse.
    pub(super) const fn is_of_one_record(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::NewerFormat { .. })
    }
}

/// What can fail below the store.
pub(super) trait Failed {
    /// The same, as the store tells it.
    fn during(self, operation: &'static str) -> StoreError;
}

impl<E: Into<redb::Error>> Failed for E {
    fn during(self, operation: &'static str) -> StoreError {
        StoreError::Database { operation, cause: Arc::new(self.into()) }
    }
}

/// A change was not made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another key has a prefix of this one: draw a new key.
    #[error("another key has the same prefix")]
    PrefixTaken,
    /// The workspace does not exist.
    #[error("there is no such workspace")]
    NoSuchWorkspace,
    /// The workspace was deleted and takes nothing new.
    #[error("the workspace is deleted")]
    WorkspaceDeleted,
    /// The key does not exist.
    #[error("there is no such key")]
    NoSuchKey,
    /// A record of this id exists already.
    #[error("a record with this id exists already")]
    Exists,
    /// The change would have moved a record or turned its version back; a defect in the caller.
    #[error("the change does not fit its record: {0}")]
    Misfit(&'static str),
    /// Too many changes wait. Nothing was queued; try again in a moment.
    #[error("too many changes are waiting, try again in a moment")]
    Busy,
    /// The record to change cannot be read.
    #[error("the record to change cannot be read")]
    Unreadable(#[source] StoreError),
    /// The change could not be made durable: after a restart it may or, after a failed commit, may not be
    /// there.
    #[error("the change could not be made durable")]
    NotDurable(#[source] StoreError),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        if error.is_of_one_record() { Self::Unreadable(error) } else { Self::NotDurable(error) }
    }
}
