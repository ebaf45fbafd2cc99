//! The install secret: 32 random bytes in a file of their own beside the database, never in it.
//!
//! Every fingerprint is made under it. The file is made 0600 and taken only when nobody else can read it.
//! Losing it costs a slow hash for each key's next first use, and no key.
//!
//! Never here: whether a lost secret may be replaced (app), or the secret in an error.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::domain::hash::{Fingerprinter, INSTALL_SECRET_LEN};
use crate::domain::seal::AuditSealer;
use crate::store::private_file::{self, PrivateFileError};

/// The secret itself. Wiped when dropped; shows itself nowhere.
pub struct InstallSecret(Zeroizing<[u8; INSTALL_SECRET_LEN]>);

/// Why the secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InstallSecretError {
    /// The file could not be read, or others may read or write it.
    #[error("the install secret cannot be used")]
    Unreadable(#[from] PrivateFileError),
    /// The file could not be made.
    #[error("the install secret {path} could not be made")]
    Make {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not 32 bytes long.
    #[error(
        "the install secret {path} does not have {INSTALL_SECRET_LEN} bytes: put back the file that was there"
    )]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl InstallSecret {
    /// Reads the secret; `None` when there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, InstallSecretError> {
        let shape = || InstallSecretError::Shape { path: path.to_owned() };
        let found = match private_file::read(path, INSTALL_SECRET_LEN) {
            Err(PrivateFileError::TooLong { .. }) => return Err(shape()),
            found => found?,
        };
        let Some(found) = found else { return Ok(None) };
        let mut secret = Zeroizing::new([0; INSTALL_SECRET_LEN]);
        if found.len() != secret.len() {
            return Err(shape());
        }
        secret.copy_from_slice(&found);
        Ok(Some(Self(secret)))
    }

    /// Makes a new secret and its file, durably, before anything is fingerprinted under it.
    pub fn create(path: &Path) -> Result<Self, InstallSecretError> {
        let mut secret = Zeroizing::new([0; INSTALL_SECRET_LEN]);
        getrandom::fill(secret.as_mut()).map_err(|_| InstallSecretError::Random)?;
        private_file::create(path, secret.as_ref())
            .map_err(|source| InstallSecretError::Make { path: path.to_owned(), source })?;
        Ok(Self(secret))
    }

    /// Makes fingerprints under this secret.
    pub fn fingerprinter(&self) -> Fingerprinter {
        Fingerprinter::new(&self.0)
    }

    /// Seals audit rows under this secret.
    pub fn audit_sealer(&self) -> AuditSealer {
        AuditSealer::new(&self.0)
    }
}

impl std::fmt::Debug for InstallSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstallSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_secret_is_made_0600_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("install.secret");
        assert!(InstallSecret::read(&path).unwrap().is_none());
        let made = InstallSecret::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let read = InstallSecret::read(&path).unwrap().unwrap();
        assert_eq!(read.fingerprinter().made_by(), made.fingerprinter().made_by());
        assert!(InstallSecret::create(&path).is_err(), "an existing secret is never overwritten");
    }

    #[test]
    fn a_secret_that_others_may_read_or_of_another_shape_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("install.secret");
        InstallSecret::create(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(
            InstallSecret::read(&path),
            Err(InstallSecretError::Unreadable(PrivateFileError::Mode { mode: 0o640, .. }))
        ));
        for wrong in [0, 31, 33] {
            std::fs::write(&path, vec![0; wrong]).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert!(matches!(InstallSecret::read(&path), Err(InstallSecretError::Shape { .. })));
        }
    }
    /// A kill can strike wherever a second reader can look.
    #[test]
    fn a_secret_in_the_making_is_not_there_or_whole() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..64 {
            let path = dir.path().join(round.to_string());
            std::thread::scope(|scope| {
                let making = scope.spawn(|| InstallSecret::create(&path).unwrap());
                while !making.is_finished() {
                    InstallSecret::read(&path).unwrap();
                }
            });
        }
    }
}
