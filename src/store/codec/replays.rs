//! The record of signatures that were taken: one piece of the replay memory, as a clean stop leaves it.
//!
//! Each is 56 bytes behind the one before: stamp (seconds, signed), key, MAC, numbers big-endian. Every piece
//! tells the last stamp that was let go, in seconds. The golden bytes at the end can never change.
//!
//! Never here: an order, or a promise that a piece holds none twice.

use serde::{Deserialize, Serialize};

use super::{Place, decode, encode};
use crate::domain::id::KeyId;
use crate::domain::replays::SavedReplays;
use crate::domain::signature::{SignatureMac, Stamp, UsedSignature};
use crate::store::error::StoreError;

const STAMP_LEN: usize = 8;
const KEY_LEN: usize = 16;
const MAC_LEN: usize = 32;
const ONE_LEN: usize = STAMP_LEN + KEY_LEN + MAC_LEN;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PieceTwin {
    #[serde(with = "packed")]
    used: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    let_go_through_s: Option<i64>,
}

/// Many bytes, written as `MessagePack`'s binary.
mod packed {
    use std::fmt;

    use serde::de::Visitor;
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ptr_arg, reason = "serde hands over the field as it is")]
    pub(super) fn serialize<S: Serializer>(bytes: &Vec<u8>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}

/// Writes a piece down.
pub(in crate::store) fn to_bytes(
    piece: &[UsedSignature],
    let_go_through: Option<Stamp>,
) -> Result<Vec<u8>, StoreError> {
    let mut used = Vec::with_capacity(piece.len() * ONE_LEN);
    for one in piece {
        used.extend(one.stamp.secs().to_be_bytes());
        used.extend(one.key.as_u128().to_be_bytes());
        used.extend(one.mac.as_bytes());
    }
    encode(&PieceTwin { used, let_go_through_s: let_go_through.map(Stamp::secs) })
}

/// Reads the piece of this number.
pub(in crate::store) fn from_bytes(number: u32, bytes: &[u8]) -> Result<SavedReplays, StoreError> {
    let place = Place { table: "replays", key: &number };
    let twin: PieceTwin = decode(place, bytes)?;
    let (whole, rest) = twin.used.as_chunks::<ONE_LEN>();
    if !rest.is_empty() {
        return Err(place.corrupt("its last signature is cut"));
    }
    let used = whole.iter().map(|one| read(one).ok_or_else(|| place.corrupt("a signature has no key")));
    let let_go_through = twin.let_go_through_s.map(Stamp::from_secs);
    Ok(SavedReplays { used: used.collect::<Result<_, _>>()?, let_go_through })
}

fn read(one: &[u8; ONE_LEN]) -> Option<UsedSignature> {
    let (stamp, rest) = one.split_first_chunk::<STAMP_LEN>()?;
    let (key, mac) = rest.split_first_chunk::<KEY_LEN>()?;
    Some(UsedSignature {
        stamp: Stamp::from_secs(i64::from_be_bytes(*stamp)),
        key: KeyId::from_u128(u128::from_be_bytes(*key)),
        mac: SignatureMac::from_bytes(mac.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    fn piece() -> Vec<UsedSignature> {
        let one = |secs, key, byte| UsedSignature {
            stamp: Stamp::from_secs(secs),
            key: KeyId::from_u128(key),
            mac: SignatureMac::from_bytes([byte; MAC_LEN]),
        };
        vec![one(1_800_000_000, 9, 0xab), one(1_800_000_001, 10, 0xcd)]
    }

    #[test]
    fn the_format_of_a_piece_is_pinned() {
        let read = |bytes: &[u8]| from_bytes(0, bytes).unwrap();
        let let_go_through = Some(Stamp::from_secs(1_799_999_999));
        let saved = SavedReplays { used: piece(), let_go_through: None };
        check_golden(&to_bytes(&piece(), None).unwrap(), PIECE, read, &saved);
        let saved = SavedReplays { used: Vec::new(), let_go_through };
        check_golden(&to_bytes(&[], let_go_through).unwrap(), LET_GO, read, &saved);
        check_golden(&to_bytes(&[], None).unwrap(), EMPTY, read, &SavedReplays::default());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_piece_but_no_panic() {
        check_no_damage_panics(&to_bytes(&piece(), Some(Stamp::from_secs(7))).unwrap(), |bytes| {
            from_bytes(0, bytes).map(drop)
        });
    }

    const PIECE: &str = "
        0281a475736564c470
        000000006b49d200 00000000000000000000000000000009
        abababababababababababababababababababababababababababababababab
        000000006b49d201 0000000000000000000000000000000a
        cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    const LET_GO: &str = "0282a475736564c400b06c65745f676f5f7468726f7567685f73ce6b49d1ff";
    const EMPTY: &str = "0281a475736564c400";
}
