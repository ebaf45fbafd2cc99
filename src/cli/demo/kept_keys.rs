//! The demo's ready keys, kept in a 0600 file of its folder: a demo that forgets its keys is of no use.
//!
//! A change is written to a new file, made durable and put in the old one's place, so there is always a whole
//! one.
//!
//! Never here: a key in an error.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::failure::CliError;
use super::super::key_file::{self, KeyFileError};
use crate::store::private_file;

const FILE: &str = "keys.json";
/// The most bytes of the file: nine profiles, and room for hands.
const FILE_BYTES_MAX: usize = 64 << 10;
const EXPECTED: &str = "the demo's keys as it wrote them; remove the file for new ones";

/// One product's ready key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptKey {
    /// The workspace that it belongs to.
    pub(super) workspace_id: String,
    /// Its text.
    pub(super) key: String,
}

impl std::fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptKey of {}", self.workspace_id)
    }
}

/// The ready keys by product, and their file.
pub(super) struct KeptKeys {
    dir: PathBuf,
    keys: BTreeMap<String, KeptKey>,
}

impl KeptKeys {
    /// Reads what is kept in `dir`; nothing is kept in a new one.
    pub(super) fn read(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join(FILE);
        let keys = match key_file::read(&path, FILE_BYTES_MAX, EXPECTED)? {
            Some(found) => serde_json::from_slice(&found)
                .map_err(|_| KeyFileError::Shape { path, expected: EXPECTED })?,
            None => BTreeMap::new(),
        };
        Ok(Self { dir: dir.to_owned(), keys })
    }

    /// The key of a product.
    pub(super) fn of(&self, product: &str) -> Option<&KeptKey> {
        self.keys.get(product)
    }

    /// Keeps a key, durably when this returns.
    pub(super) fn keep(&mut self, product: &str, key: KeptKey) -> Result<(), CliError> {
        self.keys.insert(product.to_owned(), key);
        self.write().map_err(|source| CliError::File { path: self.dir.join(FILE), action: "written", source })
    }

    fn write(&self) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_string_pretty(&self.keys)?);
        private_file::replace(&self.dir.join(FILE), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn key(text: &str) -> KeptKey {
        KeptKey { workspace_id: "ws_1".to_owned(), key: text.to_owned() }
    }

    #[test]
    fn a_kept_key_is_there_again_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = KeptKeys::read(dir.path()).unwrap();
        assert!(keys.of("a").is_none());
        keys.keep("a", key("old")).unwrap();
        keys.keep("a", key("new")).unwrap();
        keys.keep("b", key("other")).unwrap();
        let again = KeptKeys::read(dir.path()).unwrap();
        assert_eq!(again.of("a"), Some(&key("new")));
        assert_eq!(again.of("b"), Some(&key("other")));
        assert_eq!(dir.path().join(FILE).metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = KeptKeys::read(dir.path()).unwrap();
        keys.keep("a", key("sk_live_hunter2")).unwrap();
        std::fs::write(dir.path().join(FILE), "{\"a\": \"sk_live_hunter2\"}").unwrap();
        let Err(error) = KeptKeys::read(dir.path()) else { panic!() };
        let said = format!("{error} {error:?} {:?}", keys.of("a"));
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains("remove the file"), "{said}");
    }
}
