//! Feeds `Windows` and `Bucket` with any rates and any list of takes, waits, changes of the rates, and restarts
//! that save and restore.
//!
//! What always holds, against a list of what was taken: no stretch of time yields more than rate × time + burst; what
//! is refused comes exactly at the announced moment and not a nanosecond before, and never comes when it is said
//! so; nothing is refused that the list has room for, as long as no restart and no change blurred it; a refused take
//! takes nothing; a window that stays through a change stands where it stood. A bucket of the first rate alone keeps
//! to the same.
//!
//! Not covered: several threads (loom's part), the clock, and where the words are kept.

use crate::operations::Operations;
use keyward::domain::rate::bucket::{Bucket, TooFast};
use keyward::domain::rate::windows::Windows;
use keyward::domain::rate::{Rate, Rates};
use keyward::domain::time::Mono;

const SECOND: u64 = 1_000_000_000;
/// Time on the buckets' scale: sixteenths of a nanosecond.
const TICKS: u128 = 16;

pub(crate) fn check(data: &[u8]) {
    let mut operations = Operations::of(data);
    let Some(first) = rates(&mut operations, &[]) else { return };
    let known: Vec<_> = first.iter().copied().collect();
    let Some(second) = rates(&mut operations, &known) else { return };
    let mut limiter = Limiter::new([first, second]);
    for _ in 0..Operations::MOST {
        match operations.next_choice().map(|choice| choice % 10) {
            None => break,
            Some(0..=3) => limiter.take(1),
            Some(4) => limiter.take(operations.number(12)),
            Some(5) => limiter.now += operations.number(1_000),
            Some(6) => limiter.now += operations.number(60_000) * 1_000_000,
            Some(7) => limiter.now += operations.number(40_000) * SECOND,
            Some(8) => limiter.restart(operations.number(5_000) * 1_000_000),
            Some(_) => limiter.change(),
        }
    }
}

/// One to four rates, some of them known ones; nothing when they do not hold together.
fn rates(operations: &mut Operations<'_>, known: &[Rate]) -> Option<Rates> {
    let count = operations.number(4) + 1;
    let one = |operations: &mut Operations<'_>| {
        let place = usize::try_from(operations.number(8)).ok()?;
        if let Some(known) = known.get(place) {
            return Some(*known);
        }
        let (limit, window, burst) =
            (operations.number(900), operations.number(7_200), operations.number(60));
        let burst = (burst > 0).then_some(burst);
        Rate::new(limit, u32::try_from(window).ok()?, burst).ok()
    };
    let rates: Option<Vec<_>> = (0..count).map(|_| one(&mut *operations)).collect();
    Rates::new(rates?).ok()
}

struct Limiter {
    choices: [Rates; 2],
    windows: Windows,
    /// Of each rate that holds now, in order, what was taken since it came.
    taken: Vec<Taken>,
    bucket: Bucket,
    /// What was taken of the bucket.
    alone: Taken,
    now: u64,
}

impl Limiter {
    fn new(choices: [Rates; 2]) -> Self {
        let taken = choices[0].iter().map(|rate| Taken::since_the_start(*rate)).collect();
        let alone = Taken::since_the_start(*choices[0].split().0);
        Self { choices, windows: Windows::default(), taken, bucket: Bucket::default(), alone, now: SECOND }
    }

    fn take(&mut self, cost: u64) {
        let (rates, now) = (&self.choices[0], Mono::from_nanos(self.now));
        let before = self.windows.rate_states(rates, now);
        match self.windows.take(rates, cost, now) {
            Ok(_) => {
                for taken in &mut self.taken {
                    taken.note(self.now, cost);
                }
            }
            Err(refused) => {
                assert!(self.windows.rate_states(rates, now) == before, "a refused take took something");
                let never = self.taken.iter().any(|taken| !taken.can_ever_have(cost));
                let peek = |at| self.windows.peek(rates, cost, Mono::from_nanos(at));
                announced(&refused, self.now, never, peek);
                let is_known = self.taken.iter().all(|taken| taken.is_exact);
                let is_full = |taken: &Taken| !taken.has_room(self.now, cost);
                assert!(!is_known || self.taken.iter().any(is_full), "refused what there was room for");
            }
        }
        self.take_alone(cost);
    }

    fn take_alone(&mut self, cost: u64) {
        let rate = self.alone.rate;
        match self.bucket.take(&rate, cost, Mono::from_nanos(self.now)) {
            Ok(_) => self.alone.note(self.now, cost),
            Err(refused) => {
                let peek = |at| self.bucket.peek(&rate, cost, Mono::from_nanos(at));
                announced(&refused, self.now, !self.alone.can_ever_have(cost), peek);
                let is_full = !self.alone.is_exact || !self.alone.has_room(self.now, cost);
                assert!(is_full, "a bucket refused what there was room for");
            }
        }
    }

    /// The machine is down for a while; its own clock starts anew, which nobody sees here.
    fn restart(&mut self, down: u64) {
        let at = Mono::from_nanos(self.now);
        let (windows, alone) = (self.windows.saved(at), self.bucket.nanos_to_full(at));
        self.now += down;
        let at = Mono::from_nanos(self.now);
        self.windows = Windows::restored(&windows, down, at);
        self.bucket = Bucket::restored(alone, down, at);
        // What is saved is rounded up to whole nanoseconds.
        for taken in self.taken.iter_mut().chain([&mut self.alone]) {
            taken.is_exact = false;
        }
    }

    fn change(&mut self) {
        let now = Mono::from_nanos(self.now);
        let stood = self.windows.rate_states(&self.choices[0], now);
        self.choices.swap(0, 1);
        let stands = self.windows.rate_states(&self.choices[0], now);
        let mut taken = Vec::new();
        for (rate, stands) in self.choices[0].iter().zip(stands) {
            let stayed = self.taken.iter().position(|taken| taken.rate == *rate);
            if let Some(place) = stayed {
                assert!(stood[place] == stands, "a window that stays was moved");
            }
            taken
                .push(stayed.map_or_else(|| Taken::since_a_change(*rate), |place| self.taken[place].clone()));
        }
        self.taken = taken;
        let first = *self.choices[0].split().0;
        if self.alone.rate != first {
            self.alone = Taken::since_a_change(first);
        }
    }
}

/// Whether a refusal's word about the time holds.
fn announced(refused: &TooFast, now: u64, never: bool, peek: impl Fn(u64) -> Result<(), TooFast>) {
    match refused.retry_after_nanos {
        None => assert!(never, "never, though it could come"),
        Some(wait) => {
            assert!(!never && wait > 0, "announced what never comes, or for now");
            assert!(peek(now + wait - 1).is_err(), "it came before it was announced");
            assert!(peek(now + wait).is_ok(), "it did not come when it was announced");
        }
    }
}

/// What was taken of one rate, kept as naively as can be.
#[derive(Clone)]
struct Taken {
    rate: Rate,
    /// When, and how many.
    takes: Vec<(u64, u64)>,
    /// Whether nothing but these takes moved it.
    is_exact: bool,
}

impl Taken {
    fn since_the_start(rate: Rate) -> Self {
        Self { rate, takes: Vec::new(), is_exact: true }
    }

    fn since_a_change(rate: Rate) -> Self {
        Self { rate, takes: Vec::new(), is_exact: false }
    }

    fn can_ever_have(&self, cost: u64) -> bool {
        self.rate.limit() > 0 && cost <= self.rate.burst()
    }

    fn note(&mut self, now: u64, cost: u64) {
        self.takes.push((now, cost));
        let window = u128::from(self.rate.window_secs()) * u128::from(SECOND);
        let mut count = 0;
        for (since, cost) in self.takes.iter().rev() {
            count += u128::from(*cost);
            let flowed = u128::from(self.rate.limit()) * u128::from(now - since);
            assert!(
                window * count <= flowed + window * u128::from(self.rate.burst()),
                "more than rate × time + burst"
            );
        }
    }

    /// Whether so many more fit into every stretch of time that ends now. A token takes its interval, rounded up to
    /// the scale of time.
    fn has_room(&self, now: u64, cost: u64) -> bool {
        if !self.can_ever_have(cost) {
            return false;
        }
        let window_ticks = u128::from(self.rate.window_secs()) * u128::from(SECOND) * TICKS;
        let interval = window_ticks.div_ceil(u128::from(self.rate.limit()));
        let mut count = u128::from(cost);
        self.takes.iter().rev().all(|(since, cost)| {
            count += u128::from(*cost);
            let flowed = u128::from(now - since) * TICKS;
            count * interval <= flowed + u128::from(self.rate.burst()) * interval
        })
    }
}
