//! What is counted beside the records, as a checkpoint saves it: absolute values, so that saving twice is
//! harmless.
//!
//! Never here: the counting itself (bucket, meter, engine), or a difference to what was saved before.

use super::id::WorkspaceId;
use super::meter::thresholds::Thresholds;
use super::period::PeriodIndex;
use super::rate::windows::SavedWindows;
use super::record::{KeySecret, SECRETS_MAX};
use super::time::Wall;

/// What is counted of a key beside its record, as a checkpoint saves it: absolute values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyCounters {
    /// Its last successful authentication, by whichever secret.
    pub last_used_at: Option<Wall>,
    /// The last use of each of its secrets; `None` when it was saved before secrets were told apart.
    pub secret_uses: Option<SecretUses>,
    /// How far its bucket was from full; of one with a single window, only the furthest.
    pub windows: SavedWindows,
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

/// What the file has of one meter in one period.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MeterRow {
    /// Units that may have been sold: the one number that counts after a crash.
    pub reserved: u64,
    /// Units known to have been sold, when this was written. The rest of what is reserved is burnt when the
    /// process dies.
    pub used: u64,
    /// The thresholds that were passed.
    pub thresholds: Thresholds,
}

/// The row of one meter of one workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterCount {
    /// Whose.
    pub workspace: WorkspaceId,
    /// The meter's name.
    pub meter: String,
    /// Which month after the anchor.
    pub period: PeriodIndex,
    /// What stands in it.
    pub row: MeterRow,
}

#[cfg(test)]
mod tests {
    use super::super::hash::StoredHash;
    use super::super::key::Prefix;
    use super::*;

    const PHC: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";

    fn secret(epoch: u32, made_at_secs: i64) -> KeySecret {
        KeySecret {
            prefix: Prefix::from_bytes(b"aB3dE6gH").unwrap(),
            epoch,
            hash: StoredHash::parse(PHC).unwrap(),
            fingerprint: None,
            imported: None,
            created_at: Wall::from_secs(made_at_secs),
            ends_at: None,
        }
    }

    #[test]
    fn a_use_that_tells_no_secret_is_that_of_the_newest_there_was() {
        let secrets = [secret(1, 100), secret(2, 200)];
        for (used_at, first, second) in
            [(99, false, false), (100, true, false), (199, true, false), (200, false, true)]
        {
            let used_at = Some(Wall::from_secs(used_at));
            let counters = KeyCounters { last_used_at: used_at, ..KeyCounters::default() };
            let uses = [1, 2].map(|epoch| counters.last_use_of(epoch, &secrets));
            assert_eq!(uses, [used_at.filter(|_| first), used_at.filter(|_| second)]);
        }
    }

    #[test]
    fn a_use_that_tells_its_secret_is_no_others() {
        let (secrets, at) = ([secret(1, 100), secret(2, 200)], Wall::from_secs(300));
        let secret_uses = Some([Some(SecretUse { epoch: 1, at }), None]);
        let counters = KeyCounters { last_used_at: Some(at), secret_uses, ..KeyCounters::default() };
        let uses = [1, 2, 3].map(|epoch| counters.last_use_of(epoch, &secrets));
        assert_eq!(uses, [Some(at), None, None]);
    }
}
