//! The numbers in ids: a word for the kind of thing, then 32 hexadecimal digits.
//!
//! A number grows with the time of its making, so a list by id is a list by age. An id reads in one way only:
//! what is not written exactly as ours are names nothing.
//!
//! Never here: the word of a kind, or whether a number is taken.

use super::failure::{Failure, Fault};
use crate::domain::time::Wall;

/// A new number: 48 bits of milliseconds and 80 random bits.
pub(super) fn new_number(now: Wall) -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    let (time, random) = bytes.split_at_mut(6);
    time.copy_from_slice(now.millis_since_epoch().to_be_bytes().get(2..).unwrap_or(&[0; 6]));
    getrandom::fill(random).map_err(|error| Failure::Fault(Fault::Random(error)))?;
    Ok(u128::from_be_bytes(bytes))
}

/// The id of the number with this word before it.
pub(super) fn id_of(word: &str, number: u128) -> String {
    format!("{word}{number:032x}")
}

/// The number in an id that begins with this word.
pub(super) fn number_behind(word: &str, id: &str) -> Option<u128> {
    let digits = id.strip_prefix(word).filter(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })?;
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_in_one_way_only() {
        let number = new_number(Wall::from_secs(1_000)).unwrap();
        assert_eq!(number_behind("post_", &id_of("post_", number)), Some(number));
        assert_eq!(number_behind("a_", &format!("a_{}", "0".repeat(32))), Some(0));
        for bad in ["", "a_", &"0".repeat(32)] {
            assert_eq!(number_behind("a_", bad), None, "{bad}");
        }
        for digits in ["0".repeat(31), "0".repeat(33), "A".repeat(32), format!("+{}", "0".repeat(31))] {
            assert_eq!(number_behind("a_", &format!("a_{digits}")), None, "{digits}");
        }
    }

    #[test]
    fn a_later_number_is_larger() {
        let at = |secs| new_number(Wall::from_secs(secs)).unwrap();
        assert!(at(1) < at(2) && at(2) < at(3_000_000_000));
    }
}
