//! How often each door gave each outcome: plain counters, no map and no lock.
//!
//! Each of the first threads has counters of its own, which nobody else writes, so that counting is an addition and no
//! word is fought for; all later threads share the last ones. A reading adds them up.
//!
//! Never here: a counter that grows with keys or callers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::thread_number::thread_number;
use crate::domain::denial::{REFUSAL_NAMES, Refusal};

/// Sets of counters: one each for more threads than a machine that runs this has at work, and one for all others.
const STRIPES: usize = 33;

/// A door that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// A profile's REST door.
    Rest,
    /// A profile's JSON-RPC door.
    Rpc,
    /// The verify call.
    Verify,
    /// The admin API.
    Admin,
}

impl Door {
    const ALL: [Self; 4] = [Self::Rest, Self::Rpc, Self::Verify, Self::Admin];

    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Rpc => "rpc",
            Self::Verify => "verify",
            Self::Admin => "admin",
        }
    }
}

/// One counter's reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutcomeCount {
    /// Which door.
    pub door: Door,
    /// `valid`, or the refusal's word.
    pub outcome: &'static str,
    /// How often since the start.
    pub count: u64,
}

#[derive(Debug)]
pub(super) struct Tally {
    stripes: Box<[Stripe]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    doors: [DoorTally; 4],
}

#[derive(Debug, Default)]
struct DoorTally {
    valid: AtomicU64,
    refused: [AtomicU64; REFUSAL_NAMES.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Stripe::default()).collect() }
    }
}

impl Tally {
    pub(super) fn count<T>(&self, door: Door, outcome: &Result<T, Refusal>) {
        let number = thread_number();
        let is_shared = number >= STRIPES - 1;
        let Some(stripe) = self.stripes.get(number.min(STRIPES - 1)) else { return };
        let Some(tally) = stripe.doors.get(door as usize) else { return };
        let counter = match outcome {
            Ok(_) => Some(&tally.valid),
            Err(refusal) => tally.refused.get(refusal.ordinal()),
        };
        match counter {
            Some(counter) if is_shared => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            // Nobody else writes it.
            Some(counter) => {
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            None => {}
        }
    }

    pub(super) fn outcomes(&self) -> Vec<OutcomeCount> {
        let sum = |of: &dyn Fn(&DoorTally) -> u64, door: Door| {
            let all = self.stripes.iter().filter_map(|stripe| stripe.doors.get(door as usize));
            all.map(of).fold(0, u64::wrapping_add)
        };
        let mut counts = Vec::new();
        for door in Door::ALL {
            let valid = sum(&|tally| tally.valid.load(Ordering::Relaxed), door);
            counts.push(OutcomeCount { door, outcome: "valid", count: valid });
            for (place, outcome) in REFUSAL_NAMES.into_iter().enumerate() {
                let refused = |tally: &DoorTally| {
                    tally.refused.get(place).map_or(0, |count| count.load(Ordering::Relaxed))
                };
                counts.push(OutcomeCount { door, outcome, count: sum(&refused, door) });
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::denial::Denial;

    #[test]
    fn outcomes_are_counted_by_door_and_word() {
        let tally = Tally::default();
        tally.count(Door::Rpc, &Ok(()));
        tally.count::<()>(Door::Rpc, &Err(Denial::Plan.into()));
        tally.count::<()>(Door::Rpc, &Err(Denial::Plan.into()));
        let counted: Vec<_> = tally
            .outcomes()
            .into_iter()
            .filter(|c| c.count > 0)
            .map(|c| (c.door, c.outcome, c.count))
            .collect();
        assert_eq!(counted, [(Door::Rpc, "valid", 1), (Door::Rpc, "plan", 2)]);
    }

    #[test]
    fn more_threads_than_there_are_sets_of_counters_lose_nothing() {
        let tally = Tally::default();
        let count = || (0..100).for_each(|_| tally.count(Door::Rest, &Ok(())));
        for _ in 0..3 {
            std::thread::scope(|scope| (0..STRIPES).for_each(|_| drop(scope.spawn(count))));
        }
        assert_eq!(tally.outcomes()[0].count, 100 * 3 * STRIPES as u64);
    }
}
