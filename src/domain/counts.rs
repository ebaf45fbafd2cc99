//! What is counted beside the records, as a checkpoint saves it: absolute values, so that saving twice is
//! harmless.
//!
//! Never here: the counting itself (bucket, meter, engine), or a difference to what was saved before.

use super::id::WorkspaceId;
use super::period::PeriodIndex;
use super::time::Wall;

/// What is counted of a key beside its record, as a checkpoint saves it: absolute values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyCounters {
    /// Its last successful authentication.
    pub last_used_at: Option<Wall>,
    /// How far its bucket was from full, in nanoseconds.
    pub nanos_to_full: u64,
    /// When that was, in microseconds of wall time.
    pub saved_at_micros: i64,
}

/// One meter of one workspace in one period, as a checkpoint saves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterCount {
    /// Whose.
    pub workspace: WorkspaceId,
    /// The meter's name.
    pub meter: String,
    /// Which month after the anchor.
    pub period: PeriodIndex,
    /// Calls so far.
    pub used: u64,
}
