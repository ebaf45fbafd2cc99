//! Interim answers (1xx): an upstream may send a few, and none of them is passed on.
//!
//! A server that sends nothing but these would keep an exchange open without ever pausing, so they are
//! counted.
//!
//! Never here: an answer that ends an exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::http::Body;

/// The most interim answers to one request. Servers send one or two.
const INTERIM_MAX: u32 = 16;

/// The bytes of a status line that say what it is: `HTTP/1.1 103`.
const STATUS_BYTES: usize = 12;

/// Counts the interim answers to one request in the bytes of HTTP/1.1 that come. It reads along with hyper,
/// which says nothing of them to whoever does not pay for a call-back with each request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InterimCount {
    came: u32,
    /// What came of the line so far.
    line: [u8; STATUS_BYTES],
    line_len: usize,
    /// Whether the answer itself has begun.
    is_over: bool,
}

impl InterimCount {
    /// Reads on; false when there were too many.
    pub(super) fn see(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.is_over {
                break;
            }
            if *byte == b'\n' {
                self.line_len = 0;
            } else if let Some(free) = self.line.get_mut(self.line_len) {
                *free = *byte;
                self.line_len += 1;
                if self.line_len == STATUS_BYTES {
                    self.status_line();
                }
            }
        }
        self.came <= INTERIM_MAX
    }

    /// What a line is that begins like this. A header's name has no `/`.
    fn status_line(&mut self) {
        if !self.line.starts_with(b"HTTP/1.") {
            return;
        }
        match self.line {
            // This one ends what HTTP was.
            [.., b'1', b'0', b'1'] => self.is_over = true,
            [.., b'1', _, _] => self.came += 1,
            _ => self.is_over = true,
        }
    }
}

/// Counts the interim answers to one request, as hyper tells them.
#[derive(Clone, Debug, Default)]
pub(super) struct Interim(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    came: AtomicU32,
    /// The bound.
    passed: Notify,
}

impl Interim {
    /// Counts those to `request` from here on.
    pub(super) fn counting(request: &mut http::Request<Body>) -> Self {
        let interim = Self::default();
        let counted = Arc::clone(&interim.0);
        hyper::ext::on_informational(request, move |_| {
            if counted.came.fetch_add(1, Ordering::Relaxed) >= INTERIM_MAX {
                counted.passed.notify_one();
            }
        });
        interim
    }

    /// Whether there were too many.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.came.load(Ordering::Relaxed) > INTERIM_MAX
    }

    /// Waits until there are too many.
    pub(super) async fn too_many(&self) {
        self.0.passed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_counted_in_whatever_pieces_they_come() {
        let early = "HTTP/1.1 103 Early Hints\r\nlink: HTTP/1.1 200\r\n\r\n";
        let end = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 103 \r\n";
        for (interim, fits) in [(0, true), (1, true), (16, true), (17, false), (100, false)] {
            let came = early.repeat(interim) + &end.repeat(40);
            for piece in [1, 2, 7, 11, 12, 13, 4096] {
                let mut count = InterimCount::default();
                let all_fit = came.as_bytes().chunks(piece).all(|bytes| count.see(bytes));
                assert_eq!(all_fit, fits, "{interim} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_switch_of_protocols_is_an_answer() {
        let mut count = InterimCount::default();
        assert!(count.see(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
        assert!(count.see(&b"HTTP/1.1 103 \r\n".repeat(100)));
    }
}
