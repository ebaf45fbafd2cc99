//! The file: how it is made, and what must hold before one that exists is opened.
//!
//! A store is made under another name, filled with its tables, synced, and only then given its own name, so
//! that a crash at a first start leaves nothing that looks like a store. An existing file is opened only when
//! it is a regular file of mode 0600, in no other process's hands, and of a schema that this program knows;
//! what is newer stays untouched to the byte. An older one is migrated (migrations).
//!
//! Never here: an empty store in the place of a file that is short, damaged or not ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::backends::FileBackend;
use redb::{DatabaseError, StorageBackend, StorageError, TableError};

use super::disk::{Contained, Disk, Open, open_database};
use super::error::StoreError;
use super::migrations;
use super::overlay::Overlay;
use super::private_file::{self, Draft, PrivateFileError};
use super::tables::{self, META, SCHEMA_ROW, SCHEMA_VERSION};

/// How much a probe writes: 1 MiB, more than the pages of most transactions. A larger one, of an import, may fail on a
/// disk that is nearly full, and the store heals once more.
const PROBE_PIECES: usize = 256;
const PROBE_PIECE_BYTES: usize = 4096;

/// Opens the store at `path`, or makes it when nothing is there.
pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<(Arc<Disk>, Open), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, cache_bytes)?,
        Err(error) => return Err(StoreError::file("look at", path)(error)),
    }
    look(path, cache_bytes)?;
    let beside = path.to_owned();
    let file = existing(path)?;
    let in_memory = file.try_clone().map_err(StoreError::file("open", path))?;
    let backend = backend_of(path, file)?;
    let disk = Disk::new(backend, Some(in_memory), Box::new(move || probe(&beside)), cache_bytes);
    let open = open_over(path, &disk)?;
    Ok((disk, open))
}

/// Opens the database of a disk whose file is a store, and brings it to the newest schema.
pub(super) fn open_over(path: &Path, disk: &Arc<Disk>) -> Result<Open, StoreError> {
    let open = disk.open().map_err(|error| opening_failed(path, error))?;
    let found = check_schema(path, &open.database)?;
    migrations::run(&open.database, found)?;
    let txn = open.database.begin_read().map_err(StoreError::database("open its tables"))?;
    tables::check(&txn)?;
    drop(txn);
    disk.keep_head().map_err(StoreError::file("read", path))?;
    Ok(open)
}

/// Tries whether the file's directory takes writes: as much as a large transaction, written and synced beside
/// it, and gone again.
fn probe(path: &Path) -> io::Result<()> {
    let (_gone_when_dropped, mut file) = Draft::begin(path)?;
    for _ in 0..PROBE_PIECES {
        file.write_all(&[0x5a; PROBE_PIECE_BYTES])?;
    }
    file.sync_all()
}

/// Checks the schema without writing to the file: redb marks a file as in use, and repairs it, the moment it
/// opens it.
fn look(path: &Path, cache_bytes: usize) -> Result<(), StoreError> {
    let overlay = Overlay::new(backend_of(path, existing(path)?)?).map_err(StoreError::file("read", path))?;
    let full = overlay.full();
    match open_database(overlay, cache_bytes) {
        Ok(database) => check_schema(path, &database).map(drop),
        // A repair too large for memory can only be made in the file itself; its schema is checked after it.
        Err(_) if full.load(Ordering::Relaxed) => Ok(()),
        Err(error) => Err(opening_failed(path, error)),
    }
}

/// Makes an empty store and gives it its name only when it is whole and on the disk.
fn create(path: &Path, cache_bytes: usize) -> Result<(), StoreError> {
    let (draft, file) = Draft::begin(path).map_err(StoreError::file("create", path))?;
    fill(path, backend_of(path, file)?, cache_bytes)?;
    match draft.name_new() {
        // Another process made one in the meantime; that it is in use is found out next.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        named => named.map_err(StoreError::file("create", path)),
    }
}

/// Makes an empty file a store without anything in it.
pub(super) fn fill(path: &Path, file: impl StorageBackend, cache_bytes: usize) -> Result<(), StoreError> {
    let database = open_database(file, cache_bytes).map_err(|error| opening_failed(path, error))?;
    let mut txn = database.begin_write().map_err(StoreError::database("create its tables"))?;
    txn.set_quick_repair(true);
    tables::create_all(&txn)?;
    txn.commit().map_err(StoreError::database("create its tables"))?;
    database.close().map_err(StoreError::database("create its tables"))
}

/// Opens a file that exists, once its kind and mode are right and it is not empty.
fn existing(path: &Path) -> Result<File, StoreError> {
    let file =
        private_file::open(path, OpenOptions::new().read(true).write(true)).map_err(|error| match error {
            PrivateFileError::Mode { path, mode } => StoreError::Mode { path, mode },
            PrivateFileError::Owner { path, owner, expected } => StoreError::Owner { path, owner, expected },
            PrivateFileError::NotAFile { path, found } => StoreError::NotAFile { path, found },
            PrivateFileError::Io { path, source } => StoreError::file("open", &path)(source),
            PrivateFileError::TooLong { path, .. } => StoreError::NotOurs { path, found: "it is too long" },
        })?;
    if file.metadata().map_err(StoreError::file("look at", path))?.len() == 0 {
        return Err(StoreError::NotOurs { path: path.to_owned(), found: "it is empty" });
    }
    Ok(file)
}

fn backend_of(path: &Path, file: File) -> Result<FileBackend, StoreError> {
    FileBackend::new(file).map_err(|error| opening_failed(path, error))
}

fn opening_failed(path: &Path, error: DatabaseError) -> StoreError {
    let not_ours = |found| StoreError::NotOurs { path: path.to_owned(), found };
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Locked { path: path.to_owned() }
        }
        DatabaseError::UpgradeRequired(_) => not_ours("its file format is another version's"),
        DatabaseError::Storage(StorageError::Corrupted(_)) => not_ours("it is damaged"),
        // What redb answers when the first bytes are not its own, or the file ends too early.
        DatabaseError::Storage(StorageError::Io(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
            not_ours("it is no database")
        }
        DatabaseError::Storage(StorageError::Io(cause)) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            not_ours("it is cut short")
        }
        other => StoreError::database("open its file")(other),
    }
}

/// The schema of a file that this program knows.
fn check_schema(path: &Path, database: &Contained) -> Result<u64, StoreError> {
    let not_ours = |found| StoreError::NotOurs { path: path.to_owned(), found };
    let txn = database.begin_read().map_err(StoreError::database("read its schema version"))?;
    let meta = txn.open_table(META).map_err(|error| match error {
        TableError::Storage(cause) => StoreError::database("read its schema version")(cause),
        _ => not_ours("it is another program's database"),
    })?;
    let row = meta.get(SCHEMA_ROW).map_err(StoreError::database("read its schema version"))?;
    match row.map(|found| found.value()) {
        Some(found @ 1..=SCHEMA_VERSION) => Ok(found),
        Some(found) if found > SCHEMA_VERSION => {
            Err(StoreError::NewerSchema { path: path.to_owned(), found, expected: SCHEMA_VERSION })
        }
        _ => Err(not_ours("it has no schema version")),
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const CACHE_BYTES: usize = 1 << 20;

    fn open_fails(path: &Path) -> StoreError {
        open(path, CACHE_BYTES).map(drop).expect_err("it must be refused")
    }

    fn made() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyward.redb");
        let (_, open) = open(&path, CACHE_BYTES).unwrap();
        open.database.close().unwrap();
        (directory, path)
    }

    fn set_schema(path: &Path, version: u64) -> Database {
        let database = Database::open(path).unwrap();
        let mut txn = database.begin_write().unwrap();
        txn.set_quick_repair(true);
        txn.open_table(META).unwrap().insert(SCHEMA_ROW, version).unwrap();
        txn.commit().unwrap();
        database
    }

    #[test]
    fn a_new_file_has_mode_0600_and_nothing_is_left_beside_it() {
        let (directory, path) = made();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        let (_directory, path) = made();
        for mode in [0o644, 0o660, 0o602, 0o640] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = open_fails(&path);
            assert!(matches!(error, StoreError::Mode { mode: found, .. } if found == mode), "{error}");
            assert!(error.to_string().contains("expected 0600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        open(&path, CACHE_BYTES).unwrap();
    }

    #[test]
    fn a_link_or_a_directory_is_refused() {
        let (directory, path) = made();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(open_fails(&link), StoreError::NotAFile { found: "a symbolic link", .. }));
        assert!(matches!(open_fails(directory.path()), StoreError::NotAFile { .. }));
    }

    #[test]
    fn a_second_open_is_told_that_the_file_is_in_use() {
        let (_directory, path) = made();
        let held = open(&path, CACHE_BYTES).unwrap();
        assert!(matches!(open_fails(&path), StoreError::Locked { .. }));
        drop(held);
        open(&path, CACHE_BYTES).unwrap();
    }

    #[test]
    fn d15_a_newer_schema_is_refused_and_its_bytes_stay_whether_closed_cleanly_or_not() {
        let (directory, path) = made();
        let running = set_schema(&path, SCHEMA_VERSION + 1);
        // A copy of a running store is what a crash would leave.
        let crashed = directory.path().join("crashed.redb");
        fs::copy(&path, &crashed).unwrap();
        running.close().unwrap();
        for file in [path, crashed] {
            let before = fs::read(&file).unwrap();
            let error = open_fails(&file);
            assert!(matches!(error, StoreError::NewerSchema { found: 5, expected: 4, .. }), "{error}");
            assert!(fs::read(&file).unwrap() == before, "the file was written to");
        }
    }

    #[test]
    fn another_programs_database_and_files_that_are_none_are_refused_and_stay() {
        let directory = tempfile::tempdir().unwrap();
        let foreign = directory.path().join("foreign.redb");
        Database::create(&foreign).unwrap().close().unwrap();
        let (empty, text) = (directory.path().join("empty"), directory.path().join("text"));
        fs::write(&empty, "").unwrap();
        fs::write(&text, "not a database at all\n".repeat(1000)).unwrap();
        for file in [foreign, empty, text] {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let before = fs::read(&file).unwrap();
            let error = open_fails(&file);
            assert!(matches!(error, StoreError::NotOurs { .. }), "{error:?}");
            assert!(fs::read(&file).unwrap() == before);
        }
    }

    #[test]
    fn a_cut_file_is_refused_and_never_becomes_an_empty_store() {
        let (directory, path) = made();
        let whole = fs::read(&path).unwrap();
        let cut = directory.path().join("cut.redb");
        for length in [1, 8, 100, 4_096, whole.len() / 2, whole.len() - 4_096, whole.len() - 1] {
            fs::write(&cut, &whole[..length]).unwrap();
            fs::set_permissions(&cut, fs::Permissions::from_mode(0o600)).unwrap();
            let error = open_fails(&cut);
            assert!(matches!(error, StoreError::NotOurs { .. }), "{length}: {error:?}");
            assert_eq!(fs::read(&cut).unwrap().len(), length);
        }
    }
}
