//! Usage on disk: a row for each key and hour, and for each key and day what its hours were once they are old.
//!
//! An hour's row is saved as an absolute value; saving it twice is harmless. It becomes part of its day and goes
//! in the same transaction, so that each count is in one of the two tables at every instant. A file that has
//! neither table yet reads as empty.
//!
//! Never here: which hours are old (engine).

use std::collections::BTreeMap;
use std::ops::Range;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError};

use super::Store;
use super::changes::Done;
use super::codec::{self, Place};
use super::error::{ChangeError, StoreError};
use super::queue::{CHECKPOINT_ROWS_MAX, Lane};
use super::tables::{USAGE_DAYS, USAGE_HOURS, UsageTable, WriteTables};
use crate::domain::causes::Causes;
use crate::domain::id::KeyId;
use crate::domain::usage::{HOURS_OF_DAY, UsageRow};

/// The most rows that one call saves or reads: those of one part of a checkpoint.
pub const USAGE_ROWS_MAX: usize = CHECKPOINT_ROWS_MAX;
/// Hours that become part of their days in one transaction: each is a removal and at most one write.
const ROLLED_HOURS_MAX: usize = CHECKPOINT_ROWS_MAX / 2;

/// A row of hours: its hour and key, and what it counts.
pub type HourRow = ((u32, KeyId), UsageRow);

type ReadTable = ReadOnlyTable<(u32, u128), &'static [u8]>;

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
                    .insert((*hour, key.as_u128()), bytes.as_slice())
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
        let Some(hours) = table(&txn, USAGE_HOURS)? else { return Ok(Vec::new()) };
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
        let read = |definition, name, wanted: Range<u32>| -> Result<_, StoreError> {
            let Some(table) = table(&txn, definition)? else { return Ok(Vec::new()) };
            // Rows of all keys stand between the first and the last one of the table.
            let failed = || StoreError::database("read a row of usage");
            let first = table.first().map_err(failed())?.map(|(place, _)| place.value().0);
            let last = table.last().map_err(failed())?.map(|(place, _)| place.value().0);
            let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
            let kept = wanted.start.max(first)..wanted.end.min(last.saturating_add(1));
            kept.filter_map(|number| {
                row(&table, name, number, key).transpose().map(|row| row.map(|row| (number, row)))
            })
            .collect()
        };
        Ok(StoredUsage {
            hours: read(USAGE_HOURS, "usage_hours", hours)?,
            days: read(USAGE_DAYS, "usage_days", days)?,
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
    let mut rolled = Vec::new();
    let failed = || StoreError::database("roll up usage");
    for hour_row in tables.usage_hours.range((0, 0)..(before, 0)).map_err(failed())?.take(ROLLED_HOURS_MAX) {
        let (place, bytes) = hour_row.map_err(failed())?;
        let (hour, key) = (place.value().0, KeyId::from_u128(place.value().1));
        rolled.push((hour, key));
        match read_row("usage_hours", hour, key, bytes.value()) {
            Ok(row) => days.entry((hour / HOURS_OF_DAY, key)).or_default().merge(&row),
            Err(error) => give_up(error)?,
        }
    }
    for ((day, key), row) in days {
        let place = (day, key.as_u128());
        let known = tables.usage_days.get(place).map_err(failed())?;
        let mut whole = match known.map(|bytes| read_row("usage_days", day, key, bytes.value())).transpose() {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                give_up(error)?;
                UsageRow::default()
            }
        };
        whole.merge(&row);
        let bytes = codec::usage::to_bytes(&whole)?;
        tables.usage_days.insert(place, bytes.as_slice()).map_err(failed())?;
    }
    for (hour, key) in &rolled {
        tables.usage_hours.remove((*hour, key.as_u128())).map_err(failed())?;
    }
    Ok(rolled.len())
}

fn remove_days(tables: &mut WriteTables<'_>, before: u32) -> Result<usize, StoreError> {
    let failed = || StoreError::database("remove old usage");
    let old = tables.usage_days.range((0, 0)..(before, 0)).map_err(failed())?.take(CHECKPOINT_ROWS_MAX);
    let old = old
        .map(|row| row.map(|(place, _)| place.value()).map_err(failed()))
        .collect::<Result<Vec<_>, _>>()?;
    for place in &old {
        tables.usage_days.remove(*place).map_err(failed())?;
    }
    Ok(old.len())
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

/// A table that may not be there yet.
fn table(txn: &ReadTransaction, definition: UsageTable) -> Result<Option<ReadTable>, StoreError> {
    match txn.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StoreError::database("read usage")(error)),
    }
}

fn row(
    table: &ReadTable,
    name: &'static str,
    number: u32,
    key: KeyId,
) -> Result<Option<UsageRow>, StoreError> {
    let row = table.get((number, key.as_u128())).map_err(StoreError::database("read a row of usage"))?;
    row.map(|bytes| read_row(name, number, key, bytes.value())).transpose()
}

fn read_row(table: &'static str, number: u32, key: KeyId, bytes: &[u8]) -> Result<UsageRow, StoreError> {
    codec::usage::from_bytes(Place { table, key: &format_args!("{number} {key}") }, bytes)
}
