//! What the pipeline reads and counts of one workspace: its switches, its facts, its meters.
//!
//! Never here: a read of the file, a map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::domain::counts::MeterCount;
use crate::domain::facts::WorkspaceFacts;
use crate::domain::meter::PeriodMeter;
use crate::domain::period::Period;
use crate::domain::profile::{MeterNo, Profile};
use crate::domain::record::{WorkspaceRecord, WorkspaceStatus};
use crate::domain::time::Wall;

/// One workspace's living state.
#[derive(Debug)]
pub(in crate::engine) struct LiveWorkspace {
    /// The number of the last suspension that began and whose end is open, 0 when there is none: set before
    /// its commit, cleared when it, or a status that was set later, was committed. The facts say what the
    /// record says.
    suspending: AtomicU64,
    /// Numbers the changes of the status in the order in which they began.
    status_changes: AtomicU64,
    /// Set by a deletion before its commit; never cleared.
    deleted: AtomicBool,
    dirty: AtomicBool,
    pub(in crate::engine) facts: ArcSwap<WorkspaceFacts>,
    meters: Box<[ArcSwap<PeriodMeter>]>,
    pub(in crate::engine) profile: Arc<Profile>,
}

impl LiveWorkspace {
    /// A live workspace from its record. `used` tells what was saved of a meter (by name) in the present
    /// period.
    pub(in crate::engine) fn new(
        record: &WorkspaceRecord,
        profile: Arc<Profile>,
        used: impl Fn(&str) -> u64,
        now: Wall,
    ) -> Self {
        let facts = WorkspaceFacts::compile(record, &profile);
        let period = facts.period(now);
        let meter = |name: &String| ArcSwap::from_pointee(PeriodMeter::new(period, used(name)));
        Self {
            suspending: AtomicU64::new(0),
            status_changes: AtomicU64::new(0),
            deleted: AtomicBool::new(record.status == WorkspaceStatus::Deleted),
            dirty: AtomicBool::new(false),
            meters: profile.meters.iter().map(meter).collect(),
            facts: ArcSwap::from_pointee(facts),
            profile,
        }
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

    /// Takes over a committed record, unless a newer one was taken over before. Meters keep what was used in
    /// this period; a moved anchor moves their bounds.
    pub(in crate::engine) fn apply(&self, record: &WorkspaceRecord, now: Wall) {
        let facts = Arc::new(WorkspaceFacts::compile(record, &self.profile));
        let before = self
            .facts
            .rcu(|present| Arc::clone(if present.version() < facts.version() { &facts } else { present }));
        if before.version() >= facts.version() {
            return;
        }
        if before.period(now) != facts.period(now) {
            let period = facts.period(now);
            for meter in &self.meters {
                meter.rcu(|present| {
                    let is_over = present.period().is_over(now);
                    Arc::new(if is_over { PeriodMeter::new(period, 0) } else { present.moved(period) })
                });
            }
        }
    }

    /// The meter of the present period, after rolling over when that period is a new one. A clock that was
    /// set back rolls nothing back.
    pub(in crate::engine) fn meter(
        &self,
        number: MeterNo,
        facts: &WorkspaceFacts,
        now: Wall,
    ) -> Option<Arc<PeriodMeter>> {
        let meter = self.meters.get(usize::from(number.0))?;
        let present = meter.load_full();
        if !present.period().is_over(now) {
            return Some(present);
        }
        let fresh = Arc::new(PeriodMeter::new(facts.period(now), 0));
        let before = meter.compare_and_swap(&present, Arc::clone(&fresh));
        // Whoever swaps first made the new period's one meter.
        Some(if Arc::ptr_eq(&before, &present) { fresh } else { Arc::clone(&before) })
    }

    /// Marks the meters as changed; true for whoever did it first since the last checkpoint.
    pub(in crate::engine) fn mark_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// All meters as they are now. The mark is taken off first, so that a change meanwhile marks anew.
    pub(in crate::engine) fn take_meters(&self) -> Vec<MeterCount> {
        self.dirty.swap(false, Ordering::AcqRel);
        self.meter_counts().collect()
    }

    /// What is used now, in the period that `now` lies in when months are counted from `anchor`.
    pub(in crate::engine) fn meters_from(&self, anchor: Wall, now: Wall) -> Vec<MeterCount> {
        let period = Period::containing(anchor, now).index;
        let is_over = |meter: &ArcSwap<PeriodMeter>| meter.load().period().is_over(now);
        let counts = self.meter_counts().zip(&self.meters);
        counts
            .map(|(count, meter)| MeterCount {
                period,
                used: if is_over(meter) { 0 } else { count.used },
                ..count
            })
            .collect()
    }

    /// All meters as they are now.
    fn meter_counts(&self) -> impl Iterator<Item = MeterCount> + '_ {
        let workspace = self.facts.load().id();
        self.profile.meters.iter().zip(&self.meters).map(move |(name, meter)| {
            let meter = meter.load();
            MeterCount { workspace, meter: name.clone(), period: meter.period().index, used: meter.used() }
        })
    }
}
