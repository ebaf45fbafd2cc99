//! Opening the sandbox's file: made by us with mode 0600, never shared, never guessed at.
//!
//! A file that is made gets its name only when it is a database and on the disk, so an empty or half one is
//! never ours and is refused rather than filled. So is a symbolic link, and a file that others may read: what
//! it held was already open to them. A new file's directory is synced too, or a crash could lose the name.
//!
//! Never here: a table, a transaction.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use crate::sandbox::failure::SandboxError;

/// Memory for pages. Posts are few and small; the default of redb is 1 GiB.
const CACHE_BYTES: usize = 4 << 20;

/// The permission bits that the file must have.
const MODE: u32 = 0o600;

/// Opens the file, or makes it for its owner alone in a directory that exists.
pub(super) fn open(path: &Path) -> Result<Database, SandboxError> {
    match path.symlink_metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(source) => return Err(SandboxError::File { path: path.to_owned(), source }),
    }
    database(path, existing(path)?)
}

/// Makes an empty database beside `path` and links it there, which unlike a rename never replaces what
/// another process made.
fn create(path: &Path) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::File { path: path.to_owned(), source };
    let drawn = getrandom::u64().map_err(|error| failed(io::Error::other(error)))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{drawn:016x}.new"));
    let draft = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(MODE).open(&draft).map_err(failed)?;
    let made = database(path, file).and_then(|new| {
        new.close().map_err(|source| unusable(path, source.into()))?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    });
    // Under this name nobody looks for it: one that cannot be removed does no harm.
    let _ = fs::remove_file(&draft);
    made?;
    // redb syncs the file, never the directory that names it.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Opens a file that exists, once its kind and mode are right.
fn existing(path: &Path) -> Result<File, SandboxError> {
    let failed = |source| SandboxError::File { path: path.to_owned(), source };
    let not_ours = |found| SandboxError::NotOurs { path: path.to_owned(), found };
    let named = path.symlink_metadata().map_err(failed)?;
    if named.is_symlink() {
        return Err(not_ours("a symbolic link"));
    }
    if !named.is_file() {
        return Err(not_ours("a directory or a device"));
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(not_ours("being replaced at this moment"));
    }
    let mode = opened.mode() & 0o777;
    if mode & !MODE != 0 {
        return Err(SandboxError::Mode { path: path.to_owned(), mode });
    }
    if opened.len() == 0 {
        return Err(not_ours("empty"));
    }
    Ok(file)
}

/// The database in a file of ours, or a new one in an empty file.
fn database(path: &Path, file: File) -> Result<Database, SandboxError> {
    FileBackend::new(file)
        .and_then(|backend| Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend))
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => SandboxError::InUse { path: path.to_owned() },
            error => unusable(path, error.into()),
        })
}

fn unusable(path: &Path, source: redb::Error) -> SandboxError {
    SandboxError::Database { path: path.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_made_for_its_owner_alone_and_refused_when_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sandbox.redb");
        open(&path).unwrap().close().unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1, "no draft is left");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(open(&path), Err(SandboxError::Mode { mode: 0o644, .. })));
    }

    #[test]
    fn an_empty_file_never_becomes_a_fresh_sandbox() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sandbox.redb");
        File::create_new(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(matches!(open(&path), Err(SandboxError::NotOurs { found: "empty", .. })));
        assert_eq!(path.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_link_is_neither_followed_nor_filled() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("sandbox.redb"), directory.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(open(&path), Err(SandboxError::NotOurs { found: "a symbolic link", .. })));
        assert!(!elsewhere.exists());
        open(&elsewhere).unwrap().close().unwrap();
        assert!(matches!(open(&path), Err(SandboxError::NotOurs { .. })));
        assert!(matches!(open(directory.path()), Err(SandboxError::NotOurs { .. })));
    }

    /// A kill can strike wherever a second reader can look: the empty file that one would leave must not
    /// block later starts.
    #[test]
    fn a_file_in_the_making_is_not_there_or_whole() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..16 {
            let path = directory.path().join(round.to_string());
            std::thread::scope(|scope| {
                let making = scope.spawn(|| open(&path).unwrap().close().unwrap());
                while !making.is_finished() {
                    assert!(path.metadata().map_or(1, |found| found.len()) > 0);
                }
            });
        }
    }

    #[test]
    fn a_file_that_is_held_or_is_no_database_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sandbox.redb");
        let held = open(&path).unwrap();
        assert!(matches!(open(&path), Err(SandboxError::InUse { .. })));
        held.close().unwrap();
        open(&path).unwrap();

        let other = directory.path().join("notes.txt");
        fs::write(&other, "not a database, only a text that is long enough to look like one").unwrap();
        fs::set_permissions(&other, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(matches!(open(&other), Err(SandboxError::Database { .. })));
        assert!(matches!(
            open(&directory.path().join("absent/sandbox.redb")),
            Err(SandboxError::File { .. })
        ));
    }
}
