//! The records that checkpoints write: the counters of a key and the count of a meter, as absolute values.
//!
//! Keys, workspaces, meters' names and periods are the tables' keys and are not repeated inside. The golden
//! bytes at the end are format 1: they can never change. Leases will add the meter's `reserved` as a format
//! of its own.
//!
//! Never here: a difference to what was saved before.

use serde::{Deserialize, Serialize};

use super::{Place, decode, encode};
use crate::domain::counts::KeyCounters;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::period::PeriodIndex;
use crate::domain::time::Wall;
use crate::store::error::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountersTwin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_us: Option<i64>,
    nanos_to_full: u64,
    saved_us: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeterTwin {
    used: u64,
}

/// Writes a key's counters down.
pub(in crate::store) fn counters_to_bytes(counters: &KeyCounters) -> Result<Vec<u8>, StoreError> {
    encode(&CountersTwin {
        last_used_us: counters.last_used_at.map(Wall::micros),
        nanos_to_full: counters.nanos_to_full,
        saved_us: counters.saved_at_micros,
    })
}

/// Reads the counters of this key.
pub(in crate::store) fn counters_from_bytes(id: KeyId, bytes: &[u8]) -> Result<KeyCounters, StoreError> {
    let twin: CountersTwin = decode(Place { table: "key_counters", key: &id }, bytes)?;
    Ok(KeyCounters {
        last_used_at: twin.last_used_us.map(Wall::from_micros),
        nanos_to_full: twin.nanos_to_full,
        saved_at_micros: twin.saved_us,
    })
}

/// Writes a meter's count down.
pub(in crate::store) fn meter_to_bytes(used: u64) -> Result<Vec<u8>, StoreError> {
    encode(&MeterTwin { used })
}

/// Reads the count of this meter.
pub(in crate::store) fn meter_from_bytes(
    workspace: WorkspaceId,
    meter: &str,
    period: PeriodIndex,
    bytes: &[u8],
) -> Result<u64, StoreError> {
    let key = format!("{workspace} {meter} {period}");
    let twin: MeterTwin = decode(Place { table: "meters", key: &key }, bytes)?;
    Ok(twin.used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    const KEY: KeyId = KeyId::from_u128(9);

    fn counters() -> KeyCounters {
        KeyCounters {
            last_used_at: Some(Wall::from_secs(1_700_000_000)),
            nanos_to_full: 1_500_000_000,
            saved_at_micros: 1_700_000_000_000_001,
        }
    }

    #[test]
    fn format_1_of_counters_is_pinned() {
        let read = |bytes: &[u8]| counters_from_bytes(KEY, bytes).unwrap();
        check_golden(&counters_to_bytes(&counters()).unwrap(), COUNTERS, read, &counters());
        let unused = KeyCounters { last_used_at: None, ..counters() };
        check_golden(&counters_to_bytes(&unused).unwrap(), UNUSED, read, &unused);
    }

    #[test]
    fn format_1_of_meters_is_pinned() {
        let read = |bytes: &[u8]| meter_from_bytes(WorkspaceId::from_u128(7), "ai", 2, bytes).unwrap();
        check_golden(&meter_to_bytes(70_000).unwrap(), METER, read, &70_000);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&counters_to_bytes(&counters()).unwrap(), |bytes| {
            counters_from_bytes(KEY, bytes).map(drop)
        });
        check_no_damage_panics(&meter_to_bytes(70_000).unwrap(), |bytes| {
            meter_from_bytes(WorkspaceId::from_u128(7), "ai", 2, bytes).map(drop)
        });
    }

    const COUNTERS: &str = "
        0183ac6c6173745f757365645f7573cf00060a24181e4000ad6e616e6f735f746f5f66756c6cce59682f00a873617665
        645f7573cf00060a24181e4001";
    const UNUSED: &str = "
        0182ad6e616e6f735f746f5f66756c6cce59682f00a873617665645f7573cf00060a24181e4001";
    const METER: &str = "0181a475736564ce00011170";
}
