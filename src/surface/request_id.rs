//! Ids by which one request is found again, here and at its upstream.
//!
//! Never here: an id that a caller gave, or one that anything is decided by.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::HeaderValue;

/// Gives ids that differ within a run by a counter and between runs by chance. They are names, not secrets.
#[derive(Debug)]
pub(super) struct RequestIds {
    /// `req_`, and the run in sixteen hexadecimal digits.
    start: [u8; START_BYTES],
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::of_run(RandomState::new().hash_one("run"))
    }
}

impl RequestIds {
    fn of_run(run: u64) -> Self {
        let mut start = *b"req_0000000000000000";
        write_hex(start.iter_mut().skip(4), run);
        Self { start, next: AtomicU64::new(1) }
    }

    /// `req_` and 24 hexadecimal digits, of which the last eight are the count; more when that is used up.
    pub(super) fn next(&self) -> HeaderValue {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [b'0'; START_BYTES + 16];
        let digits = (16 - count.leading_zeros() as usize / 4).max(8);
        for (place, byte) in id.iter_mut().zip(self.start) {
            *place = byte;
        }
        write_hex(id.iter_mut().skip(START_BYTES).take(digits), count);
        // It is plain ASCII.
        let id = id.get(..START_BYTES + digits).and_then(|id| HeaderValue::from_bytes(id).ok());
        id.unwrap_or(HeaderValue::from_static("req_"))
    }
}

/// How many bytes of an id are the same in a run.
const START_BYTES: usize = 20;

/// Writes a number's last digits. Each request has an id, and the standard formatting costs several times as much.
fn write_hex<'a>(places: impl DoubleEndedIterator<Item = &'a mut u8>, mut number: u64) {
    for place in places.rev() {
        let digit = (number & 15) as u8;
        *place = if digit < 10 { b'0' + digit } else { b'a' - 10 + digit };
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_run_and_the_count_in_hexadecimal() {
        for (run, count) in
            [(7, 1), (u64::MAX, 0xabcd_ef01), (0x0123_4567_89ab_cdef, 0x1_2345_6789), (0, u64::MAX)]
        {
            let ids = RequestIds { next: AtomicU64::new(count), ..RequestIds::of_run(run) };
            assert_eq!(ids.next(), format!("req_{run:016x}{count:08x}"));
        }
    }
}
