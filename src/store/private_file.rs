//! Files and directories for their owner alone: made whole or not at all, and read only when nobody else can.
//!
//! What is made or replaced here is written under a name of its own beside the file (`NAME.<random>.new`),
//! synced, and only then given its name, which is synced too. So a kill or a power cut at any instant leaves
//! the file as it was or whole, never empty or half. What it may leave besides is such a draft, as closed as
//! the file itself; nothing reads it.
//!
//! Never here: what a file means, its content in an error, or a way to open one that others may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// The mode of every file of ours that holds a secret: read and write, owner alone.
const FILE_MODE: u32 = 0o600;
/// The mode of a file that holds none.
const READABLE_FILE_MODE: u32 = 0o644;
/// The mode of every directory of ours: its owner alone.
const DIRECTORY_MODE: u32 = 0o700;
/// The permission bits of a mode.
const MODE_BITS: u32 = 0o7777;
/// The bits that let group or others in.
const MODE_BITS_OF_OTHERS: u32 = 0o077;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
    /// The operating system refused.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Group or others may read or write it.
    #[error("{} has mode {mode:04o}, expected 0600 (owner alone): others may have read it; chmod 600, if nobody has", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is another user's, who could read and replace it.
    #[error("{} belongs to user {owner}, expected user {expected}, as whom this runs: run it as the file's owner, or chown the file", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process' effective user.
        expected: u32,
    },
    /// It is a symbolic link, a directory or another thing that is not a regular file.
    #[error("{} is {found}, expected a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It is longer than what it should hold.
    #[error("{} is longer than the {bytes_max} bytes that are expected at most", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How long it may be.
        bytes_max: usize,
    },
}

/// Makes a file of mode 0600 with this content, durably. Fails with `AlreadyExists`, and leaves what is
/// there, when there is anything of this name.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    Draft::written(path, FILE_MODE, content)?.name_new()
}

/// The same for a file that holds no secret: everyone may read it.
pub fn create_readable(path: &Path, content: &[u8]) -> io::Result<()> {
    Draft::written(path, READABLE_FILE_MODE, content)?.name_new()
}

/// Puts a file of mode 0600 with this content in the place of the one that is there, if any, durably.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    Draft::written(path, FILE_MODE, content)?.name_over()
}

/// Reads a regular file of at most `bytes_max` bytes that nobody but its owner can read; `None` when nothing
/// has this name. What was read is wiped when dropped.
pub fn read(path: &Path, bytes_max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    let io = |source| PrivateFileError::Io { path: path.to_owned(), source };
    let mut file = match open(path, OpenOptions::new().read(true)) {
        Err(PrivateFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        opened => opened?,
    };
    // Room for all of it from the start, and one byte more to see that it goes on: a buffer that grows leaves
    // copies behind.
    let mut content = Zeroizing::new(vec![0; bytes_max.saturating_add(1)]);
    let mut length = 0;
    while let Some(room) = content.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
    if length > bytes_max {
        return Err(PrivateFileError::TooLong { path: path.to_owned(), bytes_max });
    }
    content.truncate(length);
    Ok(Some(content))
}

/// The user as whom this process reads and writes, by number: the one that every file of ours must belong to.
pub fn effective_user() -> u32 {
    geteuid().as_raw()
}

/// Opens a file that exists, once its kind, mode and owner are right.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<File, PrivateFileError> {
    open_as(path, options, effective_user())
}

fn open_as(path: &Path, options: &OpenOptions, user: u32) -> Result<File, PrivateFileError> {
    let io = |source| PrivateFileError::Io { path: path.to_owned(), source };
    let not_a_file = |found| PrivateFileError::NotAFile { path: path.to_owned(), found };
    let named = fs::symlink_metadata(path).map_err(io)?;
    if named.is_symlink() {
        return Err(not_a_file("a symbolic link"));
    }
    if !named.is_file() {
        // Asked before opening: to open a pipe could wait for ever.
        return Err(not_a_file("a directory or a device"));
    }
    let file = options.open(path).map_err(io)?;
    let opened = file.metadata().map_err(io)?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(not_a_file("being replaced at this moment"));
    }
    let mode = opened.mode() & MODE_BITS;
    if mode & MODE_BITS_OF_OTHERS != 0 {
        return Err(PrivateFileError::Mode { path: path.to_owned(), mode });
    }
    if opened.uid() != user {
        return Err(PrivateFileError::Owner { path: path.to_owned(), owner: opened.uid(), expected: user });
    }
    Ok(file)
}

/// Makes a directory of mode 0700, durably, with those above it that are missing; one that exists stays as it
/// is.
pub fn create_directory(path: &Path) -> io::Result<()> {
    create_directory_with(path, sync_directory)
}

/// The same with a sync of one's own, which is called once for each directory in which a name is new.
fn create_directory_with(path: &Path, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let is_missing = |place: &&Path| !place.as_os_str().is_empty() && !place.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    missing.into_iter().rev().try_for_each(|made| sync(directory_of(made)))
}

/// A file in the making, under a name of its own; gone when dropped.
pub(super) struct Draft<'a> {
    target: &'a Path,
    path: PathBuf,
}

impl<'a> Draft<'a> {
    /// An empty draft of `target` for its owner alone, open for reading and writing.
    pub(super) fn begin(target: &'a Path) -> io::Result<(Self, File)> {
        Self::begin_with(target, FILE_MODE)
    }

    fn begin_with(target: &'a Path, mode: u32) -> io::Result<(Self, File)> {
        let drawn = getrandom::u64().map_err(io::Error::other)?;
        let Some(name) = target.file_name() else { return Err(io::ErrorKind::InvalidFilename.into()) };
        let mut name = name.to_owned();
        name.push(format!(".{drawn:016x}.new"));
        let path = target.with_file_name(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path)?;
        Ok((Self { target, path }, file))
    }

    fn written(target: &'a Path, mode: u32, content: &[u8]) -> io::Result<Self> {
        let (draft, mut file) = Self::begin_with(target, mode)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Gives the draft, whose content must be on the disk, its name. Fails with `AlreadyExists` when
    /// something has it: a link, unlike a rename, never replaces what another process made in the meantime.
    pub(super) fn name_new(self) -> io::Result<()> {
        fs::hard_link(&self.path, self.target)?;
        let target = self.target;
        drop(self);
        sync_directory(directory_of(target))
    }

    fn name_over(self) -> io::Result<()> {
        fs::rename(&self.path, self.target)?;
        sync_directory(directory_of(self.target))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // After a rename there is none; one that cannot be removed does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the names in a directory durable: syncing a file never does.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const BYTES_MAX: usize = 8;

    fn room() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & MODE_BITS
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = directory
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn held(path: &Path) -> Option<Vec<u8>> {
        read(path, BYTES_MAX).unwrap().map(|content| content.to_vec())
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_whole() {
        let (directory, path) = room();
        let (draft, mut file) = Draft::begin(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(held(&path), None, "a kill here leaves no file");
        assert_eq!(mode(&draft.path), 0o600);
        // What a kill leaves is in nobody's way.
        std::mem::forget(draft);
        create(&path, b"whole").unwrap();
        assert_eq!(held(&path).unwrap(), b"whole");
        assert_eq!(names(directory.path()).len(), 2);
    }

    #[test]
    fn a_new_file_is_closed_and_nothing_is_left_beside_it() {
        let (directory, path) = room();
        create(&path, b"one").unwrap();
        create_readable(&directory.path().join("open"), b"two").unwrap();
        assert_eq!((mode(&path), held(&path).unwrap()), (0o600, b"one".to_vec()));
        assert_eq!(mode(&directory.path().join("open")) & 0o700, 0o600);
        assert_eq!(names(directory.path()), ["open", "secret"]);
    }

    #[test]
    fn what_is_there_is_never_created_over_not_even_a_link_to_nowhere() {
        let (directory, path) = room();
        create(&path, b"one").unwrap();
        let link = directory.path().join("link");
        symlink(directory.path().join("nowhere"), &link).unwrap();
        for taken in [&path, &link] {
            assert_eq!(create(taken, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(held(&path).unwrap(), b"one");
        assert_eq!(names(directory.path()), ["link", "secret"]);
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_link_is_replaced_itself() {
        let (directory, path) = room();
        let elsewhere = directory.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        symlink(&elsewhere, &path).unwrap();
        for content in [b"one", b"two"] {
            replace(&path, content).unwrap();
            assert_eq!((mode(&path), held(&path).unwrap()), (0o600, content.to_vec()));
        }
        assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
        assert_eq!(names(directory.path()), ["elsewhere", "secret"]);
    }

    #[test]
    fn a_draft_that_fails_is_removed() {
        let (directory, path) = room();
        fs::create_dir(&path).unwrap();
        assert!(create(&path, b"one").is_err());
        assert!(replace(&path, b"one").is_err());
        assert_eq!(names(directory.path()), ["secret"]);
        assert_eq!(create(Path::new("/"), b"one").unwrap_err().kind(), io::ErrorKind::InvalidFilename);
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        let (_directory, path) = room();
        create(&path, b"hunter2").unwrap();
        for open in [0o640, 0o604, 0o620, 0o602, 0o610] {
            fs::set_permissions(&path, PermissionsExt::from_mode(open)).unwrap();
            let error = read(&path, BYTES_MAX).unwrap_err();
            assert!(matches!(error, PrivateFileError::Mode { mode, .. } if mode == open), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        assert_eq!(held(&path).unwrap(), b"hunter2");
    }

    #[test]
    fn a_file_of_another_user_is_refused_and_both_users_are_told() {
        let (_directory, path) = room();
        create(&path, b"hunter2").unwrap();
        let (own, other) = (effective_user(), effective_user() + 1);
        open_as(&path, OpenOptions::new().read(true), own).unwrap();
        let error = open_as(&path, OpenOptions::new().read(true), other).unwrap_err();
        assert!(
            matches!(error, PrivateFileError::Owner { owner, expected, .. } if (owner, expected) == (own, other))
        );
        let said = error.to_string();
        assert!(said.contains(&format!("user {own}, expected user {other}")), "{said}");
    }

    #[test]
    fn only_a_regular_file_of_bounded_length_is_read() {
        let (directory, path) = room();
        create(&path, &[7; BYTES_MAX]).unwrap();
        assert_eq!(held(&path).unwrap(), [7; BYTES_MAX]);
        replace(&path, &[7; BYTES_MAX + 1]).unwrap();
        assert!(matches!(
            read(&path, BYTES_MAX),
            Err(PrivateFileError::TooLong { bytes_max: BYTES_MAX, .. })
        ));
        replace(&path, b"").unwrap();
        assert_eq!(held(&path).unwrap(), b"");
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        for (other, expected) in
            [(link.as_path(), "a symbolic link"), (directory.path(), "a directory or a device")]
        {
            let error = read(other, BYTES_MAX).unwrap_err();
            assert!(
                matches!(error, PrivateFileError::NotAFile { found, .. } if found == expected),
                "{error}"
            );
        }
    }

    #[test]
    fn every_directory_that_got_a_new_name_is_synced_and_no_other() {
        let (directory, _) = room();
        let made = |below: &str| {
            let synced = RefCell::new(Vec::new());
            let note = |place: &Path| {
                synced.borrow_mut().push(place.strip_prefix(directory.path()).unwrap().to_owned());
                Ok(())
            };
            create_directory_with(&directory.path().join(below), note).unwrap();
            synced.into_inner()
        };
        assert_eq!(made("a"), [Path::new("")]);
        assert_eq!(made("a/b/c"), [Path::new("a"), Path::new("a/b")]);
        assert!(made("a/b").is_empty());
        assert_eq!(mode(&directory.path().join("a/b")), 0o700);
        create_directory(&directory.path().join("d/e")).unwrap();
        let failing = |_: &Path| Err(io::ErrorKind::StorageFull.into());
        assert!(create_directory_with(&directory.path().join("f"), failing).is_err());
    }
}
