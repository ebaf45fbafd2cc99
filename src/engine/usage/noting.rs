//! What requests note, in tables that threads do not share.
//!
//! A thread keeps to the table of its number; two that have the same one meet for the time of one addition. In a
//! steady state nothing is allocated: a table that is taken leaves one of its size behind.
//!
//! Never here: a row, or a lock that is held over another.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::Engine;
use super::super::verify::Granted;
use crate::domain::denial::Refusal;
use crate::domain::id::KeyId;
use crate::domain::time::Wall;
use crate::domain::usage::{Place, RefusalNo, UpstreamAnswer, UsageOutcome, hour_of};

/// Tables of notes: more than a machine that runs this has threads at work.
const TABLES: usize = 32;
/// The most cells of one table between two checkpoints; more are counted to no key.
const CELLS_MAX: usize = 1 << 16;

/// What one cell counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Note {
    pub(super) key: KeyId,
    pub(super) hour: u32,
    pub(super) place: Place,
    pub(super) outcome: UsageOutcome,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    tables: [Table; TABLES],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Table(Mutex<HashMap<Note, u64>>);

impl Notes {
    /// Counts one more; false when there is no room.
    fn note(&self, note: Note) -> bool {
        let Some(table) = self.tables.get(thread_number() % TABLES) else { return false };
        let mut cells = table.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = cells.get_mut(&note) {
            *count = count.saturating_add(1);
            return true;
        }
        let has_room = cells.len() < CELLS_MAX;
        if has_room {
            cells.insert(note, 1);
        }
        has_room
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

/// A number of this thread's own, as long as there are no more than numbers.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let fresh = THREADS.fetch_add(1, Ordering::Relaxed);
            number.set(Some(fresh));
            fresh
        })
    })
}

impl Engine {
    /// Counts what was decided about a request of this key, in the hour of this moment.
    pub(in crate::engine) fn note_usage<T>(
        &self,
        key: KeyId,
        place: Place,
        at: Wall,
        decided: &Result<T, Refusal>,
    ) {
        let outcome = match decided {
            Ok(_) => UsageOutcome::Valid,
            Err(refusal) => UsageOutcome::Refused(RefusalNo::of(refusal)),
        };
        self.note(Note { key, hour: hour_of(at), place, outcome });
    }

    /// Expects the answer to what was granted, at the place where it was wanted. It counts in the hour of its
    /// grant.
    pub fn await_answer(&self, granted: &Granted, place: Place) -> AwaitedAnswer<'_> {
        let outcome = UsageOutcome::Answered(UpstreamAnswer::Abandoned);
        let note = Note { key: granted.key(), hour: hour_of(granted.decided_at()), place, outcome };
        AwaitedAnswer { engine: self, note }
    }

    fn note(&self, note: Note) {
        if !self.usage.notes.note(note) {
            self.usage.count_unattributed(note.outcome, 1);
        }
    }
}

/// An answer that has not come yet. Dropped before it did, it counts as abandoned by the caller.
#[must_use = "an answer that is dropped counts as abandoned"]
pub struct AwaitedAnswer<'a> {
    engine: &'a Engine,
    note: Note,
}

impl AwaitedAnswer<'_> {
    /// It came, with this status.
    pub fn came(mut self, status: u16) {
        self.note.outcome = UsageOutcome::Answered(UpstreamAnswer::of_status(status));
    }

    /// We answered in its place.
    pub fn failed(mut self, refusal: &Refusal) {
        self.note.outcome = UsageOutcome::Answered(UpstreamAnswer::Failed(RefusalNo::of(refusal)));
    }
}

impl fmt::Debug for AwaitedAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitedAnswer at {:?}", self.note.place)
    }
}

impl Drop for AwaitedAnswer<'_> {
    fn drop(&mut self) {
        self.engine.note(self.note);
    }
}
