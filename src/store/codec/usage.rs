//! The record of a row of usage: counts by place and outcome, of one key in one hour or one day.
//!
//! Key, hour and day are the tables' keys and are not repeated inside. Outcomes are words, so that what an older
//! version counted can be read when the numbers of refusals have changed. The golden bytes can never change.
//!
//! Never here: a difference to what was saved before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Place, decode, encode};
use crate::domain::usage::{PlaceUsage, UsageRow};
use crate::store::error::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageTwin {
    places: BTreeMap<String, PlaceTwin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceTwin {
    valid: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<Cow<'static, str>, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    answers: BTreeMap<Cow<'static, str>, u64>,
}

/// Writes a row down.
pub(in crate::store) fn to_bytes(row: &UsageRow) -> Result<Vec<u8>, StoreError> {
    let twin = |(place, usage): (&str, &PlaceUsage)| {
        let PlaceUsage { valid, refused, answers } = usage.clone();
        (place.to_owned(), PlaceTwin { valid, refused, answers })
    };
    encode(&UsageTwin { places: row.places().map(twin).collect() })
}

/// Reads the row at this place of a table.
pub(in crate::store) fn from_bytes(place: Place<'_>, bytes: &[u8]) -> Result<UsageRow, StoreError> {
    let twin: UsageTwin = decode(place, bytes)?;
    let places = twin.places.into_iter().map(|(place, PlaceTwin { valid, refused, answers })| {
        (place, PlaceUsage { valid, refused, answers })
    });
    Ok(UsageRow::of(places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    const PLACE: Place<'_> = Place { table: "usage_hours", key: &"1 key_1" };

    fn row() -> UsageRow {
        let posts = PlaceUsage {
            valid: 70_000,
            refused: BTreeMap::from([("rate".into(), 3)]),
            answers: BTreeMap::from([("4xx".into(), 1), ("ok".into(), 69_999)]),
        };
        let other = PlaceUsage {
            refused: BTreeMap::from([("of_a_later_version".into(), 1)]),
            ..PlaceUsage::default()
        };
        UsageRow::of([("GET /v1/posts".to_owned(), posts), ("other".to_owned(), other)])
    }

    #[test]
    fn format_2_of_usage_is_pinned() {
        let read = |bytes: &[u8]| from_bytes(PLACE, bytes).unwrap();
        check_golden(&to_bytes(&row()).unwrap(), ROW, read, &row());
        check_golden(&to_bytes(&UsageRow::default()).unwrap(), EMPTY, read, &UsageRow::default());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&to_bytes(&row()).unwrap(), |bytes| from_bytes(PLACE, bytes).map(drop));
    }

    const ROW: &str = "
        0281a6706c6163657382ad474554202f76312f706f73747383a576616c6964ce00011170a77265667573656481a47261
        746503a7616e737765727382a334787801a26f6bce0001116fa56f7468657282a576616c696400a77265667573656481
        b26f665f615f6c617465725f76657273696f6e01";
    const EMPTY: &str = "0281a6706c6163657380";
}
