//! The install secrets: 32 random bytes each, in one file beside the database and never in it, newest first.
//!
//! Every new fingerprint is made under the first, the current one; the others are retired, and what they made
//! can still be compared. The file is made 0600, replaced whole, and taken only when nobody else can read it.
//! Losing it costs a slow hash for each key's next first use, and no key.
//!
//! Never here: whether a lost secret may be replaced (app), when one is retired (changes), or a secret in an
//! error.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keyring::Keyring;
use crate::domain::assertion::AssertionSigner;
use crate::domain::audit::seal::AuditSealer;
use crate::domain::hash::{Fingerprinter, INSTALL_SECRET_LEN, SecretId};
use crate::store::Store;
use crate::store::private_file::{self, PrivateFileError};

/// The most secrets of one file: the current one and those before it.
pub const INSTALL_SECRETS_MAX: usize = 8;

/// One secret. Wiped when dropped; shows itself nowhere.
#[derive(Clone)]
pub struct InstallSecret(Zeroizing<[u8; INSTALL_SECRET_LEN]>);

impl InstallSecret {
    fn draw() -> Result<Self, InstallSecretError> {
        let mut secret = Zeroizing::new([0; INSTALL_SECRET_LEN]);
        getrandom::fill(secret.as_mut()).map_err(|_| InstallSecretError::Random)?;
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

    /// Signs what upstreams are told under this secret.
    fn assertion_signer(&self) -> Option<AssertionSigner> {
        AssertionSigner::new(&self.0)
    }

    /// Its name, which tells nothing of it.
    pub fn id(&self) -> SecretId {
        self.fingerprinter().made_by()
    }
}

impl std::fmt::Debug for InstallSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstallSecret")
    }
}

/// The secrets of one installation, and the file they stand in.
#[derive(Clone, Debug)]
pub struct InstallSecrets {
    path: PathBuf,
    current: InstallSecret,
    /// Newest first.
    retired: Vec<InstallSecret>,
}

/// Why the secrets could not be had.
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
    /// It is not 32 bytes long, nor a small multiple of it.
    #[error(
        "the install secret {path} does not have {INSTALL_SECRET_LEN} bytes, or as many for each of at most {INSTALL_SECRETS_MAX} secrets: put back the file that was there"
    )]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// Another secret would be one too many.
    #[error(
        "the install secret {path} holds {INSTALL_SECRETS_MAX} secrets, which is the most: stop the daemon and cut off the oldest (truncate -s -{INSTALL_SECRET_LEN}) to make room"
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made that signs what upstreams are told.
    #[error("no signing key could be made of the install secret")]
    Signing,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl InstallSecrets {
    /// Reads the secrets; `None` when there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, InstallSecretError> {
        let shape = || InstallSecretError::Shape { path: path.to_owned() };
        let found = match private_file::read(path, INSTALL_SECRET_LEN * INSTALL_SECRETS_MAX) {
            Err(PrivateFileError::TooLong { .. }) => return Err(shape()),
            found => found?,
        };
        let Some(found) = found else { return Ok(None) };
        let (whole, rest) = found.as_chunks::<INSTALL_SECRET_LEN>();
        let mut secrets = whole.iter().map(|secret| InstallSecret(Zeroizing::new(*secret)));
        let current = secrets.next().filter(|_| rest.is_empty()).ok_or_else(shape)?;
        Ok(Some(Self { path: path.to_owned(), current, retired: secrets.collect() }))
    }

    /// Makes a first secret and its file, durably, before anything is fingerprinted under it.
    pub fn create(path: &Path) -> Result<Self, InstallSecretError> {
        let made = Self { path: path.to_owned(), current: InstallSecret::draw()?, retired: Vec::new() };
        private_file::create(path, &made.content()).map_err(made.not_made())?;
        Ok(made)
    }

    /// A new current secret before all that are here, in the file before it is in use. Blocks on the disk.
    pub fn rotated(&self) -> Result<Self, InstallSecretError> {
        if self.retired.len() + 1 >= INSTALL_SECRETS_MAX {
            return Err(InstallSecretError::Full { path: self.path.clone() });
        }
        let retired = std::iter::once(&self.current).chain(&self.retired).cloned().collect();
        let made = Self { path: self.path.clone(), current: InstallSecret::draw()?, retired };
        private_file::replace(&self.path, &made.content()).map_err(self.not_made())?;
        Ok(made)
    }

    /// The secret that new things are made under.
    pub const fn current(&self) -> &InstallSecret {
        &self.current
    }

    /// Those before it, newest first.
    pub fn retired(&self) -> &[InstallSecret] {
        &self.retired
    }

    /// Whether one of them has this name.
    pub fn knows(&self, id: SecretId) -> bool {
        std::iter::once(&self.current).chain(&self.retired).any(|secret| secret.id() == id)
    }

    /// Lets the store seal audit rows under the current secret, and check those that a retired one sealed.
    pub fn seal(&self, store: &Store) {
        for secret in self.retired.iter().rev().chain([&self.current]) {
            store.seal_with(secret.audit_sealer());
        }
    }

    /// Signs what upstreams are told under the current secret.
    pub(super) fn assertion_signer(&self) -> Result<AssertionSigner, InstallSecretError> {
        self.current.assertion_signer().ok_or(InstallSecretError::Signing)
    }

    pub(super) fn keyring(&self) -> Keyring {
        let retired = self.retired.iter().map(InstallSecret::fingerprinter).collect();
        Keyring::new(self.current.fingerprinter(), retired)
    }

    /// The file's bytes.
    fn content(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it from the start: a buffer that grows leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(INSTALL_SECRET_LEN * (self.retired.len() + 1)));
        for secret in std::iter::once(&self.current).chain(&self.retired) {
            content.extend_from_slice(secret.0.as_ref());
        }
        content
    }

    fn not_made(&self) -> impl FnOnce(io::Error) -> InstallSecretError {
        let path = self.path.clone();
        |source| InstallSecretError::Make { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn room() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("install.secret");
        (dir, path)
    }

    #[test]
    fn a_secret_is_made_0600_and_read_back() {
        let (_dir, path) = room();
        assert!(InstallSecrets::read(&path).unwrap().is_none());
        let made = InstallSecrets::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let read = InstallSecrets::read(&path).unwrap().unwrap();
        assert_eq!(read.current().id(), made.current().id());
        assert!(read.retired().is_empty());
        assert!(InstallSecrets::create(&path).is_err(), "an existing secret is never overwritten");
        assert_eq!(format!("{:?}", made.current()), "InstallSecret");
    }

    #[test]
    fn a_new_secret_goes_before_the_others_until_there_is_no_room() {
        let (dir, path) = room();
        let mut secrets = InstallSecrets::create(&path).unwrap();
        let mut names = vec![secrets.current().id()];
        while names.len() < INSTALL_SECRETS_MAX {
            secrets = secrets.rotated().unwrap();
            names.insert(0, secrets.current().id());
            let read = InstallSecrets::read(&path).unwrap().unwrap();
            let found: Vec<_> =
                std::iter::once(read.current()).chain(read.retired()).map(InstallSecret::id).collect();
            assert_eq!(found, names);
            assert!(names.iter().all(|name| read.knows(*name)));
        }
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(secrets.rotated(), Err(InstallSecretError::Full { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
        // What the error advises: the oldest is cut off, the others stay.
        std::fs::write(&path, &before[..before.len() - INSTALL_SECRET_LEN]).unwrap();
        let cut = InstallSecrets::read(&path).unwrap().unwrap();
        assert!(!cut.knows(names[INSTALL_SECRETS_MAX - 1]) && cut.knows(names[0]));
        cut.rotated().unwrap();
    }

    #[test]
    fn a_secret_that_others_may_read_or_of_another_shape_is_refused() {
        let (_dir, path) = room();
        InstallSecrets::create(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(
            InstallSecrets::read(&path),
            Err(InstallSecretError::Unreadable(PrivateFileError::Mode { mode: 0o640, .. }))
        ));
        for wrong in [0, 31, 33, 63, INSTALL_SECRET_LEN * INSTALL_SECRETS_MAX + 1, 9 * INSTALL_SECRET_LEN] {
            std::fs::write(&path, vec![0; wrong]).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert!(matches!(InstallSecrets::read(&path), Err(InstallSecretError::Shape { .. })), "{wrong}");
        }
    }

    /// A kill can strike wherever a second reader can look.
    #[test]
    fn a_secret_in_the_making_is_not_there_or_whole() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..64 {
            let path = dir.path().join(round.to_string());
            let made = std::thread::scope(|scope| {
                let making = scope.spawn(|| InstallSecrets::create(&path).unwrap());
                while !making.is_finished() {
                    InstallSecrets::read(&path).unwrap();
                }
                making.join().unwrap()
            });
            std::thread::scope(|scope| {
                let replacing = scope.spawn(|| made.rotated().unwrap());
                while !replacing.is_finished() {
                    match InstallSecrets::read(&path) {
                        Ok(found) => assert!(found.unwrap().knows(made.current().id())),
                        Err(InstallSecretError::Unreadable(PrivateFileError::NotAFile { found, .. })) => {
                            assert_eq!(found, "being replaced at this moment");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    }
}
