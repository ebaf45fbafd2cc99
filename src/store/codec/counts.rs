//! The records that checkpoints write: the counters of a key and the count of a meter, as absolute values.
//!
//! Keys, workspaces, meters' names and periods are the tables' keys and are not repeated inside. The golden
//! bytes at the end can never change. Format 1 knew one last use of a key; format 2 adds that of each secret.
//! Format 3 adds the windows of a key's bucket, what is reserved of a meter, and its marks.
//!
//! Never here: a difference to what was saved before.

use serde::{Deserialize, Serialize};

use super::{Place, decode, encode};
use crate::domain::counts::{KeyCounters, MeterRow, SecretUse, SecretUses};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::meter::thresholds::{Threshold, Thresholds};
use crate::domain::period::PeriodIndex;
use crate::domain::rate::windows::SavedWindows;
use crate::domain::time::Wall;
use crate::store::error::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountersTwin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_us: Option<i64>,
    nanos_to_full: u64,
    saved_us: i64,
    /// Since format 2. Absent: nothing is known of single secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_uses: Option<Vec<SecretUseTwin>>,
    /// Since format 3. Absent: the bucket has no windows of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    windows: Vec<WindowTwin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowTwin {
    window_secs: u32,
    nanos_to_full: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretUseTwin {
    epoch: u32,
    used_us: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeterTwin {
    used: u64,
    /// Since format 3. Absent: what is used, as it was before there were leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reserved: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marks: Option<MarksTwin>,
}

/// When each mark was passed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "units stand at the end")]
struct MarksTwin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eighty_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_us: Option<i64>,
}

/// Writes a key's counters down.
pub(in crate::store) fn counters_to_bytes(counters: &KeyCounters) -> Result<Vec<u8>, StoreError> {
    encode(&CountersTwin {
        last_used_us: counters.last_used_at.map(Wall::micros),
        nanos_to_full: counters.windows.nanos_to_full,
        saved_us: counters.saved_at_micros,
        secret_uses: counters.secret_uses.map(|uses| {
            let twin = |used: SecretUse| SecretUseTwin { epoch: used.epoch, used_us: used.at.micros() };
            uses.into_iter().flatten().map(twin).collect()
        }),
        windows: {
            let twin = |(window_secs, nanos_to_full)| WindowTwin { window_secs, nanos_to_full };
            counters.windows.each.into_iter().flatten().map(twin).collect()
        },
    })
}

/// Reads the counters of this key.
pub(in crate::store) fn counters_from_bytes(id: KeyId, bytes: &[u8]) -> Result<KeyCounters, StoreError> {
    let place = Place { table: "key_counters", key: &id };
    let twin: CountersTwin = decode(place, bytes)?;
    let secret_uses = twin.secret_uses.map(|twins| {
        let mut uses = SecretUses::default();
        if twins.len() > uses.len() {
            return Err(place.corrupt("it has uses of too many secrets"));
        }
        for (used, twin) in uses.iter_mut().zip(twins) {
            *used = Some(SecretUse { epoch: twin.epoch, at: Wall::from_micros(twin.used_us) });
        }
        Ok(uses)
    });
    let mut windows = SavedWindows { nanos_to_full: twin.nanos_to_full, ..SavedWindows::default() };
    if twin.windows.len() > windows.each.len() {
        return Err(place.corrupt("it has too many windows"));
    }
    for (window, twin) in windows.each.iter_mut().zip(twin.windows) {
        *window = Some((twin.window_secs, twin.nanos_to_full));
    }
    Ok(KeyCounters {
        last_used_at: twin.last_used_us.map(Wall::from_micros),
        windows,
        saved_at_micros: twin.saved_us,
        secret_uses: secret_uses.transpose()?,
    })
}

/// Writes a meter's row down.
pub(in crate::store) fn meter_to_bytes(row: &MeterRow) -> Result<Vec<u8>, StoreError> {
    let at = |wanted: Threshold| {
        row.thresholds.iter().find(|(threshold, _)| *threshold == wanted).map(|(_, at)| at.micros())
    };
    let marks = MarksTwin {
        eighty_us: at(Threshold::Eighty),
        limit_us: at(Threshold::Limit),
        grace_us: at(Threshold::Grace),
    };
    let marks = row.thresholds.furthest().map(|_| marks);
    encode(&MeterTwin { used: row.used, reserved: Some(row.reserved), marks })
}

/// Reads the row of this meter.
pub(in crate::store) fn meter_from_bytes(
    workspace: WorkspaceId,
    meter: &str,
    period: PeriodIndex,
    bytes: &[u8],
) -> Result<MeterRow, StoreError> {
    let key = format!("{workspace} {meter} {period}");
    let place = Place { table: "meters", key: &key };
    let twin: MeterTwin = decode(place, bytes)?;
    let reserved = twin.reserved.unwrap_or(twin.used);
    if twin.used > reserved {
        return Err(place.corrupt("more is used than reserved"));
    }
    let passed = twin.marks.into_iter().flat_map(|marks| {
        [
            (Threshold::Eighty, marks.eighty_us),
            (Threshold::Limit, marks.limit_us),
            (Threshold::Grace, marks.grace_us),
        ]
    });
    let passed = passed.filter_map(|(threshold, at)| Some((threshold, Wall::from_micros(at?))));
    Ok(MeterRow { reserved, used: twin.used, thresholds: Thresholds::of(passed) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    const KEY: KeyId = KeyId::from_u128(9);

    fn counters() -> KeyCounters {
        KeyCounters {
            last_used_at: Some(Wall::from_secs(1_700_000_000)),
            windows: SavedWindows { nanos_to_full: 1_500_000_000, ..SavedWindows::default() },
            saved_at_micros: 1_700_000_000_000_001,
            secret_uses: None,
        }
    }

    /// What format 1 could not say.
    fn since_format_2() -> KeyCounters {
        let used = SecretUse { epoch: 3, at: Wall::from_secs(1_700_000_000) };
        KeyCounters { secret_uses: Some([Some(used), None]), ..counters() }
    }

    /// What format 2 could not say.
    fn since_format_3() -> KeyCounters {
        let each = [Some((1, 900_000_000)), Some((60, 1_500_000_000)), None, None];
        KeyCounters { windows: SavedWindows { each, ..counters().windows }, ..since_format_2() }
    }

    #[test]
    fn formats_1_to_3_of_counters_are_pinned() {
        let read = |bytes: &[u8]| counters_from_bytes(KEY, bytes).unwrap();
        check_golden(&counters_to_bytes(&counters()).unwrap(), COUNTERS, read, &counters());
        let unused = KeyCounters { last_used_at: None, ..counters() };
        check_golden(&counters_to_bytes(&unused).unwrap(), UNUSED, read, &unused);
        check_golden(&counters_to_bytes(&since_format_2()).unwrap(), SINCE_2, read, &since_format_2());
        check_golden(&counters_to_bytes(&since_format_3()).unwrap(), SINCE_3, read, &since_format_3());
        let known_unused = KeyCounters { secret_uses: Some(SecretUses::default()), ..unused };
        check_golden(&counters_to_bytes(&known_unused).unwrap(), UNUSED_SINCE_2, read, &known_unused);
    }

    #[test]
    fn uses_of_more_secrets_than_a_key_has_are_damage() {
        let mut bytes = vec![2];
        let uses = (0..3).map(|epoch| SecretUseTwin { epoch, used_us: 0 }).collect();
        let twin = CountersTwin {
            last_used_us: None,
            nanos_to_full: 0,
            saved_us: 0,
            secret_uses: Some(uses),
            windows: Vec::new(),
        };
        twin.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map()).unwrap();
        assert!(matches!(counters_from_bytes(KEY, &bytes), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn formats_1_and_3_of_meters_are_pinned() {
        let read = |bytes: &[u8]| meter_from_bytes(WorkspaceId::from_u128(7), "ai", 2, bytes).unwrap();
        let spent = MeterRow { reserved: 70_000, used: 70_000, thresholds: Thresholds::default() };
        assert_eq!(read(&hex::decode(METER_SINCE_1).unwrap()), spent);
        check_golden(&meter_to_bytes(&meter()).unwrap(), METER, read, &meter());
    }

    #[test]
    fn more_used_than_reserved_is_damage() {
        let bytes =
            meter_to_bytes(&MeterRow { reserved: 1, used: 2, thresholds: Thresholds::default() }).unwrap();
        let read = meter_from_bytes(WorkspaceId::from_u128(7), "ai", 2, &bytes);
        assert!(matches!(read, Err(StoreError::Corrupt { .. })));
    }

    fn meter() -> MeterRow {
        let thresholds = Thresholds::of([(Threshold::Eighty, Wall::from_secs(1_700_000_000))]);
        MeterRow { reserved: 70_700, used: 70_000, thresholds }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&counters_to_bytes(&since_format_3()).unwrap(), |bytes| {
            counters_from_bytes(KEY, bytes).map(drop)
        });
        check_no_damage_panics(&meter_to_bytes(&meter()).unwrap(), |bytes| {
            meter_from_bytes(WorkspaceId::from_u128(7), "ai", 2, bytes).map(drop)
        });
    }

    const COUNTERS: &str = "
        0183ac6c6173745f757365645f7573cf00060a24181e4000ad6e616e6f735f746f5f66756c6cce59682f00a873617665
        645f7573cf00060a24181e4001";
    const UNUSED: &str = "
        0182ad6e616e6f735f746f5f66756c6cce59682f00a873617665645f7573cf00060a24181e4001";
    const SINCE_3: &str = "
        0385ac6c6173745f757365645f7573cf00060a24181e4000ad6e616e6f735f746f5f66756c6cce59682f00a873617665
        645f7573cf00060a24181e4001ab7365637265745f757365739182a565706f636803a7757365645f7573cf00060a2418
        1e4000a777696e646f77739282ab77696e646f775f7365637301ad6e616e6f735f746f5f66756c6cce35a4e90082ab77
        696e646f775f736563733cad6e616e6f735f746f5f66756c6cce59682f00";
    const SINCE_2: &str = "
        0284ac6c6173745f757365645f7573cf00060a24181e4000ad6e616e6f735f746f5f66756c6cce59682f00a873617665
        645f7573cf00060a24181e4001ab7365637265745f757365739182a565706f636803a7757365645f7573cf00060a2418
        1e4000";
    const UNUSED_SINCE_2: &str = "
        0283ad6e616e6f735f746f5f66756c6cce59682f00a873617665645f7573cf00060a24181e4001ab7365637265745f75
        73657390";
    const METER_SINCE_1: &str = "0181a475736564ce00011170";
    const METER: &str = "
        0383a475736564ce00011170a87265736572766564ce0001142ca56d61726b7381a96569676874795f7573cf00060a24
        181e4000";
}
