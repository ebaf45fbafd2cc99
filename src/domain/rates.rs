//! One to four rates that hold at once, such as 10 a second and 600 a minute.
//!
//! No two have the same window. The first lies here and not behind a pointer, since most keys have no other.
//!
//! Never here: the state of a bucket.

use std::iter;

use super::bucket::{FILL_SECS_MAX, Rate, RateError, TOKENS_PER_SEC_MAX, WINDOW_SECS_MAX};

/// The most rates that hold at once.
pub const WINDOWS_MAX: usize = 4;

/// The rates of one caller, in the order in which they were set.
#[derive(Clone, PartialEq, Eq, Debug)]
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
}
