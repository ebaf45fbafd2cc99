//! Reading the admin key's file, which is taken only when nobody else can read it.
//!
//! A raw key comes from such a file and from nowhere else: an argument shows in every process list.
//!
//! Never here: the key's text in an error.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::system_profile;
use crate::domain::key::RawKey;
use crate::store::private_file::{self, PrivateFileError};

/// The most bytes of a key file: a key, and what an editor may put behind it.
const FILE_BYTES_MAX: usize = 256;

/// Why a file that only its owner may read cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error("{} is missing", .path.display())]
    Missing { path: PathBuf },
    #[error(transparent)]
    Unreadable(#[from] PrivateFileError),
    #[error("{} does not hold what it should: expected {expected}", .path.display())]
    Shape { path: PathBuf, expected: &'static str },
}

/// Reads the admin key.
pub(super) fn read_admin_key(path: &Path) -> Result<RawKey, KeyFileError> {
    let expected = "one admin key (kwadm_…) and nothing else";
    let shape = || KeyFileError::Shape { path: path.to_owned(), expected };
    let found = read(path, FILE_BYTES_MAX, expected)?;
    let found = found.ok_or_else(|| KeyFileError::Missing { path: path.to_owned() })?;
    let text = std::str::from_utf8(&found).map_err(|_| shape())?;
    RawKey::adopt(&system_profile().tag, text.trim()).ok_or_else(shape)
}

/// Reads at most `bytes_max` bytes that nobody but the owner can read, wiped when dropped; `None` when there
/// is no such file.
pub(super) fn read(
    path: &Path,
    bytes_max: usize,
    expected: &'static str,
) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
    private_file::read(path, bytes_max).map_err(|error| match error {
        PrivateFileError::TooLong { path, .. } => KeyFileError::Shape { path, expected },
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEY: &str = "kwadm_777777777777777777777777777777";

    fn file(dir: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
        let path = dir.path().join("admin.key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_is_read_from_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let key = RawKey::mint(&system_profile().tag, &[7; 64]).unwrap();
        let path = file(&dir, format!("{}\n", key.reveal()).as_bytes(), 0o600);
        assert_eq!(read_admin_key(&path).unwrap().reveal(), key.reveal());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620] {
            let path = file(&dir, KEY.as_bytes(), mode);
            assert!(
                matches!(read_admin_key(&path), Err(KeyFileError::Unreadable(PrivateFileError::Mode { mode: seen, .. })) if seen == mode)
            );
        }
    }

    #[test]
    fn an_error_never_shows_what_the_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b"kwadm_hunter2"[..], b"\xffhunter2", b"", &[b'7'; 300], KEY.as_bytes()] {
            let path = file(&dir, content, 0o600);
            let error = read_admin_key(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Shape { .. }), "{error}");
            let said = format!("{error} {error:?}");
            assert!(!said.contains("hunter2") && !said.contains("777"), "{said}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("admin.key"), &link).unwrap();
        for other in [dir.path(), &link] {
            let refused = read_admin_key(other);
            assert!(matches!(refused, Err(KeyFileError::Unreadable(PrivateFileError::NotAFile { .. }))));
        }
        assert!(matches!(read_admin_key(&dir.path().join("none")), Err(KeyFileError::Missing { .. })));
    }
}
