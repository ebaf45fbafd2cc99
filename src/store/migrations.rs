//! The way from older schemas to this one, a numbered step each.
//!
//! All steps that a file needs are one transaction, committed as the writer commits: a kill at any instant
//! leaves the file of the old schema or of the new one, whole. Steps read tables by the names that they had
//! then.
//!
//! Never here: a step that loses something, or one that is changed once it was released.

use redb::{
    Durability, Key, ReadableTable, StorageError, TableDefinition, TableError, Value, WriteTransaction,
};

use super::audit;
use super::disk::Contained;
use super::error::{Failed, StoreError};
use super::rows::{IndexOf, RecordsOf, RowKey};
use super::tables::{self, META, WriteTables};
use crate::domain::audit::chain::SealedRow;
use crate::domain::audit::seal::{AuditHash, AuditSeal, UNSEALED};

type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// The step at place `n` leads from schema `n + 1` to the one behind it.
pub(super) const STEPS: [Step; 3] = [chain_the_audit_log, make_room_for_leases, add_checksums];

/// Brings a file of schema `found` to the newest one.
pub(super) fn run(database: &Contained, found: u64) -> Result<(), StoreError> {
    let passed = usize::try_from(found).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(steps) = STEPS.get(passed..).filter(|steps| !steps.is_empty()) else { return Ok(()) };
    let mut txn = database.begin_write().map_err(migrating())?;
    txn.set_durability(Durability::Immediate).map_err(migrating())?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    for step in steps {
        step(&txn)?;
    }
    // Tables that came with no step of their own are made here, empty.
    WriteTables::make(&txn)?;
    tables::write_schema(&txn)?;
    txn.commit().map_err(migrating())
}

/// Schema 1 to 2: audit rows get a hash. They were never sealed; the first row that is will vouch for them as
/// they stand now.
fn chain_the_audit_log(txn: &WriteTransaction) -> Result<(), StoreError> {
    const OLD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/1");
    const NEW: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/2");
    {
        let old = txn.open_table(OLD).map_err(migrating())?;
        let mut new = txn.open_table(NEW).map_err(migrating())?;
        let mut hash = AuditHash::START;
        for row in old.iter().map_err(migrating())? {
            let (seq, record) = row.map_err(migrating())?;
            let (seq, record) = (seq.value(), record.value());
            hash = hash.next(seq, UNSEALED, record);
            let row = SealedRow { seq, made_by: UNSEALED, hash, seal: AuditSeal::NONE, record };
            new.insert(seq, audit::to_bytes(&row).as_slice()).map_err(migrating())?;
        }
    }
    txn.delete_table(OLD).map_err(migrating())?;
    Ok(())
}

/// Schema 2 to 3: what is used of a meter is reserved as well, which is how its row is read already. From here on
/// records are written that an older program would take for damage, so it must refuse the file.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
fn make_room_for_leases(_: &WriteTransaction) -> Result<(), StoreError> {
    Ok(())
}

/// Schema 3 to 4: every row gets a checksum, which vouches for it as it stands now. Table after table is copied in its
/// order and let go, so memory is bounded; the file grows by about what was in it.
fn add_checksums(txn: &WriteTransaction) -> Result<(), StoreError> {
    copy_records::<u128>(txn, "workspaces/1", "workspaces/2")?;
    copy_records::<u128>(txn, "keys/1", "keys/2")?;
    copy_index::<([u8; 8], u128)>(txn, "keys_by_prefix/1", "keys_by_prefix/2")?;
    copy_index::<(u128, u128)>(txn, "keys_by_workspace/1", "keys_by_workspace/2")?;
    copy_index::<(&'static [u8], u128)>(txn, "keys_by_handle/1", "keys_by_handle/2")?;
    copy_records::<u128>(txn, "key_counters/1", "key_counters/2")?;
    copy_records::<u64>(txn, "audit/2", "audit/3")?;
    copy_index::<[u8; 8]>(txn, "fingerprint_makers/1", "fingerprint_makers/2")?;
    copy_records::<u32>(txn, "replays/1", "replays/2")?;
    copy_records::<(u32, u128)>(txn, "usage_hours/1", "usage_hours/2")?;
    copy_records::<(u32, u128)>(txn, "usage_days/1", "usage_days/2")?;
    // Three have other keys from here on: bytes, which redb can compare however they are damaged.
    let mut meters = writing(RecordsOf::<&[u8]>::new("meters/2").write(txn))?;
    let old = TableDefinition::<(u128, &str, u32), &[u8]>::new("meters/1");
    move_rows(txn, old, |(workspace, meter, period), record| {
        let place = [&workspace.to_be_bytes(), meter.as_bytes(), &period.to_be_bytes()].concat();
        meters.insert(place.as_slice(), record)
    })?;
    let mut shapes = writing(RecordsOf::<&[u8]>::new("legacy_shapes/2").write(txn))?;
    let old = TableDefinition::<&str, &[u8]>::new("legacy_shapes/1");
    move_rows(txn, old, |profile, record| shapes.insert(profile.as_bytes(), record))?;
    let mut marks = writing(RecordsOf::<&[u8]>::new("marks/1").write(txn))?;
    let mut meta = txn.open_table(META).map_err(migrating())?;
    let mark = meta.remove("clock_mark").map_err(migrating())?.map(|micros| micros.value().to_be_bytes());
    mark.map_or(Ok(()), |mark| marks.insert(b"clock".as_slice(), &mark)).map_err(migrating())
}

fn copy_records<K: RowKey>(txn: &WriteTransaction, from: &str, to: &'static str) -> Result<(), StoreError> {
    let mut new = writing(RecordsOf::<K>::new(to).write(txn))?;
    let old = TableDefinition::<K, &[u8]>::new(from);
    move_rows(txn, old, |key, record| new.insert(key, record))
}

fn copy_index<K: RowKey>(txn: &WriteTransaction, from: &str, to: &'static str) -> Result<(), StoreError> {
    let mut new = writing(IndexOf::<K>::new(to).write(txn))?;
    move_rows(txn, TableDefinition::<K, ()>::new(from), |key, ()| new.add(key))
}

/// Shows each row of a table, and lets the table go.
fn move_rows<K: Key + 'static, V: Value + 'static>(
    txn: &WriteTransaction,
    from: TableDefinition<'_, K, V>,
    mut write: impl for<'row> FnMut(K::SelfType<'row>, V::SelfType<'row>) -> Result<(), StorageError>,
) -> Result<(), StoreError> {
    for row in writing(txn.open_table(from))?.iter().map_err(migrating())? {
        let (key, value) = row.map_err(migrating())?;
        write(key.value(), value.value()).map_err(migrating())?;
    }
    txn.delete_table(from).map(drop).map_err(migrating())
}

fn writing<T>(opened: Result<T, TableError>) -> Result<T, StoreError> {
    opened.map_err(migrating())
}

fn migrating<E: Failed>() -> impl FnOnce(E) -> StoreError {
    StoreError::database("bring its file to the newest schema")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tables::SCHEMA_VERSION;

    #[test]
    fn there_is_a_step_from_every_older_schema() {
        assert_eq!(STEPS.len() as u64, SCHEMA_VERSION - 1);
    }
}
