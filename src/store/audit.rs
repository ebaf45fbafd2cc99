//! The audit log in the file: each row is its install secret's name, its hash, its seal, and its record.
//!
//! The writer appends a row inside the change's own transaction and seals it there, so rows are numbered
//! without gaps and each counts in the one before. A change that cannot be sealed is not made. A row that
//! cannot be read stops no change: the next one counts in what it can, and a check of the log tells it. The log's own
//! hashes cover more than a row's checksum does, so both look at rows as they are.
//!
//! Never here: a row changed or removed.

use std::sync::{Arc, PoisonError};

use redb::ReadableTable;

use super::error::{Failed, StoreError};
use super::install_secrets::note_maker;
use super::rows::Rows;
use super::tables::{AUDIT, WriteTables};
use super::{PAGE_MAX, Store, codec};
use crate::domain::audit::chain::{AuditChain, SealedRow};
use crate::domain::audit::seal::{AuditHash, AuditHead, AuditSeal, AuditSealer};
use crate::domain::audit::{AuditEntry, AuditRow};
use crate::domain::hash::SecretId;

/// The most install secrets whose seals are known at the same time; beyond, the oldest is forgotten.
const SEALERS_MAX: usize = 64;

impl Store {
    /// Seals audit rows with this sealer from now on. Those set before are kept for checks: retired ones are
    /// set first, the current one last. Until one is set, no change is made.
    pub fn seal_with(&self, sealer: AuditSealer) {
        let mut known = self.0.shared.sealers.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| other.made_by() != sealer.made_by());
        if known.len() == SEALERS_MAX {
            known.remove(0);
        }
        known.push(Arc::new(sealer));
    }

    /// The audit rows behind number `after`, at most `limit` and never more than [`PAGE_MAX`].
    pub fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let txn = self.begin_read()?;
        let audit = txn.open_table(&AUDIT).map_err(reading())?;
        let rows = audit.records_in(after.saturating_add(1)..).map_err(reading())?;
        rows.take(limit.min(PAGE_MAX))
            .map(|row| {
                let (seq, bytes) = row.map_err(reading())?;
                let seq = seq.value();
                let row = split(seq, bytes.value()).ok_or_else(|| too_short(seq))?;
                Ok(AuditRow { seq, entry: codec::audit::from_bytes(seq, row.record)?, hash: row.hash })
            })
            .collect()
    }

    /// The newest audit row; `None` when there is none.
    pub fn audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
        let txn = self.begin_read()?;
        let audit = txn.open_table(&AUDIT).map_err(reading())?;
        head(&audit)
    }

    /// Carries a check of the audit log on over the next rows, at most [`PAGE_MAX`], none behind number `to`.
    /// Whether there are more.
    pub fn check_audit(&self, chain: &mut AuditChain, to: u64) -> Result<bool, StoreError> {
        let sealers = self.0.shared.sealers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let txn = self.begin_read()?;
        let audit = txn.open_table(&AUDIT).map_err(reading())?;
        let first = chain.met().saturating_add(1);
        if first > to {
            return Ok(false);
        }
        let mut rows = 0;
        for row in audit.unchecked_in(first..=to).map_err(reading())?.take(PAGE_MAX) {
            let (seq, bytes) = row.map_err(reading())?;
            match split(seq.value(), bytes.value()) {
                Some(row) => chain.meet(&row, &sealers),
                None => chain.meet_unreadable(seq.value()),
            }
            rows += 1;
        }
        Ok(rows == PAGE_MAX)
    }
}

/// Appends a row to the log: the change's own, in its transaction.
pub(super) fn append_audit(tables: &mut WriteTables<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    // This spoils the whole transaction, so that nothing stands without its row.
    let sealer = tables.sealer.clone().ok_or(StoreError::Unsealed)?;
    let record = codec::audit::to_bytes(entry)?;
    let before = head(&tables.audit)?.unwrap_or(AuditHead { seq: 0, hash: AuditHash::START });
    let seq = before.seq + 1;
    let hash = before.hash.next(seq, sealer.made_by(), &record);
    let row = SealedRow { seq, made_by: sealer.made_by(), hash, seal: sealer.seal(&hash), record: &record };
    put(tables, &row)?;
    note_maker(tables, sealer.made_by())
}

/// Writes a row down as it is.
fn put(tables: &mut WriteTables<'_>, row: &SealedRow<'_>) -> Result<(), StoreError> {
    tables.audit.insert(row.seq, &to_bytes(row)).map_err(StoreError::database("write the audit log"))
}

/// A row's bytes, but for its number.
pub(super) fn to_bytes(row: &SealedRow<'_>) -> Vec<u8> {
    [row.made_by.as_bytes().as_slice(), row.hash.as_bytes(), row.seal.as_bytes(), row.record].concat()
}

/// Takes a row apart; `None` when it is too short.
fn split(seq: u64, bytes: &[u8]) -> Option<SealedRow<'_>> {
    let (made_by, rest) = bytes.split_first_chunk()?;
    let (hash, rest) = rest.split_first_chunk()?;
    let (seal, record) = rest.split_first_chunk()?;
    Some(SealedRow {
        seq,
        made_by: SecretId::from_bytes(*made_by),
        hash: AuditHash::from_bytes(*hash),
        seal: AuditSeal::from_bytes(*seal),
        record,
    })
}

/// The newest row. One too short to have a hash counts as the chain's start, as it does when the log is
/// checked.
fn head<T>(audit: &Rows<T>) -> Result<Option<AuditHead>, StoreError>
where
    T: ReadableTable<u64, &'static [u8]>,
{
    let last = audit.unchecked_in::<u64, u64>(..).map_err(reading())?.next_back();
    Ok(last.transpose().map_err(reading())?.map(|(seq, bytes)| {
        let seq = seq.value();
        let hash = split(seq, bytes.value()).map_or(AuditHash::START, |row| row.hash);
        AuditHead { seq, hash }
    }))
}

fn too_short(seq: u64) -> StoreError {
    StoreError::Corrupt { table: "audit", key: seq.to_string(), what: "it is too short to be a row" }
}

fn reading<E: Failed>() -> impl FnOnce(E) -> StoreError {
    StoreError::database("read the audit log")
}
