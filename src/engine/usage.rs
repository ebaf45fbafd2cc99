//! Counting usage while requests run, and saving it.
//!
//! A request counts in a word of its key, or, when that holds something else, in the table of its own thread:
//! `noting`. The checkpoint gathers words and tables into rows of a key and an hour, which hold all that is on disk
//! as well, and saves those that changed as absolute values. A row leaves memory when its hour has passed
//! and it was saved. A report is what is on disk with what memory knows better, so it is exact at once.
//!
//! Never here: a request that waits for the file, or a count that is saved as a difference.

mod noting;
mod report;

pub use noting::AwaitedAnswer;
pub use report::{UsageReport, UsageSpan, UsageStep};

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Engine;
use super::live::{LiveKey, awaits};
use super::slots::Slots;
use crate::domain::causes::Causes;
use crate::domain::id::KeyId;
use crate::domain::usage::{
    DAYS_KEPT, HOURS_KEPT, HOURS_OF_DAY, OTHER_PLACE, UsageOutcome, UsageRow, hour_of,
};
use crate::store::{ChangeError, USAGE_ROWS_MAX};
use noting::{Note, Notes};

/// The most rows in memory; what would be one more is counted to no key. A key in use has one row, and one more
/// around the turn of an hour.
const ROWS_MAX: usize = 100_000;
/// Transactions of old usage behind one checkpoint, so that the next one is not held up.
const ROLL_UPS_MAX: usize = 16;
/// How often old usage is looked for.
const ROLL_UP_NANOS: u64 = 3_600_000_000_000;

type RowKey = (u32, KeyId);

/// What is counted and not yet on disk, and all rows that still change.
#[derive(Debug, Default)]
pub(super) struct Usage {
    notes: Notes,
    rows: Mutex<Rows>,
    /// One checkpoint at a time opens, saves and closes rows.
    turn: tokio::sync::Mutex<RollUp>,
    unattributed: AtomicU64,
    has_told: AtomicBool,
}

#[derive(Debug, Default)]
struct Rows {
    /// Whole rows: what is on disk, and what came since.
    open: HashMap<RowKey, OpenRow>,
    /// What came for rows that were not read yet.
    unread: HashMap<RowKey, UsageRow>,
    /// Of open rows, those to be saved.
    changed: Vec<RowKey>,
    /// How many rows were closed: a report that saw this move reads the file again.
    closed: u64,
}

#[derive(Debug)]
struct OpenRow {
    row: UsageRow,
    /// Whether it stands among those to be saved.
    is_changed: bool,
}

/// When old usage is looked for again.
#[derive(Debug, Default)]
struct RollUp {
    due_at_nanos: u64,
}

impl Usage {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Each change of it is whole, whatever panics beside it.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what threads have noted into rows, and before that what these keys' own words count: what leaves a word
    /// goes into a table.
    fn gather<'a>(
        &self,
        slots: &Slots,
        keys: impl IntoIterator<Item = &'a Arc<LiveKey>>,
    ) -> MutexGuard<'_, Rows> {
        let mut rows = self.rows();
        let gathered = &mut *rows;
        for key in keys {
            for (noted, count) in key.take_notes() {
                let note = Note { key: key.id(), noted };
                self.gather_one(gathered, note, &key.workspace.profile.place_name(noted.place), count);
            }
        }
        self.notes.take(|note, count| {
            let slot = slots.key(note.key);
            let place = slot.map(|slot| slot.workspace.profile.place_name(note.noted.place));
            self.gather_one(gathered, note, place.as_deref().unwrap_or(OTHER_PLACE), count);
        });
        rows
    }

    fn gather_one(&self, rows: &mut Rows, note: Note, place: &str, count: u64) {
        if !rows.note(note, place, count) {
            self.count_unattributed(note.noted.outcome, count);
        }
    }

    /// Granted requests of each row that is to be saved.
    #[cfg(test)]
    pub(super) fn unsaved(&self) -> Vec<(u64, KeyId)> {
        let rows = self.rows();
        let open = rows.changed.iter().filter_map(|key| Some((rows.open.get(key)?.row.total().valid, key.1)));
        open.collect()
    }

    /// Counts what no row has room for.
    fn count_unattributed(&self, outcome: UsageOutcome, count: u64) {
        if !matches!(outcome, UsageOutcome::Answered(_)) {
            self.unattributed.fetch_add(count, Ordering::Relaxed);
        }
        if !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(rows_max = ROWS_MAX, "more keys are in use than usage is counted for one by one");
        }
    }
}

impl Rows {
    /// Whether there was room.
    fn note(&mut self, note: Note, place: &str, count: u64) -> bool {
        let (Note { key, noted }, outcome) = (note, note.noted.outcome);
        let key = (noted.hour, key);
        if let Some(open) = self.open.get_mut(&key) {
            open.row.note(place, outcome, count);
            if !open.is_changed {
                open.is_changed = true;
                self.changed.push(key);
            }
            return true;
        }
        let is_full = self.open.len() + self.unread.len() >= ROWS_MAX;
        match self.unread.entry(key) {
            Entry::Vacant(_) if is_full => return false,
            Entry::Vacant(empty) => empty.insert(UsageRow::default()).note(place, outcome, count),
            Entry::Occupied(mut unread) => unread.get_mut().note(place, outcome, count),
        }
        true
    }

    /// Opens a row that was just read.
    fn open(&mut self, key: RowKey, mut read: UsageRow) {
        let Some(since) = self.unread.remove(&key) else { return };
        read.merge(&since);
        self.open.insert(key, OpenRow { row: read, is_changed: true });
        self.changed.push(key);
    }

    /// Some of the rows to be saved, as they are now.
    fn take_changed(&mut self, rows_max: usize) -> Vec<(RowKey, UsageRow)> {
        let rest = self.changed.len().saturating_sub(rows_max);
        let taken = self.changed.split_off(rest);
        let mut rows = Vec::with_capacity(taken.len());
        for key in taken {
            if let Some(open) = self.open.get_mut(&key) {
                open.is_changed = false;
                rows.push((key, open.row.clone()));
            }
        }
        rows
    }

    /// Puts rows back that could not be saved.
    fn put_back(&mut self, keys: Vec<RowKey>) {
        for key in keys {
            if let Some(open) = self.open.get_mut(&key).filter(|open| !open.is_changed) {
                open.is_changed = true;
                self.changed.push(key);
            }
        }
    }

    /// Lets saved rows of hours before this one go.
    fn close_before(&mut self, hour: u32) {
        let before = self.open.len();
        self.open.retain(|(of, _), open| *of >= hour || open.is_changed);
        self.closed += (before - self.open.len()) as u64;
    }
}

impl Engine {
    /// Moves what these keys used into rows. Gives those whose counters changed as well.
    pub(super) fn take_notes(&self, keys: Vec<Arc<LiveKey>>) -> Vec<Arc<LiveKey>> {
        let flagged: Vec<_> = keys.into_iter().map(|key| (key.take_flag(), key)).collect();
        let used = flagged.iter().filter(|(flag, _)| flag & awaits::USAGE != 0);
        drop(self.usage.gather(&self.slots, used.map(|(_, key)| key)));
        let counted = flagged.into_iter().filter(|(flag, _)| flag & awaits::COUNTERS != 0);
        counted.map(|(_, key)| key).collect()
    }

    /// Saves all rows that changed, then makes old hours part of their days. What could not be saved stays.
    pub(super) async fn save_usage(&self) -> Result<(), ChangeError> {
        let mut roll_up = self.usage.turn.lock().await;
        self.open_rows().await?;
        let mut left = self.usage.rows().changed.len();
        while left > 0 {
            let part = self.usage.rows().take_changed(left.min(USAGE_ROWS_MAX));
            left = left.saturating_sub(USAGE_ROWS_MAX);
            let keys: Vec<_> = part.iter().map(|(key, _)| *key).collect();
            let mut unless_saved = PutBack { usage: &self.usage, keys };
            self.store.save_usage(part).await?;
            unless_saved.keys.clear();
        }
        let now = self.clock.now();
        self.usage.rows().close_before(hour_of(now.wall));
        if now.mono.nanos() >= roll_up.due_at_nanos {
            // What is not saved yet is none of the old rows' business, and the other way round.
            match self.roll_up_usage(hour_of(now.wall)).await {
                Ok(true) => roll_up.due_at_nanos = now.mono.nanos().saturating_add(ROLL_UP_NANOS),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "old usage could not be rolled up, trying again");
                }
            }
        }
        Ok(())
    }

    /// Reads the rows that are counted for and not in memory yet.
    async fn open_rows(&self) -> Result<(), ChangeError> {
        let unread: Vec<_> = self.usage.gather(&self.slots, None).unread.keys().copied().collect();
        for part in unread.chunks(USAGE_ROWS_MAX) {
            let part = part.to_vec();
            let wanted = part.clone();
            let read = self.read(move |store| store.usage_rows(&wanted)).await;
            let mut read: HashMap<_, _> = read.map_err(ChangeError::NotDurable)?.into_iter().collect();
            let mut rows = self.usage.rows();
            for key in part {
                rows.open(key, read.remove(&key).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Makes old hours part of their days and removes old days. Whether all is done.
    async fn roll_up_usage(&self, hour: u32) -> Result<bool, ChangeError> {
        // A row in memory would bring back what is rolled up here.
        let oldest_open = self.usage.rows().open.keys().map(|(hour, _)| *hour).min();
        let hours_before = hour.saturating_sub(HOURS_KEPT).min(oldest_open.unwrap_or(hour));
        let days_before = (hour / HOURS_OF_DAY).saturating_sub(DAYS_KEPT);
        for _ in 0..ROLL_UPS_MAX {
            if self.store.roll_up_usage(hours_before, days_before).await? == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Requests since the start that were counted to no key, because more keys were in use than are told apart.
    pub fn usage_unattributed(&self) -> u64 {
        self.usage.unattributed.load(Ordering::Relaxed)
    }
}

/// Puts rows back when they were not saved, or nobody waited until they were.
struct PutBack<'a> {
    usage: &'a Usage,
    keys: Vec<RowKey>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        self.usage.rows().put_back(std::mem::take(&mut self.keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Noted, Place};

    fn note(number: u32, outcome: UsageOutcome) -> Note {
        Note { key: KeyId::from_u128(number.into()), noted: Noted { hour: 7, place: Place::Other, outcome } }
    }

    #[test]
    fn more_keys_than_there_are_rows_for_are_counted_to_none() {
        let usage = Usage::default();
        let mut rows = usage.rows();
        let rows_max = u32::try_from(ROWS_MAX).unwrap();
        for number in 0..rows_max {
            assert!(rows.note(note(number, UsageOutcome::Valid), "a", 1));
        }
        assert!(!rows.note(note(rows_max, UsageOutcome::Valid), "a", 1));
        assert!(rows.note(note(0, UsageOutcome::Valid), "a", 1), "a key that has its row goes on");
        rows.open((7, KeyId::from_u128(0)), UsageRow::default());
        assert!(!rows.note(note(rows_max, UsageOutcome::Valid), "a", 1), "an open row is one as well");
        rows.take_changed(1);
        rows.close_before(8);
        assert!(rows.note(note(rows_max, UsageOutcome::Valid), "a", 1), "one that was closed made room");
        drop(rows);
        usage.count_unattributed(UsageOutcome::Valid, 3);
        let answer = crate::domain::usage::UpstreamAnswer::Fine;
        usage.count_unattributed(UsageOutcome::Answered(answer), 3);
        assert_eq!(usage.unattributed.load(Ordering::Relaxed), 3, "an answer is no second request");
    }

    #[test]
    fn a_row_is_kept_until_it_was_saved_as_it_is() {
        let (key, mut rows) = ((7, KeyId::from_u128(1)), Rows::default());
        rows.note(note(1, UsageOutcome::Valid), "a", 1);
        let mut read = UsageRow::default();
        read.note("a", UsageOutcome::Valid, 40);
        rows.open(key, read);
        let taken = rows.take_changed(9);
        assert_eq!(taken[0].1.total().valid, 41);
        rows.note(note(1, UsageOutcome::Valid), "a", 1);
        rows.close_before(8);
        assert_eq!((rows.open.len(), rows.closed), (1, 0), "it changed while it was being saved");
        rows.put_back(vec![key]);
        assert_eq!(rows.take_changed(9)[0].1.total().valid, 42);
        rows.put_back(vec![key]);
        assert_eq!(rows.take_changed(9).len(), 1, "it could not be saved");
        rows.close_before(7);
        assert_eq!(rows.open.len(), 1, "its hour goes on");
        rows.close_before(8);
        assert_eq!((rows.open.len(), rows.closed, rows.take_changed(9).len()), (0, 1, 0));
    }
}
