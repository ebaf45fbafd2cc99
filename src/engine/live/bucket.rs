//! A key's bucket: one atomic word, or several windows under a lock of their own.
//!
//! A key that never had several rates at once has the word alone, and takes from it without a lock. The first
//! request that finds several ends the word and carries its debt over; from then on the key keeps its windows,
//! however many rates it has. A take that meets the end finds the windows.
//!
//! Never here: the step (domain), or a wait under the lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};

use crate::domain::rate::Rates;
use crate::domain::rate::bucket::{Bucket, Taken, TooFast};
use crate::domain::rate::windows::{SavedWindows, Windows};
use crate::domain::time::Mono;

/// Where one key's tokens lie.
#[derive(Debug, Default)]
pub(in crate::engine) struct KeyBucket {
    word: Bucket,
    several: ArcSwapOption<Mutex<Windows>>,
}

impl KeyBucket {
    /// What a checkpoint saved `elapsed_nanos` ago.
    pub(in crate::engine) fn restored(saved: &SavedWindows, elapsed_nanos: u64, now: Mono) -> Self {
        let bucket =
            Self { word: Bucket::restored(saved.nanos_to_full, elapsed_nanos, now), ..Self::default() };
        if saved.each.iter().any(Option::is_some) {
            let windows = Windows::restored(saved, elapsed_nanos, now);
            bucket.several.store(Some(Arc::new(Mutex::new(windows))));
            bucket.locked(|_| ());
        }
        bucket
    }

    /// Takes one token from each window, all or none.
    pub(in crate::engine) fn take(&self, rates: &Rates, now: Mono) -> Result<Taken, TooFast> {
        let from_word = rates.only().and_then(|only| self.word.take_unless_retired(only, 1, now));
        let from_windows = || self.locked(|windows| windows.take(rates, 1, now));
        // A lock that cannot be made, which cannot be, admits nobody.
        from_word.or_else(from_windows).unwrap_or_else(|| Err(TooFast::never()))
    }

    /// How they stand.
    pub(in crate::engine) fn windows(&self) -> Windows {
        Windows::of(&self.word).or_else(|| self.locked(|windows| *windows)).unwrap_or_default()
    }

    /// What a checkpoint saves.
    pub(in crate::engine) fn saved(&self, now: Mono) -> SavedWindows {
        self.windows().saved(now)
    }

    /// Does something with the windows, which exist from here on and have taken the word over.
    fn locked<T>(&self, of: impl FnOnce(&mut Windows) -> T) -> Option<T> {
        let several = self.several();
        let mut windows = lock(several.as_ref()?);
        windows.take_over(&self.word);
        Some(of(&mut windows))
    }

    fn several(&self) -> Guard<Option<Arc<Mutex<Windows>>>> {
        let present = self.several.load();
        if present.is_some() {
            return present;
        }
        // Whoever comes second finds the first one's.
        self.several.compare_and_swap(&*present, Some(Arc::default()));
        self.several.load()
    }
}

/// A step is whole or was not taken, so a poisoned lock is still good.
fn lock(windows: &Mutex<Windows>) -> MutexGuard<'_, Windows> {
    windows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate::Rate;

    fn rates(rates: &[(u64, u32)]) -> Rates {
        Rates::new(rates.iter().map(|(limit, window)| Rate::new(*limit, *window, None).unwrap()).collect())
            .unwrap()
    }

    fn at(nanos: u64) -> Mono {
        Mono::from_nanos(nanos)
    }

    #[test]
    fn several_windows_are_sold_once_under_threads_also_while_they_come() {
        let (one, two) = (rates(&[(100, 3600)]), rates(&[(100, 3600), (1000, 7200)]));
        let bucket = KeyBucket::default();
        let sold: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = [&one, &one, &two, &two]
                .map(|rates| {
                    let take = || (0..100).filter(|_| bucket.take(rates, at(0)).is_ok()).count();
                    scope.spawn(take)
                })
                .into_iter()
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(sold, 100);
    }

    #[test]
    fn debt_is_carried_over_whichever_way_the_rates_change() {
        let (one, two) = (rates(&[(60, 60)]), rates(&[(10, 1), (60, 60)]));
        let bucket = KeyBucket::default();
        assert_eq!((0..99).filter(|_| bucket.take(&one, at(0)).is_ok()).count(), 60);
        assert_eq!(bucket.take(&two, at(0)).unwrap_err().retry_after_nanos, Some(1_000_000_000));
        assert_eq!(bucket.take(&one, at(0)).unwrap_err().retry_after_nanos, Some(1_000_000_000));
        // A window that was away comes back with its debt, and a new one starts with the longest there is.
        let (ten, second) = (rates(&[(10, 1)]), 1_000_000_000);
        assert_eq!(bucket.take(&ten, at(second)).unwrap_err().retry_after_nanos, Some(second / 10));
        assert!(bucket.take(&ten, at(second + second / 10)).is_ok());
        assert!(bucket.take(&two, at(second + second / 5)).is_ok());
        let refused = bucket.take(&two, at(2 * second - 1)).unwrap_err();
        assert_eq!(refused.retry_after_nanos, Some(1), "a minute's token comes each second");
    }

    #[test]
    fn what_was_saved_comes_back_with_what_refilled_meanwhile() {
        let two = rates(&[(10, 10), (60, 60)]);
        let bucket = KeyBucket::default();
        assert_eq!((0..99).filter(|_| bucket.take(&two, at(0)).is_ok()).count(), 10);
        let saved = bucket.saved(at(0));
        let restored = KeyBucket::restored(&saved, 3_000_000_000, at(77));
        assert_eq!((0..99).filter(|_| restored.take(&two, at(77)).is_ok()).count(), 3);
        let fresh = KeyBucket::restored(&SavedWindows::default(), 0, at(77));
        assert!(!fresh.word.is_retired());
    }
}
