//! The places of an upstream: how many exchanges may be open at once, and how many of them on one account or
//! without a key.
//!
//! An exchange holds its place from before its first byte to the last of its answer, however slow either side
//! is. One workspace's slow bodies leave the others their places. What is counted are exchanges, so there are
//! never more counts than places, and a count that comes to nothing is forgotten.
//!
//! Never here: a wait for a place, or the lock held across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::WorkspaceId;

/// Who holds a place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Holder {
    /// A key's workspace.
    Workspace(WorkspaceId),
    /// Everyone without a key together.
    Keyless,
}

/// How many places there are. None of them is below 1 in a gate that lets anything through.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceLimits {
    pub(super) all: usize,
    pub(super) workspace: usize,
    pub(super) keyless: usize,
}

/// The places of one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: PlaceLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Holder, usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    holder: Holder,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Self {
        Self(Arc::new(Inner { limits, taken: Mutex::default() }))
    }

    /// A place now, or none.
    pub(super) fn take(&self, holder: Holder) -> Option<Place> {
        let limits = self.0.limits;
        let limit = match holder {
            Holder::Workspace(_) => limits.workspace,
            Holder::Keyless => limits.keyless,
        };
        let mut taken = self.taken();
        let held = taken.by.get(&holder).copied().unwrap_or(0);
        if taken.all >= limits.all || held >= limit {
            return None;
        }
        taken.all += 1;
        taken.by.insert(holder, held + 1);
        drop(taken);
        Some(Place { places: self.clone(), holder })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Counts are whole between any two statements that could panic: there is none.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut held) = taken.by.entry(self.holder) {
            if *held.get() > 1 {
                *held.get_mut() -= 1;
            } else {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(number: u128) -> Holder {
        Holder::Workspace(WorkspaceId::from_u128(number))
    }

    #[test]
    fn nobody_takes_more_than_a_share_and_all_together_no_more_than_there_are() {
        let places = Places::new(PlaceLimits { all: 5, workspace: 2, keyless: 1 });
        let first: Vec<_> = (0..4).filter_map(|_| places.take(workspace(1))).collect();
        let open: Vec<_> = (0..4).filter_map(|_| places.take(Holder::Keyless)).collect();
        let second: Vec<_> = (0..4).filter_map(|_| places.take(workspace(2))).collect();
        assert_eq!((first.len(), open.len(), second.len()), (2, 1, 2));
        assert!(places.take(workspace(3)).is_none());
        drop(open);
        assert!(places.take(workspace(1)).is_none());
        assert!(places.take(workspace(3)).is_some());
    }

    #[test]
    fn a_place_that_is_given_back_leaves_nothing_behind() {
        let places = Places::new(PlaceLimits { all: 4, workspace: 2, keyless: 1 });
        for number in 0..100 {
            let held = [places.take(workspace(number)), places.take(workspace(number))];
            assert!(held.iter().all(Option::is_some));
        }
        let taken = places.taken();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }
}
