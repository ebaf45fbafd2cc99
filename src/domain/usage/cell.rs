//! The note that a key makes again and again, in one word: hour, place, outcome, and how often.
//!
//! Most keys do one thing for a while, so most notes are one addition here. Whoever notes something else, or finds the
//! count full, takes out what stood there and counts it elsewhere: no note is lost and none counted twice.
//!
//! Never here: whose cell it is, or where what was taken out is counted.

use super::super::atomic::{AtomicU64, Ordering};
use super::{Place, RefusalNo, UpstreamAnswer, UsageOutcome};
use crate::domain::permission::PermissionNo;

const COUNT_BITS: u32 = 16;
const OUTCOME_BITS: u32 = 6;
const PLACE_BITS: u32 = 19;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// What is noted of one request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Noted {
    /// The hour it counts in, numbered from the Unix epoch.
    pub hour: u32,
    /// Where.
    pub place: Place,
    /// What became of it.
    pub outcome: UsageOutcome,
}

struct DoesNotFit;

/// The last thing that was noted, and how often.
#[derive(Debug, Default)]
pub struct NoteCell(AtomicU64);

impl NoteCell {
    /// Counts one more, if nothing stands here or the same; false when it would have to go.
    pub fn count(&self, noted: Noted) -> bool {
        self.step(noted, false).is_ok()
    }

    /// Counts one more. Gives what must be counted elsewhere: what stood here before, or what does not fit at all.
    pub fn replace(&self, noted: Noted) -> Option<(Noted, u64)> {
        self.step(noted, true).unwrap_or(Some((noted, 1)))
    }

    fn step(&self, noted: Noted, replaces: bool) -> Result<Option<(Noted, u64)>, DoesNotFit> {
        let name = packed(noted).ok_or(DoesNotFit)?;
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let goes_on = word >> COUNT_BITS == name && word & COUNT_MAX < COUNT_MAX;
            if !goes_on && word != 0 && !replaces {
                return Err(DoesNotFit);
            }
            let next = if goes_on { word + 1 } else { name << COUNT_BITS | 1 };
            // In one order with the flag that is read after it and with `take`: see the engine's list of keys.
            match self.0.compare_exchange_weak(word, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) if goes_on => return Ok(None),
                Ok(before) => return Ok(unpacked(before)),
                Err(newer) => word = newer,
            }
        }
    }

    /// Takes out what stands here.
    pub fn take(&self) -> Option<(Noted, u64)> {
        unpacked(self.0.swap(0, Ordering::SeqCst))
    }

    /// Whether nothing stands here.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

fn packed(noted: Noted) -> Option<u64> {
    let hour_bits = u64::BITS - COUNT_BITS - OUTCOME_BITS - PLACE_BITS;
    let hour = Some(u64::from(noted.hour)).filter(|hour| *hour < 1 << hour_bits)?;
    let (kind, number) = match noted.place {
        Place::Other => (0, 0),
        Place::Standing => (1, 0),
        Place::Permission(number) => (2, u16::from(number.number())),
        Place::Route(number) => (3, number),
        Place::Tool(number) => (4, number),
        Place::Method(number) => (5, number),
        Place::PublicPath(number) => (6, number),
    };
    let place = kind << u16::BITS | u64::from(number);
    let outcome = match noted.outcome {
        UsageOutcome::Valid => 0,
        UsageOutcome::Answered(UpstreamAnswer::Fine) => 1,
        UsageOutcome::Answered(UpstreamAnswer::ClientError) => 2,
        UsageOutcome::Answered(UpstreamAnswer::ServerError) => 3,
        UsageOutcome::Answered(UpstreamAnswer::Abandoned) => 4,
        // Two rows of words, 26 of each today.
        UsageOutcome::Refused(RefusalNo(number)) if number < 28 => 5 + u64::from(number),
        UsageOutcome::Answered(UpstreamAnswer::Failed(RefusalNo(number))) if number < 28 => {
            33 + u64::from(number)
        }
        UsageOutcome::Refused(_) | UsageOutcome::Answered(UpstreamAnswer::Failed(_)) => return None,
    };
    Some((hour << PLACE_BITS | place) << OUTCOME_BITS | outcome)
}

fn unpacked(word: u64) -> Option<(Noted, u64)> {
    let count = Some(word & COUNT_MAX).filter(|count| *count > 0)?;
    let (outcome, rest) =
        (word >> COUNT_BITS & ((1 << OUTCOME_BITS) - 1), word >> (COUNT_BITS + OUTCOME_BITS));
    let number = u16::try_from(rest & u64::from(u16::MAX)).ok()?;
    let place = match rest >> u16::BITS & 7 {
        1 => Place::Standing,
        2 => Place::Permission(PermissionNo::numbered(u8::try_from(number).ok()?)),
        3 => Place::Route(number),
        4 => Place::Tool(number),
        5 => Place::Method(number),
        6 => Place::PublicPath(number),
        _ => Place::Other,
    };
    let refusal = |first: u64| RefusalNo(u8::try_from(outcome.saturating_sub(first)).unwrap_or(u8::MAX));
    let outcome = match outcome {
        0 => UsageOutcome::Valid,
        1 => UsageOutcome::Answered(UpstreamAnswer::Fine),
        2 => UsageOutcome::Answered(UpstreamAnswer::ClientError),
        3 => UsageOutcome::Answered(UpstreamAnswer::ServerError),
        4 => UsageOutcome::Answered(UpstreamAnswer::Abandoned),
        5..33 => UsageOutcome::Refused(refusal(5)),
        _ => UsageOutcome::Answered(UpstreamAnswer::Failed(refusal(33))),
    };
    Some((Noted { hour: u32::try_from(rest >> PLACE_BITS).ok()?, place, outcome }, count))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::super::denial::REFUSAL_NAMES;
    use super::*;
    use proptest::prelude::*;

    fn any_noted() -> impl Strategy<Value = Noted> {
        let numbers = (0u32..1 << 23, 0u8..7, any::<u16>(), 0u8..7, 0..REFUSAL_NAMES.len());
        numbers.prop_map(|(hour, kind, number, outcome, refusal)| {
            let refusal = RefusalNo(u8::try_from(refusal).unwrap());
            let place = match kind {
                0 => Place::Other,
                1 => Place::Standing,
                2 => Place::Permission(PermissionNo::numbered(number.to_le_bytes()[0])),
                3 => Place::Route(number),
                4 => Place::Tool(number),
                5 => Place::Method(number),
                _ => Place::PublicPath(number),
            };
            let outcome = match outcome {
                0 => UsageOutcome::Valid,
                1 => UsageOutcome::Refused(refusal),
                2 => UsageOutcome::Answered(UpstreamAnswer::Fine),
                3 => UsageOutcome::Answered(UpstreamAnswer::ClientError),
                4 => UsageOutcome::Answered(UpstreamAnswer::ServerError),
                5 => UsageOutcome::Answered(UpstreamAnswer::Abandoned),
                _ => UsageOutcome::Answered(UpstreamAnswer::Failed(refusal)),
            };
            Noted { hour, place, outcome }
        })
    }

    proptest! {
        #[test]
        fn whatever_fits_comes_out_as_it_went_in(noted in any_noted()) {
            let cell = NoteCell::default();
            prop_assert!(cell.count(noted));
            prop_assert_eq!(cell.replace(noted), None);
            prop_assert_eq!(cell.take(), Some((noted, 2)));
            prop_assert!(cell.is_empty());
            prop_assert_eq!(cell.take(), None);
        }

        #[test]
        fn every_note_is_counted_once_wherever_it_ends(notes in proptest::collection::vec((0u16..3, 0u8..2), 0..200)) {
            let (cell, mut counted, mut model) = (NoteCell::default(), HashMap::new(), HashMap::new());
            for (place, outcome) in notes {
                let outcome = [UsageOutcome::Valid, UsageOutcome::Refused(RefusalNo(255))][usize::from(outcome)];
                let noted = Noted { hour: 7, place: Place::Route(place), outcome };
                *model.entry(noted).or_insert(0) += 1;
                if !cell.count(noted) && let Some((out, count)) = cell.replace(noted) {
                    *counted.entry(out).or_insert(0) += count;
                }
            }
            if let Some((out, count)) = cell.take() {
                *counted.entry(out).or_insert(0) += count;
            }
            prop_assert_eq!(counted, model);
        }
    }

    #[test]
    fn a_full_count_is_taken_out() {
        let cell = NoteCell::default();
        let noted = Noted { hour: 1, place: Place::Other, outcome: UsageOutcome::Valid };
        for _ in 0..COUNT_MAX {
            assert!(cell.count(noted));
        }
        assert!(!cell.count(noted));
        assert_eq!(cell.replace(noted), Some((noted, COUNT_MAX)));
        assert_eq!(cell.take(), Some((noted, 1)));
        let beyond = Noted { hour: 1 << 23, ..noted };
        assert_eq!(cell.replace(beyond), Some((beyond, 1)), "an hour that no word has room for");
    }

    #[test]
    fn threads_that_note_and_one_that_takes_lose_nothing() {
        let cell = NoteCell::default();
        let note = |place: u16| {
            let noted = Noted { hour: 1, place: Place::Route(place), outcome: UsageOutcome::Valid };
            (0..10_000).filter_map(|_| cell.replace(noted)).map(|(_, count)| count).sum::<u64>()
        };
        let total = std::thread::scope(|scope| {
            let noting = [1, 1, 2].map(|place| scope.spawn(move || note(place)));
            let taken: u64 = (0..1_000).filter_map(|_| cell.take()).map(|(_, count)| count).sum();
            taken + noting.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
        });
        assert_eq!(total + cell.take().map_or(0, |(_, count)| count), 30_000);
    }
}
