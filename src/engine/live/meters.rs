//! The meters of one workspace: what the pipeline sells out of, and the books behind it.
//!
//! A sale takes units out of a lease, one atomic step. Only when a lease is low, or was outrun, are the books
//! opened: a lock of this workspace alone, held for some arithmetic and never over a wait. The writer's thread
//! draws the rows up under it and settles them, one after the other.
//!
//! Never here: a read of the file, an arithmetic of leases (domain).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::oneshot;

use crate::domain::causes::Causes;
use crate::domain::counts::{MeterCount, MeterRow};
use crate::domain::facts::WorkspaceFacts;
use crate::domain::id::WorkspaceId;
use crate::domain::meter::PeriodMeter;
use crate::domain::meter::lease::MeterReceipt;
use crate::domain::meter::ledger::Ledger;
use crate::domain::meter::thresholds::Thresholds;
use crate::domain::period::Period;
use crate::domain::profile::MeterNo;
use crate::domain::time::Wall;
use crate::store::{StoreError, StoredMeters};

/// The most calls that wait for a lease of one meter; one more is refused as busy.
const WAITERS_MAX: usize = 10_000;

/// All meters of a workspace, in the order of its profile.
#[derive(Debug)]
pub(in crate::engine) struct LiveMeters {
    present: Box<[ArcSwap<PeriodMeter>]>,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    meters: Box<[Book]>,
    /// Whether a write was asked for that did not draw up its rows yet.
    is_queued: bool,
    /// The last rows of periods that are over, and were not drawn up yet.
    closed: Vec<(usize, u32, MeterRow)>,
    /// Those that were drawn up last, until it is known that they are durable.
    closing: Vec<(usize, u32, MeterRow)>,
}

#[derive(Debug)]
struct Book {
    ledger: Ledger,
    waiters: VecDeque<Waiter>,
}

/// A call that outran the lease.
#[derive(Debug)]
struct Waiter {
    cost: u64,
    told: oneshot::Sender<Result<MeterReceipt, NotSold>>,
}

/// Why a call that waited got nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum NotSold {
    /// The month is used up.
    UsedUp {
        /// When the next period starts.
        resets_at: Wall,
    },
    /// No more could be reserved.
    NotReserved,
    /// Too many wait.
    Busy,
}

/// What asking the books came to.
#[derive(Debug)]
pub(in crate::engine) enum Asked {
    /// A sale.
    Sold(MeterReceipt),
    /// A refusal.
    Refused(NotSold),
    /// It will be told, once a lease is durable.
    Waits(oneshot::Receiver<Result<MeterReceipt, NotSold>>),
}

/// What the books say of one meter.
#[derive(Clone, Debug)]
pub(in crate::engine) struct BookView {
    pub(in crate::engine) period: Period,
    /// Units that count against the limit, burnt ones among them.
    pub(in crate::engine) spent: u64,
    pub(in crate::engine) burnt: u64,
    pub(in crate::engine) reserved: u64,
    pub(in crate::engine) thresholds: Thresholds,
}

impl LiveMeters {
    /// The meters of `facts` in the present period. `stored` has the row of each, in the same order. One that could
    /// not be read is left to the writer, and until then its meter sells nothing.
    pub(in crate::engine) fn new(
        facts: &WorkspaceFacts,
        stored: &[Result<Option<MeterRow>, StoreError>],
        now: Wall,
    ) -> Self {
        let period = facts.period(now);
        let books = facts.meters().iter().enumerate().map(|(place, terms)| {
            let mut ledger = Ledger::new(period, *terms);
            if let Some(Ok(row)) = stored.get(place) {
                ledger.open(row.as_ref());
            }
            Book { ledger, waiters: VecDeque::new() }
        });
        let meters: Box<[Book]> = books.collect();
        let present = meters.iter().map(|book| ArcSwap::from_pointee(book.ledger.meter())).collect();
        Self {
            present,
            books: Mutex::new(Books { meters, is_queued: false, closed: Vec::new(), closing: Vec::new() }),
        }
    }

    /// The meter of the present period, after rolling over when that period is a new one. A clock that was set
    /// back rolls nothing back. `None` for a meter that the profile does not have.
    pub(in crate::engine) fn present(
        &self,
        number: MeterNo,
        facts: &WorkspaceFacts,
        now: Wall,
    ) -> Option<Guard<Arc<PeriodMeter>>> {
        let present = self.present.get(usize::from(number.0))?;
        let meter = present.load();
        if !meter.period().is_over(now) {
            return Some(meter);
        }
        self.roll_over(&mut self.books(), facts, now);
        Some(present.load())
    }

    /// Sells `cost` units, or takes the call into the line for the next lease.
    pub(in crate::engine) fn ask(
        &self,
        number: MeterNo,
        cost: u64,
        facts: &WorkspaceFacts,
        now: Wall,
    ) -> Asked {
        let books = &mut *self.books();
        self.roll_over(books, facts, now);
        let Some(book) = books.meters.get_mut(usize::from(number.0)) else {
            // A requirement's meter is one of the profile's own; were it not, nothing is sold.
            return Asked::Refused(NotSold::UsedUp { resets_at: facts.period(now).end });
        };
        if let Some(sold) = book.ledger.sell(cost) {
            return Asked::Sold(sold);
        }
        if book.ledger.is_sealed() {
            return Asked::Refused(NotSold::NotReserved);
        }
        if !book.ledger.admits(cost) {
            return Asked::Refused(book.used_up());
        }
        if book.waiters.len() >= WAITERS_MAX {
            book.waiters.retain(|waiter| !waiter.told.is_closed());
            if book.waiters.len() >= WAITERS_MAX {
                return Asked::Refused(NotSold::Busy);
            }
        }
        let (told, answer) = oneshot::channel();
        book.waiters.push_back(Waiter { cost, told });
        Asked::Waits(answer)
    }

    /// Whether somebody should ask for a write now, who is thereby the one that does.
    pub(in crate::engine) fn begins_write(&self) -> bool {
        self.books().begin_write()
    }

    /// The same for a caller that must not wait: when the books are being written in, whoever does that looks
    /// himself.
    pub(in crate::engine) fn begins_write_if_free(&self) -> bool {
        let books = match self.books.try_lock() {
            Ok(books) => Some(books),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        books.is_some_and(|mut books| books.begin_write())
    }

    /// The write that was begun was refused before it began.
    pub(in crate::engine) fn write_was_refused(&self) {
        let books = &mut *self.books();
        books.is_queued = false;
        for book in &mut books.meters {
            book.fail_all();
        }
    }

    /// Draws all rows up.
    pub(in crate::engine) fn draw_up(
        &self,
        workspace: WorkspaceId,
        names: &[String],
        stored: &StoredMeters<'_, '_>,
        now: Wall,
    ) -> Vec<MeterCount> {
        let books = &mut *self.books();
        books.is_queued = false;
        books.open(workspace, names, stored);
        let count = |place: usize, period: u32, row: MeterRow| {
            let meter = names.get(place)?.clone();
            Some(MeterCount { workspace, meter, period, row })
        };
        books.closing.append(&mut books.closed);
        let closing = books.closing.iter().cloned();
        let mut counts: Vec<_> =
            closing.filter_map(|(place, period, row)| count(place, period, row)).collect();
        for (place, book) in books.meters.iter_mut().enumerate() {
            let waiting = book.waiting();
            if let Some(row) = book.ledger.draw_up(waiting, now) {
                counts.extend(count(place, book.ledger.period().index, row));
            }
        }
        counts
    }

    /// Sells to those who wait, out of what is durable now, and fills the leases. Gives whether another write is
    /// begun, which the caller must ask for.
    pub(in crate::engine) fn settle(&self, is_durable: bool) -> bool {
        let books = &mut *self.books();
        if is_durable {
            books.closing.clear();
        } else {
            // A write that broke off may not have drawn up, and then nobody else takes the flag off.
            books.is_queued = false;
            let later = std::mem::take(&mut books.closed);
            books.closed = std::mem::take(&mut books.closing);
            books.closed.extend(later);
        }
        for book in &mut books.meters {
            let free = book.ledger.settle(is_durable);
            if is_durable && !book.ledger.is_sealed() {
                book.serve(free);
            } else {
                book.fail_all();
            }
        }
        let more = books.meters.iter().any(|book| !book.waiters.is_empty() || book.ledger.is_behind());
        is_durable && more && !std::mem::replace(&mut books.is_queued, true)
    }

    /// Sells by these facts from here on: their limits, and periods numbered from their anchor. Nothing that was
    /// used in the present period is forgotten.
    pub(in crate::engine) fn adopt(
        &self,
        facts: &WorkspaceFacts,
        stored: Option<(&[String], &StoredMeters<'_, '_>)>,
        now: Wall,
    ) {
        let books = &mut *self.books();
        if let Some((names, stored)) = stored {
            // Rows that are numbered from another anchor are about to go.
            books.open(facts.id(), names, stored);
        }
        // The number counts as well: an anchor that moves by whole months leaves the bounds where they were.
        let is_anchored = |period: &Period| *period == facts.period_numbered(period.index);
        if books.meters.iter().all(|book| is_anchored(book.ledger.period())) {
            self.roll_over(books, facts, now);
        } else {
            self.follow_anchor(books, facts.period(now), stored.is_some(), now);
        }
        for (book, terms) in books.meters.iter_mut().zip(facts.meters()) {
            book.ledger.set_terms(*terms);
        }
    }

    /// Goes on in `period`, which is numbered from another anchor. `rows_go` says that no row stays that was
    /// numbered from it before.
    fn follow_anchor(&self, books: &mut Books, period: Period, rows_go: bool, now: Wall) {
        for (book, present) in books.meters.iter_mut().zip(&self.present) {
            if book.ledger.period().is_over(now) {
                let _dropped_with_its_anchor = book.ledger.roll(period, now);
                if rows_go {
                    book.ledger.open(None);
                }
            } else {
                book.ledger.move_to(period);
            }
            present.store(Arc::new(book.ledger.meter()));
        }
        books.closed.clear();
        books.closing.clear();
    }

    /// Goes on in the period that `now` lies in, earlier or later, whose rows are read when they are next drawn
    /// up: for a clock that an operator has set.
    pub(in crate::engine) fn reopen(&self, facts: &WorkspaceFacts, now: Wall) {
        let books = &mut *self.books();
        if books.meters.iter().any(|book| book.ledger.period().start > now) {
            self.roll(books, facts, now);
        }
        self.roll_over(books, facts, now);
    }

    /// Sells nothing any more: what is drawn up next gives back all that was not sold.
    pub(in crate::engine) fn seal(&self) {
        for book in &mut self.books().meters {
            book.ledger.seal();
            book.fail_all();
        }
    }

    /// Takes over the row of a period that is open now, when the books do not have it yet.
    pub(in crate::engine) fn open(&self, number: MeterNo, period: u32, row: Option<&MeterRow>) {
        let books = &mut *self.books();
        if let Some(book) = books.meters.get_mut(usize::from(number.0))
            && book.ledger.period().index == period
        {
            book.ledger.open(row);
        }
    }

    /// The periods of meters whose rows were not read yet.
    pub(in crate::engine) fn unread(&self, facts: &WorkspaceFacts, now: Wall) -> Vec<(MeterNo, u32)> {
        let books = &mut *self.books();
        self.roll_over(books, facts, now);
        let unread = (0..).zip(&books.meters).filter(|(_, book)| !book.ledger.is_open());
        unread.map(|(number, book)| (MeterNo(number), book.ledger.period().index)).collect()
    }

    /// What the books say of each meter.
    pub(in crate::engine) fn views(&self) -> Vec<BookView> {
        let view = |book: &Book| BookView {
            period: *book.ledger.period(),
            spent: book.ledger.spent(),
            burnt: book.ledger.burnt(),
            reserved: book.ledger.reserved(),
            thresholds: *book.ledger.thresholds(),
        };
        self.books().meters.iter().map(view).collect()
    }

    fn roll_over(&self, books: &mut Books, facts: &WorkspaceFacts, now: Wall) {
        if books.meters.iter().any(|book| book.ledger.period().is_over(now)) {
            self.roll(books, facts, now);
        }
    }

    fn roll(&self, books: &mut Books, facts: &WorkspaceFacts, now: Wall) {
        let period = facts.period(now);
        for (place, (book, present)) in books.meters.iter_mut().zip(&self.present).enumerate() {
            let over = book.ledger.period().index;
            if let Some(last) = book.ledger.roll(period, now) {
                books.closed.push((place, over, last));
            }
            present.store(Arc::new(book.ledger.meter()));
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Each step leaves the books in order, or panics before it changes them.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn begin_write(&mut self) -> bool {
        let wanted = self.meters.iter().any(|book| !book.waiters.is_empty() || book.ledger.wants_more());
        wanted && !std::mem::replace(&mut self.is_queued, true)
    }

    /// Opens the ledgers whose rows were not read yet. One that cannot be read reserves nothing.
    fn open(&mut self, workspace: WorkspaceId, names: &[String], stored: &StoredMeters<'_, '_>) {
        for (book, name) in self.meters.iter_mut().zip(names).filter(|(book, _)| !book.ledger.is_open()) {
            match stored.row(workspace, name, book.ledger.period().index) {
                Ok(row) => book.ledger.open(row.as_ref()),
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "a meter cannot be opened and sells nothing");
                    book.fail_all();
                }
            }
        }
    }
}

impl Book {
    /// Units that calls wait for which are still there.
    fn waiting(&self) -> u64 {
        let there = self.waiters.iter().filter(|waiter| !waiter.told.is_closed());
        there.fold(0, |units, waiter| units.saturating_add(waiter.cost))
    }

    fn serve(&mut self, mut free: u64) {
        for waiter in std::mem::take(&mut self.waiters) {
            if waiter.told.is_closed() {
                continue;
            }
            if let Some(sold) = self.ledger.hand_out(&mut free, waiter.cost) {
                // One that went away meanwhile gives its units back by dropping them.
                let _ = waiter.told.send(Ok(sold));
            } else if self.ledger.admits(waiter.cost) {
                self.waiters.push_back(waiter);
            } else {
                let _ = waiter.told.send(Err(self.used_up()));
            }
        }
        self.ledger.fill(free);
    }

    fn fail_all(&mut self) {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.told.send(Err(NotSold::NotReserved));
        }
    }

    fn used_up(&self) -> NotSold {
        NotSold::UsedUp { resets_at: self.ledger.period().end }
    }
}
