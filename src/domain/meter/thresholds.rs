//! How far a month is used, as far as it is worth telling: thresholds of the limit, each passed once in a period.
//!
//! A threshold that a higher limit takes back can be passed again.
//!
//! Never here: whom to tell.

use super::super::time::Wall;

/// What is worth telling of how far a month is used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Threshold {
    /// 80 % of the limit are used.
    Eighty,
    /// The limit is used.
    Limit,
    /// More than the limit is used: the grace was entered.
    Grace,
}

impl Threshold {
    /// All thresholds, the nearest first.
    pub const ALL: [Self; 3] = [Self::Eighty, Self::Limit, Self::Grace];

    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eighty => "80%",
            Self::Limit => "100%",
            Self::Grace => "grace",
        }
    }

    /// Whether it is passed when `spent` of `limit` are used. No limit has no thresholds, nor has a limit of 0.
    pub fn is_passed(self, limit: Option<u64>, spent: u64) -> bool {
        let Some(limit) = limit.filter(|limit| *limit > 0) else { return false };
        match self {
            Self::Eighty => u128::from(spent) * 10 >= u128::from(limit) * 8,
            Self::Limit => spent >= limit,
            Self::Grace => spent > limit,
        }
    }
}

/// When each threshold was passed in one period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Thresholds([Option<Wall>; 3]);

impl Thresholds {
    /// Thresholds of a period; the later of two for one threshold counts.
    pub fn of(passed: impl IntoIterator<Item = (Threshold, Wall)>) -> Self {
        let mut thresholds = Self::default();
        for (threshold, at) in passed {
            thresholds.set(threshold, Some(at));
        }
        thresholds
    }

    /// The thresholds that were passed, and when.
    pub fn iter(&self) -> impl Iterator<Item = (Threshold, Wall)> + '_ {
        Threshold::ALL.into_iter().zip(self.0).filter_map(|(threshold, at)| Some((threshold, at?)))
    }

    /// The furthest threshold that was passed.
    pub fn furthest(&self) -> Option<Threshold> {
        self.iter().map(|(threshold, _)| threshold).max()
    }

    /// Notes the thresholds that are passed now and were not before; each is passed once in a period.
    pub(super) fn pass(&mut self, limit: Option<u64>, spent: u64, now: Wall) {
        for (threshold, at) in Threshold::ALL.into_iter().zip(&mut self.0) {
            if at.is_none() && threshold.is_passed(limit, spent) {
                *at = Some(now);
            }
        }
    }

    /// Forgets the thresholds that another limit took back: they can be passed again.
    pub(super) fn keep_those_of(&mut self, limit: Option<u64>, spent: u64) {
        for (threshold, at) in Threshold::ALL.into_iter().zip(&mut self.0) {
            *at = at.filter(|_| threshold.is_passed(limit, spent));
        }
    }

    fn set(&mut self, threshold: Threshold, at: Option<Wall>) {
        for (known, place) in Threshold::ALL.into_iter().zip(&mut self.0) {
            if known == threshold {
                *place = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_passed_once_and_at_its_unit() {
        let at = Wall::from_secs;
        let mut thresholds = Thresholds::default();
        thresholds.pass(Some(10), 7, at(1));
        assert_eq!(thresholds.furthest(), None);
        thresholds.pass(Some(10), 8, at(2));
        thresholds.pass(Some(10), 9, at(3));
        assert_eq!(thresholds.iter().collect::<Vec<_>>(), [(Threshold::Eighty, at(2))]);
        thresholds.pass(Some(10), 11, at(4));
        let passed = [(Threshold::Eighty, at(2)), (Threshold::Limit, at(4)), (Threshold::Grace, at(4))];
        assert_eq!(thresholds, Thresholds::of(passed));
        thresholds.keep_those_of(Some(11), 11);
        assert_eq!(thresholds.furthest(), Some(Threshold::Limit));
        thresholds.keep_those_of(None, 11);
        assert_eq!(thresholds, Thresholds::default());
    }

    #[test]
    fn a_limit_of_zero_and_no_limit_have_no_marks() {
        for limit in [None, Some(0)] {
            assert!(Threshold::ALL.iter().all(|threshold| !threshold.is_passed(limit, 1_000)));
        }
        assert!(Threshold::Eighty.is_passed(Some(u64::MAX), u64::MAX));
    }
}
