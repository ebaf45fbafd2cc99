//! Meter rows, drawn up on the writer's own thread.
//!
//! Memory sells units only out of what a row has reserved durably, so rows must follow each other as memory
//! means them: they are drawn up inside the transaction that writes them, and whoever drew them up is told what
//! became of them before the next transaction begins.
//!
//! Never here: how much is reserved (domain), or when (engine).

use std::sync::Arc;

use super::changes::{Done, put_meters};
use super::codec;
use super::error::{ChangeError, StoreError};
use super::queue::Lane;
use super::tables::{WriteTables, meter_place};
use super::writer::Change;
use super::{Store, queue};
use crate::domain::counts::{MeterCount, MeterRow};
use crate::domain::id::WorkspaceId;
use crate::domain::period::PeriodIndex;
use crate::domain::record::WorkspaceRecord;

/// The meters of a workspace, as memory has them. Both calls come from the writer's thread and must be quick.
pub trait MeterRows: Send + Sync {
    /// The most rows that it draws up.
    fn rows_max(&self) -> usize;

    /// Draws up the rows as they shall stand. `changed` is the workspace's record when the same transaction
    /// changes it; when that moves the billing anchor, every row of the workspace is replaced by these.
    fn draw_up(&self, stored: &StoredMeters<'_, '_>, changed: Option<&WorkspaceRecord>) -> Vec<MeterCount>;

    /// What became of what was drawn up last, if anything was: it is durable, or nobody knows.
    fn settle(&self, is_durable: bool);
}

/// Meter rows as they stand in the transaction under way.
pub struct StoredMeters<'a, 'txn>(pub(super) &'a WriteTables<'txn>);

impl StoredMeters<'_, '_> {
    /// One row; `None` when there is none.
    pub fn row(
        &self,
        workspace: WorkspaceId,
        meter: &str,
        period: PeriodIndex,
    ) -> Result<Option<MeterRow>, StoreError> {
        let place = meter_place(workspace, meter, period);
        let row = self.0.meters.get(place.as_slice()).map_err(StoreError::database("read a meter"))?;
        row.map(|bytes| codec::counts::meter_from_bytes(workspace, meter, period, bytes.value())).transpose()
    }
}

impl Store {
    /// Queues a write of these meters, ahead of all changes but revokes. It returns at once: what becomes of it
    /// is told to `meters` alone, unless it is refused here.
    pub fn write_meters(&self, meters: Arc<dyn MeterRows>) -> Result<(), ChangeError> {
        let (change, _nobody_waits) = saving(vec![meters]);
        self.0.shared.queue.push(Lane::Lease, Box::new(change))
    }

    /// Saves these meters, in parts that other changes go between.
    pub(super) async fn save_meters(&self, meters: Vec<Arc<dyn MeterRows>>) -> Result<(), ChangeError> {
        let mut waiting = meters.into_iter().peekable();
        while waiting.peek().is_some() {
            let (mut part, mut rows) = (Vec::new(), 0);
            while let Some(next) = waiting
                .next_if(|next| part.is_empty() || rows + next.rows_max() <= queue::CHECKPOINT_ROWS_MAX)
            {
                rows += next.rows_max();
                part.push(next);
            }
            let (change, answer) = saving(part);
            self.0.shared.queue.push(Lane::Checkpoint, Box::new(change))?;
            answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))?;
        }
        Ok(())
    }
}

type Saved = tokio::sync::oneshot::Receiver<Result<(), ChangeError>>;
type Save = Box<dyn FnOnce(&mut WriteTables<'_>) -> Result<Done<()>, ChangeError> + Send>;

fn saving(meters: Vec<Arc<dyn MeterRows>>) -> (Change<(), Save>, Saved) {
    let rows = meters.iter().map(|meters| meters.rows_max()).sum();
    let drawn = meters.clone();
    let save: Save = Box::new(move |tables| {
        let mut wrote = false;
        for meters in &drawn {
            let counts = meters.draw_up(&StoredMeters(tables), None);
            wrote |= !counts.is_empty();
            put_meters(tables, &counts)?;
        }
        Ok(Done { value: (), wrote })
    });
    let (change, answer) = Change::new(rows, save);
    (change.settling(meters), answer)
}
