//! The token bucket: short-term limits, exact in the time of the next token.
//!
//! A bucket is one atomic word, the moment at which it would be full again. A token taken moves that moment
//! back by one interval; it may not lie further ahead than the burst's worth of intervals. The form is the
//! generic cell rate algorithm's (ITU-T I.371, annex A). Time runs in sixteenths of a nanosecond on one scale
//! for all rates, so changing a key's rate needs no conversion. An interval is rounded up to that scale: a
//! bucket never yields over rate × time + burst in any window, and less than one part in 16,000 under it at
//! the highest rate.
//!
//! Never here: a clock, or a refund. A proven request takes its token whatever follows, so [`Taken`]
//! gives nothing back.

use super::super::atomic::{AtomicU64, Ordering};
use super::super::time::Mono;
use super::state::{KeyMarks, LimitMarks, RateMark, RateState};
use super::{FILL_SECS_MAX, Rate, TICKS_PER_NANO};

/// How far a word may lie beyond its rate's depth and be kept: a request that read the clock and was held up meets
/// the words of those that read it later, and must not take them for what a slower rate left.
const SLACK_TICKS: u64 = 10 * 1_000_000_000 * TICKS_PER_NANO;

/// The word of a bucket that several windows have taken over.
const RETIRED: u64 = u64::MAX;

/// The state of one key's bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    full_at_ticks: AtomicU64,
}

/// Proof that tokens of one rate, or of several together, were taken. Only a bucket or its windows make one.
#[derive(Debug)]
#[must_use = "taken tokens are the entrance to the checks that follow"]
pub struct Taken {
    marks: KeyMarks,
}

impl Taken {
    pub(super) const fn new(marks: KeyMarks) -> Self {
        Self { marks }
    }

    /// Where the rates stand now.
    pub(in crate::domain) fn into_marks(self) -> KeyMarks {
        self.marks
    }

    /// Where the first rate stands now.
    pub(in crate::domain) fn mark(&self) -> Option<RateMark> {
        self.marks.all().first().copied()
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> Option<RateState> {
        self.mark().map(|mark| mark.state())
    }
}

/// A bucket without enough tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TooFast {
    /// Nanoseconds until the same take would succeed if nobody else takes; `None` when it never would.
    pub retry_after_nanos: Option<u64>,
    /// Where the rates stood.
    pub marks: LimitMarks,
}

impl TooFast {
    pub(super) fn of(retry_after_nanos: Option<u64>, key: KeyMarks) -> Self {
        Self { retry_after_nanos, marks: LimitMarks { key, ..LimitMarks::default() } }
    }

    /// The refusal of what cannot be looked at.
    pub fn never() -> Self {
        Self { retry_after_nanos: None, marks: LimitMarks::default() }
    }
}

impl Bucket {
    /// Takes `cost` tokens at `now`, all or none, or says when they will be there.
    pub fn take(&self, rate: &Rate, cost: u64, now: Mono) -> Result<Taken, TooFast> {
        self.take_unless_retired(rate, cost, now).unwrap_or_else(|| Err(TooFast::never()))
    }

    /// The same; `None` when several windows have taken this bucket over.
    pub fn take_unless_retired(&self, rate: &Rate, cost: u64, now: Mono) -> Option<Result<Taken, TooFast>> {
        let now_ticks = ticks(now);
        let mut full_at_ticks = self.full_at_ticks.load(Ordering::Acquire);
        loop {
            if full_at_ticks == RETIRED {
                return None;
            }
            let step = match step(full_at_ticks, rate, cost, now_ticks) {
                Ok(step) => step,
                Err(retry_after_nanos) => {
                    // What is owed beyond this rate's depth is let go for good, so that the wait is as told.
                    let clamped = clamped(full_at_ticks, rate, now_ticks);
                    if clamped != full_at_ticks && !self.replace(full_at_ticks, clamped) {
                        full_at_ticks = self.full_at_ticks.load(Ordering::Acquire);
                        continue;
                    }
                    let mark = mark_of(full_at_ticks, rate, now_ticks);
                    return Some(Err(TooFast::of(retry_after_nanos, KeyMarks::One(mark))));
                }
            };
            let swapped = self.full_at_ticks.compare_exchange_weak(
                full_at_ticks,
                step,
                Ordering::Relaxed,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return Some(Ok(Taken::new(KeyMarks::One(mark_of(step, rate, now_ticks))))),
                Err(newer) => full_at_ticks = newer,
            }
        }
    }

    fn replace(&self, known: u64, newer: u64) -> bool {
        self.full_at_ticks.compare_exchange(known, newer, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Ends this bucket, whose word goes over to several windows; `None` when it had ended before. No take
    /// comes between: it finds the bucket ended, or its token is in the word that is given.
    pub(super) fn retire(&self) -> Option<u64> {
        if self.is_retired() {
            return None;
        }
        Some(self.full_at_ticks.swap(RETIRED, Ordering::AcqRel)).filter(|word| *word != RETIRED)
    }

    /// Whether several windows have taken this bucket over.
    pub fn is_retired(&self) -> bool {
        self.word().is_none()
    }

    /// The moment of fullness, read once; `None` when several windows have taken this bucket over.
    pub(super) fn word(&self) -> Option<u64> {
        Some(self.full_at_ticks()).filter(|word| *word != RETIRED)
    }

    pub(super) fn full_at_ticks(&self) -> u64 {
        self.full_at_ticks.load(Ordering::Acquire)
    }

    /// What `take` would say, without taking.
    pub fn peek(&self, rate: &Rate, cost: u64, now: Mono) -> Result<(), TooFast> {
        let full_at_ticks = self.full_at_ticks();
        let mark = || KeyMarks::One(mark_of(full_at_ticks, rate, ticks(now)));
        let too_fast = |retry_after_nanos| TooFast::of(retry_after_nanos, mark());
        step(full_at_ticks, rate, cost, ticks(now)).map(|_| ()).map_err(too_fast)
    }

    /// Where a rate stands, as a decision carries it.
    pub(in crate::domain) fn mark(&self, rate: &Rate, now: Mono) -> RateMark {
        mark_of(self.full_at_ticks(), rate, ticks(now))
    }

    /// Where a rate stands.
    pub fn state(&self, rate: &Rate, now: Mono) -> RateState {
        state_of(self.full_at_ticks(), rate, ticks(now))
    }

    /// Nanoseconds until the bucket is full: what a checkpoint saves.
    pub fn nanos_to_full(&self, now: Mono) -> u64 {
        self.full_at_ticks().saturating_sub(ticks(now)).div_ceil(TICKS_PER_NANO)
    }

    /// A bucket that was `nanos_to_full` away from full when it was saved, `elapsed_nanos` ago.
    pub fn restored(nanos_to_full: u64, elapsed_nanos: u64, now: Mono) -> Self {
        let left = nanos_to_full.saturating_sub(elapsed_nanos).min(FILL_SECS_MAX * 1_000_000_000);
        let full_at_ticks = ticks(now).saturating_add(left * TICKS_PER_NANO);
        Self { full_at_ticks: AtomicU64::new(full_at_ticks) }
    }
}

pub(super) const fn ticks(now: Mono) -> u64 {
    now.nanos().saturating_mul(TICKS_PER_NANO)
}

/// The step itself: the moment of fullness after taking `cost` tokens from a bucket that is full at
/// `full_at_ticks`, or the nanoseconds until that could be done (`None`: never).
pub(super) fn step(full_at_ticks: u64, rate: &Rate, cost: u64, now_ticks: u64) -> Result<u64, Option<u64>> {
    if rate.limit == 0 || cost > rate.burst {
        return Err(None);
    }
    let after = debt(full_at_ticks, rate, now_ticks) + cost * rate.interval_ticks;
    if after > rate.depth_ticks {
        return Err(Some((after - rate.depth_ticks).div_ceil(TICKS_PER_NANO)));
    }
    Ok(now_ticks.saturating_add(after))
}

/// The word without what is owed beyond the rate's depth. A limit of 0 has no depth, and lets nothing go.
pub(super) fn clamped(full_at_ticks: u64, rate: &Rate, now_ticks: u64) -> u64 {
    let debt_ticks = full_at_ticks.saturating_sub(now_ticks);
    let keeps = rate.limit == 0 || debt_ticks <= rate.depth_ticks + SLACK_TICKS;
    if keeps { full_at_ticks } else { now_ticks.saturating_add(rate.depth_ticks) }
}

/// What is owed. A rate that was lowered in between, or a saved state, may lie beyond what this rate allows.
fn debt(full_at_ticks: u64, rate: &Rate, now_ticks: u64) -> u64 {
    clamped(full_at_ticks, rate, now_ticks).saturating_sub(now_ticks)
}

/// Where a rate stands whose bucket is full at `full_at_ticks`.
pub(super) fn state_of(full_at_ticks: u64, rate: &Rate, now_ticks: u64) -> RateState {
    let debt = debt(full_at_ticks, rate, now_ticks);
    RateState {
        limit: rate.limit,
        window_secs: rate.window_secs(),
        remaining: rate.depth_ticks.saturating_sub(debt).checked_div(rate.interval_ticks).unwrap_or(0),
        reset_nanos: if rate.limit == 0 { 0 } else { debt.div_ceil(TICKS_PER_NANO) },
        next_nanos: step(full_at_ticks, rate, 1, now_ticks).map_or_else(|wait| wait, |_| Some(0)),
    }
}

/// The longer of two waits; never is the longest.
pub(in crate::domain) fn longer_wait(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

/// Where a rate stands whose bucket is full at `full_at_ticks`, as a decision carries it.
pub(super) fn mark_of(full_at_ticks: u64, rate: &Rate, now_ticks: u64) -> RateMark {
    RateMark { rate: *rate, debt_ticks: debt(full_at_ticks, rate, now_ticks) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: u64) -> Mono {
        Mono::from_nanos(nanos)
    }

    #[test]
    fn a_full_bucket_yields_its_burst_and_then_one_each_interval() {
        let rate = Rate::new(600, 60, None).unwrap();
        let bucket = Bucket::default();
        for left in (0..600).rev() {
            assert_eq!(bucket.take(&rate, 1, at(5)).unwrap().state().unwrap().remaining, left);
        }
        let refused = bucket.take(&rate, 1, at(5)).unwrap_err();
        assert_eq!(refused.retry_after_nanos, Some(100_000_000));
        assert!(bucket.take(&rate, 1, at(5 + 99_999_999)).is_err());
        assert!(bucket.take(&rate, 1, at(5 + 100_000_000)).is_ok());
    }

    #[test]
    fn a_limit_of_zero_and_a_cost_over_the_burst_never_pass() {
        let none = Rate::new(0, 60, None).unwrap();
        assert_eq!(Bucket::default().take(&none, 1, at(0)).unwrap_err().retry_after_nanos, None);
        let ten = Rate::new(10, 60, None).unwrap();
        assert_eq!(Bucket::default().take(&ten, 11, at(0)).unwrap_err().retry_after_nanos, None);
    }

    #[test]
    fn a_lowered_rate_clamps_what_is_owed() {
        let wide = Rate::new(1000, 1, None).unwrap();
        let bucket = Bucket::default();
        assert!(bucket.take(&wide, 1000, at(0)).is_ok());
        let narrow = Rate::new(10, 1, None).unwrap();
        let refused = bucket.take(&narrow, 1, at(0)).unwrap_err();
        assert_eq!(refused.retry_after_nanos, Some(100_000_000));
    }

    #[test]
    fn what_is_owed_of_a_longer_window_is_let_go_and_the_wait_is_as_told() {
        let (slow, fast, none) = (Rate::new(60, 60, None), Rate::new(10, 1, None), Rate::new(0, 1, None));
        let bucket = Bucket::default();
        assert!(bucket.take(&slow.unwrap(), 60, at(0)).is_ok());
        assert!(bucket.take(&none.unwrap(), 1, at(0)).is_err());
        assert_eq!(bucket.state(&slow.unwrap(), at(0)).remaining, 0, "a rate of nothing lets nothing go");
        let wait = bucket.take(&fast.unwrap(), 1, at(0)).unwrap_err().retry_after_nanos;
        assert_eq!(wait, Some(100_000_000));
        assert!(bucket.take(&fast.unwrap(), 1, at(99_999_999)).is_err());
        assert!(bucket.take(&fast.unwrap(), 1, at(100_000_000)).is_ok());
    }

    #[test]
    fn e13_a_reading_of_the_clock_that_comes_late_fills_nothing() {
        let rate = Rate::new(10, 1, None).unwrap();
        let (bucket, late, now) = (Bucket::default(), at(0), at(5_000_000_000));
        assert!(bucket.take(&rate, 10, now).is_ok());
        let wait = bucket.take(&rate, 1, late).unwrap_err().retry_after_nanos;
        assert_eq!(wait, Some(5_100_000_000));
        assert!(bucket.take(&rate, 1, at(5_099_999_999)).is_err());
        assert!(bucket.take(&rate, 1, at(5_100_000_000)).is_ok());
    }

    #[test]
    fn a_saved_bucket_comes_back_with_what_refilled_meanwhile() {
        let rate = Rate::new(10, 10, None).unwrap();
        let bucket = Bucket::default();
        assert!(bucket.take(&rate, 10, at(0)).is_ok());
        let saved = bucket.nanos_to_full(at(1_000_000_000));
        assert_eq!(saved, 9_000_000_000);
        let restored = Bucket::restored(saved, 2_000_000_000, at(50));
        assert_eq!(restored.take(&rate, 1, at(50)).unwrap().state().unwrap().remaining, 2);
    }

    #[test]
    fn the_last_token_is_sold_once_under_threads() {
        let rate = Rate::new(100, 3600, None).unwrap();
        let bucket = Bucket::default();
        let sold: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..100).filter(|_| bucket.take(&rate, 1, at(0)).is_ok()).count()))
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(sold, 100);
    }

    fn any_rate() -> impl Strategy<Value = Rate> {
        (1u64..2000, 1u32..120, 1u64..50)
            .prop_map(|(limit, window, burst)| Rate::new(limit, window, Some(burst)).unwrap())
    }

    proptest! {
        #[test]
        fn no_window_yields_over_rate_times_time_plus_burst(rate in any_rate(), waits in proptest::collection::vec((0u64..2_000_000_000, 1u64..4), 1..200)) {
            let bucket = Bucket::default();
            let mut now = 0;
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (wait, cost) in waits {
                now += wait;
                if bucket.take(&rate, cost, at(now)).is_ok() {
                    taken.push((now, cost));
                }
                for (first, (since, _)) in taken.iter().enumerate() {
                    let yielded: u64 = taken[first..].iter().map(|(_, cost)| cost).sum();
                    // rate × time + burst, in exact integers: window × yielded ≤ limit × elapsed + window ×
                    // burst
                    let window = u128::from(rate.window_secs()) * 1_000_000_000;
                    let allowed = u128::from(rate.limit()) * u128::from(now - since) + window * u128::from(rate.burst());
                    prop_assert!(window * u128::from(yielded) <= allowed);
                }
            }
        }

        #[test]
        fn the_announced_retry_time_is_exact(rate in any_rate(), cost in 1u64..50, used in 0u64..50, start in 0u64..1_000_000_000_000) {
            let bucket = Bucket::default();
            for _ in 0..used {
                let _ = bucket.take(&rate, 1, at(start));
            }
            if let Err(TooFast { retry_after_nanos: Some(wait), .. }) = bucket.peek(&rate, cost, at(start)) {
                prop_assert!(bucket.peek(&rate, cost, at(start + wait - 1)).is_err());
                prop_assert!(bucket.take(&rate, cost, at(start + wait)).is_ok());
            }
        }
    }
}
