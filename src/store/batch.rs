//! Many keys changed as one: one transaction, one audit row, and a walk over the keys that finds them.
//!
//! A batch waits in the lowest lane, so that it never holds up a revoke or another change. A key of it that
//! is gone or cannot be read is left out, and so is one that the change leaves as it was; the audit row
//! counts the others.
//!
//! Never here: what the change is, or a batch that does not fit into one transaction.

use std::ops::Bound;

use super::audit::append_audit;
use super::changes::{self, Done};
use super::error::{ChangeError, StoreError};
use super::queue::{CHECKPOINT_ROWS_MAX, Lane};
use super::tables::{KEYS, WriteTables};
use super::{Store, codec};
use crate::domain::audit::AuditEntry;
use crate::domain::id::KeyId;
use crate::domain::record::{KeyRecord, KeySecret};

/// The most rows that one key of a batch writes: its record, two prefixes, two makers.
const ROWS_PER_KEY_MAX: usize = 5;
/// The most keys of one batch.
pub const BATCH_KEYS_MAX: usize = CHECKPOINT_ROWS_MAX / ROWS_PER_KEY_MAX;
/// The most records that one step of a walk reads.
const WALK_RECORDS_MAX: usize = 1_000;

/// One step of a walk over all keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// The keys that were looked for, at most [`BATCH_KEYS_MAX`].
    pub found: Vec<KeyId>,
    /// Behind which key the next step begins; `None` at the end.
    pub go_on_after: Option<KeyId>,
}

/// One step of a walk over the secrets of all keys.
#[derive(Clone, Default, Debug)]
pub struct WalkedSecrets {
    /// How many keys cannot be read. Their secrets were not shown.
    pub unreadable: u64,
    /// What is wrong with the first of them.
    pub first_unreadable: Option<StoreError>,
    /// Behind which key the next step begins; `None` at the end.
    pub go_on_after: Option<KeyId>,
}

impl WalkedSecrets {
    fn pass_over(&mut self, error: StoreError) -> Result<(), StoreError> {
        if !error.is_of_one_record() {
            return Err(error);
        }
        self.unreadable += 1;
        self.first_unreadable.get_or_insert(error);
        Ok(())
    }
}

impl Store {
    /// Changes at most [`BATCH_KEYS_MAX`] keys by the rules of [`Store::update_key`], but for their prefixes,
    /// which stay. `audit` makes the one row out of the ids of those that changed. Gives the changed records.
    pub async fn update_keys(
        &self,
        ids: Vec<KeyId>,
        change: impl Fn(KeyRecord) -> KeyRecord + Send + 'static,
        audit: impl FnOnce(&[KeyId]) -> AuditEntry + Send + 'static,
    ) -> Result<Vec<KeyRecord>, ChangeError> {
        let rows = ids.len() * ROWS_PER_KEY_MAX;
        self.change(Lane::Checkpoint, rows, move |tables| update_keys(tables, &ids, change, audit)).await
    }

    /// The next keys behind `after` that have a stored fingerprint.
    pub fn walk_fingerprints(&self, after: Option<KeyId>) -> Result<Walked, StoreError> {
        let txn = self.begin_read()?;
        let keys = txn.open_table(&KEYS).map_err(StoreError::database("walk over keys"))?;
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_u128()));
        let rows = keys
            .records_in::<u128, u128>((start, Bound::Unbounded))
            .map_err(StoreError::database("walk over keys"))?;
        let mut walked = Walked { found: Vec::new(), go_on_after: None };
        for (met, row) in rows.enumerate() {
            // One that cannot be read has told so when it was used, and stays as it is.
            let (id, bytes) = match row.map_err(StoreError::database("walk over keys")) {
                Err(error) if error.is_of_one_record() => continue,
                row => row?,
            };
            let id = KeyId::from_u128(id.value());
            let record = codec::key::from_bytes(id, bytes.value());
            if record.is_ok_and(|record| record.secrets.iter().any(|secret| secret.fingerprint.is_some())) {
                walked.found.push(id);
            }
            if met + 1 >= WALK_RECORDS_MAX || walked.found.len() >= BATCH_KEYS_MAX {
                walked.go_on_after = Some(id);
                break;
            }
        }
        Ok(walked)
    }

    /// How many keys there are, revoked ones among them.
    pub fn keys_total(&self) -> Result<u64, StoreError> {
        let txn = self.begin_read()?;
        let keys = txn.open_table(&KEYS).map_err(StoreError::database("count keys"))?;
        keys.len().map_err(StoreError::database("count keys"))
    }

    /// Shows the secrets of the next keys behind `after` to `each`. Those that cannot be read are passed over and
    /// counted: what is shown is all that there are only where the whole walk passed over none.
    pub fn walk_secrets(
        &self,
        after: Option<KeyId>,
        mut each: impl FnMut(&[KeySecret]),
    ) -> Result<WalkedSecrets, StoreError> {
        let failed = "walk over keys";
        let txn = self.begin_read()?;
        let keys = txn.open_table(&KEYS).map_err(StoreError::database(failed))?;
        let mut walked = WalkedSecrets::default();
        // A search that damage misleads would leave rows out and tell nobody; a look-up tells.
        if let Some(Err(error)) = after.map(|id| keys.get(id.as_u128())) {
            walked.pass_over(StoreError::database(failed)(error))?;
        }
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_u128()));
        let rows = keys.records_in::<u128, u128>((start, Bound::Unbounded));
        for (met, row) in rows.map_err(StoreError::database(failed))?.enumerate() {
            let read = row.map_err(StoreError::database(failed)).and_then(|(id, bytes)| {
                let id = KeyId::from_u128(id.value());
                Ok((id, codec::key::secrets_from_bytes(id, bytes.value())?))
            });
            match read {
                Ok((id, secrets)) => {
                    each(&secrets);
                    if met + 1 >= WALK_RECORDS_MAX {
                        walked.go_on_after = Some(id);
                        break;
                    }
                }
                Err(error) => walked.pass_over(error)?,
            }
        }
        Ok(walked)
    }
}

fn update_keys(
    tables: &mut WriteTables<'_>,
    ids: &[KeyId],
    change: impl Fn(KeyRecord) -> KeyRecord,
    audit: impl FnOnce(&[KeyId]) -> AuditEntry,
) -> Result<Done<Vec<KeyRecord>>, ChangeError> {
    if ids.len() > BATCH_KEYS_MAX {
        return Err(ChangeError::Misfit("it is of too many keys"));
    }
    // All are made before one is written: a refusal leaves nothing behind.
    let mut made = Vec::new();
    for id in ids {
        let old = match changes::key(tables, *id) {
            Ok(Some(old)) => old,
            Ok(None) => continue,
            Err(error) if error.is_of_one_record() => continue,
            Err(error) => return Err(error.into()),
        };
        let new = changes::changed(&change, old.clone())?;
        let prefixes = |key: &KeyRecord| key.secrets.iter().map(|secret| secret.prefix).collect::<Vec<_>>();
        if (new.id, new.workspace) != (old.id, old.workspace) || prefixes(&new) != prefixes(&old) {
            return Err(ChangeError::Misfit("it would move a key or its prefixes"));
        }
        if new.version < old.version {
            return Err(ChangeError::Misfit("it would turn a key's version back"));
        }
        if new.version > old.version {
            made.push((old, new));
        }
    }
    if made.is_empty() {
        return Ok(Done { value: Vec::new(), wrote: false });
    }
    let changed: Vec<_> = made.iter().map(|(_, new)| new.id).collect();
    for (old, new) in &made {
        changes::put_key(tables, Some(old), new)?;
    }
    append_audit(tables, &audit(&changed))?;
    Ok(Done { value: made.into_iter().map(|(_, new)| new).collect(), wrote: true })
}
