//! The mark of believed time: the number ahead of it that a start goes on from.
//!
//! A checkpoint raises it in the transaction of what it saves, so that after a crash no time comes again that
//! something was decided by. An operator's word about the clock is one transaction with its audit row.
//!
//! Never here: how far ahead it lies (engine), or which time is believed (domain).

use super::Store;
use super::audit::append_audit;
use super::changes::{CHANGE_ROWS_MAX, Done};
use super::error::{ChangeError, StoreError};
use super::queue::Lane;
use super::tables::{CLOCK_MARK_ROW, MARKS, WriteTables};
use crate::domain::audit::AuditEntry;
use crate::domain::time::Wall;

impl Store {
    /// The mark; `None` in a file that never had one.
    pub fn clock_mark(&self) -> Result<Option<Wall>, StoreError> {
        let txn = self.begin_read()?;
        let marks = txn.open_table(&MARKS).map_err(StoreError::database("read the mark of the clock"))?;
        let row = marks.get(CLOCK_MARK_ROW).map_err(StoreError::database("read the mark of the clock"))?;
        let Some(row) = row else { return Ok(None) };
        let micros = row.value().try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt {
            table: "marks",
            key: "clock".to_owned(),
            what: "it is no number of eight bytes",
        })?;
        Ok(Some(Wall::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))))
    }

    /// Sets the mark where the machine's clock is believed, by an operator's word.
    pub async fn confirm_clock(&self, mark: Wall, audit: AuditEntry) -> Result<(), ChangeError> {
        self.change(Lane::Admin, CHANGE_ROWS_MAX, move |tables| {
            put(tables, mark)?;
            append_audit(tables, &audit)?;
            Ok(Done { value: (), wrote: true })
        })
        .await
    }

    /// Sets the mark by itself.
    pub async fn save_clock_mark(&self, mark: Wall) -> Result<(), ChangeError> {
        self.change(Lane::Checkpoint, 1, move |tables| {
            put(tables, mark)?;
            Ok(Done { value: (), wrote: true })
        })
        .await
    }
}

/// Sets the mark in the transaction of something else.
pub(super) fn put(tables: &mut WriteTables<'_>, mark: Wall) -> Result<(), StoreError> {
    let micros = u64::try_from(mark.micros()).unwrap_or(0);
    tables
        .marks
        .insert(CLOCK_MARK_ROW, &micros.to_be_bytes())
        .map_err(StoreError::database("write the mark of the clock"))
}
