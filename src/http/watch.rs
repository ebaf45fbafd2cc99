//! Follows where one request on a connection ends and the next begins, beside the parser that does the work.
//!
//! hyper settles some ambiguities without a word: of `Content-Length` and `Transfer-Encoding` together it
//! keeps the second, of two equal lengths the first, and it cuts a fragment off the target. Each of them can
//! be read otherwise by someone else, so they must be refused; the watch notes the place of the first and
//! stops there. Whatever follows is in doubt as well, and so is whatever follows the place where the watch
//! lost its way. It also knows whether a connection that ends still had a body coming.
//!
//! Never here: a decision of its own, or a request without a doubt that nobody watched.

use std::borrow::Cow;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr;

/// The most bytes kept of a line that comes in pieces. A longer one ends the watch.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What the parser would settle in silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    /// Two lengths, a length beside a transfer coding, or a place that was not watched.
    Framing,
    /// A fragment in the target.
    Target,
    /// Two hosts, which only HTTP/2 can say in two places.
    Host,
}

/// The first doubt of a connection, shared by its reader and its service: which request it is about, and in
/// the lowest bit what it is.
#[derive(Clone, Debug)]
pub(super) struct Doubts(Arc<AtomicU64>);

/// About a request that no connection lives to see.
const NO_DOUBT: u64 = u64::MAX;

impl Doubts {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NO_DOUBT)))
    }

    /// The doubt about the request with this number on its connection, from 0. Where requests behind the
    /// first doubt begin, nobody knows.
    pub(super) fn about(&self, request: u64) -> Option<Doubt> {
        let noted = self.0.load(Ordering::Relaxed);
        match request.cmp(&(noted >> 1)) {
            Less => None,
            Equal if noted & 1 == 1 => Some(Doubt::Target),
            Equal | Greater => Some(Doubt::Framing),
        }
    }

    fn note(&self, request: u64, doubt: Doubt) {
        let kind = u64::from(doubt == Doubt::Target);
        self.0.store(request << 1 | kind, Ordering::Relaxed);
    }
}

/// Where the next byte belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Before a request line.
    Between,
    /// In the header lines.
    Headers(Head),
    /// In a body with this many bytes left.
    Sized(u64),
    /// Before the size line of a chunk.
    ChunkSize,
    /// In a chunk, its line end counted.
    Chunk(u64),
    /// In the lines behind the last chunk.
    Trailers,
    /// The watch is over, and its doubt noted.
    Lost,
}

/// What the header lines said so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Head {
    fragment: bool,
    lengths: u8,
    length: u64,
    coded: bool,
}

/// Reads along with the parser.
#[derive(Debug)]
pub(super) struct Watch {
    doubts: Doubts,
    requests: u64,
    place: Place,
    /// The part of a line that earlier bytes began.
    begun: Vec<u8>,
}

impl Watch {
    pub(super) const fn new(doubts: Doubts) -> Self {
        Self { doubts, requests: 0, place: Place::Between, begun: Vec::new() }
    }

    /// Whether the bytes seen end exactly where a request does.
    pub(super) fn is_between_requests(&self) -> bool {
        self.place == Place::Between && self.begun.is_empty()
    }

    /// Reads on.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Lost => return,
                Place::Sized(left) => self.pass(bytes, left, Place::Sized, Place::Between),
                Place::Chunk(left) => self.pass(bytes, left, Place::Chunk, Place::ChunkSize),
                Place::Between | Place::Headers(_) | Place::ChunkSize | Place::Trailers => {
                    match memchr(b'\n', bytes) {
                        Some(end) => self.line(bytes, end),
                        None => return self.begin(bytes),
                    }
                }
            }
        }
    }

    fn pass<'b>(&mut self, bytes: &'b [u8], left: u64, more: fn(u64) -> Place, then: Place) -> &'b [u8] {
        let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left.saturating_sub(here as u64);
        self.place = if left == 0 { then } else { more(left) };
        bytes.get(here..).unwrap_or_default()
    }

    fn begin(&mut self, bytes: &[u8]) {
        if self.begun.len() + bytes.len() > LINE_BYTES_MAX {
            self.begun = Vec::new();
            self.place = self.lost(Doubt::Framing);
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn line<'b>(&mut self, bytes: &'b [u8], end: usize) -> &'b [u8] {
        let (here, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
        let line = if self.begun.is_empty() {
            Cow::Borrowed(here)
        } else {
            self.begun.extend_from_slice(here);
            Cow::Owned(std::mem::take(&mut self.begun))
        };
        // A line that ends otherwise is one line to some readers and two to others.
        let Some(line) = line.strip_suffix(b"\r\n") else {
            self.place = self.lost(Doubt::Framing);
            return rest;
        };
        let place = match self.place {
            Place::Between | Place::Trailers if line.is_empty() => Some(Place::Between),
            Place::Between => {
                Some(Place::Headers(Head { fragment: memchr(b'#', line).is_some(), ..Head::default() }))
            }
            Place::Headers(head) if line.is_empty() => Some(self.end_head(head)),
            Place::Headers(head) => header(head, line),
            Place::ChunkSize => chunk(line),
            other => Some(other),
        };
        self.place = place.unwrap_or_else(|| self.lost(Doubt::Framing));
        rest
    }

    /// Ends the watch at the request whose head has not ended yet.
    fn lost(&self, doubt: Doubt) -> Place {
        self.doubts.note(self.requests, doubt);
        Place::Lost
    }

    fn end_head(&mut self, head: Head) -> Place {
        let doubt = if head.lengths > 1 || (head.coded && head.lengths > 0) {
            Some(Doubt::Framing)
        } else {
            head.fragment.then_some(Doubt::Target)
        };
        if let Some(doubt) = doubt {
            return self.lost(doubt);
        }
        self.requests += 1;
        match head {
            Head { coded: true, .. } => Place::ChunkSize,
            Head { length: 0, .. } => Place::Between,
            Head { length, .. } => Place::Sized(length),
        }
    }
}

/// What a header line makes of a head; `None` when it cannot be read.
fn header(head: Head, line: &[u8]) -> Option<Place> {
    // Only two names matter, and most lines begin with another letter.
    if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
        return Some(Place::Headers(head));
    }
    let mut halves = line.splitn(2, |byte| *byte == b':');
    let name = halves.next().unwrap_or_default();
    if name.eq_ignore_ascii_case(b"content-length") {
        let lengths = head.lengths.saturating_add(1);
        let value = halves.next().unwrap_or_default().trim_ascii();
        return match digits(value, 10) {
            Some((length, b"")) => Some(Place::Headers(Head { lengths, length, ..head })),
            // Beside a coding hyper does not even read it, so it counts all the same.
            _ if head.coded => Some(Place::Headers(Head { lengths, ..head })),
            _ => None,
        };
    }
    let coded = head.coded || name.eq_ignore_ascii_case(b"transfer-encoding");
    Some(Place::Headers(Head { coded, ..head }))
}

/// What follows the size line of a chunk; `None` when it cannot be read.
fn chunk(line: &[u8]) -> Option<Place> {
    match digits(line, 16)? {
        (0, _) => Some(Place::Trailers),
        (size, _) => size.checked_add(2).map(Place::Chunk),
    }
}

/// The number that `text` begins with, and what stands behind it.
fn digits(text: &[u8], radix: u32) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !char::from(*byte).is_digit(radix)).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end)?;
    let number = std::str::from_utf8(number).ok()?;
    Some((u64::from_str_radix(number, radix).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Doubts about the first three requests, and whether the bytes end between requests.
    fn seen(pieces: &[&[u8]]) -> ([Option<Doubt>; 3], bool) {
        let doubts = Doubts::new();
        let mut watch = Watch::new(doubts.clone());
        for piece in pieces {
            watch.see(piece);
        }
        ([0, 1, 2].map(|request| doubts.about(request)), watch.is_between_requests())
    }

    const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\n\nc";
    const CHUNKED: &[u8] = b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
        12;x=y\r\nContent-Length: 9\n\r\n0\r\nContent-Length: 1\r\n\r\n";
    const DOUBLED: &[u8] = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\
        content-LENGTH: x5\r\n\r\n0\r\n\r\n";

    #[test]
    fn requests_of_every_framing_follow_each_other_without_doubt() {
        assert_eq!(seen(&[GET, SIZED, CHUNKED, GET]), ([None; 3], true));
        assert_eq!(seen(&[b"\r\n\r\n", GET]), ([None; 3], true));
    }

    #[test]
    fn a_length_beside_a_coding_is_a_doubt_about_that_request_and_whatever_follows() {
        assert_eq!(seen(&[GET, CHUNKED, DOUBLED]).0, [None, None, Some(Doubt::Framing)]);
        let before = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(seen(&[before]).0, [Some(Doubt::Framing); 3]);
    }

    #[test]
    fn two_lengths_are_a_doubt_even_when_they_agree() {
        let twice = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
        let doubt = Some(Doubt::Framing);
        assert_eq!(seen(&[SIZED, twice, GET]).0, [None, doubt, doubt]);
    }

    #[test]
    fn a_fragment_is_a_doubt_about_the_target() {
        let (target, framing) = (Some(Doubt::Target), Some(Doubt::Framing));
        assert_eq!(seen(&[b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"]).0, [target, framing, framing]);
    }

    #[test]
    fn a_body_that_is_not_all_there_is_not_between_requests() {
        for (whole, name) in [(GET, "get"), (SIZED, "sized"), (CHUNKED, "chunked")] {
            for cut in 1..whole.len() {
                assert!(!seen(&[&whole[..cut]]).1, "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever_and_ends_all_certainty() {
        let doubts = Doubts::new();
        let mut watch = Watch::new(doubts.clone());
        watch.see(GET);
        for _ in 0..100 {
            watch.see(&[b'a'; 1024]);
        }
        assert!(watch.begun.is_empty());
        assert_eq!(watch.place, Place::Lost);
        assert_eq!(
            [0, 1, 2].map(|request| doubts.about(request)),
            [None, Some(Doubt::Framing), Some(Doubt::Framing)]
        );
    }

    #[test]
    fn what_follows_a_body_that_the_watch_could_not_follow_is_in_doubt() {
        let head = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let doubt = Some(Doubt::Framing);
        let (zeros, end) = (vec![b'0'; LINE_BYTES_MAX + 1], b"\r\n\r\n");
        assert_eq!(seen(&[head, &zeros, end, GET]).0, [None, doubt, doubt]);
        for line in [&b"\r\n"[..], b"x\r\n", b"fffffffffffffffff\r\n", b"ffffffffffffffff\r\n"] {
            assert_eq!(seen(&[head, line, GET]).0, [None, doubt, doubt], "{line:?}");
        }
        let unreadable = b"POST /a HTTP/1.1\r\nContent-Length: 1x\r\n\r\n";
        assert_eq!(seen(&[GET, unreadable]).0, [None, doubt, doubt]);
    }

    #[test]
    fn a_line_that_ends_in_a_bare_newline_ends_all_certainty() {
        // To the parser all of this is trailers of one request; to a lenient reader a second request stands in it.
        let trailers = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\n\
            GET / HTTP/1.1\nContent-Length: 9999\r\n\r\n";
        let doubt = Some(Doubt::Framing);
        assert_eq!(seen(&[trailers, GET]).0, [None, doubt, doubt]);
        assert_eq!(seen(&[b"GET /a HTTP/1.1\nHost: a\n\n"]).0, [doubt; 3]);
    }

    proptest! {
        #[test]
        fn pieces_say_the_same_as_the_whole(cuts in proptest::collection::vec(0usize..400, 0..8)) {
            let whole = [GET, SIZED, CHUNKED, GET, SIZED].concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|ends| &whole[ends[0]..ends[1]]).collect();
            prop_assert_eq!(seen(&pieces), ([None; 3], true));
        }
    }
}
