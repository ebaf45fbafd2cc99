//! A bounded shared map: two generations, the older one forgotten when the newer is full.
//!
//! Holds at most twice its size. An entry that is used stays: a find in the old generation moves it to the
//! new one. There is no sweep, no list to keep in order and no lock over the whole.
//!
//! Never here: a guard that leaves a function; every answer is a clone.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// A map of at most 2 × `max` entries.
pub(super) struct Generations<K: Eq + Hash, V, S> {
    pair: ArcSwap<Pair<K, V, S>>,
    /// The generation that was forgotten last, until somebody with time drops it.
    forgotten: ArcSwapOption<Generation<K, V, S>>,
    max: usize,
    hasher: S,
}

struct Pair<K: Eq + Hash, V, S> {
    young: Arc<Generation<K, V, S>>,
    old: Arc<Generation<K, V, S>>,
}

struct Generation<K: Eq + Hash, V, S> {
    map: DashMap<K, V, S>,
    len: AtomicUsize,
}

impl<K: Eq + Hash, V, S: BuildHasher + Clone> Generation<K, V, S> {
    fn new(hasher: S) -> Arc<Self> {
        Arc::new(Self { map: DashMap::with_hasher(hasher), len: AtomicUsize::new(0) })
    }
}

impl<K: Eq + Hash + Copy, V: Clone, S: BuildHasher + Clone + Default> Generations<K, V, S> {
    /// A map with `max` entries in each generation; 0 keeps nothing.
    pub(super) fn new(max: usize) -> Self {
        let hasher = S::default();
        let pair = Pair { young: Generation::new(hasher.clone()), old: Generation::new(hasher.clone()) };
        Self { pair: ArcSwap::from_pointee(pair), forgotten: ArcSwapOption::empty(), max, hasher }
    }

    /// The value of `key`, if it is remembered.
    pub(super) fn find(&self, key: &K) -> Option<V> {
        let pair = self.pair.load();
        if let Some(value) = pair.young.map.get(key).map(|entry| entry.value().clone()) {
            return Some(value);
        }
        let value = pair.old.map.get(key).map(|entry| entry.value().clone())?;
        self.insert(*key, value.clone());
        Some(value)
    }

    /// The value of `key`, without moving it.
    pub(super) fn peek(&self, key: &K) -> Option<V> {
        let pair = self.pair.load();
        let young = pair.young.map.get(key).map(|entry| entry.value().clone());
        young.or_else(|| pair.old.map.get(key).map(|entry| entry.value().clone()))
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let pair = self.pair.load();
        pair.young.map.len() + pair.old.map.len()
    }

    /// Drops what was forgotten: up to `max` entries at once, so not for a request's thread.
    pub(super) fn sweep(&self) {
        self.forgotten.store(None);
    }

    /// Remembers `value`; forgets the old generation when the young one is full.
    pub(super) fn insert(&self, key: K, value: V) {
        if self.max == 0 {
            return;
        }
        let pair = self.pair.load_full();
        if pair.young.map.insert(key, value).is_none() {
            self.note_new(&pair);
        }
    }

    /// The value of `key`, or what `make` makes of it: of several who ask at once, one makes it.
    pub(super) fn find_or_insert(&self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(found) = self.find(&key) {
            return found;
        }
        let pair = self.pair.load_full();
        let (value, is_new) = match pair.young.map.entry(key) {
            Entry::Occupied(present) => (present.get().clone(), false),
            Entry::Vacant(place) => (place.insert(make()).value().clone(), true),
        };
        if is_new {
            self.note_new(&pair);
        }
        value
    }

    /// Counts a new entry of the young generation.
    fn note_new(&self, pair: &Arc<Pair<K, V, S>>) {
        let len = pair.young.len.fetch_add(1, Ordering::Relaxed) + 1;
        if len >= self.max {
            let turned = Pair { young: Generation::new(self.hasher.clone()), old: Arc::clone(&pair.young) };
            // Whoever turns first wins; the others' entries are in what is now the old generation.
            let before = self.pair.compare_and_swap(pair, Arc::new(turned));
            if Arc::ptr_eq(&before, pair) {
                self.forgotten.store(Some(Arc::clone(&pair.old)));
            }
        }
    }
}

/// For keys that are uniform already and that an attacker cannot choose: the one number that they give is the
/// hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl<K: Eq + Hash, V, S> std::fmt::Debug for Generations<K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generations(max {})", self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::RandomState;

    #[test]
    fn a_full_map_stays_bounded_and_keeps_what_is_used() {
        let map = Generations::<_, _, RandomState>::new(100);
        for n in 0..10_000 {
            map.insert(n, n);
            if n >= 50 {
                assert_eq!(map.find(&7), Some(7), "at {n}");
            }
            assert!(map.len() <= 200);
        }
        assert_eq!(map.find(&8), None);
    }

    #[test]
    fn a_map_of_size_zero_keeps_nothing() {
        let map = Generations::<_, _, RandomState>::new(0);
        map.insert(1, 1);
        assert_eq!(map.find(&1), None);
    }

    #[test]
    fn a_newer_value_replaces_an_older_one() {
        let map = Generations::<_, _, RandomState>::new(10);
        map.insert(1, 1);
        map.insert(1, 2);
        assert_eq!((map.find(&1), map.len()), (Some(2), 1));
    }
}
