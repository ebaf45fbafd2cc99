//! The data directory and the file of the first admin key: made closed, and refused when they are open.
//!
//! Never here: a file or directory that others may read, or a key in an error.

use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::StartError;
use crate::domain::key::{RawKey, Tag};
use crate::engine::mint;
use crate::store::private_file;

/// The most bytes of the first admin key's file: a key, and what an editor may put behind it.
const KEY_FILE_BYTES_MAX: usize = 1024;

/// Makes the data directory (0700), durably, or checks that it is nobody else's.
pub(super) fn data_dir(path: &Path) -> Result<(), StartError> {
    data_dir_of(path, private_file::effective_user())
}

fn data_dir_of(path: &Path, user: u32) -> Result<(), StartError> {
    let refused = |why: String| StartError::DataDir { path: path.to_owned(), why };
    if path.as_os_str().is_empty() {
        return Err(refused("it has no name".to_owned()));
    }
    private_file::create_directory(path).map_err(|error| refused(error.to_string()))?;
    let found = path.symlink_metadata().map_err(|error| refused(error.to_string()))?;
    if !found.is_dir() {
        return Err(refused("expected a directory, not a link to one".to_owned()));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(refused(format!(
            "its mode is {mode:04o}, expected 0700 (owner alone): run chmod 700 on it"
        )));
    }
    if found.uid() != user {
        return Err(refused(format!(
            "it belongs to user {}, expected user {user}, as whom this runs: run it as the directory's owner, or chown it",
            found.uid()
        )));
    }
    Ok(())
}

/// Takes the admin key that stands in `path`, or makes one and its file (0600), durably.
pub(super) fn admin_key(path: &Path, tag: &Tag) -> Result<RawKey, StartError> {
    let refused = |why: String| StartError::AdminKey { path: path.to_owned(), why };
    let found = private_file::read(path, KEY_FILE_BYTES_MAX).map_err(|error| {
        // Where the system said why, that is enough: the file is named already.
        refused(error.source().map_or_else(|| error.to_string(), ToString::to_string))
    })?;
    let Some(found) = found else {
        let raw = mint(tag).ok_or_else(|| refused("the operating system gave no random bytes".to_owned()))?;
        write_key(path, &raw).map_err(|error| refused(error.to_string()))?;
        return Ok(raw);
    };
    let text = std::str::from_utf8(&found).ok();
    text.and_then(|text| RawKey::adopt(tag, text.trim_end_matches('\n')))
        .ok_or_else(|| refused(format!("expected one key that starts with {}", tag.as_str())))
}

/// Writes a key into a file of its own that did not exist (0600), durably and whole or not at all.
pub(crate) fn write_key(path: &Path, raw: &RawKey) -> std::io::Result<()> {
    let mut text = Zeroizing::new(Vec::with_capacity(raw.reveal().len() + 1));
    text.extend_from_slice(raw.reveal().as_bytes());
    text.push(b'\n');
    private_file::create(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn tag() -> Tag {
        Tag::parse("kwadm_").unwrap()
    }

    #[test]
    fn a_data_directory_is_made_for_the_owner_alone_and_an_open_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        data_dir(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(data_dir(&path).unwrap_err().to_string().contains("0755, expected 0700"));
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(data_dir(&dir.path().join("link")).is_err());
    }

    #[test]
    fn a_data_directory_of_another_user_is_refused_and_both_users_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        data_dir(&path).unwrap();
        let (own, other) = (private_file::effective_user(), private_file::effective_user() + 1);
        data_dir_of(&path, own).unwrap();
        let said = data_dir_of(&path, other).unwrap_err().to_string();
        assert!(said.contains(&format!("user {own}, expected user {other}")), "{said}");
    }

    #[test]
    fn an_admin_key_is_made_once_and_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.key");
        let made = admin_key(&path, &tag()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(admin_key(&path, &tag()).unwrap().reveal(), made.reveal());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
        assert!(admin_key(&path, &tag()).unwrap_err().to_string().contains("0604"));
    }

    /// A kill can strike wherever a second reader can look.
    #[test]
    fn a_key_file_in_the_making_is_not_there_or_whole() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..64 {
            let path = dir.path().join(round.to_string());
            let raw = mint(&tag()).unwrap();
            let whole = u64::try_from(raw.reveal().len() + 1).unwrap();
            std::thread::scope(|scope| {
                let making = scope.spawn(|| write_key(&path, &raw).unwrap());
                while !making.is_finished() {
                    assert!(path.metadata().map_or(whole, |found| found.len()) == whole);
                }
            });
            assert_eq!(admin_key(&path, &tag()).unwrap().reveal(), raw.reveal());
            assert_eq!(write_key(&path, &raw).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 64, "no draft is left");
    }

    #[test]
    fn a_link_to_a_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("admin.key"), dir.path().join("link"));
        admin_key(&path, &tag()).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(admin_key(&link, &tag()).unwrap_err().to_string().contains("a symbolic link"));
    }

    #[test]
    fn a_file_without_an_admin_key_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.key");
        std::fs::write(&path, "sk_live_not-an-admin-key").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let said = admin_key(&path, &tag()).unwrap_err().to_string();
        assert!(said.contains("kwadm_") && !said.contains("sk_live_not"), "{said}");
    }
}
