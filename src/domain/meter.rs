//! Monthly meters: how many units a workspace may use of one name in one billing period.
//!
//! A unit is sold out of a lease that is durable already, so the last one is sold once: under any concurrency,
//! and whenever the process dies. A limit of 0 sells nothing, no limit sells always, and the grace share of a
//! plan is counted in integers.
//!
//! Never here: a rollover in place. A new period is a new [`PeriodMeter`]; a late sale of the old one finds
//! nothing left.

pub mod lease;
pub mod ledger;
pub mod thresholds;

use std::sync::Arc;

use super::period::Period;
use super::time::Wall;
use lease::{Lease, MeterReceipt};
use ledger::MeterTerms;
use thresholds::Threshold;

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

    /// The same for good: nothing comes back of it.
    pub(super) fn sell_for_good(&self, cost: u64) -> bool {
        self.lease.take(cost)
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
    /// The furthest threshold that is passed.
    pub threshold: Option<Threshold>,
    /// When the next period starts.
    pub resets_at: Wall,
}

impl PeriodMeter {
    /// How far the month is used under `terms`; `None` without a limit.
    pub fn quota(&self, terms: MeterTerms) -> Option<Quota> {
        let (limit, spent) = (terms.limit?, self.spent());
        let threshold =
            Threshold::ALL.into_iter().rev().find(|threshold| threshold.is_passed(terms.limit, spent));
        Some(Quota { limit, remaining: limit.saturating_sub(spent), threshold, resets_at: self.period.end })
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
}
