//! What the store does while the disk refuses: nothing is acknowledged, reads go on, and writing goes on as
//! soon as the disk takes writes again.
//!
//! ```text
//! a write fails ─► a stand-in shows the last good commit ─► a probe is written and synced ─► the failed commit
//! is undone, durably ─► a new database takes the stand-in's place, and the next group is made
//! ```
//!
//! What failed was not made: nobody was told that it was, and it is undone before anything else is written, so
//! what memory holds and the last good commit agree. The lock of the file is held throughout. Tries come at once,
//! then further and further apart, until a commit is good again.
//!
//! Never here: a second try of what failed. Whoever was refused asks again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::Shared;
use super::disk::{Failed, Open};
use super::error::StoreError;
use super::queue::Paused;
use crate::domain::causes::Causes;

/// While the disk refuses, changes that come are refused so often: none waits longer for that.
const PAUSE: Duration = Duration::from_millis(50);
/// The most pauses between two tries: 5 s.
const PAUSES_MAX: u32 = 100;
/// The longest wait for reads that began before a write failed: they end in microseconds, and one that does not
/// may itself be refused.
const READERS_WAIT: Duration = Duration::from_millis(500);
/// How often somebody who waits for readers looks.
const LOOK: Duration = Duration::from_millis(1);

/// The database itself, once nobody else has it; `None` when that takes too long.
pub(super) fn alone(open: Arc<Open>) -> Option<Open> {
    let looks = READERS_WAIT.as_millis() / LOOK.as_millis();
    for _ in (0..looks).take_while(|_| Arc::strong_count(&open) > 1) {
        thread::park_timeout(LOOK);
    }
    Arc::into_inner(open)
}

/// How the disk does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DiskHealth {
    /// Whether it refuses writes: every change is refused, and what the last good commit left can be read.
    pub is_ill: bool,
    /// How often it began to refuse since the store was opened.
    pub failures: u64,
    /// How often it took writes again.
    pub recoveries: u64,
}

/// How the disk does, as the writer has it.
#[derive(Default)]
pub(super) struct Illness {
    is_ill: AtomicBool,
    failures: AtomicU64,
    recoveries: AtomicU64,
    /// Pauses before the next first try; more when the last recovery came to nothing.
    pauses: AtomicU32,
    /// Databases that may still be read, though another one took their place.
    retired: Mutex<Vec<Weak<()>>>,
    /// One stand-in at a time is opened and takes its place.
    turn: Mutex<()>,
}

impl Illness {
    pub(super) fn health(&self) -> DiskHealth {
        DiskHealth {
            is_ill: self.is_ill.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            recoveries: self.recoveries.load(Ordering::Relaxed),
        }
    }

    /// A commit was good: the next illness is a new one.
    pub(super) fn commit_was_good(&self) {
        self.pauses.store(0, Ordering::Relaxed);
    }
}

impl Shared {
    /// Has the failures of a database that is now the one in use lead to a stand-in.
    pub(super) fn watch(self: &Arc<Self>, open: &Arc<Open>) {
        let (shared, of) = (Arc::downgrade(self), Arc::downgrade(open));
        open.watch.tell(Box::new(move |failed| {
            let Some((shared, of)) = shared.upgrade().zip(of.upgrade()) else { return };
            match failed {
                // Before redb hears of it: from then on it refuses to read, too.
                Failed::Write => shared.stand_in_for(&of),
                Failed::Read => {}
            }
            // It need not be the writer that met it: a read may make room in redb's cache by a write.
            shared.queue.wake();
        }));
    }

    /// Puts a stand-in in the place of a database that is in use and no good any more. If none can be opened, the
    /// old one goes on with what it has in memory.
    pub(super) fn stand_in_for(&self, failed: &Arc<Open>) {
        let turn = self.turn();
        if !self.is_in_use(failed) {
            return;
        }
        self.put_stand_in();
        drop(turn);
        let looks = READERS_WAIT.as_millis() / LOOK.as_millis();
        for _ in (0..looks).take_while(|_| failed.readers() > 0) {
            thread::park_timeout(LOOK);
        }
    }

    fn put_stand_in(&self) {
        match self.disk.open_stand_in() {
            Ok(stand_in) => {
                stand_in.show_last_commit();
                self.replace(Arc::new(stand_in));
            }
            Err(error) => {
                tracing::error!(error = %Causes(&error), "the store can be read from memory alone");
            }
        }
    }

    /// Shows a commit that came through though something failed beside it, before anybody is told of it: a
    /// stand-in that was opened meanwhile may show the commit before.
    pub(super) fn show_last_commit(&self, made_it: &Arc<Open>) {
        let _turn = self.turn();
        self.replace(Arc::clone(made_it));
        self.put_stand_in();
    }

    /// Refuses every change until the disk takes writes again, or the store is closed and one last try failed.
    pub(super) fn recover(self: &Arc<Self>, first: StoreError) {
        let illness = &self.illness;
        illness.failures.fetch_add(1, Ordering::Relaxed);
        illness.is_ill.store(true, Ordering::Relaxed);
        tracing::error!(
            error = %Causes(&first),
            "the store cannot be written; every change is refused until it can be again"
        );
        let (mut why, mut tries) = (first, 0_u64);
        let mut pauses = illness.pauses.load(Ordering::Relaxed);
        loop {
            let mut is_closed = false;
            for _ in 0..pauses {
                self.refuse_waiting(&why);
                is_closed = self.queue.pause(PAUSE) == Paused::Closed;
                if is_closed {
                    break;
                }
            }
            pauses = pauses.saturating_mul(2).clamp(1, PAUSES_MAX);
            illness.pauses.store(pauses, Ordering::Relaxed);
            tries += 1;
            match catch_unwind(AssertUnwindSafe(|| self.heal())).unwrap_or(Err(StoreError::BrokeOff)) {
                Ok(()) => {
                    illness.recoveries.fetch_add(1, Ordering::Relaxed);
                    illness.is_ill.store(false, Ordering::Relaxed);
                    tracing::warn!(tries, "the store can be written again");
                    return;
                }
                Err(error) => why = error,
            }
            self.refuse_waiting(&why);
            if is_closed {
                tracing::error!(error = %Causes(&why), tries, "the store cannot be written to the end");
                return;
            }
        }
    }

    /// One try.
    fn heal(self: &Arc<Self>) -> Result<(), StoreError> {
        if let Ok(open) = self.current()
            && open.watch.has_failed()
        {
            self.stand_in_for(&open);
        }
        let io = |operation| move |error: redb::StorageError| StoreError::database(operation)(error);
        self.disk.probe().map_err(redb::StorageError::Io).map_err(io("write a probe beside its file"))?;
        self.disk.undo().map_err(redb::StorageError::Io).map_err(io("undo what failed"))?;
        let open = Arc::new(self.disk.open().map_err(StoreError::database("open its file anew"))?);
        open.show_last_commit();
        self.watch(&open);
        self.replace(Arc::clone(&open));
        // A commit frees what the one before it could reach; so nobody may be reading by then who does not read
        // through the new database, which would know of them.
        while !self.retired_are_gone() {
            thread::park_timeout(LOOK);
        }
        self.disk.keep_head().map_err(redb::StorageError::Io).map_err(io("read its head"))?;
        if open.takes_writes() { Ok(()) } else { Err(open.watch.cause()) }
    }

    fn refuse_waiting(&self, why: &StoreError) {
        let refused = Err(why.clone());
        for job in self.queue.take_all() {
            super::writer::answer(job, &refused);
        }
    }

    /// Puts a database in the place of the one in use.
    fn replace(&self, open: Arc<Open>) {
        let mut in_use = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Closed meanwhile: it stays so.
        let retired = in_use.as_mut().map(|in_use| std::mem::replace(in_use, open));
        drop(in_use);
        if let Some(retired) = retired {
            self.retired().push(retired.is_alive());
        }
    }

    fn retired_are_gone(&self) -> bool {
        let mut retired = self.retired();
        retired.retain(|alive| alive.strong_count() > 0);
        retired.is_empty()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.illness.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<()>>> {
        self.illness.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
