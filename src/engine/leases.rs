//! Buying units of a meter: out of its lease, or by waiting for the next one.
//!
//! The request path never writes to the disk. A lease that is low is renewed by whoever sees it first, in the
//! background; only a call that outruns it waits for the commit, for a bounded time, and is refused as a fault
//! when there is none. It is never admitted on credit.
//!
//! Never here: an order of checks (verify), an arithmetic of leases (domain).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Engine;
use super::live::{Asked, LiveWorkspace, NotSold};
use crate::clock::Clock;
use crate::domain::causes::Causes;
use crate::domain::counts::MeterCount;
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::domain::facts::WorkspaceFacts;
use crate::domain::meter::lease::MeterReceipt;
use crate::domain::profile::MeterNo;
use crate::domain::record::WorkspaceRecord;
use crate::domain::time::Wall;
use crate::store::{ChangeError, Counted, MeterRows, Store, StoredMeters};

/// The longest wait for a lease: many commits of a healthy disk.
const LEASE_WAIT_MAX: Duration = Duration::from_secs(2);

/// What a call that got no unit because of us is told to wait, in seconds.
const RETRY_SECS: u32 = 1;

impl Engine {
    /// Sells `cost` units to a call that outran the lease, after a wait if need be.
    pub(super) async fn buy(
        &self,
        workspace: &Arc<LiveWorkspace>,
        meter: MeterNo,
        cost: u64,
    ) -> Result<MeterReceipt, Refusal> {
        let now = self.clock.now().wall;
        let asked = workspace.meters.ask(meter, cost, &workspace.facts.load(), now);
        let answer = match asked {
            Asked::Sold(receipt) => return Ok(receipt),
            Asked::Refused(not_sold) => return Err(refusal(meter, not_sold)),
            Asked::Waits(answer) => answer,
        };
        self.slots.note_workspace(workspace);
        self.renew_lease(workspace, workspace.meters.begins_write());
        let told = tokio::time::timeout(LEASE_WAIT_MAX, answer).await;
        let told = told.unwrap_or(Ok(Err(NotSold::NotReserved))).unwrap_or(Err(NotSold::NotReserved));
        told.map_err(|not_sold| refusal(meter, not_sold))
    }

    /// Asks for a write of a workspace's meters, for the caller that is to.
    pub(super) fn renew_lease(&self, workspace: &Arc<LiveWorkspace>, begins_write: bool) {
        if begins_write {
            self.meter_write(workspace).queue();
        }
    }

    /// A write of a workspace's meters.
    pub(super) fn meter_write(&self, workspace: &Arc<LiveWorkspace>) -> MeterWrite {
        MeterWrite::of(workspace, &self.store, &self.clock)
    }

    /// Goes on in the months that the clock shows now, after an operator has set it.
    pub(super) fn reopen_meters(&self) {
        let now = self.clock.now().wall;
        for workspace in self.slots.workspaces() {
            workspace.meters.reopen(&workspace.facts.load(), now);
        }
    }

    /// Sells nothing any more and gives back, durably, what was reserved and not sold: for a clean stop, when
    /// nobody asks any more.
    pub async fn seal_meters(&self) -> Result<(), ChangeError> {
        let mut meters: Vec<Arc<dyn MeterRows>> = Vec::new();
        for workspace in self.slots.workspaces() {
            workspace.meters.seal();
            meters.push(Arc::new(self.meter_write(&workspace)));
        }
        let counted = Counted { meters, ..Default::default() };
        self.store.checkpoint(counted).await
    }
}

fn refusal(meter: MeterNo, not_sold: NotSold) -> Refusal {
    match not_sold {
        NotSold::UsedUp { resets_at } => Denial::Quota { meter, resets_at }.into(),
        NotSold::NotReserved | NotSold::Busy => Fault::Busy { retry_after_secs: RETRY_SECS }.into(),
    }
}

/// A write of a workspace's meters on its way.
pub(super) struct MeterWrite {
    workspace: Arc<LiveWorkspace>,
    store: Store,
    clock: Clock,
    /// The record that the same transaction writes, once it is known.
    changed: Mutex<Option<WorkspaceRecord>>,
}

impl MeterWrite {
    fn of(workspace: &Arc<LiveWorkspace>, store: &Store, clock: &Clock) -> Self {
        let (workspace, store, clock) = (Arc::clone(workspace), store.clone(), clock.clone());
        Self { workspace, store, clock, changed: Mutex::default() }
    }

    /// The time at which rows are drawn up, which may be much later than the write was asked for.
    fn now(&self) -> Wall {
        self.clock.now().wall
    }

    fn queue(self) {
        let workspace = Arc::clone(&self.workspace);
        let store = self.store.clone();
        if let Err(error) = store.write_meters(Arc::new(self)) {
            tracing::warn!(error = %Causes(&error), "a lease could not be renewed");
            workspace.meters.write_was_refused();
        }
    }
}

impl MeterRows for MeterWrite {
    fn rows_max(&self) -> usize {
        2 * self.workspace.profile.meters.len()
    }

    fn draw_up(&self, stored: &StoredMeters<'_, '_>, changed: Option<&WorkspaceRecord>) -> Vec<MeterCount> {
        let (meters, names) = (&self.workspace.meters, self.workspace.profile.meters.as_slice());
        if let Some(record) = changed {
            // Less is sold from here on, before the commit; more, and what the facts say, only after it.
            let facts = WorkspaceFacts::compile(record, &self.workspace.profile);
            meters.adopt(&facts, Some((names, stored)), self.now());
            *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.clone());
        }
        let id = self.workspace.facts.load().id();
        meters.draw_up(id, names, stored, self.now())
    }

    fn settle(&self, is_durable: bool) {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match changed {
            Some(record) if is_durable => self.workspace.apply(&record),
            Some(_) => self.workspace.meters.adopt(&self.workspace.facts.load(), None, self.now()),
            None => {}
        }
        if self.workspace.meters.settle(is_durable) {
            Self::of(&self.workspace, &self.store, &self.clock).queue();
        }
    }
}
