//! The names of the install secrets that stored fingerprints were ever made under.
//!
//! A start asks for them before it takes an install secret. Storing a fingerprint notes the secret that made it
//! in the same transaction; a new install secret is noted at once, so that it is known before anything is made
//! under it.
//!
//! Never here: a secret.

use redb::ReadableTable;

use super::Store;
use super::audit::append_audit;
use super::changes::{CHANGE_ROWS_MAX, Done};
use super::error::{ChangeError, StoreError};
use super::queue::Lane;
use super::tables::{FINGERPRINT_MAKERS, WriteTables};
use crate::domain::audit::AuditEntry;
use crate::domain::hash::SecretId;

impl Store {
    /// Every install secret under which a stored fingerprint was ever made. Only new install secrets let it
    /// grow.
    pub fn install_secret_names(&self) -> Result<Vec<SecretId>, StoreError> {
        let names = self
            .begin_read()?
            .open_table(FINGERPRINT_MAKERS)
            .map_err(StoreError::database("read the makers of fingerprints"))?;
        names
            .iter()
            .map_err(StoreError::database("read the makers of fingerprints"))?
            .map(|row| {
                let (id, _) = row.map_err(StoreError::database("read the makers of fingerprints"))?;
                Ok(SecretId::from_bytes(id.value()))
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
    tables
        .fingerprint_makers
        .insert(*name.as_bytes(), ())
        .map_err(StoreError::database("write the makers of fingerprints"))?;
    append_audit(tables, audit)?;
    Ok(Done { value: (), wrote: true })
}
