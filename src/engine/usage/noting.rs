//! What requests note: in a word of their key, and what that has no room for in tables that threads do not share.
//!
//! A key that does one thing again and again adds to its word; what it did before goes to the table. A thread keeps to
//! the table of its number; two that have the same one meet for the time of one addition. In a steady state nothing
//! is allocated: a table that is taken leaves one of its size behind.
//!
//! Never here: a row, or a lock that is held over another.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::Engine;
use super::super::live::LiveKey;
use super::super::outcome::Granted;
use super::super::thread_number::thread_number;
use crate::domain::denial::Refusal;
use crate::domain::id::KeyId;
use crate::domain::time::Wall;
use crate::domain::usage::{Noted, Place, RefusalNo, UpstreamAnswer, UsageOutcome, hour_of};

/// Tables of notes: more than a machine that runs this has threads at work.
const TABLES: usize = 32;
/// The most cells of one table between two checkpoints; more are counted to no key.
const CELLS_MAX: usize = 1 << 16;

/// What one cell counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Note {
    pub(super) key: KeyId,
    pub(super) noted: Noted,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    tables: [Table; TABLES],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Table(Mutex<HashMap<Note, u64>>);

impl Notes {
    /// Counts what goes out of a key's word when this comes in; gives what found no room. The table is held while
    /// the word changes, so that whoever takes the words first and the tables then misses nothing.
    fn note_instead(&self, key: &LiveKey, noted: Noted) -> Option<(Noted, u64)> {
        let table = self.tables.get(thread_number() % TABLES)?;
        let mut cells = table.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (noted, count) = key.cell(noted).replace(noted)?;
        let note = Note { key: key.id(), noted };
        if let Some(counted) = cells.get_mut(&note) {
            *counted = counted.saturating_add(count);
            return None;
        }
        if cells.len() >= CELLS_MAX {
            return Some((noted, count));
        }
        cells.insert(note, count);
        None
    }

    /// Takes all that was noted. A thread is held up for as long as two tables take to change places.
    pub(super) fn take(&self, mut each: impl FnMut(Note, u64)) {
        for table in &self.tables {
            let cells = || table.0.lock().unwrap_or_else(PoisonError::into_inner);
            let size = cells().len();
            if size > 0 {
                let fresh = HashMap::with_capacity(size);
                let taken = std::mem::replace(&mut *cells(), fresh);
                for (note, count) in taken {
                    each(note, count);
                }
            }
        }
    }
}

impl Engine {
    /// Counts what was decided about a request of this key, in the hour of this moment. It comes last: `is_counted`
    /// says that the key's counters changed before it.
    pub(in crate::engine) fn note_usage<T>(
        &self,
        key: &Arc<LiveKey>,
        place: Place,
        at: Wall,
        decided: &Result<T, Refusal>,
        is_counted: bool,
    ) {
        let outcome = match decided {
            Ok(_) => UsageOutcome::Valid,
            Err(refusal) => UsageOutcome::Refused(RefusalNo::of(refusal)),
        };
        self.note(key, Noted { hour: hour_of(at), place, outcome }, is_counted);
    }

    /// Expects the answer to what was granted, at the place where it was wanted. It counts in the hour of its
    /// grant.
    pub fn await_answer(&self, granted: &Granted, place: Place) -> AwaitedAnswer<'_> {
        let outcome = UsageOutcome::Answered(UpstreamAnswer::Abandoned);
        let noted = Noted { hour: hour_of(granted.decided_at()), place, outcome };
        AwaitedAnswer { engine: self, key: Arc::clone(granted.live_key()), noted }
    }

    fn note(&self, key: &Arc<LiveKey>, noted: Noted, is_counted: bool) {
        if !key.cell(noted).count(noted)
            && let Some((noted, count)) = self.usage.notes.note_instead(key, noted)
        {
            self.usage.count_unattributed(noted.outcome, count);
        }
        self.slots.note_used(key, is_counted);
    }
}

/// An answer that has not come yet. Dropped before it did, it counts as abandoned by the caller.
#[must_use = "an answer that is dropped counts as abandoned"]
pub struct AwaitedAnswer<'a> {
    engine: &'a Engine,
    key: Arc<LiveKey>,
    noted: Noted,
}

impl AwaitedAnswer<'_> {
    /// It came, with this status.
    pub fn came(mut self, status: u16) {
        self.noted.outcome = UsageOutcome::Answered(UpstreamAnswer::of_status(status));
    }

    /// We answered in its place.
    pub fn failed(mut self, refusal: &Refusal) {
        self.noted.outcome = UsageOutcome::Answered(UpstreamAnswer::Failed(RefusalNo::of(refusal)));
    }
}

impl fmt::Debug for AwaitedAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitedAnswer at {:?}", self.noted.place)
    }
}

impl Drop for AwaitedAnswer<'_> {
    fn drop(&mut self) {
        self.engine.note(&self.key, self.noted, false);
    }
}
