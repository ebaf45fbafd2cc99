//! Several rates on one caller, taken all or none: the step itself.
//!
//! Each window is a word like a bucket's. A take that one of them refuses takes from none, and waits for the
//! slowest. When the rates change, a window that stays keeps its word; a new one starts from the largest debt
//! that there is, or was, so that changing rates refills nothing.
//!
//! Never here: the lock under which a step runs (engine).

use super::super::time::Mono;
use super::bucket::{Bucket, Taken, TooFast, clamped, longer_wait, mark_of, step, ticks};
use super::state::{KeyMarks, LimitStates, RateState};
use super::{FILL_SECS_MAX, Rate, Rates, TICKS_PER_NANO, WINDOWS_MAX};

/// The words of several windows, or of one, as they stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Windows {
    words: [Word; WINDOWS_MAX],
    /// The latest of the words that are known under no window, or under none any more.
    others_full_at_ticks: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Word {
    /// 0 for a place that is not used.
    window_secs: u32,
    full_at_ticks: u64,
}

/// How far windows were from full, as a checkpoint saves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SavedWindows {
    /// The furthest of all, in nanoseconds.
    pub nanos_to_full: u64,
    /// Each window in seconds, and how far it was, in nanoseconds.
    pub each: [Option<(u32, u64)>; WINDOWS_MAX],
}

impl Windows {
    /// What a single bucket's word amounts to, whatever its window is; `None` when windows have taken it over,
    /// for the end of a bucket is no debt.
    pub fn of(bucket: &Bucket) -> Option<Self> {
        Some(Self { others_full_at_ticks: bucket.word()?, ..Self::default() })
    }

    /// Takes over a single bucket's word.
    pub fn take_over(&mut self, bucket: &Bucket) {
        if let Some(full_at_ticks) = bucket.retire() {
            self.others_full_at_ticks = self.others_full_at_ticks.max(full_at_ticks);
        }
    }

    /// Takes `cost` tokens from each window at `now`, all or none, or says when all will have them.
    pub fn take(&mut self, rates: &Rates, cost: u64, now: Mono) -> Result<Taken, TooFast> {
        *self = self.fitted(rates, now);
        for (word, rate) in self.words.iter_mut().zip(rates.iter()) {
            word.full_at_ticks = clamped(word.full_at_ticks, rate, ticks(now));
        }
        let after = self.stepped(rates, cost, now)?;
        *self = after;
        Ok(Taken::new(after.marks(rates, now)))
    }

    /// What `take` would say, without taking.
    pub fn peek(&self, rates: &Rates, cost: u64, now: Mono) -> Result<(), TooFast> {
        self.fitted(rates, now).stepped(rates, cost, now).map(|_| ())
    }

    /// Where each rate stands.
    pub fn rate_states(&self, rates: &Rates, now: Mono) -> [Option<RateState>; WINDOWS_MAX] {
        self.marks(rates, now).states()
    }

    fn marks(&self, rates: &Rates, now: Mono) -> KeyMarks {
        let fitted = self.fitted(rates, now);
        let mark = |(word, rate): (&Word, &Rate)| mark_of(word.full_at_ticks, rate, ticks(now));
        let mut marks = fitted.words.iter().zip(rates.iter()).map(mark);
        match (rates.only(), marks.next()) {
            (Some(_), Some(only)) => KeyMarks::One(only),
            (_, first) => KeyMarks::Several(first.into_iter().chain(marks).collect()),
        }
    }

    /// The same, as a caller is told.
    pub fn told(&self, rates: &Rates, now: Mono) -> LimitStates {
        LimitStates { key: self.rate_states(rates, now), ..LimitStates::default() }
    }

    /// What a checkpoint saves.
    pub fn saved(&self, now: Mono) -> SavedWindows {
        let nanos = |full_at_ticks: u64| full_at_ticks.saturating_sub(ticks(now)).div_ceil(TICKS_PER_NANO);
        let each = self
            .words
            .map(|word| (word.window_secs > 0).then(|| (word.window_secs, nanos(word.full_at_ticks))));
        SavedWindows { nanos_to_full: nanos(self.furthest()), each }
    }

    /// What was saved `elapsed_nanos` ago.
    pub fn restored(saved: &SavedWindows, elapsed_nanos: u64, now: Mono) -> Self {
        let full_at = |nanos: u64| {
            let left = nanos.saturating_sub(elapsed_nanos).min(FILL_SECS_MAX * 1_000_000_000);
            ticks(now).saturating_add(left * TICKS_PER_NANO)
        };
        let word = |(window_secs, nanos)| Word { window_secs, full_at_ticks: full_at(nanos) };
        Self {
            words: saved.each.map(|each| each.map(word).unwrap_or_default()),
            others_full_at_ticks: full_at(saved.nanos_to_full),
        }
    }

    /// The words in the order of `rates`. A new window owes at most its whole depth.
    fn fitted(&self, rates: &Rates, now: Mono) -> Self {
        let seconds = rates.iter().map(Rate::window_secs).chain(std::iter::repeat(0));
        if self.words.iter().zip(seconds).all(|(word, window_secs)| word.window_secs == window_secs) {
            return *self;
        }
        let known = |window_secs: u32| self.words.iter().find(|word| word.window_secs == window_secs);
        let mut fitted = Self { others_full_at_ticks: self.furthest(), ..Self::default() };
        for (word, rate) in fitted.words.iter_mut().zip(rates.iter()) {
            let window_secs = rate.window_secs();
            let new = || Word { window_secs, full_at_ticks: rate.within_depth(self.furthest(), now) };
            *word = known(window_secs).copied().unwrap_or_else(new);
        }
        fitted
    }

    fn furthest(&self) -> u64 {
        self.words.iter().map(|word| word.full_at_ticks).fold(self.others_full_at_ticks, u64::max)
    }

    /// The words after a take, of words that fit.
    fn stepped(&self, rates: &Rates, cost: u64, now: Mono) -> Result<Self, TooFast> {
        let mut after = *self;
        let mut longest = None;
        for (word, rate) in after.words.iter_mut().zip(rates.iter()) {
            match step(word.full_at_ticks, rate, cost, ticks(now)) {
                Ok(full_at_ticks) => word.full_at_ticks = full_at_ticks,
                Err(wait) => longest = Some(longest.map_or(wait, |longest| longer_wait(longest, wait))),
            }
        }
        match longest {
            None => Ok(after),
            Some(retry_after_nanos) => Err(TooFast::of(retry_after_nanos, self.marks(rates, now))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn rates(rates: &[(u64, u32)]) -> Rates {
        Rates::new(rates.iter().map(|(limit, window)| Rate::new(*limit, *window, None).unwrap()).collect())
            .unwrap()
    }

    fn at(nanos: u64) -> Mono {
        Mono::from_nanos(nanos)
    }

    #[test]
    fn a_bucket_that_was_taken_over_amounts_to_nothing_and_its_windows_to_what_it_owed() {
        let (one, bucket, mut windows) = (rates(&[(10, 10)]), Bucket::default(), Windows::default());
        assert!(bucket.take(one.only().unwrap(), 4, at(0)).is_ok());
        let owed = Windows::of(&bucket).unwrap().saved(at(0));
        windows.take_over(&bucket);
        assert_eq!(Windows::of(&bucket), None);
        assert_eq!((windows.saved(at(0)), owed.nanos_to_full), (owed, 4 * SECOND));
    }

    #[test]
    fn all_windows_give_a_token_or_none_does() {
        let two = rates(&[(2, 1), (3, 60)]);
        let mut windows = Windows::default();
        assert!(windows.take(&two, 1, at(0)).is_ok());
        assert!(windows.take(&two, 1, at(0)).is_ok());
        for _ in 0..9 {
            assert_eq!(windows.take(&two, 1, at(0)).unwrap_err().retry_after_nanos, Some(SECOND / 2));
        }
        let left = |windows: &Windows, now| {
            windows.rate_states(&two, at(now)).map(|state| state.map(|state| state.remaining))
        };
        assert_eq!(left(&windows, 0), [Some(0), Some(1), None, None]);
        assert!(windows.take(&two, 1, at(SECOND)).is_ok());
        // The minute is the slower one now.
        assert_eq!(left(&windows, SECOND), [Some(1), Some(0), None, None]);
        assert_eq!(windows.take(&two, 1, at(SECOND)).unwrap_err().retry_after_nanos, Some(19 * SECOND));
        assert!(windows.take(&two, 1, at(20 * SECOND - 1)).is_err());
        assert!(windows.take(&two, 1, at(20 * SECOND)).is_ok());
    }

    #[test]
    fn a_window_of_nothing_never_passes_and_takes_from_no_other() {
        let two = rates(&[(5, 1), (0, 60)]);
        let mut windows = Windows::default();
        assert_eq!(windows.take(&two, 1, at(0)).unwrap_err().retry_after_nanos, None);
        assert_eq!(windows.rate_states(&two, at(0))[0].map(|state| state.remaining), Some(5));
    }

    // What any rates and any list of takes, waits, changes and restarts amount to: fuzz/checks/limiter.rs.
    proptest! {
        #[test]
        fn windows_that_come_and_go_refill_nothing(paths in proptest::collection::vec(1usize..8, 1..8), taken in 0usize..40) {
            let all = [(10, 1), (30, 7), (60, 60)].map(|(limit, window)| Rate::new(limit, window, None).unwrap());
            // Each bit says whether a window is there.
            let chosen = |bits: usize| {
                let there = all.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
                Rates::new(there.map(|(_, rate)| *rate).collect()).unwrap()
            };
            let (mut windows, now) = (Windows::default(), at(SECOND));
            for _ in 0..taken {
                let _ = windows.take(&chosen(paths[0]), 1, now);
            }
            let before = windows.rate_states(&chosen(paths[0]), now);
            for bits in &paths {
                let _ = windows.take(&chosen(*bits), 1, now);
            }
            let after = windows.rate_states(&chosen(paths[0]), now);
            for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
                prop_assert!(after.remaining <= before.remaining, "{before:?} {after:?}");
            }
        }

        #[test]
        fn one_window_is_a_bucket(limit in 1u64..40, burst in 1u64..20, waits in proptest::collection::vec(0..SECOND, 1..100)) {
            let rate = Rate::new(limit, 7, Some(burst)).unwrap();
            let (bucket, mut windows, mut now) = (Bucket::default(), Windows::default(), 0);
            for wait in waits {
                now += wait;
                let one = bucket.take(&rate, 1, at(now)).map(|taken| taken.state());
                let other = windows.take(&rate.into(), 1, at(now)).map(|taken| taken.state());
                prop_assert_eq!(one, other);
            }
        }
    }
}
