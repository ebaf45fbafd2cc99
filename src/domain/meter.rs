//! Monthly meters: how many calls a workspace has used of one name in one billing period.
//!
//! The last unit is sold once, under any concurrency. A limit of 0 sells nothing, no limit sells always, and
//! the grace share of a plan is counted in integers. A sale that is dropped before it became part of a grant
//! gives its units back, to the period it was sold in.
//!
//! Never here: a rollover in place. A new period is a new [`PeriodMeter`]; a late sale of the old one counts
//! there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::period::Period;

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

/// The count of one meter in one period.
#[derive(Debug)]
pub struct PeriodMeter {
    period: Period,
    used: Arc<AtomicU64>,
}

/// Not enough left in the month.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonthUsedUp;

impl PeriodMeter {
    /// The meter of `period` with `used` calls so far.
    pub fn new(period: Period, used: u64) -> Self {
        Self { period, used: Arc::new(AtomicU64::new(used)) }
    }

    /// The same count under other bounds, after the anchor was moved: both count as one from here on.
    #[must_use]
    pub fn moved(&self, period: Period) -> Self {
        Self { period, used: Arc::clone(&self.used) }
    }

    /// Its period.
    pub const fn period(&self) -> Period {
        self.period
    }

    /// Calls so far.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Sells `cost` units while at most `limit` (grace included; `None` is unlimited) are used, all or none.
    pub fn sell(self: &Arc<Self>, limit: Option<u64>, cost: u64) -> Result<MeterReceipt, MonthUsedUp> {
        let sold = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| after_sale(used, limit, cost));
        match sold {
            Ok(_) => Ok(MeterReceipt { sold_by: Some(Arc::clone(self)), cost }),
            Err(_) => Err(MonthUsedUp),
        }
    }

    /// What `sell` would say, without selling.
    pub fn would_sell(&self, limit: Option<u64>, cost: u64) -> Result<(), MonthUsedUp> {
        after_sale(self.used(), limit, cost).map(|_| ()).ok_or(MonthUsedUp)
    }
}

/// The step itself: what is used after a sale, or `None` when the limit forbids it. Saturates.
fn after_sale(used: u64, limit: Option<u64>, cost: u64) -> Option<u64> {
    let after = used.saturating_add(cost);
    match limit {
        Some(limit) if after > limit || used.checked_add(cost).is_none() => None,
        _ => Some(after),
    }
}

/// Proof that units were sold. Dropped before a grant took it, it gives them back.
#[derive(Debug)]
#[must_use = "a sale that is dropped gives its units back"]
pub struct MeterReceipt {
    sold_by: Option<Arc<PeriodMeter>>,
    cost: u64,
}

impl MeterReceipt {
    /// Makes the sale final: nothing comes back from here on.
    pub(super) fn keep(mut self) {
        self.sold_by = None;
    }
}

impl Drop for MeterReceipt {
    fn drop(&mut self) {
        if let Some(meter) = self.sold_by.take() {
            let _ = meter.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_sub(self.cost))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Wall;
    use proptest::prelude::*;

    fn meter(used: u64) -> Arc<PeriodMeter> {
        let period = Period::containing(Wall::from_secs(0), Wall::from_secs(0));
        Arc::new(PeriodMeter::new(period, used))
    }

    #[test]
    fn grace_is_counted_in_integers_rounded_down() {
        let ten_percent = Grace::from_permille(100).unwrap();
        for (limit, admitted) in [(100, 110), (5, 5), (15, 16), (0, 0), (5000, 5500), (u64::MAX, u64::MAX)] {
            assert_eq!(ten_percent.admitted(limit), admitted, "{limit}");
        }
        assert!(Grace::from_permille(1001).is_none());
    }

    #[test]
    fn a_limit_of_zero_sells_nothing_and_no_limit_sells_always() {
        assert!(meter(0).sell(Some(0), 1).is_err());
        assert!(meter(0).sell(None, 1).is_ok());
    }

    #[test]
    fn the_count_saturates_and_then_refuses() {
        let full = meter(u64::MAX - 1);
        assert!(full.sell(Some(u64::MAX), 2).is_err());
        full.sell(Some(u64::MAX), 1).unwrap().keep();
        assert!(full.sell(Some(u64::MAX), 1).is_err());
        full.sell(None, 5).unwrap().keep();
        assert_eq!(full.used(), u64::MAX);
    }

    #[test]
    fn a_dropped_sale_gives_back_and_a_kept_one_does_not() {
        let meter = meter(3);
        drop(meter.sell(Some(10), 7).unwrap());
        assert_eq!(meter.used(), 3);
        meter.sell(Some(10), 7).unwrap().keep();
        assert_eq!(meter.used(), 10);
        assert_eq!(meter.would_sell(Some(10), 1), Err(MonthUsedUp));
    }

    #[test]
    fn a_moved_meter_and_the_old_one_count_as_one() {
        let old = meter(1);
        let new = Arc::new(old.moved(old.period()));
        old.sell(Some(3), 1).unwrap().keep();
        new.sell(Some(3), 1).unwrap().keep();
        assert!(old.sell(Some(3), 1).is_err() && new.sell(Some(3), 1).is_err());
    }

    #[test]
    fn the_last_unit_is_sold_once_under_threads() {
        for _ in 0..200 {
            let meter = meter(99);
            let sold: usize = std::thread::scope(|scope| {
                let buyers: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| meter.sell(Some(100), 1).map(MeterReceipt::keep).is_ok()))
                    .collect();
                buyers.into_iter().map(|buyer| usize::from(buyer.join().unwrap())).sum()
            });
            assert_eq!((sold, meter.used()), (1, 100));
        }
    }

    proptest! {
        #[test]
        fn a_meter_agrees_with_a_plain_counter(limit in 0u64..50, sales in proptest::collection::vec((1u64..5, any::<bool>()), 0..60)) {
            let meter = meter(0);
            let mut model = 0;
            for (cost, kept) in sales {
                let sold = meter.sell(Some(limit), cost);
                prop_assert_eq!(sold.is_ok(), model + cost <= limit);
                if let Ok(receipt) = sold && kept {
                    receipt.keep();
                    model += cost;
                }
                prop_assert_eq!(meter.used(), model);
            }
        }
    }
}
