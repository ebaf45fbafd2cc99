//! The head of an upstream's answer in HTTP/1.1: what it says, where its body ends, what becomes of its
//! connection.
//!
//! It is read in one way or not at all (RFC 9112, section 6.3): lengths that differ, folded lines, a name
//! before a space are no answer. Of a length beside a coding, the coding is obeyed, and nothing more is asked
//! on that connection.
//!
//! Never here: a choice of what crosses the gate.

use std::io;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use httparse::{ParserConfig, Status};

use super::answer_body::Coming;
use super::clients::HEADERS_MAX;

/// How many headers a caller is usually told beside an answer's own: where its rates stand, which request it
/// was.
const HEADERS_BESIDE: usize = 8;

/// The head of an answer, or of an interim one.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) answer: Response<()>,
    /// How its body comes.
    pub(super) coming: Coming,
    /// Whether something may be asked on its connection behind it.
    pub(super) goes_on: bool,
    /// How many bytes it has.
    pub(super) length: usize,
}

impl AnswerHead {
    /// The head that `bytes` begin with; `None` when it is not there whole. `is_head` is whether a HEAD was
    /// asked.
    pub(super) fn read(bytes: &Bytes, is_head: bool) -> io::Result<Option<Self>> {
        let mut table = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut table) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or(0)).map_err(io::Error::other)?;
        let headers = answer.headers_mut();
        // At once, or the map grows again for what a caller is told beside it.
        headers.reserve(parsed.headers.len() + HEADERS_BESIDE);
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(io::Error::other)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value));
            headers.append(name, value.map_err(io::Error::other)?);
        }
        let is_newer = parsed.version == Some(1);
        let coming = coming(answer.status(), &answer, is_head, is_newer)?;
        let headers = answer.headers();
        let is_doubtful = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        // Behind a 101 nobody speaks HTTP any more.
        let is_last = coming == Coming::UntilEnd || is_doubtful || answer.status().is_informational();
        let goes_on = !is_last && keeps_alive(headers, is_newer);
        Ok(Some(Self { answer, coming, goes_on, length }))
    }

    /// Whether it is an interim one, behind which another comes.
    pub(super) fn is_interim(&self) -> bool {
        let status = self.answer.status();
        // This one ends what HTTP was.
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

fn coming<T>(status: StatusCode, answer: &Response<T>, is_head: bool, is_newer: bool) -> io::Result<Coming> {
    let headers = answer.headers();
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_head || status.is_informational() || has_none {
        return Ok(Coming::Over);
    }
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if !is_newer {
            return Err(io::Error::other("a transfer coding that this version does not have"));
        }
        let last = last.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { Coming::chunks() } else { Coming::UntilEnd });
    }
    let mut told = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for length in value.as_bytes().split(|byte| *byte == b',') {
            let length = number(length.trim_ascii());
            if length.is_none() || told.is_some_and(|told| Some(told) != length) {
                return Err(io::Error::other("a length that cannot be read one way"));
            }
            told = length;
        }
    }
    Ok(told.map_or(Coming::UntilEnd, Coming::sized))
}

/// A number in digits alone.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn keeps_alive(headers: &HeaderMap, is_newer: bool) -> bool {
    let says = |option: &[u8]| {
        let values = headers.get_all(CONNECTION).iter();
        let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.any(|said| said.trim_ascii().eq_ignore_ascii_case(option))
    };
    !says(b"close") && (is_newer || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str, is_head: bool) -> Option<(Coming, bool)> {
        let bytes = Bytes::from(format!("HTTP/1.{head}\r\n\r\nabc"));
        let read = AnswerHead::read(&bytes, is_head).ok()?.unwrap();
        assert_eq!(read.length, bytes.len() - 3);
        Some((read.coming, read.goes_on))
    }

    #[test]
    fn where_a_body_ends_follows_from_its_head() {
        for (head, expected) in [
            ("1 200 OK\r\ncontent-length: 3", Some((Coming::Sized(3), true))),
            ("1 200 OK\r\nContent-Length: 3, 3\r\ncontent-length: 3", Some((Coming::Sized(3), true))),
            ("1 200 OK\r\ncontent-length: 0", Some((Coming::Over, true))),
            ("1 200\r\ncontent-length: 3\r\nconnection: x, Close", Some((Coming::Sized(3), false))),
            ("1 200 OK", Some((Coming::UntilEnd, false))),
            ("1 200 OK\r\nTransfer-Encoding: Chunked", Some((Coming::chunks(), true))),
            ("1 200 OK\r\ntransfer-encoding: gzip, chunked", Some((Coming::chunks(), true))),
            ("1 200 OK\r\ntransfer-encoding: chunked, gzip", Some((Coming::UntilEnd, false))),
            ("1 200 OK\r\ntransfer-encoding: xchunked", Some((Coming::UntilEnd, false))),
            ("1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked", Some((Coming::chunks(), false))),
            ("0 200 OK\r\ncontent-length: 3", Some((Coming::Sized(3), false))),
            ("0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive", Some((Coming::Sized(3), true))),
            ("0 200 OK\r\ntransfer-encoding: chunked", None),
            ("1 204 No\r\ncontent-length: 3", Some((Coming::Over, true))),
            ("1 101 Switching Protocols", Some((Coming::Over, false))),
            ("1 304 No\r\ntransfer-encoding: chunked", Some((Coming::Over, true))),
            ("1 200 OK\r\ncontent-length: 3, 4", None),
            ("1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4", None),
            ("1 200 OK\r\ncontent-length: ", None),
            ("1 200 OK\r\ncontent-length: +3", None),
            ("1 200 OK\r\ncontent-length: 0x3", None),
            ("1 200 OK\r\ncontent-length: 99999999999999999999", None),
            ("1 20 OK", None),
            ("1 099 OK", None),
            ("2 200 OK", None),
            ("1 200 OK\r\nx : y", None),
            ("1 200 OK\r\nx: y\r\n z", None),
        ] {
            assert_eq!(read(head, false), expected, "{head}");
        }
        assert_eq!(read("1 200 OK\r\ncontent-length: 3", true), Some((Coming::Over, true)));
    }

    #[test]
    fn a_head_that_is_not_there_whole_is_none_yet() {
        let whole = b"HTTP/1.1 200 OK\r\nA: b\r\nA: c\r\n\r\n";
        for length in 0..whole.len() {
            let begun = Bytes::copy_from_slice(&whole[..length]);
            assert!(AnswerHead::read(&begun, false).unwrap().is_none(), "{length}");
        }
        let read = AnswerHead::read(&Bytes::from_static(whole), false).unwrap().unwrap();
        let values: Vec<_> = read.answer.headers().get_all("a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((read.answer.status().as_u16(), values), (200, vec![&b"b"[..], b"c"]));
    }
}
