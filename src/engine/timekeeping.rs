//! The durable mark of believed time, and an operator's word about the machine's clock.
//!
//! While there is traffic the mark lies ahead of every time that something was decided by, so a start that goes
//! on from it finds no such time again, whatever the machine's clock says by then. The word that moves time back
//! is durable before it acts.
//!
//! Never here: which time is believed (domain), a reading of a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::changes::run_to_the_end;
use super::{ChangeRefused, Engine};
use crate::domain::audit::{Actor, AuditAction, FieldChange, Subject};
use crate::domain::believed_time::ClockState;
use crate::domain::time::{Now, Wall};
use crate::store::ChangeError;

/// How far ahead of believed time the mark is set at least: two checkpoints of the default interval, 2 s, in
/// microseconds. With longer intervals it is two of those.
const AHEAD_MIN_MICROS: u64 = 2_000_000;
/// And at most: two of the longest interval that can be set, 2 min, in microseconds.
const AHEAD_MAX_MICROS: u64 = 120_000_000;
/// Without traffic the mark moves when it is so old: 10 min, in microseconds. A start after a crash falls behind
/// by no more, and an idle daemon hardly writes.
const IDLE_MICROS: u64 = 600_000_000;

/// The mark as the file has it.
#[derive(Debug)]
pub(super) struct ClockMark(AtomicI64);

/// What no mark is: no moment lies before it.
const NO_MARK: i64 = i64::MIN;

/// What is believed of time, as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockView {
    /// What decisions go by.
    pub believed: Wall,
    /// What the machine's clock says.
    pub machine: Wall,
    /// What a start after a crash would go on from; `None` before the first checkpoint.
    pub mark: Option<Wall>,
    /// How they stand to each other.
    pub state: ClockState,
}

impl ClockMark {
    pub(super) fn new(saved: Option<Wall>) -> Self {
        Self(AtomicI64::new(saved.map_or(NO_MARK, Wall::micros)))
    }

    /// Takes note of what was committed.
    pub(super) fn is_saved(&self, mark: Wall) {
        self.0.store(mark.micros(), Ordering::Relaxed);
    }

    fn saved(&self) -> Option<Wall> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros != NO_MARK).then_some(Wall::from_micros(micros))
    }
}

impl Engine {
    /// What is believed of time.
    pub fn clock_view(&self) -> ClockView {
        let status = self.clock.status();
        ClockView {
            believed: status.believed,
            machine: status.machine.wall,
            mark: self.clock_mark.saved(),
            state: status.state,
        }
    }

    /// Believes the machine's clock as it stands, forward or back, by an operator's word. Nothing is believed that
    /// is not durable.
    pub async fn confirm_clock(self: &Arc<Self>, actor: Actor) -> Result<ClockView, ChangeRefused> {
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            // A checkpoint meanwhile would put back the mark of the time that ends here.
            let clock_mark = engine.clock_mark_line.lock().await;
            let status = engine.clock.status();
            let (before, after) = (status.believed, status.machine.wall);
            let mark = after.plus_micros(AHEAD_MIN_MICROS);
            let mut entry = engine.entry(actor, AuditAction::ClockConfirmed, Subject::Installation);
            entry.changes = vec![FieldChange {
                field: "believed".to_owned(),
                before: Some(before.to_rfc3339()),
                after: Some(after.to_rfc3339()),
            }];
            engine.store.confirm_clock(mark, entry).await?;
            engine.clock_mark.is_saved(mark);
            engine.clock.confirm(status.machine);
            if after < before {
                engine.time_was_set_back();
            }
            drop(clock_mark);
            Ok(engine.clock_view())
        })
        .await
    }

    /// Lowers the mark to believed time, so that the next start goes on without a gap. To be called when nothing
    /// is decided any more.
    pub async fn save_clock_mark(&self) -> Result<(), ChangeError> {
        // An operator's word that is under way goes first, and this is the time that it says.
        let _clock_mark = self.clock_mark_line.lock().await;
        let mark = self.clock.now().wall;
        self.store.save_clock_mark(mark).await?;
        self.clock_mark.is_saved(mark);
        Ok(())
    }

    /// The mark that a checkpoint of so many rows at `now` takes along, if any.
    pub(super) fn mark_to_save(&self, rows: usize, now: Now) -> Option<Wall> {
        let is_old = self.clock_mark.saved().is_none_or(|mark| now.wall.micros_since(mark) > IDLE_MICROS);
        let since_last_micros = self.checkpoints.nanos_since_last_good(now.mono) / 1_000;
        let ahead_micros = since_last_micros.saturating_mul(2).clamp(AHEAD_MIN_MICROS, AHEAD_MAX_MICROS);
        (rows > 0 || is_old).then(|| now.wall.plus_micros(ahead_micros))
    }

    /// What follows when an operator moved time back: months that had begun have not.
    fn time_was_set_back(&self) {
        let now = self.clock.now().wall;
        tracing::warn!(believed = %now.to_rfc3339(), "time was set back by an operator");
        self.reopen_meters();
    }
}
