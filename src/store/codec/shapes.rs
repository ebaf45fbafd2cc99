//! The record of a profile's legacy shapes: what the texts of its imported keys look like.
//!
//! One record holds all shapes of a profile, in the order in which imports told them. The golden bytes at the
//! end can never change.
//!
//! Never here: a text, or a head.

use serde::{Deserialize, Serialize};

use super::{Place, decode, encode};
use crate::domain::legacy::{Alphabet, LegacyShape};
use crate::store::error::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapesTwin {
    shapes: Vec<ShapeTwin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeTwin {
    tag: String,
    length_min: u16,
    length_max: u16,
    alphabet: String,
    /// Absent: found by the digest of the whole text alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head_len: Option<u16>,
}

/// Writes a profile's shapes down.
pub(in crate::store) fn to_bytes(shapes: &[LegacyShape]) -> Result<Vec<u8>, StoreError> {
    // The domain's bounds are far below what the numbers of the record hold.
    let short = |length: usize| u16::try_from(length).map_err(|_| StoreError::BrokeOff);
    let twin = |shape: &LegacyShape| {
        let (least, most) = shape.lengths();
        Ok(ShapeTwin {
            tag: shape.tag().to_owned(),
            length_min: short(least)?,
            length_max: short(most)?,
            alphabet: shape.alphabet().name().to_owned(),
            head_len: shape.head_len().map(short).transpose()?,
        })
    };
    encode(&ShapesTwin { shapes: shapes.iter().map(twin).collect::<Result<_, StoreError>>()? })
}

/// Reads the shapes of this profile.
pub(in crate::store) fn from_bytes(profile: &str, bytes: &[u8]) -> Result<Vec<LegacyShape>, StoreError> {
    let place = Place { table: "legacy_shapes", key: &profile };
    let read = |twin: ShapeTwin| {
        let alphabet = Alphabet::ALL.into_iter().find(|alphabet| alphabet.name() == twin.alphabet)?;
        let (least, most) = (twin.length_min.into(), twin.length_max.into());
        let shape = LegacyShape::new(&twin.tag, least, most, alphabet).ok()?;
        match twin.head_len {
            Some(head_len) => shape.with_head(head_len.into()).ok(),
            None => Some(shape),
        }
    };
    let twin: ShapesTwin = decode(place, bytes)?;
    let shapes = twin.shapes.into_iter().map(read).collect::<Option<_>>();
    shapes.ok_or_else(|| place.corrupt("one of its shapes is out of bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    fn shapes() -> Vec<LegacyShape> {
        vec![
            LegacyShape::new("sk_live_", 40, 44, Alphabet::Base62).unwrap().with_head(12).unwrap(),
            LegacyShape::new("", 64, 64, Alphabet::Hex).unwrap(),
        ]
    }

    #[test]
    fn its_format_is_pinned() {
        let read = |bytes: &[u8]| from_bytes("socialcrm", bytes).unwrap();
        check_golden(&to_bytes(&shapes()).unwrap(), SHAPES, read, &shapes());
    }

    #[test]
    fn every_alphabet_is_read_back() {
        for alphabet in Alphabet::ALL {
            let shapes = [LegacyShape::new("a_", 40, 40, alphabet).unwrap()];
            assert_eq!(from_bytes("p", &to_bytes(&shapes).unwrap()).unwrap(), shapes);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&to_bytes(&shapes()).unwrap(), |bytes| from_bytes("p", bytes).map(drop));
    }

    const SHAPES: &str = "
        0281a67368617065739285a3746167a8736b5f6c6976655faa6c656e6774685f6d696e28aa6c656e6774685f6d61782c
        a8616c706861626574a6626173653632a8686561645f6c656e0c84a3746167a0aa6c656e6774685f6d696e40aa6c656e
        6774685f6d617840a8616c706861626574a3686578";
}
