//! Two checks that every kind of record passes: its bytes are those that its format has always had, and no
//! damage to them is a panic.
//!
//! A golden text is hexadecimal, broken into lines as one likes.
//!
//! Never here: golden bytes made by the code under test at run time.

use std::fmt::Debug;

use super::FORMAT;
use crate::store::error::StoreError;

/// Checks a record's bytes against those that format 1 has always had, both ways.
pub(in crate::store::codec) fn check_golden<T: PartialEq + Debug>(
    bytes: &[u8],
    golden_hex: &str,
    read: impl Fn(&[u8]) -> T,
    record: &T,
) {
    let hex: String = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect();
    let golden_hex: String = golden_hex.split_whitespace().collect();
    assert_eq!(hex, golden_hex);
    assert_eq!(read(bytes), *record);
}

fn hex_digit(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap()
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
    assert!(matches!(read(&newer), Err(StoreError::NewerFormat { found: 2, expected: 1, .. })));
}
