//! What the pipeline reads and counts of one key.
//!
//! A live key is laid out for the hot path: what most requests touch of it lies side by side, the facts as they were
//! when it was loaded among it. Only facts that were changed since then lie behind a pointer.
//!
//! Never here: a read of the file, a map.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use arc_swap::Guard;

use super::super::seldom::Seldom;
use super::super::shared_terms::SharedTerms;
use super::bucket::KeyBucket;
use super::workspace::LiveWorkspace;
use crate::domain::counts::{KeyCounters, SecretUse, SecretUses};
use crate::domain::facts::KeyFacts;
use crate::domain::id::KeyId;
use crate::domain::proof::Proof;
use crate::domain::record::KeyRecord;
use crate::domain::time::{Now, Wall};
use crate::domain::usage::{NoteCell, Noted, UsageOutcome};

/// A proof and the live record it leads to: no second look-up by id.
#[derive(Debug)]
pub(in crate::engine) struct CachedProof {
    pub(in crate::engine) proof: Proof,
    pub(in crate::engine) key: KeyHold,
}

/// A key that is held: borrowed from its place in the proof cache, which counts nothing, or counted as an `Arc` is.
/// Either way its slot stays.
pub(in crate::engine) type KeyHold = Guard<Arc<LiveKey>>;

impl CachedProof {
    /// The same with the key counted, for whoever waits for something: a thread lends few.
    pub(in crate::engine) fn kept(self) -> Self {
        Self { proof: self.proof, key: Guard::into_inner(self.key).into() }
    }
}

/// Microseconds of a millisecond.
const MILLI: i64 = 1_000;
/// No use yet.
const NEVER: i64 = i64::MIN;

/// What of a key awaits the next checkpoint.
pub(in crate::engine) mod awaits {
    /// Its counters.
    pub(in crate::engine) const COUNTERS: u8 = 1;
    /// Its cells of usage.
    pub(in crate::engine) const USAGE: u8 = 2;
}

/// One key's living state. In this order: what a verify reads and writes comes first, side by side.
#[derive(Debug)]
#[repr(C)]
pub(in crate::engine) struct LiveKey {
    /// Set by a revoke before its commit; never cleared.
    revoked: AtomicBool,
    /// What awaits the next checkpoint; while anything does, the key stands on its list.
    awaits: AtomicU8,
    pub(in crate::engine) workspace: Arc<LiveWorkspace>,
    pub(in crate::engine) bucket: KeyBucket,
    /// What it noted last, of decisions and of answers: both come in turn.
    usage: [NoteCell; 2],
    /// The last use of the secret of even and of odd epoch. Two secrets that live at once have epochs side by
    /// side.
    secret_used_micros: [AtomicI64; 2],
    pub(in crate::engine) facts: Seldom<KeyFacts>,
    /// The last use by secrets that are gone.
    used_before_micros: AtomicI64,
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
            awaits: AtomicU8::new(0),
            usage: Default::default(),
            secret_used_micros: [0, 1].map(|parity| AtomicI64::new(used(parity).map_or(NEVER, Wall::micros))),
            used_before_micros: AtomicI64::new(counters.last_used_at.map_or(NEVER, Wall::micros)),
            bucket: KeyBucket::restored(&counters.windows, elapsed_nanos, now.mono),
            facts: Seldom::new(facts),
            workspace,
        }
    }

    /// The key.
    pub(in crate::engine) const fn id(&self) -> KeyId {
        *self.id_ref()
    }

    /// The key, to be found by. It is the same in all its facts.
    pub(in crate::engine) const fn id_ref(&self) -> &KeyId {
        self.facts.first().id_ref()
    }

    /// Takes one copy of its terms for all keys that have the same.
    pub(in crate::engine) fn share_terms(&mut self, shared: &SharedTerms) {
        let facts = self.facts.first_mut();
        facts.share(shared.copy_of(facts.terms()));
    }

    /// Whether it denies what the file does not: a revoke that is not durable, which must not be forgotten.
    pub(in crate::engine) fn denies_undurably(&self) -> bool {
        self.is_revoked() && !self.facts.load().is_revoked()
    }

    /// Looks at each line of memory that a verify will need of the key and its workspace, and makes nothing of it. A
    /// processor fetches what is merely looked at all at once; the locked steps of a verify, which stand in line for
    /// one another, then find it there. Among a million keys that is most of the time that a verify takes.
    #[inline]
    pub(in crate::engine) fn draw_near(&self) {
        let key = self.is_revoked() ^ self.facts.is_replaced() ^ self.facts.first().glance();
        black_box(key ^ self.workspace.glance());
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
        self.facts.replace(&facts, |present| present.version() < facts.version());
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
        // Told in milliseconds, so that within one there is nothing to write.
        if word.load(Ordering::Relaxed) / MILLI < now.micros() / MILLI {
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

    /// Where this is counted, as long as the same comes again.
    pub(in crate::engine) const fn cell(&self, noted: Noted) -> &NoteCell {
        let [decisions, answers] = &self.usage;
        if matches!(noted.outcome, UsageOutcome::Answered(_)) { answers } else { decisions }
    }

    /// Takes out what its cells count.
    pub(in crate::engine) fn take_notes(&self) -> impl Iterator<Item = (Noted, u64)> {
        self.usage.iter().filter_map(NoteCell::take)
    }

    /// Flags what awaits the checkpoint, after it was counted; true for whoever puts the key on the list.
    pub(in crate::engine) fn flag(&self, awaits: u8) -> bool {
        self.awaits.fetch_or(awaits, Ordering::SeqCst) == 0
    }

    /// The same for whoever has just noted something: mostly a look, which writes nothing. The note and this look
    /// stand in one order with the checkpoint's taking the flag and then the note. So either the look comes before the
    /// taking, and the checkpoint finds the note and with it all that was counted before, or it sees that the flag
    /// is gone and sets it anew.
    pub(in crate::engine) fn flag_noted(&self, awaits: u8) -> bool {
        self.awaits.load(Ordering::SeqCst) & awaits != awaits && self.flag(awaits)
    }

    /// Takes off what awaited the checkpoint, before it is read, so that a change meanwhile flags it anew.
    pub(in crate::engine) fn take_flag(&self) -> u8 {
        self.awaits.swap(0, Ordering::SeqCst)
    }

    /// The counters as they are now.
    pub(in crate::engine) fn counters(&self, now: Now) -> KeyCounters {
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
    fn a_live_key_is_three_cache_lines_with_its_count() {
        assert_eq!(size_of::<LiveKey>() + 2 * size_of::<usize>(), 192);
    }
}
