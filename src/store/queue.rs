//! The one line in which changes wait for the writer, and the order in which it takes them.
//!
//! Revokes go first, then leases, which requests wait for, then other admin changes, then checkpoints, then
//! imports, which get a transaction of their own when nothing else waits, and many of them one while nobody else
//! came for some time. Each lane is bounded and a full one refuses at once, so whoever got no refusal knows that the
//! change will be tried. One group is at most [`GROUP_ROWS_MAX`] rows, so that a revoke never waits behind a long
//! transaction.
//!
//! Never here: what a change does.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{ChangeError, StoreError};
use super::writer::Job;

/// The most rows of one transaction: a few milliseconds of work beside its two syncs.
pub(super) const GROUP_ROWS_MAX: usize = 500;
/// The most rows of one transaction of imports that nobody waits behind: its syncs are then a small part of it.
pub(super) const IMPORT_GROUP_ROWS_MAX: usize = 25_000;
/// Imports go one by one until so many of them were written with nothing else between: who changes keys beside an
/// import waits behind one batch and not behind fifty.
const CALM_IMPORTS: usize = 200;
/// The most rows of one part of a checkpoint. What is left of a group goes to admin changes, so neither
/// starves the other.
pub(super) const CHECKPOINT_ROWS_MAX: usize = 400;
/// The most changes that wait in one lane: some seconds of work for the writer.
pub(super) const LANE_MAX: usize = 4_096;

/// Which lane a change waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Revoke,
    Lease,
    Admin,
    Checkpoint,
    Import,
}

/// The lanes, and whether more may come.
#[derive(Default)]
pub(super) struct Queue {
    lanes: Mutex<Lanes>,
    filled: Condvar,
}

struct Lanes {
    /// Imports since something else was written.
    calm: usize,
    /// Whether the group that was taken last is of an import.
    is_importing: bool,
    revoke: VecDeque<Box<dyn Job>>,
    lease: VecDeque<Box<dyn Job>>,
    admin: VecDeque<Box<dyn Job>>,
    checkpoint: VecDeque<Box<dyn Job>>,
    import: VecDeque<Box<dyn Job>>,
    closed: bool,
    /// Whether the writer is to look up, though nothing waits.
    is_woken: bool,
}

/// What a pause of the writer came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paused {
    /// It lasted.
    Over,
    /// No more changes may come.
    Closed,
}

impl Default for Lanes {
    fn default() -> Self {
        let (revoke, lease, admin, checkpoint, import) = Default::default();
        let (calm, is_importing, closed) = (CALM_IMPORTS, false, false);
        let is_woken = false;
        Self { calm, is_importing, revoke, lease, admin, checkpoint, import, closed, is_woken }
    }
}

impl Queue {
    /// Puts a change in its lane.
    pub(super) fn push(&self, lane: Lane, job: Box<dyn Job>) -> Result<(), ChangeError> {
        let mut lanes = self.lanes();
        if lanes.closed {
            return Err(StoreError::Closed.into());
        }
        let waiting = match lane {
            Lane::Revoke => &mut lanes.revoke,
            Lane::Lease => &mut lanes.lease,
            Lane::Admin => &mut lanes.admin,
            Lane::Checkpoint => &mut lanes.checkpoint,
            Lane::Import => &mut lanes.import,
        };
        if waiting.len() >= LANE_MAX {
            return Err(ChangeError::Busy);
        }
        waiting.push_back(job);
        drop(lanes);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for changes and takes as many as fit into one transaction, in order; none when the writer was woken
    /// for something else. `None` once the queue is closed and empty.
    pub(super) fn next_group(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut lanes = self
            .filled
            .wait_while(self.lanes(), |lanes| lanes.waiting() == 0 && !lanes.closed && !lanes.is_woken)
            .unwrap_or_else(PoisonError::into_inner);
        lanes.is_woken = false;
        let group = lanes.take_group();
        (!group.is_empty() || !lanes.closed).then_some(group)
    }

    /// Takes all that wait.
    pub(super) fn take_all(&self) -> Vec<Box<dyn Job>> {
        let mut all = Vec::new();
        let mut lanes = self.lanes();
        loop {
            let group = lanes.take_group();
            if group.is_empty() {
                return all;
            }
            all.extend(group);
        }
    }

    /// Lets so much time pass, unless the queue is closed or comes to be.
    pub(super) fn pause(&self, time: Duration) -> Paused {
        let (lanes, _) = self
            .filled
            .wait_timeout_while(self.lanes(), time, |lanes| !lanes.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if lanes.closed { Paused::Closed } else { Paused::Over }
    }

    /// Has the writer look up, though nothing waits.
    pub(super) fn wake(&self) {
        self.lanes().is_woken = true;
        self.filled.notify_all();
    }

    /// The next import, if it can be written in the transaction that `rows` of imports are written in already: nothing
    /// else waits, and nothing else was written lately.
    pub(super) fn next_import_after(&self, rows: usize) -> Option<Box<dyn Job>> {
        let mut lanes = self.lanes();
        let is_alone = lanes.is_importing && lanes.waiting() == lanes.import.len();
        let may_grow = is_alone && lanes.calm >= CALM_IMPORTS;
        lanes.import.pop_front_if(|job| may_grow && rows + job.rows() <= IMPORT_GROUP_ROWS_MAX)
    }

    /// How many changes wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lanes().waiting()
    }

    /// Takes no more changes; those that wait are still made.
    pub(super) fn close(&self) {
        self.lanes().closed = true;
        self.filled.notify_all();
    }

    /// Takes no more changes and forgets those that wait, whose waiters are told so.
    pub(super) fn abandon(&self) {
        let mut lanes = self.lanes();
        let dropped = std::mem::take(&mut *lanes);
        lanes.closed = true;
        drop(lanes);
        // Outside the lock: what a change holds may be anything.
        drop(dropped);
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    fn waiting(&self) -> usize {
        self.revoke.len() + self.lease.len() + self.admin.len() + self.checkpoint.len() + self.import.len()
    }

    fn take_group(&mut self) -> Vec<Box<dyn Job>> {
        let mut group = Vec::new();
        // A waiting part of a checkpoint has its place in every group, and so has the first admin change: what
        // goes before them, however dense, cannot hold them up.
        let kept = self.checkpoint.front().map_or(0, |part| part.rows());
        let admin = self.admin.front().map_or(0, |change| change.rows());
        let mut left = GROUP_ROWS_MAX.saturating_sub(kept);
        for (lane, kept) in [(&mut self.revoke, 0), (&mut self.lease, admin), (&mut self.admin, 0)] {
            while let Some(job) = lane.pop_front_if(|job| job.rows() + kept <= left) {
                left -= job.rows();
                group.push(job);
            }
        }
        group.extend(self.checkpoint.pop_front());
        self.is_importing = group.is_empty();
        if !self.is_importing {
            self.calm = 0;
        } else if let Some(import) = self.import.pop_front() {
            self.calm = self.calm.saturating_add(1);
            group.push(import);
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::super::tables::WriteTables;
    use super::*;

    struct Rows(usize);

    impl Job for Rows {
        fn rows(&self) -> usize {
            self.0
        }

        fn make(&mut self, _: &mut WriteTables<'_>) -> Result<bool, StoreError> {
            Ok(false)
        }

        fn answer(self: Box<Self>, _: &Result<(), StoreError>) {}
    }

    impl Queue {
        fn push_rows(&self, lane: Lane) {
            self.push(lane, Box::new(Rows(GROUP_ROWS_MAX))).unwrap();
        }

        /// How many jobs the next transaction has.
        fn next_length(&self) -> usize {
            let mut length = self.next_group().unwrap().len();
            while self.next_import_after(length * GROUP_ROWS_MAX).is_some() {
                length += 1;
            }
            length
        }
    }

    #[test]
    fn imports_share_a_transaction_only_while_nobody_else_waits_or_came_lately() {
        let most = IMPORT_GROUP_ROWS_MAX / GROUP_ROWS_MAX;
        let queue = Queue::default();
        let imports = |many: usize| (0..many).for_each(|_| queue.push_rows(Lane::Import));
        imports(most + 1);
        assert_eq!((queue.next_length(), queue.next_length()), (most, 1));

        imports(3);
        assert_eq!(queue.next_group().unwrap().len(), 1);
        queue.push_rows(Lane::Revoke);
        assert!(queue.next_import_after(GROUP_ROWS_MAX).is_none(), "a revoke came in the middle");
        assert_eq!(queue.next_length(), 1, "the revoke, and no import beside it");
        assert_eq!(queue.waiting(), 2);

        imports(CALM_IMPORTS + 10);
        for written in 0..CALM_IMPORTS - 1 {
            assert_eq!(queue.next_length(), 1, "after {written}");
        }
        assert_eq!(queue.next_length(), 13, "it has been calm for long");
    }
}
