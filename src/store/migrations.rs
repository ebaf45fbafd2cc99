//! The way from older schemas to this one, a numbered step each.
//!
//! All steps that a file needs are one transaction, committed as the writer commits: a kill at any instant
//! leaves the file of the old schema or of the new one, whole. Steps read tables by the names that they had
//! then.
//!
//! Never here: a step that loses something, or one that is changed once it was released.

use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};

use super::audit;
use super::error::StoreError;
use super::tables::{AUDIT, META, SCHEMA_ROW, SCHEMA_VERSION, WriteTables};
use crate::domain::audit::chain::SealedRow;
use crate::domain::audit::seal::{AuditHash, AuditSeal, UNSEALED};

type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// The step at place `n` leads from schema `n + 1` to the one behind it.
pub(super) const STEPS: [Step; 2] = [chain_the_audit_log, make_room_for_leases];

/// Brings a file of schema `found` to the newest one.
pub(super) fn run(database: &Database, found: u64) -> Result<(), StoreError> {
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
    WriteTables::open(&txn)?;
    txn.open_table(META).map_err(migrating())?.insert(SCHEMA_ROW, SCHEMA_VERSION).map_err(migrating())?;
    txn.commit().map_err(migrating())
}

/// Schema 1 to 2: audit rows get a hash. They were never sealed; the first row that is will vouch for them as
/// they stand now.
fn chain_the_audit_log(txn: &WriteTransaction) -> Result<(), StoreError> {
    const OLD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/1");
    {
        let old = txn.open_table(OLD).map_err(migrating())?;
        let mut new = txn.open_table(AUDIT).map_err(migrating())?;
        let mut hash = AuditHash::START;
        for row in old.iter().map_err(migrating())? {
            let (seq, record) = row.map_err(migrating())?;
            let (seq, record) = (seq.value(), record.value());
            hash = hash.next(seq, UNSEALED, record);
            let row = SealedRow { seq, made_by: UNSEALED, hash, seal: AuditSeal::NONE, record };
            audit::put(&mut new, &row)?;
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

fn migrating<E: Into<redb::Error>>() -> impl FnOnce(E) -> StoreError {
    StoreError::database("bring its file to the newest schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_step_from_every_older_schema() {
        assert_eq!(STEPS.len() as u64, SCHEMA_VERSION - 1);
    }
}
