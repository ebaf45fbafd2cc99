//! What the pipeline reads and counts of one workspace: its switches, its facts, its meters.
//!
//! Never here: a read of the file, a map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::seldom::Seldom;
use super::meters::LiveMeters;
use crate::clock::Clock;
use crate::domain::counts::MeterRow;
use crate::domain::facts::WorkspaceFacts;
use crate::domain::profile::Profile;
use crate::domain::rate::bucket::Bucket;
use crate::domain::record::{WorkspaceRecord, WorkspaceStatus};
use crate::domain::time::Wall;
use crate::store::StoreError;

/// One workspace's living state; what a verify reads comes first, side by side.
#[derive(Debug)]
#[repr(C)]
pub(in crate::engine) struct LiveWorkspace {
    /// The number of the last suspension that began and whose end is open, 0 when there is none: set before
    /// its commit, cleared when it, or a status that was set later, was committed. The facts say what the
    /// record says.
    suspending: AtomicU64,
    /// Set by a deletion before its commit; never cleared.
    deleted: AtomicBool,
    dirty: AtomicBool,
    pub(in crate::engine) profile: Arc<Profile>,
    /// The bucket that all its keys share; full at each start.
    pub(in crate::engine) bucket: Bucket,
    pub(in crate::engine) facts: Seldom<WorkspaceFacts>,
    pub(in crate::engine) meters: LiveMeters,
    /// Numbers the changes of the status in the order in which they began.
    status_changes: AtomicU64,
    /// What its keys' tethers go by.
    pub(in crate::engine) clock: Clock,
}

impl LiveWorkspace {
    /// A live workspace from its record, and the rows of its meters in the present period, in the profile's order.
    pub(in crate::engine) fn new(
        record: &WorkspaceRecord,
        profile: Arc<Profile>,
        clock: Clock,
        stored: &[Result<Option<MeterRow>, StoreError>],
        now: Wall,
    ) -> Self {
        let facts = WorkspaceFacts::compile(record, &profile);
        Self {
            suspending: AtomicU64::new(0),
            status_changes: AtomicU64::new(0),
            deleted: AtomicBool::new(record.status == WorkspaceStatus::Deleted),
            dirty: AtomicBool::new(false),
            meters: LiveMeters::new(&facts, stored, now),
            bucket: Bucket::default(),
            facts: Seldom::new(facts),
            profile,
            clock,
        }
    }

    /// A bit of each line of memory that a verify will need, put together. It says nothing.
    #[inline]
    pub(in crate::engine) fn glance(&self) -> bool {
        self.is_deleted() ^ self.facts.first().glance()
    }

    /// Denies all its keys from here on, whatever becomes of the commit. Gives this change's number.
    pub(in crate::engine) fn suspend(&self) -> u64 {
        let number = self.next_status_number();
        self.suspending.fetch_max(number, Ordering::SeqCst);
        number
    }

    /// Denies all its keys from here on and for good, whatever becomes of the commit.
    pub(in crate::engine) fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }

    /// Whether a deletion has begun.
    pub(in crate::engine) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    /// The number of a change of the status that begins now.
    pub(in crate::engine) fn next_status_number(&self) -> u64 {
        self.status_changes.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Leaves the word to the facts again: the status change of this number was committed and applied.
    /// A suspension that began after it goes on denying.
    pub(in crate::engine) fn status_is_committed(&self, number: u64) {
        let is_done = |open: u64| (open <= number).then_some(0);
        // Nothing to change is fine: a later suspension is open.
        let _ = self.suspending.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_done);
    }

    /// Whether a suspension has begun.
    pub(in crate::engine) fn is_suspending(&self) -> bool {
        self.suspending.load(Ordering::SeqCst) != 0
    }

    /// Takes over a committed record, unless a newer one was taken over before. Its meters took it over with its
    /// commit.
    pub(in crate::engine) fn apply(&self, record: &WorkspaceRecord) {
        let facts = Arc::new(WorkspaceFacts::compile(record, &self.profile));
        self.facts.replace(&facts, |present| present.version() < facts.version());
        if record.status == WorkspaceStatus::Deleted {
            self.delete();
        }
    }

    /// Marks the meters as changed, after they were; true for whoever did it first since the last checkpoint. Mostly
    /// it is marked: a sale, this look, and the checkpoint that takes the mark and then reads the sale are in one
    /// order.
    pub(in crate::engine) fn mark_dirty(&self) -> bool {
        !self.dirty.load(Ordering::SeqCst) && !self.dirty.swap(true, Ordering::SeqCst)
    }

    /// Takes the flag off, before the meters are saved, so that a change meanwhile sets it anew.
    pub(in crate::engine) fn take_dirty(&self) {
        self.dirty.swap(false, Ordering::SeqCst);
    }
}
