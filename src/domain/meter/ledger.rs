//! The ledger of one meter: what is reserved, what of it is durable, and when to reserve more.
//!
//! ```text
//! draw_up ─► the row is written ─► settle ─► units for who waits, the rest for the lease
//! ```
//!
//! What holds at every instant: sold ≤ reserved in memory ≤ reserved in the file, unless a write is in doubt, and
//! then the file's may be more; nothing is reserved over what the terms admit; at most one lease lies unsold.
//! What is reserved rises after its commit and falls before it.
//!
//! Never here: a lock, a clock, or the writing itself. Whoever owns a ledger lets one row follow the other.

use std::sync::Arc;

use super::super::counts::MeterRow;
use super::super::period::Period;
use super::super::time::Wall;
use super::PeriodMeter;
use super::lease::{LEASE_UNITS_MAX, Lease, MeterReceipt};
use super::thresholds::Thresholds;

/// What a meter may sell in a period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MeterTerms {
    /// The limit that was agreed on; `None` is unlimited.
    pub limit: Option<u64>,
    /// How many units are admitted, grace included; `None` is unlimited.
    pub admitted: Option<u64>,
}

impl MeterTerms {
    /// The most units that may lie reserved and unsold: 1 % of the limit, at least 1, at most
    /// [`LEASE_UNITS_MAX`].
    pub fn lease_units(&self) -> u64 {
        self.limit.map_or(LEASE_UNITS_MAX, |limit| (limit / 100).clamp(1, LEASE_UNITS_MAX))
    }

    /// Whether `cost` more than `spent` would be admitted. What cannot be counted is not.
    pub fn admits(&self, spent: u64, cost: u64) -> bool {
        spent.checked_add(cost).is_some_and(|after| after <= self.admitted.unwrap_or(u64::MAX))
    }
}

/// The ledger of one meter in its present period.
#[derive(Debug)]
pub struct Ledger {
    period: Period,
    lease: Arc<Lease>,
    terms: MeterTerms,
    /// Whether the row of this period was read; nothing is reserved before.
    is_open: bool,
    /// Units that were reserved when a process died, and are not known to have been used.
    burnt: u64,
    thresholds: Thresholds,
    /// The row as it stands in the file, when that is known.
    durable: Option<MeterRow>,
    /// The row that was drawn up last, and what became of it is not known yet.
    pending: Option<MeterRow>,
    /// A ledger that is sealed reserves nothing any more.
    is_sealed: bool,
}

impl Ledger {
    /// The ledger of a period whose row was not read yet.
    pub fn new(period: Period, terms: MeterTerms) -> Self {
        Self {
            period,
            lease: Arc::new(Lease::sized(terms.lease_units())),
            terms,
            is_open: false,
            burnt: 0,
            thresholds: Thresholds::default(),
            durable: None,
            pending: None,
            is_sealed: false,
        }
    }

    /// Takes over the row of this period as the file has it, unless one was taken over before. Whatever is
    /// reserved there counts as spent: nobody knows better.
    pub fn open(&mut self, row: Option<&MeterRow>) {
        if self.is_open {
            return;
        }
        self.is_open = true;
        if let Some(row) = row {
            self.lease.set_reserved(row.reserved);
            self.burnt = row.reserved.saturating_sub(row.used);
            self.thresholds = row.thresholds;
            // Another profile may have come with the start.
            self.thresholds.keep_those_of(self.terms.limit, row.reserved);
            self.durable = Some(row.clone());
        }
    }

    /// Whether its row was read.
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Its period.
    pub const fn period(&self) -> &Period {
        &self.period
    }

    /// What sells out of it.
    pub fn meter(&self) -> PeriodMeter {
        PeriodMeter::over(self.period, Arc::clone(&self.lease))
    }

    /// Units that count against the limit: sold ones and burnt ones.
    pub fn spent(&self) -> u64 {
        self.lease.sold()
    }

    /// Units that were reserved when a process died, and are not known to have been used.
    pub const fn burnt(&self) -> u64 {
        self.burnt
    }

    /// What is reserved in memory.
    pub fn reserved(&self) -> u64 {
        self.lease.reserved()
    }

    /// Whether it was sealed.
    pub const fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Which thresholds were passed.
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Whether the terms admit `cost` more, once it is reserved.
    pub fn admits(&self, cost: u64) -> bool {
        !self.is_open || self.terms.admits(self.spent(), cost)
    }

    /// Sells out of the lease.
    pub fn sell(&self, cost: u64) -> Option<MeterReceipt> {
        self.lease.sell(cost)
    }

    /// Whether a new row would reserve more.
    pub fn wants_more(&self) -> bool {
        let more = self.target(0) > self.reserved();
        !self.is_open || (self.lease.is_low() && more)
    }

    /// The row as it shall stand now, with units for calls that wait; `None` when the file has it already, or when
    /// the row that stands there was not read. What it reserves can be sold once [`Ledger::settle`] was told that
    /// it is durable.
    pub fn draw_up(&mut self, waiting: u64, now: Wall) -> Option<MeterRow> {
        if !self.is_open {
            return None;
        }
        self.take_off(self.lease.sweep_returned());
        let (spent, reserved) = (self.spent(), self.target(waiting));
        self.thresholds.pass(self.terms.limit, spent, now);
        let row = MeterRow { reserved, used: spent.saturating_sub(self.burnt), thresholds: self.thresholds };
        let is_written = self.pending.is_none() && self.durable.as_ref() == Some(&row);
        // Also a row that stands in the file already is settled: what came back may be reserved there still.
        self.pending = Some(row.clone());
        (!is_written).then_some(row)
    }

    /// What became of the row that was drawn up last: gives the units that can be handed out now.
    pub fn settle(&mut self, is_durable: bool) -> u64 {
        let Some(row) = self.pending.take() else { return 0 };
        if !is_durable {
            self.durable = None;
            return 0;
        }
        // The terms may have changed since the row was drawn up.
        let reserved = row.reserved.min(self.terms.admitted.unwrap_or(u64::MAX));
        self.durable = Some(row);
        if self.is_sealed { 0 } else { reserved.saturating_sub(self.reserved()) }
    }

    /// Sells to a call that waited, out of what can be handed out, and out of the lease.
    pub fn hand_out(&mut self, free: &mut u64, cost: u64) -> Option<MeterReceipt> {
        let from_free = cost.min(*free);
        if !self.lease.take(cost - from_free) {
            return None;
        }
        *free -= from_free;
        self.lease.set_reserved(self.reserved().saturating_add(from_free));
        Some(MeterReceipt::of(&self.lease, cost))
    }

    /// Puts what is left over into the lease, as far as there is room.
    pub fn fill(&mut self, free: u64) {
        // Reserved before it can be sold, so that nobody ever reads more sold than reserved.
        let before = self.reserved();
        self.lease.set_reserved(before.saturating_add(free));
        let put = self.lease.put(free);
        self.lease.set_reserved(before.saturating_add(put));
        self.check();
    }

    /// Whether the file has more reserved than memory: another row would give it back.
    pub fn is_behind(&self) -> bool {
        self.durable.as_ref().is_some_and(|row| row.reserved > self.target(0))
    }

    /// Sells by other terms from here on, and takes back at once what they do not admit.
    pub fn set_terms(&mut self, terms: MeterTerms) {
        self.terms = terms;
        let size = if self.is_sealed { 0 } else { terms.lease_units() };
        self.take_off(self.lease.resize(size));
        let over = self.reserved().saturating_sub(terms.admitted.unwrap_or(u64::MAX));
        self.take_off(self.lease.take_up_to(over));
        self.thresholds.keep_those_of(terms.limit, self.spent());
        self.check();
    }

    /// Goes on in another period, whose row was not read yet. Gives the last row of the old one: all that was
    /// not sold is given back.
    pub fn roll(&mut self, period: Period, now: Wall) -> Option<MeterRow> {
        self.empty();
        let last = self.draw_up(0, now);
        let is_sealed = self.is_sealed;
        *self = Self::new(period, self.terms);
        if is_sealed {
            self.seal();
        }
        last
    }

    /// Counts on under other bounds, after the anchor was moved. All its rows are written anew.
    pub fn move_to(&mut self, period: Period) {
        self.period = period;
        self.durable = None;
    }

    /// Reserves nothing any more, and gives back what was not sold: the next row is the last.
    pub fn seal(&mut self) {
        self.is_sealed = true;
        self.empty();
    }

    fn empty(&mut self) {
        self.take_off(self.lease.resize(0));
    }

    /// Takes units off what is reserved that were taken out of the lease.
    fn take_off(&self, units: u64) {
        self.lease.set_reserved(self.reserved().saturating_sub(units));
    }

    /// How much shall be reserved: what is spent, what waits, and a full lease, within the terms. Never less than
    /// what may be sold already.
    fn target(&self, waiting: u64) -> u64 {
        if !self.is_open {
            return 0;
        }
        let ahead = if self.is_sealed { 0 } else { waiting.saturating_add(self.lease.size()) };
        let wanted = self.spent().saturating_add(ahead).min(self.terms.admitted.unwrap_or(u64::MAX));
        wanted.max(self.reserved())
    }

    /// The bound on what a crash can cost.
    fn check(&self) {
        debug_assert!(self.lease.left() <= self.lease.size(), "more than a lease lies unsold");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall::from_secs(1_800_000_000);

    fn month() -> Period {
        Period::containing(Wall::from_secs(0), NOW)
    }

    fn up_to(limit: u64) -> MeterTerms {
        MeterTerms { limit: Some(limit), admitted: Some(limit) }
    }

    const UNLIMITED: MeterTerms = MeterTerms { limit: None, admitted: None };

    fn opened(terms: MeterTerms) -> Ledger {
        let mut ledger = Ledger::new(month(), terms);
        ledger.open(None);
        ledger
    }

    /// Writes once, for `waiting` units, and fills the lease with what is free.
    fn write(ledger: &mut Ledger, waiting: u64) -> u64 {
        let row = ledger.draw_up(waiting, NOW);
        let free = ledger.settle(true);
        ledger.fill(free);
        row.map_or(0, |row| row.reserved)
    }

    fn sell(ledger: &Ledger, units: u64) -> u64 {
        (0..units).map_while(|_| ledger.sell(1)).map(MeterReceipt::keep).count() as u64
    }

    #[test]
    fn a_lease_is_one_percent_and_at_least_one() {
        let units = [(None, 10_000), (Some(0), 1), (Some(199), 1), (Some(500), 5), (Some(u64::MAX), 10_000)];
        for (limit, lease) in units {
            assert_eq!(MeterTerms { limit, admitted: limit }.lease_units(), lease);
        }
    }

    #[test]
    fn nothing_is_sold_before_its_row_is_durable() {
        let mut ledger = opened(up_to(500));
        assert!(ledger.sell(1).is_none());
        assert_eq!(ledger.draw_up(0, NOW).unwrap().reserved, 5);
        assert!(ledger.sell(1).is_none());
        let free = ledger.settle(true);
        ledger.fill(free);
        assert_eq!(sell(&ledger, 10), 5);
    }

    #[test]
    fn a_write_that_failed_reserves_nothing_and_the_next_one_does() {
        let mut ledger = opened(up_to(500));
        assert!(ledger.draw_up(0, NOW).is_some());
        assert_eq!(ledger.settle(false), 0);
        assert!(ledger.sell(1).is_none());
        assert_eq!((write(&mut ledger, 0), sell(&ledger, 10)), (5, 5));
    }

    #[test]
    fn what_was_reserved_when_the_process_died_is_burnt() {
        let mut ledger = Ledger::new(month(), up_to(500));
        ledger.open(Some(&MeterRow { reserved: 105, used: 102, thresholds: Thresholds::default() }));
        assert_eq!((ledger.spent(), ledger.burnt()), (105, 3));
        assert_eq!(write(&mut ledger, 0), 110);
        assert_eq!(sell(&ledger, 2), 2);
        assert_eq!(ledger.draw_up(0, NOW).unwrap().used, 104);
    }

    #[test]
    fn who_waits_is_served_before_the_lease_is_filled() {
        let mut ledger = opened(up_to(500));
        assert_eq!(ledger.draw_up(40, NOW).unwrap().reserved, 45);
        let mut free = ledger.settle(true);
        ledger.hand_out(&mut free, 40).unwrap().keep();
        ledger.fill(free);
        assert_eq!((ledger.spent(), ledger.reserved()), (40, 45));
    }

    #[test]
    fn units_of_those_who_went_away_do_not_stay_in_the_lease() {
        let mut ledger = opened(up_to(500));
        write(&mut ledger, 40);
        assert_eq!((ledger.reserved(), ledger.is_behind()), (5, true));
        assert_eq!((write(&mut ledger, 0), ledger.is_behind()), (5, false));
    }

    #[test]
    fn what_comes_back_is_sold_again_by_the_terms_of_that_time() {
        let mut ledger = opened(up_to(500));
        write(&mut ledger, 0);
        let receipt = ledger.sell(5).unwrap();
        ledger.set_terms(up_to(0));
        drop(receipt);
        assert_eq!((ledger.spent(), sell(&ledger, 1)), (0, 0));
        assert_eq!((write(&mut ledger, 1), sell(&ledger, 1)), (0, 0));
        ledger.set_terms(up_to(2));
        assert_eq!((write(&mut ledger, 0), sell(&ledger, 3)), (1, 1), "a lease of 2 is one unit");
    }

    #[test]
    fn what_came_back_is_sold_again_where_the_file_has_it_reserved_already() {
        let mut ledger = Ledger::new(month(), up_to(300));
        ledger.open(Some(&MeterRow { reserved: 298, used: 298, thresholds: Thresholds::default() }));
        write(&mut ledger, 0);
        drop(ledger.sell(2));
        assert!(ledger.draw_up(0, NOW).is_none(), "the row is as it was");
        let free = ledger.settle(true);
        ledger.fill(free);
        assert_eq!((free, sell(&ledger, 3)), (2, 2));
    }

    #[test]
    fn the_last_unit_that_came_back_is_sold_again_though_the_file_needs_no_new_row() {
        let mut ledger = opened(up_to(1));
        assert!(ledger.draw_up(1, NOW).is_some());
        let mut free = ledger.settle(true);
        drop(ledger.hand_out(&mut free, 1).unwrap());
        assert_eq!((ledger.spent(), ledger.sell(1).is_none()), (0, true));
        assert_eq!(ledger.draw_up(1, NOW), None, "the file has it already");
        let mut free = ledger.settle(true);
        ledger.hand_out(&mut free, 1).unwrap().keep();
        assert_eq!((ledger.spent(), ledger.admits(1)), (1, false));
    }

    #[test]
    fn a_row_that_was_not_read_is_not_written_over() {
        let mut ledger = Ledger::new(month(), up_to(500));
        assert_eq!((ledger.draw_up(1, NOW), ledger.settle(true)), (None, 0));
        ledger.open(None);
        assert!(ledger.draw_up(1, NOW).is_some());
    }

    #[test]
    fn a_cost_is_sold_whole_or_not_at_all() {
        let mut ledger = opened(up_to(500));
        write(&mut ledger, 0);
        assert!(ledger.sell(6).is_none());
        assert_eq!(ledger.spent(), 0);
        assert!(ledger.admits(500) && !ledger.admits(501) && !ledger.admits(u64::MAX));
    }

    #[test]
    fn a_lowered_limit_takes_back_at_once_what_it_does_not_admit() {
        let mut ledger = opened(UNLIMITED);
        write(&mut ledger, 0);
        assert_eq!(sell(&ledger, 50), 50);
        ledger.set_terms(up_to(300));
        assert_eq!((ledger.spent(), ledger.reserved()), (50, 53));
        ledger.set_terms(up_to(51));
        assert_eq!((sell(&ledger, 10), ledger.admits(1)), (1, false));
        ledger.set_terms(up_to(10));
        assert_eq!((ledger.spent(), sell(&ledger, 1)), (51, 0), "what was sold stays sold");
    }

    #[test]
    fn terms_that_fell_while_a_row_was_written_are_kept_to() {
        let mut ledger = opened(up_to(500));
        assert_eq!(ledger.draw_up(100, NOW).unwrap().reserved, 105);
        ledger.set_terms(up_to(30));
        let free = ledger.settle(true);
        assert_eq!(free, 30);
        ledger.fill(free);
        assert_eq!(sell(&ledger, 100), 1, "the lease of 30 is one unit");
    }

    #[test]
    fn a_sealed_ledger_gives_back_what_was_not_sold_and_sells_no_more() {
        let mut ledger = opened(up_to(500));
        write(&mut ledger, 0);
        assert_eq!(sell(&ledger, 2), 2);
        ledger.seal();
        assert_eq!((sell(&ledger, 1), write(&mut ledger, 0), sell(&ledger, 1)), (0, 2, 0));
    }

    #[test]
    fn a_new_period_starts_unread_and_the_old_ones_last_row_gives_back() {
        let mut ledger = opened(up_to(500));
        write(&mut ledger, 0);
        let late = ledger.meter();
        assert_eq!(sell(&ledger, 2), 2);
        let next = Period::numbered(Wall::from_secs(0), month().index + 1);
        assert_eq!(ledger.roll(next, NOW).unwrap().reserved, 2);
        assert!(late.sell(1).is_none(), "a late sale of the old period finds nothing");
        assert!(!ledger.is_open() && ledger.sell(1).is_none());
        assert_eq!(ledger.settle(true), 0, "a row of the old period is not this one's");
        ledger.open(Some(&MeterRow { reserved: 7, used: 7, thresholds: Thresholds::default() }));
        assert_eq!((ledger.spent(), ledger.burnt()), (7, 0));
    }

    #[test]
    fn e16_the_count_saturates_and_then_refuses() {
        let near = u64::MAX - 3;
        let mut ledger = Ledger::new(month(), UNLIMITED);
        ledger.open(Some(&MeterRow { reserved: near, used: near, thresholds: Thresholds::default() }));
        write(&mut ledger, 0);
        assert_eq!((sell(&ledger, 10), ledger.spent()), (3, u64::MAX));
        assert!(!ledger.admits(1));
        assert_eq!((write(&mut ledger, 1), sell(&ledger, 1)), (u64::MAX, 0));
    }

    // What any list of sales, writes, crashes and stops amounts to: fuzz/checks/meter.rs.
}
