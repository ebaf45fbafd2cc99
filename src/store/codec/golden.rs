//! Two checks that every kind of record passes: its bytes are those that its format has always had, and no
//! damage to them is a panic.
//!
//! A golden text is hexadecimal, broken into lines as one likes.
//!
//! Never here: golden bytes made by the code under test at run time.

use std::fmt::Debug;

use super::FORMAT;
use crate::store::error::StoreError;

/// Checks a record's bytes against those that it has always had, both ways. The first golden byte is the format
/// since which it can be said; what is written today differs from it in that byte alone.
pub(in crate::store::codec) fn check_golden<T: PartialEq + Debug>(
    bytes: &[u8],
    golden_hex: &str,
    read: impl Fn(&[u8]) -> T,
    record: &T,
) {
    let digits: String = golden_hex.split_whitespace().collect();
    let golden = hex::decode(digits).unwrap();
    assert_eq!(hex::encode(&bytes[1..]), hex::encode(&golden[1..]));
    assert_eq!((bytes[0], golden[0] <= FORMAT), (FORMAT, true));
    assert_eq!(read(&golden), *record);
    assert_eq!(read(bytes), *record);
}

/// Reads every beginning of `bytes`, and `bytes` with every single bit turned, and wants no panic. Beginnings
/// must be errors.
pub(in crate::store::codec) fn check_no_damage_panics(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<(), StoreError>,
) {
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    assert!(read(&[bytes, &[0]].concat()).is_err());
    for bit in 0..bytes.len() * 8 {
        let mut turned = bytes.to_vec();
        turned[bit / 8] ^= 1 << (bit % 8);
        let _ = read(&turned);
    }
    let mut newer = bytes.to_vec();
    newer[0] = FORMAT + 1;
    let refused = read(&newer);
    assert!(
        matches!(refused, Err(StoreError::NewerFormat { found, expected: FORMAT, .. }) if found == FORMAT + 1)
    );
}
