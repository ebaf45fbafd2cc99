//! The proof cache: which texts are known to be which keys, and nothing else.
//!
//! A fixed number of places, one cache line each with its own lock in it, so that a find touches one line and threads
//! meet only at the same key. A text may stand in any of a few places beside each other; when all are taken, one that
//! was not asked for since the last time somebody looked makes room. Places come into being by segments, as they are
//! needed. What tells two texts apart is 24 bytes of their fingerprints, which nobody without the install secret can
//! choose.
//!
//! Never here: a verdict, a text, a failure; a lock that leaves a function.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::live::{CachedProof, LiveKey};
use crate::domain::hash::Fingerprint;
use crate::domain::proof::Proof;

/// Places of one segment, all made at once.
const SEGMENT_PLACES: usize = 256;
/// Places beside each other that one text may stand in.
const WAYS: usize = 16;

/// The cache.
pub(super) struct Proofs {
    segments: Box<[OnceLock<Box<[Place]>>]>,
    segment_places: usize,
}

/// Room for one proof: a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Place {
    /// The head of the fingerprint that stands here, 0 while none does. Only a hint: the entry says.
    head: AtomicU64,
    entry: Mutex<Option<Entry>>,
}

struct Entry {
    /// The next 16 bytes of the fingerprint.
    rest: [u64; 2],
    proof: Proof,
    key: Arc<LiveKey>,
    /// Whether it was asked for since somebody last looked for room.
    is_used: bool,
}

/// A fingerprint as it is kept.
#[derive(Clone, Copy)]
struct Name {
    head: u64,
    rest: [u64; 2],
}

impl Name {
    fn of(fingerprint: &Fingerprint) -> Self {
        let (words, _) = fingerprint.as_bytes().as_chunks::<8>();
        let word = |place: usize| words.get(place).map_or(0, |word| u64::from_le_bytes(*word));
        // 0 is no name.
        Self { head: word(0).max(1), rest: [word(1), word(2)] }
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Entry>> {
        // An entry is replaced whole, so a poisoned lock is still good.
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proofs {
    /// Room for so many proofs, rounded up to whole segments; 0 keeps nothing.
    pub(super) fn new(proofs_max: usize) -> Self {
        let segments = proofs_max.div_ceil(SEGMENT_PLACES);
        Self {
            segments: (0..segments).map(|_| OnceLock::new()).collect(),
            segment_places: proofs_max.min(SEGMENT_PLACES),
        }
    }

    /// The proof of this fingerprint, if it is remembered.
    pub(super) fn find(&self, fingerprint: &Fingerprint) -> Option<CachedProof> {
        let name = Name::of(fingerprint);
        for place in Self::places_of(name, self.segment_of(name)?.get()?) {
            if place.head.load(Ordering::Acquire) != name.head {
                continue;
            }
            if let Some(entry) = &mut *place.lock()
                && entry.rest == name.rest
            {
                entry.is_used = true;
                return Some(CachedProof { proof: entry.proof, key: Arc::clone(&entry.key) });
            }
        }
        None
    }

    /// Remembers a proof, in the place of an older one of the same text.
    pub(super) fn insert(&self, fingerprint: &Fingerprint, CachedProof { proof, key }: CachedProof) {
        let name = Name::of(fingerprint);
        let Some(segment) = self.segment_of(name) else { return };
        let make = || (0..self.segment_places).map(|_| Place::default()).collect();
        let segment = segment.get_or_init(make);
        let entry = Entry { rest: name.rest, proof, key, is_used: true };
        let Some(place) = Self::room_for(name, segment) else { return };
        let mut present = place.lock();
        place.head.store(name.head, Ordering::Release);
        let before = present.replace(entry);
        drop(present);
        // What went is dropped without the lock: it may be the last that held its key.
        drop(before);
    }

    /// Where a proof goes: where the same text stands, else where none does, else where one stands that was not asked
    /// for lately.
    fn room_for(name: Name, segment: &[Place]) -> Option<&Place> {
        let is_same = |place: &&Place| {
            place.head.load(Ordering::Acquire) == name.head
                && place.lock().as_ref().is_some_and(|entry| entry.rest == name.rest)
        };
        let is_empty = |place: &&Place| place.head.load(Ordering::Acquire) == 0;
        let is_idle = |place: &&Place| {
            place.lock().as_mut().is_none_or(|entry| !std::mem::replace(&mut entry.is_used, false))
        };
        let places = || Self::places_of(name, segment);
        let found = places().find(is_same).or_else(|| places().find(is_empty));
        // The first one was marked as idle by now, if all were used.
        found.or_else(|| places().find(is_idle)).or_else(|| places().next())
    }

    fn segment_of(&self, name: Name) -> Option<&OnceLock<Box<[Place]>>> {
        let [number, _] = name.rest;
        self.segments.get(evenly_below(self.segments.len(), number))
    }

    fn places_of(name: Name, segment: &[Place]) -> impl Iterator<Item = &Place> {
        let [_, number] = name.rest;
        // Around the end of the segment; a lone small segment may have fewer places than a text may stand in.
        let (before, from) = segment.split_at(evenly_below(segment.len(), number));
        from.iter().chain(before).take(WAYS)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let places = self.segments.iter().filter_map(OnceLock::get).flatten();
        places.filter(|place| place.lock().is_some()).count()
    }
}

/// The high half of the product: it lies evenly below `end`, as `number` does below 2⁶⁴.
fn evenly_below(end: usize, number: u64) -> usize {
    usize::try_from((u128::from(number) * end as u128) >> u64::BITS).unwrap_or(0)
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proofs in {} segments", self.segments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_cache_line() {
        assert_eq!((size_of::<Place>(), align_of::<Place>()), (64, 64));
    }
}
