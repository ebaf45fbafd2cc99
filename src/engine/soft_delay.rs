//! A text that needs the slow hash waits longer the more of its address's were wrong before.
//!
//! Never a lock-out: a second at most, and a minute without a wrong text halves what is counted, a right one
//! forgets it. Keys that are in the cache or have a fingerprint never come here. What is remembered is bounded,
//! and so are those who wait; one too many is busy.
//!
//! Never here: a hash, or a word on whether a text was right.

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::generations::Generations;
use super::slow_hash::{Asker, BUSY, Flown, FoundBy};
use super::{Engine, origin};
use crate::domain::denial::Fault;
use crate::domain::hash::Fingerprint;
use crate::domain::key::RawKey;
use crate::domain::record::KeyRecord;
use crate::domain::time::Mono;

/// Addresses remembered.
const ADDRESSES_MAX: usize = 20_000;
/// Wrong texts that cost nothing: somebody is trying out which of their keys still works.
const FREE_FAILURES: u32 = 4;
/// The delay after one more.
const DELAY_MIN: Duration = Duration::from_millis(25);
/// The longest delay; what would lengthen it is not counted.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// Failures beyond the free ones that are counted: the last of these asks for more than a second.
const COUNTED_FAILURES_MAX: u32 = 7;
/// As long without a failure halves the count.
const HALF_LIFE_NANOS: u64 = 60_000_000_000;
/// The most callers that are held back at once.
const WAITERS_MAX: usize = 1024;
/// Of which one address has at most this many.
const WAITERS_PER_ADDRESS_MAX: usize = 32;

/// Who failed lately.
pub(super) struct SoftDelay {
    failures: Generations<IpAddr, Arc<Failures>, RandomState>,
    waiters: Semaphore,
}

struct Failures {
    count: Mutex<Count>,
    waiters: Semaphore,
}

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    last: Mono,
}

impl Count {
    /// What is left of it at `now`.
    fn at(self, now: Mono) -> u32 {
        let halvings = now.nanos().saturating_sub(self.last.nanos()) / HALF_LIFE_NANOS;
        u32::try_from(halvings).ok().and_then(|halvings| self.failures.checked_shr(halvings)).unwrap_or(0)
    }
}

impl SoftDelay {
    pub(super) fn new() -> Self {
        Self { failures: Generations::new(ADDRESSES_MAX / 2), waiters: Semaphore::new(WAITERS_MAX) }
    }

    /// Holds a caller from this address back for as long as its failures ask.
    async fn hold_back(&self, origin: IpAddr, now: Mono) -> Result<(), Fault> {
        let Some(failures) = self.failures.find(&origin) else { return Ok(()) };
        let delay = delay_after(failures.lock().at(now));
        if delay.is_zero() {
            return Ok(());
        }
        // Both places are held through the wait and freed when the caller hangs up.
        let (Ok(_own), Ok(_all)) = (failures.waiters.try_acquire(), self.waiters.try_acquire()) else {
            return Err(BUSY);
        };
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// A text from this address was wrong.
    fn note_failure(&self, origin: IpAddr, now: Mono) {
        let failures = self.failures.find(&origin).unwrap_or_else(|| {
            let count = Mutex::new(Count { failures: 0, last: now });
            let fresh = Arc::new(Failures { count, waiters: Semaphore::new(WAITERS_PER_ADDRESS_MAX) });
            self.failures.insert(origin, Arc::clone(&fresh));
            fresh
        });
        let mut count = failures.lock();
        let failures = count.at(now).saturating_add(1).min(FREE_FAILURES + COUNTED_FAILURES_MAX);
        *count = Count { failures, last: now };
    }

    /// The failures of this address that still count.
    #[cfg(test)]
    pub(super) fn counted(&self, origin: IpAddr, now: Mono) -> u32 {
        self.failures.peek(&origin).map_or(0, |failures| failures.lock().at(now))
    }

    /// A text from this address was right.
    fn note_success(&self, origin: IpAddr) {
        if let Some(failures) = self.failures.peek(&origin) {
            failures.lock().failures = 0;
        }
    }
}

impl Failures {
    fn lock(&self) -> MutexGuard<'_, Count> {
        // A count is one assignment, so a poisoned lock is still good.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doublings) => DELAY_MIN.saturating_mul(1 << doublings.min(COUNTED_FAILURES_MAX)).min(DELAY_MAX),
    }
}

/// Who wants to know whether a text is a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum AskedBy {
    /// A caller, with its address where that is known.
    Caller(Option<IpAddr>),
    /// An import of that text, which expects that it is none: no failure of anybody's.
    Import,
}

impl Engine {
    /// Proves a text by the slow hash, after the delay that its address has earned; an import waits with those
    /// who make new keys. `found_by` is what the
    /// candidates were found by; `known` looks once more where proofs are kept.
    pub(super) async fn prove_slowly<T>(
        &self,
        asked_by: AskedBy,
        found_by: FoundBy,
        fingerprint: Fingerprint,
        presented: RawKey,
        candidates: Vec<KeyRecord>,
        known: impl FnOnce() -> Option<T>,
    ) -> Result<Flown<T>, Fault> {
        let AskedBy::Caller(address) = asked_by else {
            return self.slow_hash.prove(None, fingerprint, presented, candidates, known).await;
        };
        let origin = origin(address);
        self.soft_delay.hold_back(origin, self.clock.now().mono).await?;
        let asker = Some(Asker { origin, found_by });
        let flown = self.slow_hash.prove(asker, fingerprint, presented, candidates, known).await?;
        match &flown {
            Flown::Refuted => self.soft_delay.note_failure(origin, self.clock.now().mono),
            Flown::Proven(..) => self.soft_delay.note_success(origin),
            Flown::Known(_) => {}
        }
        Ok(flown)
    }
}

impl std::fmt::Debug for SoftDelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftDelay")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn at(secs: u64) -> Mono {
        Mono::from_nanos(secs * 1_000_000_000)
    }

    fn delay_ms(soft_delay: &SoftDelay, now: Mono) -> u128 {
        delay_after(soft_delay.counted(HOME, now)).as_millis()
    }

    #[test]
    fn the_fifth_failure_costs_something_and_no_number_of_them_more_than_a_second() {
        let soft_delay = SoftDelay::new();
        let delays: Vec<_> = (0..40)
            .map(|_| {
                soft_delay.note_failure(HOME, at(9));
                delay_ms(&soft_delay, at(9))
            })
            .collect();
        assert_eq!(delays[..12], [0, 0, 0, 0, 25, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(delays[39], 1000);
    }

    #[test]
    fn a_minute_without_a_failure_halves_the_count_and_a_success_forgets_it() {
        let soft_delay = SoftDelay::new();
        for _ in 0..100 {
            soft_delay.note_failure(HOME, at(9));
        }
        let after = |secs: u64| delay_ms(&soft_delay, at(9 + secs));
        assert_eq!([after(0), after(59), after(60), after(119), after(120)], [1000, 1000, 25, 25, 0]);
        assert_eq!([after(60 * 31), after(60 * 32), after(60 * 1000)], [0, 0, 0]);
        soft_delay.note_failure(HOME, at(70));
        assert_eq!(delay_ms(&soft_delay, at(70)), 50, "counted on from the half");
        soft_delay.note_success(HOME);
        assert_eq!(delay_ms(&soft_delay, at(70)), 0);
    }

    #[tokio::test]
    async fn another_address_is_not_held_back_and_one_address_holds_no_more_than_its_places() {
        let soft_delay = Arc::new(SoftDelay::new());
        for _ in 0..5 {
            soft_delay.note_failure(HOME, at(9));
        }
        let failures = soft_delay.failures.find(&HOME).unwrap();
        let places = failures.waiters.try_acquire_many(u32::try_from(WAITERS_PER_ADDRESS_MAX).unwrap());
        assert_eq!(soft_delay.hold_back(HOME, at(9)).await, Err(BUSY));
        let elsewhere = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(soft_delay.hold_back(elsewhere, at(9)).await, Ok(()));
        drop(places);
        assert_eq!(soft_delay.hold_back(HOME, at(9)).await, Ok(()));
        let all = soft_delay.waiters.try_acquire_many(u32::try_from(WAITERS_MAX).unwrap());
        assert!(all.is_ok());
        assert_eq!(soft_delay.hold_back(HOME, at(9)).await, Err(BUSY), "nobody holds more than all");
    }
}
