//! Usage on disk: a row for each key and hour, and for each key and day what its hours were once they are old.
//!
//! An hour's row is saved as an absolute value; saving it twice is harmless. It becomes part of its day and goes
//! in the same transaction, so that each count is in one of the two tables at every instant.
//!
//! Never here: which hours are old (engine).

use std::collections::BTreeMap;
use std::ops::Range;

use redb::{ReadOnlyTable, ReadableTable};

use super::Store;
use super::changes::Done;
use super::codec::{self, Place};
use super::disk::Reading;
use super::error::{ChangeError, StoreError};
use super::queue::{CHECKPOINT_ROWS_MAX, Lane};
use super::rows::Rows;
use super::tables::{USAGE_DAYS, USAGE_HOURS, UsageTable, WriteRecords, WriteTables};
use crate::domain::causes::Causes;
use crate::domain::id::KeyId;
use crate::domain::usage::{HOURS_OF_DAY, UsageRow};

/// The most rows that one call saves or reads: those of one part of a checkpoint.
pub const USAGE_ROWS_MAX: usize = CHECKPOINT_ROWS_MAX;
/// Hours that become part of their days in one transaction: each is a removal and at most one write.
const ROLLED_HOURS_MAX: usize = CHECKPOINT_ROWS_MAX / 2;

/// A row of hours: its hour and key, and what it counts.
pub type HourRow = ((u32, KeyId), UsageRow);

type ReadTable = Rows<ReadOnlyTable<(u32, u128), &'static [u8]>>;

/// What one key did, hour by hour and day by day, as it is on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredUsage {
    /// Rows by hour.
    pub hours: Vec<(u32, UsageRow)>,
    /// Rows by day: of hours that are on disk no more.
    pub days: Vec<(u32, UsageRow)>,
}

impl Store {
    /// Saves rows of hours as absolute values, at most [`USAGE_ROWS_MAX`].
    pub async fn save_usage(&self, rows: Vec<HourRow>) -> Result<(), ChangeError> {
        if rows.len() > USAGE_ROWS_MAX {
            return Err(ChangeError::Misfit("it has too many rows of usage"));
        }
        self.change(Lane::Checkpoint, rows.len(), move |tables| {
            for ((hour, key), row) in &rows {
                let bytes = codec::usage::to_bytes(row)?;
                tables
                    .usage_hours
                    .insert((*hour, key.as_u128()), &bytes)
                    .map_err(StoreError::database("write a row of usage"))?;
            }
            Ok(Done { value: (), wrote: !rows.is_empty() })
        })
        .await
    }

    /// The rows of these keys and hours, those that there are. One that cannot be read is as good as none: what
    /// comes after it must be counted all the same.
    pub fn usage_rows(&self, wanted: &[(u32, KeyId)]) -> Result<Vec<HourRow>, StoreError> {
        let txn = self.begin_read()?;
        let hours = table(&txn, &USAGE_HOURS)?;
        let mut rows = Vec::new();
        for (hour, key) in wanted {
            match row(&hours, "usage_hours", *hour, *key) {
                Ok(found) => rows.extend(found.map(|row| ((*hour, *key), row))),
                Err(error) => give_up(error)?,
            }
        }
        Ok(rows)
    }

    /// What is on disk of a key in these hours and days, as of one instant.
    pub fn usage_of(
        &self,
        key: KeyId,
        hours: Range<u32>,
        days: Range<u32>,
    ) -> Result<StoredUsage, StoreError> {
        let txn = self.begin_read()?;
        let read = |definition: &UsageTable, name, wanted: Range<u32>| -> Result<_, StoreError> {
            let table = table(&txn, definition)?;
            // Rows of all keys stand between the first and the last one of the table.
            let failed = || StoreError::database("read a row of usage");
            let mut rows = table.unchecked_in::<_, (u32, u128)>(..).map_err(failed())?;
            let first = rows.next().transpose().map_err(failed())?.map(|(place, _)| place.value().0);
            let last = rows.next_back().transpose().map_err(failed())?.map(|(place, _)| place.value().0);
            let Some(first) = first else { return Ok(Vec::new()) };
            let last = last.unwrap_or(first);
            let kept = wanted.start.max(first)..wanted.end.min(last.saturating_add(1));
            kept.filter_map(|number| {
                row(&table, name, number, key).transpose().map(|row| row.map(|row| (number, row)))
            })
            .collect()
        };
        Ok(StoredUsage {
            hours: read(&USAGE_HOURS, "usage_hours", hours)?,
            days: read(&USAGE_DAYS, "usage_days", days)?,
        })
    }

    /// Makes some of the hours before `hours_before` part of their days, or removes some of the days before
    /// `days_before`. Gives how many rows went; none are left when that is 0.
    pub async fn roll_up_usage(&self, hours_before: u32, days_before: u32) -> Result<usize, ChangeError> {
        self.change(Lane::Checkpoint, CHECKPOINT_ROWS_MAX, move |tables| {
            let rolled = roll_up(tables, hours_before)?;
            let gone = if rolled == 0 { remove_days(tables, days_before)? } else { rolled };
            Ok(Done { value: gone, wrote: gone > 0 })
        })
        .await
    }
}

fn roll_up(tables: &mut WriteTables<'_>, before: u32) -> Result<usize, StoreError> {
    let mut days: BTreeMap<(u32, KeyId), UsageRow> = BTreeMap::new();
    let rolled = oldest(&tables.usage_hours, before, ROLLED_HOURS_MAX)?;
    for (hour, key) in &rolled {
        match row(&tables.usage_hours, "usage_hours", *hour, KeyId::from_u128(*key)) {
            Ok(row) => {
                let day = (hour / HOURS_OF_DAY, KeyId::from_u128(*key));
                days.entry(day).or_default().merge(&row.unwrap_or_default());
            }
            Err(error) => give_up(error)?,
        }
    }
    for ((day, key), row_of_hours) in days {
        let mut whole = match row(&tables.usage_days, "usage_days", day, key) {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                give_up(error)?;
                UsageRow::default()
            }
        };
        whole.merge(&row_of_hours);
        let bytes = codec::usage::to_bytes(&whole)?;
        let place = (day, key.as_u128());
        tables.usage_days.insert(place, &bytes).map_err(StoreError::database("roll up usage"))?;
    }
    remove(&mut tables.usage_hours, &rolled)
}

fn remove_days(tables: &mut WriteTables<'_>, before: u32) -> Result<usize, StoreError> {
    let old = oldest(&tables.usage_days, before, CHECKPOINT_ROWS_MAX)?;
    remove(&mut tables.usage_days, &old)
}

/// The places of the oldest rows before an hour or a day, whatever lies there.
fn oldest<T>(table: &Rows<T>, before: u32, rows_max: usize) -> Result<Vec<(u32, u128)>, StoreError>
where
    T: ReadableTable<(u32, u128), &'static [u8]>,
{
    let failed = || StoreError::database("find old usage");
    let rows = table.unchecked_in((0, 0)..(before, 0)).map_err(failed())?.take(rows_max);
    rows.map(|row| row.map(|(place, _)| place.value()).map_err(failed())).collect()
}

/// Removes the oldest rows; how many.
fn remove(table: &mut WriteRecords<'_, (u32, u128)>, oldest: &[(u32, u128)]) -> Result<usize, StoreError> {
    if let Some(last) = oldest.last() {
        table.remove_in(..=*last).map_err(StoreError::database("remove old usage"))?;
    }
    Ok(oldest.len())
}

/// A row that cannot be read is given up, so that it does not stand in the way of all others; what is wrong with
/// the file itself is not.
fn give_up(error: StoreError) -> Result<(), StoreError> {
    if !error.is_of_one_record() {
        return Err(error);
    }
    tracing::error!(error = %Causes(&error), "a row of usage cannot be read and is given up");
    Ok(())
}

fn table(txn: &Reading, definition: &UsageTable) -> Result<ReadTable, StoreError> {
    txn.open_table(definition).map_err(StoreError::database("read usage"))
}

fn row<T>(
    rows: &Rows<T>,
    table: &'static str,
    number: u32,
    key: KeyId,
) -> Result<Option<UsageRow>, StoreError>
where
    T: ReadableTable<(u32, u128), &'static [u8]>,
{
    let row = rows.get((number, key.as_u128())).map_err(StoreError::database("read a row of usage"))?;
    let place = Place { table, key: &format_args!("{number} {key}") };
    row.map(|bytes| codec::usage::from_bytes(place, bytes.value())).transpose()
}
