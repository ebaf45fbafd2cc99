//! The names of the install secrets under which fingerprints and the seals of audit rows were ever made.
//!
//! A start asks for them before it takes an install secret. Storing a fingerprint and sealing a row note the
//! secret that made them in the same transaction; a new install secret is noted at once, so that it is known
//! before anything is made under it.
//!
//! Never here: a secret.

use super::Store;
use super::audit::append_audit;
use super::changes::{CHANGE_ROWS_MAX, Done};
use super::error::{ChangeError, StoreError};
use super::queue::Lane;
use super::tables::{MAKERS, WriteTables};
use crate::domain::audit::AuditEntry;
use crate::domain::hash::SecretId;

impl Store {
    /// Every install secret under which a fingerprint or the seal of an audit row was ever made. Only new install
    /// secrets let it grow.
    pub fn install_secret_names(&self) -> Result<Vec<SecretId>, StoreError> {
        let txn = self.begin_read()?;
        let names =
            txn.open_table(&MAKERS).map_err(StoreError::database("read the names of install secrets"))?;
        names
            .keys()
            .map_err(StoreError::database("read the names of install secrets"))?
            .map(|name| {
                let name = name.map_err(StoreError::database("read the names of install secrets"))?;
                Ok(SecretId::from_bytes(name.value()))
            })
            .collect()
    }

    /// Notes a new install secret by its name.
    pub async fn note_install_secret(&self, name: SecretId, audit: AuditEntry) -> Result<(), ChangeError> {
        self.change(Lane::Admin, CHANGE_ROWS_MAX, move |tables| note_install_secret(tables, name, &audit))
            .await
    }
}

fn note_install_secret(
    tables: &mut WriteTables<'_>,
    name: SecretId,
    audit: &AuditEntry,
) -> Result<Done<()>, ChangeError> {
    note_maker(tables, name)?;
    append_audit(tables, audit)?;
    Ok(Done { value: (), wrote: true })
}

/// Notes a secret under which something is about to be made; nothing is written when it is known.
pub(super) fn note_maker(tables: &mut WriteTables<'_>, name: SecretId) -> Result<(), StoreError> {
    let is_known = tables
        .makers
        .has(*name.as_bytes())
        .map_err(StoreError::database("read the names of install secrets"))?;
    if !is_known {
        tables
            .makers
            .add(*name.as_bytes())
            .map_err(StoreError::database("write the names of install secrets"))?;
    }
    Ok(())
}
