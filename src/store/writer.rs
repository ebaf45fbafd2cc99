//! The one thread that writes: it takes the changes that wait, makes them in one transaction, commits it,
//! then answers.
//!
//! Every commit is two-phase and saves the allocator's state, so that a kill at any instant costs the next
//! start nothing. Nobody is answered before the commit returned; when it fails, everybody of the group is
//! told so. A change that is refused writes nothing and leaves its group as it was.
//!
//! After an I/O error the store heals between two groups (healing).
//!
//! Never here: an end of the thread by panic with somebody still waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::Durability;
use tokio::sync::oneshot;

use super::Shared;
use super::changes::Done;
use super::disk::Open;
use super::error::{ChangeError, StoreError};
use super::meters::MeterRows;
use super::queue::Queue;
use super::tables::WriteTables;

/// A change on its way through the writer. The trait only hides what the waiter gets; [`Change`] is its one
/// implementation.
pub(super) trait Job: Send {
    /// The most rows that it writes.
    fn rows(&self) -> usize;
    /// Makes the change in the open transaction, once. Whether it wrote; an error spoils the whole
    /// transaction.
    fn make(&mut self, tables: &mut WriteTables<'_>) -> Result<bool, StoreError>;
    /// Tells the waiter, if there still is one.
    fn answer(self: Box<Self>, committed: &Result<(), StoreError>);
}

/// What a waiter waits for.
pub(super) type Reply<T> = Result<T, ChangeError>;

/// A change that answers with a `T`.
pub(super) struct Change<T, F> {
    rows: usize,
    make: Option<F>,
    outcome: Option<Reply<T>>,
    /// Who draws up meter rows in it, and is told what became of them.
    meters: Vec<Arc<dyn MeterRows>>,
    waiter: oneshot::Sender<Reply<T>>,
}

impl<T, F> Change<T, F>
where
    F: FnOnce(&mut WriteTables<'_>) -> Result<Done<T>, ChangeError>,
{
    /// A change of at most `rows` rows, and where its answer will arrive.
    pub(super) fn new(rows: usize, make: F) -> (Self, oneshot::Receiver<Reply<T>>) {
        let (waiter, answer) = oneshot::channel();
        (Self { rows, make: Some(make), outcome: None, meters: Vec::new(), waiter }, answer)
    }

    /// The same change, and these are told what became of it.
    pub(super) fn settling(self, meters: Vec<Arc<dyn MeterRows>>) -> Self {
        Self { meters, ..self }
    }
}

impl<T, F> Job for Change<T, F>
where
    T: Send,
    F: FnOnce(&mut WriteTables<'_>) -> Result<Done<T>, ChangeError> + Send,
{
    fn rows(&self) -> usize {
        self.rows
    }

    fn make(&mut self, tables: &mut WriteTables<'_>) -> Result<bool, StoreError> {
        let Some(make) = self.make.take() else { return Ok(false) };
        match make(tables) {
            Ok(Done { value, wrote }) => {
                self.outcome = Some(Ok(value));
                Ok(wrote)
            }
            Err(ChangeError::NotDurable(error)) => Err(error),
            Err(refused) => {
                self.outcome = Some(Err(refused));
                Ok(false)
            }
        }
    }

    fn answer(self: Box<Self>, committed: &Result<(), StoreError>) {
        // A refused change drew nothing up, and what a neighbour drew up for the same meters was committed.
        for meters in &self.meters {
            meters.settle(committed.is_ok());
        }
        // A refusal waits for the commit as well: it may rest on a neighbour's change that was not made in
        // the end.
        let reply = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::BrokeOff.into()),
            (Err(error), _) => Err(ChangeError::NotDurable(error.clone())),
        };
        // The waiter may have gone away; the change stands all the same.
        let _ = self.waiter.send(reply);
    }
}

/// The thread's whole life: until the queue is closed and empty.
pub(super) fn run(shared: &Arc<Shared>) {
    let _ending = Ending(&shared.queue);
    while let Some(group) = shared.queue.next_group() {
        let Ok(open) = shared.current() else { return };
        let broke_off = !group.is_empty() && make(shared, &open, group);
        if broke_off {
            // What a panic leaves of a database is not to be relied on.
            open.watch.fence();
        }
        let why = if broke_off { StoreError::BrokeOff } else { open.watch.cause() };
        drop(open);
        // Another one, if something failed below it meanwhile, by whatever thread.
        if shared.current().is_ok_and(|open| !open.takes_writes()) {
            shared.recover(why);
        }
    }
}

/// Makes a group of changes and answers it. Whether it broke off by a panic.
fn make(shared: &Shared, open: &Arc<Open>, mut group: Vec<Box<dyn Job>>) -> bool {
    // A panic leaves the transaction uncommitted, which is all that must hold.
    let committed = catch_unwind(AssertUnwindSafe(|| write(shared, open, &mut group)))
        .unwrap_or(Err(StoreError::BrokeOff));
    if committed.is_ok() && open.watch.has_failed() {
        shared.show_last_commit(open);
    }
    for job in group {
        answer(job, &committed);
    }
    matches!(committed, Err(StoreError::BrokeOff))
}

/// Tells a job what became of its group.
pub(super) fn answer(job: Box<dyn Job>, committed: &Result<(), StoreError>) {
    // What a caller's own code does at the end of its change is its own affair.
    let _ = catch_unwind(AssertUnwindSafe(|| job.answer(committed)));
}

/// Makes a group of changes in one transaction.
fn write(shared: &Shared, open: &Open, group: &mut Vec<Box<dyn Job>>) -> Result<(), StoreError> {
    // A stand-in would take the changes, and lose them.
    if !open.takes_writes() {
        return Err(StoreError::Ill);
    }
    let mut txn = open.database.begin_write().map_err(StoreError::database("begin a transaction"))?;
    txn.set_durability(Durability::Immediate).map_err(StoreError::database("begin a transaction"))?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    let mut wrote = false;
    {
        let mut tables = WriteTables::open(&txn)?;
        tables.sealer = shared.sealer();
        tables.witnesses = shared.witnesses();
        for job in group.iter_mut() {
            wrote |= job.make(&mut tables)?;
        }
        // An import shares its transaction with those behind it, as long as nobody else waits.
        let mut rows = group.iter().map(|job| job.rows()).sum();
        while let Some(import) = shared.queue.next_import_after(rows) {
            rows += import.rows();
            group.push(import);
            wrote |= group.last_mut().map_or(Ok(false), |import| import.make(&mut tables))?;
        }
    }
    if !wrote {
        return txn.abort().map_err(StoreError::database("end a transaction"));
    }
    txn.commit().map_err(StoreError::database("commit a transaction"))?;
    open.show_last_commit();
    shared.disk.keep_head().map_err(redb::StorageError::Io).map_err(StoreError::database("read its head"))?;
    shared.illness.commit_was_good();
    shared.commits.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Leaves nobody waiting, however the thread ends.
struct Ending<'a>(&'a Queue);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
