//! Feeds `Ledger` with any list of sales, gifts back, writes that hold or fail, other limits, crashes, clean stops and
//! new months, for one meter.
//!
//! What always holds, against a keeper of the same books who only adds up: nothing is sold over the limit of that
//! moment; what is spent is what was sold and burnt; a crash forgets no sale, and burns at most what one lease
//! holds; a clean stop burns nothing; another month begins with nothing spent.
//!
//! Not covered: several threads (loom's part), the line of waiting calls, and the file.

use crate::operations::Operations;
use keyward::domain::counts::MeterRow;
use keyward::domain::meter::lease::MeterReceipt;
use keyward::domain::meter::ledger::{Ledger, MeterTerms};
use keyward::domain::period::Period;
use keyward::domain::time::Wall;

const NOW: Wall = Wall::from_secs(1_800_000_000);
const ANCHOR: Wall = Wall::from_secs(0);

pub(crate) fn check(data: &[u8]) {
    let mut operations = Operations::of(data);
    let limit = operations.number(3_000);
    let mut books = Books::new(Some(limit));
    for _ in 0..Operations::MOST {
        match operations.next_choice().map(|choice| choice % 12) {
            None => break,
            Some(0..=2) => books.sell(operations.number(60) + 1),
            Some(3) => books.give_back(),
            Some(4) => books.grant(),
            Some(5 | 6) => books.write(operations.number(50), Outcome::Durable),
            Some(7) => {
                let waiting = operations.number(50);
                books.write(waiting, Outcome::Failed { is_there: operations.number(2) == 1 });
            }
            // One of a few hundred is no limit.
            Some(8) => books.set_limit(operations.number(4_000).checked_sub(6)),
            Some(9) => books.crash(),
            Some(10) => books.stop(),
            Some(_) => books.next_month(),
        }
        books.agree();
    }
}

/// What became of a write.
#[derive(Clone, Copy)]
enum Outcome {
    Durable,
    /// It was told as failed, and the row may be in the file or not.
    Failed {
        is_there: bool,
    },
}

/// The ledger, and beside it what a naive keeper of the same books knows.
struct Books {
    ledger: Ledger,
    /// The row of this month as the file has it.
    disk: Option<MeterRow>,
    /// The most that may be reserved there and not sold: one lease, the call that waited, and what came back since.
    unsold_max: u64,
    limit: Option<u64>,
    sold: u64,
    burnt: u64,
    /// Units that came back since the last row was drawn up: they lie in no lease, and are not spent.
    returned: u64,
    /// Sales that no grant took yet, and their units.
    open: Vec<(MeterReceipt, u64)>,
    /// Sales that are final. They are kept until the end, since dropping one gives it back.
    granted: Vec<MeterReceipt>,
}

impl Books {
    fn new(limit: Option<u64>) -> Self {
        let mut ledger = Ledger::new(Period::containing(ANCHOR, NOW), terms(limit));
        ledger.open(None);
        Self {
            ledger,
            disk: None,
            unsold_max: 0,
            limit,
            sold: 0,
            burnt: 0,
            returned: 0,
            open: Vec::new(),
            granted: Vec::new(),
        }
    }

    fn sell(&mut self, units: u64) {
        if let Some(receipt) = self.ledger.sell(units) {
            self.note_sale(receipt, units);
        }
    }

    fn note_sale(&mut self, receipt: MeterReceipt, units: u64) {
        self.sold += units;
        assert!(self.limit.is_none_or(|limit| self.sold + self.burnt <= limit), "sold over the limit");
        self.open.push((receipt, units));
    }

    fn give_back(&mut self) {
        let Some((receipt, units)) = self.open.pop() else { return };
        drop(receipt);
        self.sold -= units;
        self.returned += units;
        self.unsold_max += units;
    }

    fn grant(&mut self) {
        self.granted.extend(self.open.pop().map(|(receipt, _)| receipt));
    }

    fn grant_all(&mut self) {
        self.granted.extend(self.open.drain(..).map(|(receipt, _)| receipt));
    }

    /// A row for a call of so many units that waits, written with this outcome.
    fn write(&mut self, waiting: u64, outcome: Outcome) {
        let row = self.ledger.draw_up(waiting, NOW);
        self.returned = 0;
        let is_durable = matches!(outcome, Outcome::Durable);
        if is_durable || matches!(outcome, Outcome::Failed { is_there: true }) {
            self.disk = row.or(self.disk.take());
            self.unsold_max = terms(self.limit).lease_units() + waiting;
        }
        let mut free = self.ledger.settle(is_durable);
        if waiting > 0
            && let Some(receipt) = self.ledger.hand_out(&mut free, waiting)
        {
            self.note_sale(receipt, waiting);
        }
        self.ledger.fill(free);
    }

    fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
        self.ledger.set_terms(terms(limit));
    }

    /// Calls under way keep their units; what else was reserved is burnt.
    fn crash(&mut self) {
        self.grant_all();
        let reserved = self.disk.as_ref().map_or(0, |row| row.reserved);
        assert!(reserved >= self.sold + self.burnt, "a crash forgot a sale");
        let burnt = reserved - self.sold;
        assert!(burnt - self.burnt <= self.unsold_max, "a crash burnt more than a lease");
        self.burnt = burnt;
        self.start();
    }

    fn stop(&mut self) {
        self.grant_all();
        self.ledger.seal();
        assert!(self.ledger.sell(1).is_none(), "sold after the seal");
        self.write(0, Outcome::Durable);
        self.start();
        assert_eq!(self.ledger.spent(), self.sold + self.burnt, "a clean stop is exact");
    }

    fn start(&mut self) {
        (self.returned, self.unsold_max) = (0, 0);
        self.ledger = Ledger::new(*self.ledger.period(), terms(self.limit));
        self.ledger.open(self.disk.as_ref());
    }

    /// Sales of the old month that come late find nothing, and those that come back are nobody's.
    fn next_month(&mut self) {
        self.grant_all();
        let old = self.ledger.meter();
        let (spent, index) = (self.sold + self.burnt, self.ledger.period().index);
        if let Some(last) = self.ledger.roll(Period::numbered(ANCHOR, index + 1), NOW) {
            assert_eq!(last.reserved, spent, "the last row gives back what was not sold");
        }
        assert!(old.sell(1).is_none() && self.ledger.sell(1).is_none(), "sold out of no month");
        (self.sold, self.burnt, self.returned, self.unsold_max, self.disk) = (0, 0, 0, 0, None);
        self.ledger.open(None);
    }

    fn agree(&self) {
        assert_eq!(self.ledger.spent(), self.sold + self.burnt, "spent is what was sold and burnt");
        let unsold = self.ledger.reserved() - self.ledger.spent() - self.returned;
        assert!(unsold <= terms(self.limit).lease_units(), "more than a lease lies unsold");
        let reserved = self.disk.as_ref().map_or(0, |row| row.reserved);
        assert!(self.ledger.reserved() <= reserved, "what memory sells out of is not durable");
    }
}

fn terms(limit: Option<u64>) -> MeterTerms {
    MeterTerms { limit, admitted: limit }
}
