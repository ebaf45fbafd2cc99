//! A look at the audit log of a data directory that no daemon has open.
//!
//! The file is opened as a daemon would open it, and closed again. An install secret that is missing is no
//! error here: rows under it are told as such.
//!
//! Never here: a store or an install secret made where there was none.

use std::path::{Path, PathBuf};

use super::{INSTALL_SECRET_FILE, STORE_FILE};
use crate::domain::audit::chain::{AuditChain, AuditVerdict};
use crate::domain::audit::seal::AuditHead;
use crate::engine::{InstallSecretError, InstallSecrets};
use crate::store::{Store, StoreError, StoreOptions};

/// Why an audit log could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum AuditUnreadable {
    /// There is no store.
    #[error("there is no store at {}: expected the data directory of a daemon", .path.display())]
    NoStore {
        /// Where it would be.
        path: PathBuf,
    },
    /// A daemon has the store open: it can be asked.
    #[error("{} is in use by a running daemon", .path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is an install secret that cannot be read.
    #[error(transparent)]
    InstallSecrets(#[from] InstallSecretError),
}

/// Checks the audit log in `data_dir`, and against `anchor` when there is one. Blocks.
pub fn verify_audit(data_dir: &Path, anchor: Option<AuditHead>) -> Result<AuditVerdict, AuditUnreadable> {
    let path = data_dir.join(STORE_FILE);
    if path.symlink_metadata().is_err() {
        return Err(AuditUnreadable::NoStore { path });
    }
    let store = Store::open(&path, StoreOptions::default()).map_err(|error| match error {
        StoreError::Locked { path } => AuditUnreadable::InUse { path },
        other => other.into(),
    })?;
    if let Some(secrets) = InstallSecrets::read(&data_dir.join(INSTALL_SECRET_FILE))? {
        secrets.seal(&store);
    }
    let mut chain = AuditChain::new(anchor);
    while store.check_audit(&mut chain, u64::MAX)? {}
    store.close()?;
    Ok(chain.finish())
}
