//! The proof cache: which texts are known to be which keys, and nothing else.
//!
//! A fixed number of places, one cache line each, so that a find touches one line and takes no lock: it borrows the key
//! for as long as a check needs it. A text may stand in any of a few places beside each other; when all are taken, one
//! that was not asked for since the last time somebody looked makes room. Places come into being by segments, as they
//! are needed.
//!
//! Never here: a verdict, a text, a failure; a lock that leaves a function.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use super::live::{CachedProof, LiveKey};
use crate::domain::hash::Fingerprint;
use crate::domain::proof::{IsChanging, ProofCell, TextName};

/// Places of one segment, all made at once.
const SEGMENT_PLACES: usize = 256;
/// Places beside each other that one text may stand in.
const WAYS: usize = 16;

/// The cache.
pub(super) struct Proofs {
    segments: Box<[OnceLock<Segment>]>,
    segment_places: usize,
}

struct Segment {
    places: Box<[Place]>,
    /// Held while one of them is filled.
    filling: Mutex<()>,
}

/// Room for one proof: a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Place {
    proof: ProofCell,
    /// Whose it is; empty only until the first proof comes.
    key: OnceLock<ArcSwap<LiveKey>>,
}

impl Place {
    #[inline]
    fn find(&self, name: TextName) -> Result<Option<CachedProof>, IsChanging> {
        let found = self.proof.find(name, || self.key.get().map(ArcSwap::load))?;
        Ok(found.and_then(|(proof, key)| {
            let key = key?;
            key.draw_near();
            Some(CachedProof { proof, key })
        }))
    }

    /// Gives the key that was here before.
    fn fill(&self, name: TextName, proof: &CachedProof) -> Option<Arc<LiveKey>> {
        let key = Arc::clone(&proof.key);
        self.proof.put(name, proof.proof, || {
            if let Some(present) = self.key.get() {
                return Some(present.swap(key));
            }
            let _nobody_else_sets_it_meanwhile = self.key.set(ArcSwap::new(key));
            None
        })
    }
}

impl Segment {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // Nothing lies in it, so a poisoned one is still good.
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places that a text may stand in.
    #[inline]
    fn places_of(&self, name: TextName) -> impl Iterator<Item = &Place> {
        let ([_, number], len) = (name.numbers(), self.places.len());
        let first = evenly_below(len, number);
        // Around the end of the segment; a lone small segment may have fewer places than a text may stand in.
        (first..first + WAYS.min(len))
            .filter_map(move |at| self.places.get(if at < len { at } else { at - len }))
    }

    /// Where a proof goes: where the same text stands, else where none does, else where one stands that was not asked
    /// for lately. Whoever asks holds the lock.
    fn room_for(&self, name: TextName) -> Option<&Place> {
        let places = || self.places_of(name);
        let found = places().find(|place| place.proof.keeps(name));
        let found = found.or_else(|| places().find(|place| place.proof.is_empty()));
        // The first one was marked as idle by now, if all were used.
        found.or_else(|| places().find(|place| !place.proof.take_used())).or_else(|| places().next())
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
    #[inline]
    pub(super) fn find(&self, fingerprint: &Fingerprint) -> Option<CachedProof> {
        let name = TextName::of(fingerprint);
        let segment = self.segment_of(name)?.get()?;
        segment.places_of(name).find_map(|place| {
            place.find(name).unwrap_or_else(|IsChanging| {
                // Until it is replaced. Whoever meets the next change as well finds nothing, which is only slower.
                drop(segment.lock());
                place.find(name).unwrap_or(None)
            })
        })
    }

    /// Remembers a proof, in the place of an older one of the same text.
    pub(super) fn insert(&self, fingerprint: &Fingerprint, proof: &CachedProof) {
        let name = TextName::of(fingerprint);
        let Some(segment) = self.segment_of(name) else { return };
        let segment = segment.get_or_init(|| Segment {
            places: (0..self.segment_places).map(|_| Place::default()).collect(),
            filling: Mutex::default(),
        });
        let filling = segment.lock();
        let before = segment.room_for(name).and_then(|place| place.fill(name, proof));
        drop(filling);
        // What went is dropped without the lock: it may be the last that held its key.
        drop(before);
    }

    fn segment_of(&self, name: TextName) -> Option<&OnceLock<Segment>> {
        let [number, _] = name.numbers();
        self.segments.get(evenly_below(self.segments.len(), number))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let places = self.segments.iter().filter_map(OnceLock::get).flat_map(|segment| &segment.places);
        places.filter(|place| !place.proof.is_empty()).count()
    }
}

/// The high half of the product: it lies evenly below `end`, as `number` does below 2⁶⁴.
#[inline]
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
