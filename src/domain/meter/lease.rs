//! Leases: the durable number of a meter that runs ahead of its live one.
//!
//! Of each meter and period the file holds how many units are *reserved*; memory sells only out of what is
//! reserved there and not yet sold, the lease. So nothing that was sold is ever forgotten, whenever the process
//! dies, and what dies with it is at most the unsold part. A lease holds at most its size at every instant; what
//! is given back leaves it.
//!
//! Never here: a limit (ledger), a lock, or a write of the file.

use std::sync::Arc;

use super::super::atomic::{AtomicU64, Ordering};

/// The most units that a lease holds, however large the limit is: what a crash may cost of an unlimited meter.
pub const LEASE_UNITS_MAX: u64 = 10_000;

/// The unsold part of what is reserved of one meter in one period.
#[derive(Debug, Default)]
pub struct Lease {
    left: AtomicU64,
    /// What came back. It is not sold again before the ledger has held it against the terms of that time.
    returned: AtomicU64,
    /// The most that may lie unsold.
    size: AtomicU64,
    /// What is reserved, as far as it may be sold. Only the ledger writes it.
    reserved: AtomicU64,
}

impl Lease {
    /// An empty lease of this size.
    pub(super) fn sized(size: u64) -> Self {
        Self { size: AtomicU64::new(size), ..Self::default() }
    }

    /// Sells `cost` units, all or none.
    pub fn sell(self: &Arc<Self>, cost: u64) -> Option<MeterReceipt> {
        self.take(cost).then(|| MeterReceipt { sold_by: Some(Arc::clone(self)), cost })
    }

    /// Whether it is time to renew it: half of it or less is left.
    pub fn is_low(&self) -> bool {
        self.left() <= self.size() / 2
    }

    /// Units sold and not given back. While others sell it may be a little less than the truth.
    pub fn sold(&self) -> u64 {
        // What is left is read before what is reserved, which grows meanwhile rather than what is left.
        let unsold = self.left().saturating_add(self.returned.load(Ordering::Relaxed));
        self.reserved().saturating_sub(unsold)
    }

    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    pub(super) fn set_reserved(&self, reserved: u64) {
        self.reserved.store(reserved, Ordering::Release);
    }

    /// Takes `units` out, all or none.
    pub(super) fn take(&self, units: u64) -> bool {
        let rest = |left: u64| left.checked_sub(units);
        // In one order with the mark that the workspace's meters have changed, which is looked at after it.
        self.left.fetch_update(Ordering::SeqCst, Ordering::Acquire, rest).is_ok()
    }

    /// Takes out at most `units`; gives how many.
    pub(super) fn take_up_to(&self, units: u64) -> u64 {
        let rest = |left: u64| Some(left.saturating_sub(units));
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest);
        before.unwrap_or_else(|before| before).min(units)
    }

    /// Puts in at most as many of `units` as find room; gives how many.
    pub(super) fn put(&self, units: u64) -> u64 {
        let mut added = 0;
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            added = self.size().saturating_sub(left).min(units);
            Some(left + added)
        });
        added
    }

    /// Takes away what came back.
    pub(super) fn sweep_returned(&self) -> u64 {
        self.returned.swap(0, Ordering::AcqRel)
    }

    /// Changes its size; gives what that takes out.
    pub(super) fn resize(&self, size: u64) -> u64 {
        self.size.store(size, Ordering::Relaxed);
        self.take_up_to(self.left().saturating_sub(size))
    }

    fn give_back(&self, units: u64) {
        self.returned.fetch_add(units, Ordering::AcqRel);
    }
}

/// Proof that units were sold. Dropped before a grant took it, it gives them back.
#[derive(Debug)]
#[must_use = "a sale that is dropped gives its units back"]
pub struct MeterReceipt {
    sold_by: Option<Arc<Lease>>,
    cost: u64,
}

impl MeterReceipt {
    /// For units that were taken out of `lease`, or never came into it.
    pub(super) fn of(lease: &Arc<Lease>, cost: u64) -> Self {
        Self { sold_by: Some(Arc::clone(lease)), cost }
    }

    /// Makes the sale final: nothing comes back from here on.
    pub(in crate::domain) fn keep(mut self) {
        self.sold_by = None;
    }
}

impl Drop for MeterReceipt {
    fn drop(&mut self) {
        if let Some(lease) = self.sold_by.take() {
            lease.give_back(self.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(left: u64, size: u64) -> Arc<Lease> {
        let lease = Lease::sized(size);
        lease.set_reserved(left);
        assert_eq!(lease.put(left), left);
        Arc::new(lease)
    }

    #[test]
    fn what_comes_back_is_unsold_and_not_sold_again_by_itself() {
        let lease = lease(3, 3);
        let (one, two) = (lease.sell(1).unwrap(), lease.sell(2).unwrap());
        drop(two);
        one.keep();
        assert_eq!((lease.sold(), lease.left()), (1, 0));
        assert!(lease.sell(1).is_none());
        assert_eq!((lease.sweep_returned(), lease.sweep_returned()), (2, 0));
    }

    #[test]
    fn a_lease_is_never_filled_beyond_its_size() {
        let lease = lease(2, 3);
        assert_eq!((lease.put(5), lease.left(), lease.put(1)), (1, 3, 0));
        assert_eq!((lease.resize(1), lease.left()), (2, 1));
    }

    #[test]
    fn the_last_unit_is_sold_once_under_threads() {
        for _ in 0..200 {
            let lease = lease(1, 10);
            let sold: usize = std::thread::scope(|scope| {
                let buyers: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| lease.sell(1).map(MeterReceipt::keep).is_some())).collect();
                buyers.into_iter().map(|buyer| usize::from(buyer.join().unwrap())).sum()
            });
            assert_eq!((sold, lease.left(), lease.sold()), (1, 0, 1));
        }
    }
}
