//! What the pipeline reads and counts of one key.
//!
//! A live key is laid out for the hot path: its switches, its bucket's words, its last uses and its pointers
//! lie in one cache line, its facts behind one pointer in another.
//!
//! Never here: a read of the file, a map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;

use super::bucket::KeyBucket;
use super::workspace::LiveWorkspace;
use crate::domain::counts::{KeyCounters, SecretUse, SecretUses};
use crate::domain::facts::KeyFacts;
use crate::domain::id::KeyId;
use crate::domain::proof::Proof;
use crate::domain::record::KeyRecord;
use crate::domain::time::{Now, Wall};

/// A proof and the live record it leads to: no second look-up by id.
#[derive(Clone, Debug)]
pub(in crate::engine) struct CachedProof {
    pub(in crate::engine) proof: Proof,
    pub(in crate::engine) key: Arc<LiveKey>,
}

/// No use yet.
const NEVER: i64 = i64::MIN;

/// One key's living state.
#[derive(Debug)]
#[repr(align(64))]
pub(in crate::engine) struct LiveKey {
    /// Set by a revoke before its commit; never cleared.
    revoked: AtomicBool,
    dirty: AtomicBool,
    /// The last use of the secret of even and of odd epoch. Two secrets that live at once have epochs side by
    /// side.
    secret_used_micros: [AtomicI64; 2],
    /// The last use by secrets that are gone.
    used_before_micros: AtomicI64,
    pub(in crate::engine) bucket: KeyBucket,
    pub(in crate::engine) facts: ArcSwap<KeyFacts>,
    pub(in crate::engine) workspace: Arc<LiveWorkspace>,
}

impl LiveKey {
    /// A live key from its record and what the last checkpoint saved of it.
    pub(in crate::engine) fn new(
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
            bucket: KeyBucket::restored(&counters.windows, elapsed_nanos, now.mono),
            facts: ArcSwap::from_pointee(facts),
            workspace,
        }
    }

    /// The key.
    pub(in crate::engine) fn id(&self) -> KeyId {
        self.facts.load().id()
    }

    /// Denies from here on, whatever becomes of the commit.
    pub(in crate::engine) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    /// Whether a revoke has begun.
    pub(in crate::engine) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// Takes over a committed record, unless a newer one was taken over before.
    pub(in crate::engine) fn apply(&self, record: &KeyRecord) {
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
    pub(in crate::engine) fn touch(&self, epoch: u32, now: Wall) {
        let word = self.secret_word(epoch);
        if word.load(Ordering::Relaxed) < now.micros() {
            word.fetch_max(now.micros(), Ordering::Relaxed);
        }
    }

    /// Its last successful authentication, by whichever secret.
    pub(in crate::engine) fn last_used_at(&self) -> Option<Wall> {
        let before = self.used_before_micros.load(Ordering::Relaxed);
        let words = self.secret_used_micros.iter().map(|word| word.load(Ordering::Relaxed));
        moment(words.fold(before, i64::max))
    }

    /// The last successful authentication by one of its present secrets.
    pub(in crate::engine) fn last_use_of(&self, epoch: u32) -> Option<Wall> {
        let is_present = self.facts.load().epochs().any(|present| present == epoch);
        if is_present { moment(self.secret_word(epoch).load(Ordering::Relaxed)) } else { None }
    }

    /// Flags the counters as changed, after they were; true for whoever did it first since the last checkpoint.
    /// A swap and not a load: the checkpoint's own swap comes before this one, which sets the flag anew, or after
    /// it and sees what was counted.
    pub(in crate::engine) fn mark_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// The counters as they are now. The flag is taken off first, so that a change meanwhile sets it anew.
    pub(in crate::engine) fn take_counters(&self, now: Now) -> KeyCounters {
        self.dirty.swap(false, Ordering::AcqRel);
        let mut secret_uses = SecretUses::default();
        for (used, epoch) in secret_uses.iter_mut().zip(self.facts.load().epochs()) {
            *used = self.last_use_of(epoch).map(|at| SecretUse { epoch, at });
        }
        KeyCounters {
            last_used_at: self.last_used_at(),
            secret_uses: Some(secret_uses),
            windows: self.bucket.saved(now.mono),
            saved_at_micros: now.wall.micros(),
        }
    }
}

fn moment(micros: i64) -> Option<Wall> {
    (micros != NEVER).then(|| Wall::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_key_is_one_cache_line() {
        assert_eq!((align_of::<LiveKey>(), size_of::<LiveKey>()), (64, 64));
    }
}
