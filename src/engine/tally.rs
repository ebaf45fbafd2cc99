//! How often each door gave each outcome: plain counters, no map and no lock.
//!
//! Never here: a counter that grows with keys or callers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::denial::{REFUSAL_NAMES, Refusal};

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

#[derive(Debug, Default)]
pub(super) struct Tally {
    doors: [DoorTally; 4],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct DoorTally {
    valid: AtomicU64,
    refused: [AtomicU64; REFUSAL_NAMES.len()],
}

impl Tally {
    pub(super) fn count<T>(&self, door: Door, outcome: &Result<T, Refusal>) {
        let Some(tally) = self.doors.get(door as usize) else { return };
        let counter = match outcome {
            Ok(_) => Some(&tally.valid),
            Err(refusal) => tally.refused.get(refusal.ordinal()),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn outcomes(&self) -> Vec<OutcomeCount> {
        let mut counts = Vec::new();
        for (door, tally) in Door::ALL.into_iter().zip(&self.doors) {
            counts.push(OutcomeCount { door, outcome: "valid", count: tally.valid.load(Ordering::Relaxed) });
            for (outcome, count) in REFUSAL_NAMES.into_iter().zip(&tally.refused) {
                counts.push(OutcomeCount { door, outcome, count: count.load(Ordering::Relaxed) });
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
}
