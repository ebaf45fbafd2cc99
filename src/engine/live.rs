//! Live records: what the pipeline reads and counts of one key and one workspace.
//!
//! A live key is laid out for the hot path: its switches, its bucket's word, its last uses and its pointers
//! lie in one cache line, its facts behind one pointer in another. Facts are replaced as a whole and only by
//! those of a newer record version, so that two changes that finish out of order leave the newer one.
//!
//! Never here: a read of the file, a map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::domain::bucket::Bucket;
use crate::domain::counts::{KeyCounters, MeterCount, SecretUse, SecretUses};
use crate::domain::facts::{KeyFacts, WorkspaceFacts};
use crate::domain::id::KeyId;
use crate::domain::meter::PeriodMeter;
use crate::domain::period::Period;
use crate::domain::profile::{MeterNo, Profile};
use crate::domain::proof::Proof;
use crate::domain::record::{KeyRecord, WorkspaceRecord, WorkspaceStatus};
use crate::domain::time::{Now, Wall};

/// A proof and the live record it leads to: no second look-up by id.
#[derive(Clone, Debug)]
pub(super) struct CachedProof {
    pub(super) proof: Proof,
    pub(super) key: Arc<LiveKey>,
}

/// No use yet.
const NEVER: i64 = i64::MIN;

/// One key's living state.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct LiveKey {
    /// Set by a revoke before its commit; never cleared.
    revoked: AtomicBool,
    dirty: AtomicBool,
    /// The last use of the secret of even and of odd epoch. Two secrets that live at once have epochs side by
    /// side.
    secret_used_micros: [AtomicI64; 2],
    /// The last use by secrets that are gone.
    used_before_micros: AtomicI64,
    pub(super) bucket: Bucket,
    pub(super) facts: ArcSwap<KeyFacts>,
    pub(super) workspace: Arc<LiveWorkspace>,
}

impl LiveKey {
    /// A live key from its record and what the last checkpoint saved of it.
    pub(super) fn new(
        record: &KeyRecord,
        counters: Option<KeyCounters>,
        workspace: Arc<LiveWorkspace>,
        now: Now,
    ) -> Self {
        let counters = counters.unwrap_or_default();
        let saved_at = Wall::from_micros(counters.saved_at_micros);
        let elapsed_nanos = now.wall.micros_since(saved_at).saturating_mul(1000);
        let facts = KeyFacts::compile(record, &workspace.profile);
        let used = |parity: u32| {
            let epoch = facts.epochs().find(|epoch| epoch % 2 == parity)?;
            counters.last_use_of(epoch, &record.secrets)
        };
        Self {
            revoked: AtomicBool::new(record.revoked_at.is_some()),
            dirty: AtomicBool::new(false),
            secret_used_micros: [0, 1].map(|parity| AtomicI64::new(used(parity).map_or(NEVER, Wall::micros))),
            used_before_micros: AtomicI64::new(counters.last_used_at.map_or(NEVER, Wall::micros)),
            bucket: Bucket::restored(counters.nanos_to_full, elapsed_nanos, now.mono),
            facts: ArcSwap::from_pointee(facts),
            workspace,
        }
    }

    /// The key.
    pub(super) fn id(&self) -> KeyId {
        self.facts.load().id()
    }

    /// Denies from here on, whatever becomes of the commit.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    /// Whether a revoke has begun.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// Takes over a committed record, unless a newer one was taken over before.
    pub(super) fn apply(&self, record: &KeyRecord) {
        let facts = Arc::new(KeyFacts::compile(record, &self.workspace.profile));
        self.make_room(&facts);
        self.facts
            .rcu(|present| Arc::clone(if present.version() < facts.version() { &facts } else { present }));
        if record.revoked_at.is_some() {
            self.revoke();
        }
    }

    /// Puts the last use of a secret that is gone aside for a new one of the same parity, before the new one
    /// can be used. A request that is being decided by the old one at this very moment may then count as a use
    /// of the new one; nothing is decided by that.
    fn make_room(&self, newer: &KeyFacts) {
        let present = self.facts.load();
        let known = present.epochs().max();
        for epoch in newer.epochs().filter(|epoch| known.is_none_or(|known| *epoch > known)) {
            let word = self.secret_word(epoch);
            // First kept and then taken away, so that the key's own last use never moves back.
            self.used_before_micros.fetch_max(word.load(Ordering::Relaxed), Ordering::Relaxed);
            self.used_before_micros.fetch_max(word.swap(NEVER, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn secret_word(&self, epoch: u32) -> &AtomicI64 {
        let [even, odd] = &self.secret_used_micros;
        if epoch.is_multiple_of(2) { even } else { odd }
    }

    /// Notes a successful authentication by the secret of this epoch; never moves back.
    pub(super) fn touch(&self, epoch: u32, now: Wall) {
        let word = self.secret_word(epoch);
        if word.load(Ordering::Relaxed) < now.micros() {
            word.fetch_max(now.micros(), Ordering::Relaxed);
        }
    }

    /// Its last successful authentication, by whichever secret.
    pub(super) fn last_used_at(&self) -> Option<Wall> {
        let before = self.used_before_micros.load(Ordering::Relaxed);
        let words = self.secret_used_micros.iter().map(|word| word.load(Ordering::Relaxed));
        moment(words.fold(before, i64::max))
    }

    /// The last successful authentication by one of its present secrets.
    pub(super) fn last_use_of(&self, epoch: u32) -> Option<Wall> {
        let is_present = self.facts.load().epochs().any(|present| present == epoch);
        if is_present { moment(self.secret_word(epoch).load(Ordering::Relaxed)) } else { None }
    }

    /// Marks the counters as changed, after they were; true for whoever did it first since the last
    /// checkpoint. A swap and not a load: the checkpoint's own swap comes before this one and marks anew, or
    /// after it and sees what was counted.
    pub(super) fn mark_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// The counters as they are now. The mark is taken off first, so that a change meanwhile marks anew.
    pub(super) fn take_counters(&self, now: Now) -> KeyCounters {
        self.dirty.swap(false, Ordering::AcqRel);
        let mut secret_uses = SecretUses::default();
        for (used, epoch) in secret_uses.iter_mut().zip(self.facts.load().epochs()) {
            *used = self.last_use_of(epoch).map(|at| SecretUse { epoch, at });
        }
        KeyCounters {
            last_used_at: self.last_used_at(),
            secret_uses: Some(secret_uses),
            nanos_to_full: self.bucket.nanos_to_full(now.mono),
            saved_at_micros: now.wall.micros(),
        }
    }
}

fn moment(micros: i64) -> Option<Wall> {
    (micros != NEVER).then(|| Wall::from_micros(micros))
}

/// One workspace's living state.
#[derive(Debug)]
pub(super) struct LiveWorkspace {
    /// The number of the last suspension that began and whose end is open, 0 when there is none: set before
    /// its commit, cleared when it, or a status that was set later, was committed. The facts say what the
    /// record says.
    suspending: AtomicU64,
    /// Numbers the changes of the status in the order in which they began.
    status_changes: AtomicU64,
    /// Set by a deletion before its commit; never cleared.
    deleted: AtomicBool,
    dirty: AtomicBool,
    pub(super) facts: ArcSwap<WorkspaceFacts>,
    meters: Box<[ArcSwap<PeriodMeter>]>,
    pub(super) profile: Arc<Profile>,
}

impl LiveWorkspace {
    /// A live workspace from its record. `used` tells what was saved of a meter (by name) in the present
    /// period.
    pub(super) fn new(
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
    pub(super) fn suspend(&self) -> u64 {
        let number = self.next_status_number();
        self.suspending.fetch_max(number, Ordering::SeqCst);
        number
    }

    /// Denies all its keys from here on and for good, whatever becomes of the commit.
    pub(super) fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }

    /// Whether a deletion has begun.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    /// The number of a change of the status that begins now.
    pub(super) fn next_status_number(&self) -> u64 {
        self.status_changes.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Leaves the word to the facts again: the status change of this number was committed and applied.
    /// A suspension that began after it goes on denying.
    pub(super) fn status_is_committed(&self, number: u64) {
        let is_done = |open: u64| (open <= number).then_some(0);
        // Nothing to change is fine: a later suspension is open.
        let _ = self.suspending.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_done);
    }

    /// Whether a suspension has begun.
    pub(super) fn is_suspending(&self) -> bool {
        self.suspending.load(Ordering::SeqCst) != 0
    }

    /// Takes over a committed record, unless a newer one was taken over before. Meters keep what was used in
    /// this period; a moved anchor moves their bounds.
    pub(super) fn apply(&self, record: &WorkspaceRecord, now: Wall) {
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
    pub(super) fn meter(
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
    pub(super) fn mark_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// All meters as they are now. The mark is taken off first, so that a change meanwhile marks anew.
    pub(super) fn take_meters(&self) -> Vec<MeterCount> {
        self.dirty.swap(false, Ordering::AcqRel);
        self.meter_counts().collect()
    }

    /// What is used now, in the period that `now` lies in when months are counted from `anchor`.
    pub(super) fn meters_from(&self, anchor: Wall, now: Wall) -> Vec<MeterCount> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_key_is_one_cache_line() {
        assert_eq!((align_of::<LiveKey>(), size_of::<LiveKey>()), (64, 64));
    }
}
