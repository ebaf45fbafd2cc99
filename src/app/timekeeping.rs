//! Believed time over the daemon's life: from the mark that the last run left, and held against the machine's
//! clock ever after.
//!
//! What is odd about the machine's clock is logged once when it begins and once when it ends.
//!
//! Never here: which time is believed.

use std::mem::discriminant;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use crate::clock::{Clock, ClockStatus};
use crate::domain::believed_time::ClockState;
use crate::store::Store;

/// How long a step of the machine's clock may go unnoticed.
const TICK: Duration = Duration::from_millis(100);

/// Goes on from the mark. To be called before anything is decided.
pub(super) fn start(store: &Store, clock: &Clock) -> Result<(), StartError> {
    if let Some(mark) = store.clock_mark()? {
        clock.start_from(mark);
    }
    tell(ClockState::Ok, &clock.status());
    Ok(())
}

/// Ticks until the shutdown.
pub(super) fn keep(tasks: &TaskTracker, clock: &Clock, shutdown: &CancellationToken) {
    let (clock, shutdown) = (clock.clone(), shutdown.clone());
    tasks.spawn(async move {
        let mut told = clock.status().state;
        while shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            let status = clock.status();
            tell(told, &status);
            told = status.state;
        }
    });
}

/// Logs a state of another kind than `before`.
fn tell(before: ClockState, status: &ClockStatus) {
    if discriminant(&before) == discriminant(&status.state) {
        return;
    }
    let (machine, believed) = (status.machine.wall.to_rfc3339(), status.believed.to_rfc3339());
    let by_s = status.state.by_secs();
    match status.state {
        ClockState::Ok => tracing::info!(%machine, "the machine's clock and believed time agree again"),
        ClockState::Ahead { .. } => tracing::warn!(
            %machine, %believed, by_s,
            "the machine's clock went ahead and is not believed: set it right, or say `keyward clock confirm`"
        ),
        ClockState::Behind { .. } => tracing::warn!(
            %machine, %believed, by_s,
            "the machine's clock is behind: believed time goes on at half speed until that has caught up, or until `keyward clock confirm`"
        ),
        ClockState::AheadAtStart { .. } => tracing::warn!(
            %machine, by_s,
            "the machine's clock is more than a day ahead of the last run and is believed: if that is right, say `keyward clock confirm`"
        ),
    }
}
