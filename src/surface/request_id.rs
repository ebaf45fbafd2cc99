//! Ids by which one request is found again, here and at its upstream.
//!
//! Never here: an id that a caller gave, or one that anything is decided by.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives ids that differ within a run by a counter and between runs by chance. They are names, not secrets.
#[derive(Debug)]
pub(super) struct RequestIds {
    run: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { run: RandomState::new().hash_one("run"), next: AtomicU64::new(1) }
    }
}

impl RequestIds {
    /// `req_` and 24 hexadecimal digits, of which the last eight are the count; more when that is used up.
    pub(super) fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(ID_BYTES);
        id.push_str("req_");
        push_hex(&mut id, self.run, 0);
        let unused = count.leading_zeros() as usize / 4;
        push_hex(&mut id, count, unused.min(8));
        id
    }
}

/// What an id has in nearly every run.
const ID_BYTES: usize = 28;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A number without so many of its sixteen digits. Each request has an id, and the standard formatting costs several
/// times as much.
fn push_hex(text: &mut String, number: u64, without: usize) {
    let mut digits = [b'0'; 16];
    let mut left = number;
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(left & 15).ok().and_then(|place| DIGITS.get(place)).copied().unwrap_or(b'0');
        left >>= 4;
    }
    let shown = digits.get(without..).and_then(|digits| std::str::from_utf8(digits).ok());
    text.push_str(shown.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_run_and_the_count_in_hexadecimal() {
        for (run, count) in
            [(7, 1), (u64::MAX, 0xabcd_ef01), (0x0123_4567_89ab_cdef, 0x1_2345_6789), (0, u64::MAX)]
        {
            let ids = RequestIds { run, next: AtomicU64::new(count) };
            assert_eq!(ids.next(), format!("req_{run:016x}{count:08x}"));
        }
    }
}
