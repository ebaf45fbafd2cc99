//! What is counted beside the records, as a checkpoint saves it: absolute values, so that saving twice is
//! harmless.
//!
//! Never here: the counting itself (bucket, meter, engine), or a difference to what was saved before.

use super::id::WorkspaceId;
use super::period::PeriodIndex;
use super::record::{KeySecret, SECRETS_MAX};
use super::time::Wall;

/// What is counted of a key beside its record, as a checkpoint saves it: absolute values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyCounters {
    /// Its last successful authentication, by whichever secret.
    pub last_used_at: Option<Wall>,
    /// The last use of each of its secrets; `None` when it was saved before secrets were told apart.
    pub secret_uses: Option<SecretUses>,
    /// How far its bucket was from full, in nanoseconds.
    pub nanos_to_full: u64,
    /// When that was, in microseconds of wall time.
    pub saved_at_micros: i64,
}

/// The last uses of a key's secrets, in no order.
pub type SecretUses = [Option<SecretUse>; SECRETS_MAX];

/// When one secret was last used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretUse {
    /// The secret.
    pub epoch: u32,
    /// The last successful authentication by it.
    pub at: Wall,
}

impl KeyCounters {
    /// The last use of one of a key's `secrets`, which stand in the order of making. A use that was saved
    /// before secrets were told apart is that of the newest secret there was at that time.
    pub fn last_use_of(&self, epoch: u32, secrets: &[KeySecret]) -> Option<Wall> {
        if let Some(uses) = self.secret_uses {
            return uses.iter().flatten().find(|used| used.epoch == epoch).map(|used| used.at);
        }
        let used_at = self.last_used_at?;
        let newest = secrets.iter().rev().find(|secret| secret.created_at <= used_at)?;
        (newest.epoch == epoch).then_some(used_at)
    }
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
