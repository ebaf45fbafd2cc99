//! Monthly meters: how many units a workspace may use of one name in one billing period.
//!
//! A unit is sold out of a lease that is durable already, so the last one is sold once: under any concurrency,
//! and whenever the process dies. A limit of 0 sells nothing, no limit sells always, and the grace share of a
//! plan is counted in integers.
//!
//! Never here: a rollover in place. A new period is a new [`PeriodMeter`]; a late sale of the old one finds
//! nothing left.

use std::sync::Arc;

use super::lease::{Lease, MeterReceipt};
use super::ledger::MeterTerms;
use super::period::Period;
use super::time::Wall;

/// The share that a plan admits over its monthly limit, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Grace(u16);

impl Grace {
    /// A grace of so many thousandths, at most 1,000 (as much again).
    pub fn from_permille(permille: u16) -> Option<Self> {
        (permille <= 1000).then_some(Self(permille))
    }

    /// How many calls `limit` admits with this grace: `floor(limit × (1 + grace))`, saturating.
    pub fn admitted(self, limit: u64) -> u64 {
        let over = u128::from(limit) * u128::from(self.0) / 1000;
        limit.saturating_add(u64::try_from(over).unwrap_or(u64::MAX))
    }
}

/// One meter in one period, as the pipeline sees it.
#[derive(Clone, Debug)]
pub struct PeriodMeter {
    period: Period,
    lease: Arc<Lease>,
}

/// Not enough left in the month.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonthUsedUp;

impl PeriodMeter {
    /// The meter of `period` that sells out of `lease`.
    pub(super) const fn over(period: Period, lease: Arc<Lease>) -> Self {
        Self { period, lease }
    }

    /// Its period.
    pub const fn period(&self) -> &Period {
        &self.period
    }

    /// Sells `cost` units out of the lease, all or none.
    pub fn sell(&self, cost: u64) -> Option<MeterReceipt> {
        self.lease.sell(cost)
    }

    /// Whether its lease should be renewed.
    pub fn is_low(&self) -> bool {
        self.lease.is_low()
    }

    /// Units that count against the limit. While others buy it may be a little less than the truth.
    pub fn spent(&self) -> u64 {
        self.lease.sold()
    }

    /// Whether `terms` would admit `cost` units more.
    pub fn would_sell(&self, terms: MeterTerms, cost: u64) -> Result<(), MonthUsedUp> {
        if terms.admits(self.spent(), cost) { Ok(()) } else { Err(MonthUsedUp) }
    }
}

/// How far a month is used, as a caller is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// The limit that was agreed on.
    pub limit: u64,
    /// Units that are left of it; none once the grace was entered.
    pub remaining: u64,
    /// The furthest mark that is passed.
    pub mark: Option<Mark>,
    /// When the next period starts.
    pub resets_at: Wall,
}

impl PeriodMeter {
    /// How far the month is used under `terms`; `None` without a limit.
    pub fn quota(&self, terms: MeterTerms) -> Option<Quota> {
        let (limit, spent) = (terms.limit?, self.spent());
        let mark = Mark::ALL.into_iter().rev().find(|mark| mark.is_passed(terms.limit, spent));
        Some(Quota { limit, remaining: limit.saturating_sub(spent), mark, resets_at: self.period.end })
    }
}

/// What is worth telling of how far a month is used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mark {
    /// 80 % of the limit are used.
    Eighty,
    /// The limit is used.
    Limit,
    /// More than the limit is used: the grace was entered.
    Grace,
}

impl Mark {
    /// All marks, the nearest first.
    pub const ALL: [Self; 3] = [Self::Eighty, Self::Limit, Self::Grace];

    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eighty => "80%",
            Self::Limit => "100%",
            Self::Grace => "grace",
        }
    }

    /// Whether it is passed when `spent` of `limit` are used. No limit has no marks, nor has a limit of 0.
    pub fn is_passed(self, limit: Option<u64>, spent: u64) -> bool {
        let Some(limit) = limit.filter(|limit| *limit > 0) else { return false };
        match self {
            Self::Eighty => u128::from(spent) * 10 >= u128::from(limit) * 8,
            Self::Limit => spent >= limit,
            Self::Grace => spent > limit,
        }
    }
}

/// When each mark was passed in one period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks([Option<Wall>; 3]);

impl Marks {
    /// Marks of a period; the later of two for one mark counts.
    pub fn of(passed: impl IntoIterator<Item = (Mark, Wall)>) -> Self {
        let mut marks = Self::default();
        for (mark, at) in passed {
            marks.set(mark, Some(at));
        }
        marks
    }

    /// The marks that were passed, and when.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, Wall)> + '_ {
        Mark::ALL.into_iter().zip(self.0).filter_map(|(mark, at)| Some((mark, at?)))
    }

    /// The furthest mark that was passed.
    pub fn furthest(&self) -> Option<Mark> {
        self.iter().map(|(mark, _)| mark).max()
    }

    /// Notes the marks that are passed now and were not before; each is passed once in a period.
    pub(super) fn pass(&mut self, limit: Option<u64>, spent: u64, now: Wall) {
        for (mark, at) in Mark::ALL.into_iter().zip(&mut self.0) {
            if at.is_none() && mark.is_passed(limit, spent) {
                *at = Some(now);
            }
        }
    }

    /// Forgets the marks that another limit took back: they can be passed again.
    pub(super) fn keep_those_of(&mut self, limit: Option<u64>, spent: u64) {
        for (mark, at) in Mark::ALL.into_iter().zip(&mut self.0) {
            *at = at.filter(|_| mark.is_passed(limit, spent));
        }
    }

    fn set(&mut self, mark: Mark, at: Option<Wall>) {
        for (known, place) in Mark::ALL.into_iter().zip(&mut self.0) {
            if known == mark {
                *place = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_is_counted_in_integers_rounded_down() {
        let ten_percent = Grace::from_permille(100).unwrap();
        for (limit, admitted) in [(100, 110), (5, 5), (15, 16), (0, 0), (5000, 5500), (u64::MAX, u64::MAX)] {
            assert_eq!(ten_percent.admitted(limit), admitted, "{limit}");
        }
        assert!(Grace::from_permille(1001).is_none());
    }

    #[test]
    fn each_mark_is_passed_once_and_at_its_unit() {
        let at = Wall::from_secs;
        let mut marks = Marks::default();
        marks.pass(Some(10), 7, at(1));
        assert_eq!(marks.furthest(), None);
        marks.pass(Some(10), 8, at(2));
        marks.pass(Some(10), 9, at(3));
        assert_eq!(marks.iter().collect::<Vec<_>>(), [(Mark::Eighty, at(2))]);
        marks.pass(Some(10), 11, at(4));
        let passed = [(Mark::Eighty, at(2)), (Mark::Limit, at(4)), (Mark::Grace, at(4))];
        assert_eq!(marks, Marks::of(passed));
        marks.keep_those_of(Some(11), 11);
        assert_eq!(marks.furthest(), Some(Mark::Limit));
        marks.keep_those_of(None, 11);
        assert_eq!(marks, Marks::default());
    }

    #[test]
    fn a_limit_of_zero_and_no_limit_have_no_marks() {
        for limit in [None, Some(0)] {
            assert!(Mark::ALL.iter().all(|mark| !mark.is_passed(limit, 1_000)));
        }
        assert!(Mark::Eighty.is_passed(Some(u64::MAX), u64::MAX));
    }
}
