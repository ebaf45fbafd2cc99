//! Rates as people set them: so many tokens each window, at most a burst at once; one rate, or up to four that hold
//! together, such as 10 a second and 600 a minute.
//!
//! A rate out of bounds is never made, so the arithmetic of buckets cannot overflow. Of rates that hold together no
//! two have the same window. The first lies here and not behind a pointer, since most keys have no other.
//!
//! Never here: a state. What is left of a rate is a `bucket`, several of them `windows`, as callers are told `state`.

pub mod bucket;
pub mod state;
pub mod windows;

use std::iter;
use std::num::NonZeroU32;

use super::time::Mono;
use bucket::ticks;

/// The most rates that hold at once.
pub const WINDOWS_MAX: usize = 4;

/// The longest window of a rate: 31 days, in seconds.
pub const WINDOW_SECS_MAX: u32 = 31 * 24 * 60 * 60;
/// The most tokens that a rate may yield in one second.
pub const TOKENS_PER_SEC_MAX: u64 = 1_000_000;
/// The longest time that a drained bucket may take to fill: 366 days, in seconds.
pub const FILL_SECS_MAX: u64 = 366 * 24 * 60 * 60;

/// Ticks in a nanosecond. 64 bits of ticks are 36 years of uptime.
const TICKS_PER_NANO: u64 = 16;

/// A rate as people set it: `limit` tokens each `window_secs`, at most `burst` at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    limit: u64,
    window_secs: NonZeroU32,
    burst: u64,
    interval_ticks: u64,
    depth_ticks: u64,
}

/// Why a rate was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateError {
    /// The window is 0 or longer than [`WINDOW_SECS_MAX`].
    Window,
    /// More than [`TOKENS_PER_SEC_MAX`].
    TooFast,
    /// The burst is 0 beside a limit that is not, or takes longer than [`FILL_SECS_MAX`] to fill.
    Burst,
}

impl Rate {
    /// A rate of `limit` tokens each `window_secs`; `burst` is the capacity, by default the limit. A limit of
    /// 0 admits nothing, ever.
    pub fn new(limit: u64, window_secs: u32, burst: Option<u64>) -> Result<Self, RateError> {
        let fits = |window_secs: &NonZeroU32| window_secs.get() <= WINDOW_SECS_MAX;
        let window_secs = NonZeroU32::new(window_secs).filter(fits).ok_or(RateError::Window)?;
        let secs = u64::from(window_secs.get());
        if limit > TOKENS_PER_SEC_MAX * secs {
            return Err(RateError::TooFast);
        }
        let burst = burst.unwrap_or(limit);
        if limit == 0 {
            return Ok(Self { limit, window_secs, burst, interval_ticks: 0, depth_ticks: 0 });
        }
        let window_ticks = secs * 1_000_000_000 * TICKS_PER_NANO;
        let interval_ticks = window_ticks.div_ceil(limit);
        let depth_ticks = burst.checked_mul(interval_ticks).ok_or(RateError::Burst)?;
        if burst == 0 || depth_ticks > FILL_SECS_MAX * 1_000_000_000 * TICKS_PER_NANO {
            return Err(RateError::Burst);
        }
        Ok(Self { limit, window_secs, burst, interval_ticks, depth_ticks })
    }

    /// Tokens each window.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The window in seconds.
    pub const fn window_secs(&self) -> u32 {
        self.window_secs.get()
    }

    /// The word of a new bucket of this rate that owes what another one owes, and no more than it can.
    pub(super) fn within_depth(&self, full_at_ticks: u64, now: Mono) -> u64 {
        let deepest = ticks(now).saturating_add(self.depth_ticks);
        if self.limit == 0 { full_at_ticks } else { full_at_ticks.min(deepest) }
    }

    /// Tokens that a full bucket holds.
    pub const fn burst(&self) -> u64 {
        self.burst
    }
}

impl RateError {
    /// The field at fault and what would have been taken, for people.
    pub fn expected(self) -> (&'static str, String) {
        match self {
            Self::Window => ("window_s", format!("1 to {WINDOW_SECS_MAX} seconds")),
            Self::TooFast => ("limit", format!("at most {TOKENS_PER_SEC_MAX} a second")),
            Self::Burst => {
                let days = FILL_SECS_MAX / 86_400;
                ("burst", format!("at least 1, and no more than refills in {days} days"))
            }
        }
    }
}

/// The rates of one caller, in the order in which they were set.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rates {
    first: Rate,
    others: Box<[Rate]>,
}

/// Why rates were not taken together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RatesError {
    /// There is none.
    Empty,
    /// There are more than [`WINDOWS_MAX`].
    TooMany,
    /// Two have the same window.
    SameWindow,
}

impl Rates {
    /// Rates that hold together, each with a window of its own.
    pub fn new(rates: Vec<Rate>) -> Result<Self, RatesError> {
        if rates.len() > WINDOWS_MAX {
            return Err(RatesError::TooMany);
        }
        let mut seconds: Vec<_> = rates.iter().map(Rate::window_secs).collect();
        seconds.sort_unstable();
        seconds.dedup();
        if seconds.len() != rates.len() {
            return Err(RatesError::SameWindow);
        }
        let mut rates = rates.into_iter();
        let first = rates.next().ok_or(RatesError::Empty)?;
        Ok(Self { first, others: rates.collect() })
    }

    /// The rates.
    pub fn iter(&self) -> impl Iterator<Item = &Rate> {
        iter::once(&self.first).chain(&self.others)
    }

    /// The one rate, when there is no other.
    pub fn only(&self) -> Option<&Rate> {
        self.others.is_empty().then_some(&self.first)
    }

    /// The first rate and the others.
    pub fn split(&self) -> (&Rate, &[Rate]) {
        (&self.first, &self.others)
    }
}

impl From<Rate> for Rates {
    fn from(only: Rate) -> Self {
        Self { first: only, others: Box::default() }
    }
}

impl RatesError {
    /// What would have been taken, for people.
    pub fn expected(self) -> String {
        match self {
            Self::Empty | Self::TooMany => format!("1 to {WINDOWS_MAX} rates"),
            Self::SameWindow => "rates whose windows differ".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: u64, window_secs: u32) -> Rate {
        Rate::new(limit, window_secs, None).unwrap()
    }

    #[test]
    fn one_to_four_rates_of_different_windows_hold_together() {
        let four: Vec<_> = (1..=4).map(|window| rate(10, window)).collect();
        let rates = Rates::new(four.clone()).unwrap();
        assert_eq!(rates.iter().copied().collect::<Vec<_>>(), four);
        assert_eq!(rates.only(), None);
        assert_eq!(Rates::new(vec![rate(7, 1)]).unwrap(), Rates::from(rate(7, 1)));
        assert_eq!(Rates::from(rate(7, 1)).only(), Some(&rate(7, 1)));
    }

    #[test]
    fn no_rate_and_five_and_two_of_one_window_are_refused() {
        assert_eq!(Rates::new(Vec::new()), Err(RatesError::Empty));
        let five = (1..=5).map(|window| rate(10, window)).collect();
        assert_eq!(Rates::new(five), Err(RatesError::TooMany));
        assert_eq!(Rates::new(vec![rate(1, 60), rate(2, 60)]), Err(RatesError::SameWindow));
    }

    #[test]
    fn a_rate_outside_its_range_is_refused() {
        assert_eq!(Rate::new(1, 0, None), Err(RateError::Window));
        assert_eq!(Rate::new(1, WINDOW_SECS_MAX + 1, None), Err(RateError::Window));
        assert_eq!(Rate::new(u64::MAX, 60, None), Err(RateError::TooFast));
        assert_eq!(Rate::new(1, 60, Some(0)), Err(RateError::Burst));
        assert_eq!(Rate::new(1, WINDOW_SECS_MAX, Some(13)), Err(RateError::Burst));
        assert_eq!(Rate::new(1, WINDOW_SECS_MAX, Some(u64::MAX)), Err(RateError::Burst));
    }
}
