//! The body of an upstream's answer in HTTP/1.1, as it comes.
//!
//! It has a length, or comes in chunks, or lasts as long as its connection. What breaks the rules midway is
//! an error, and so is an end before its time. Chunk extensions and trailers are read and dropped, within
//! bounds.
//!
//! Never here: a body whose end is guessed.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::reader::Reader;

/// The most bytes of the line before a chunk, its extensions among them, and of a line of trailers.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of all trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// How the rest of a body comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coming {
    /// Not at all.
    Over,
    /// So many bytes more, and at least one.
    Sized(u64),
    /// In chunks.
    Chunks(Chunk),
    /// Until the connection ends.
    UntilEnd,
}

/// What comes next of chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunk {
    /// The line that says how large it is.
    Size,
    /// So many bytes of it.
    Data(u64),
    /// The end of its last line.
    End,
    /// Trailers, of which so many bytes came.
    Trailers(usize),
}

impl Coming {
    pub(super) const fn sized(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Sized(length) }
    }

    pub(super) const fn chunks() -> Self {
        Self::Chunks(Chunk::Size)
    }

    /// What comes next; `None` at the end.
    pub(super) fn poll<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut Reader<R>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        match ready!(self.poll_next(reader, cx)) {
            Ok(Some(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn poll_next<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut Reader<R>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            *self = match *self {
                Self::Over => return Poll::Ready(Ok(None)),
                Self::UntilEnd => {
                    let some = ready!(reader.poll_some(cx, u64::MAX))?;
                    if some.is_none() {
                        *self = Self::Over;
                    }
                    return Poll::Ready(Ok(some));
                }
                Self::Sized(left) => {
                    let some = ready!(reader.poll_some(cx, left))?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    *self = Self::sized(left.saturating_sub(some.len() as u64));
                    return Poll::Ready(Ok(Some(some)));
                }
                Self::Chunks(Chunk::Data(left)) => {
                    let some = ready!(reader.poll_some(cx, left))?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    *self = Self::Chunks(match left.saturating_sub(some.len() as u64) {
                        0 => Chunk::End,
                        left => Chunk::Data(left),
                    });
                    return Poll::Ready(Ok(Some(some)));
                }
                Self::Chunks(Chunk::Size) => match size(&ready!(reader.poll_line(cx, LINE_BYTES_MAX))?) {
                    Some(0) => Self::Chunks(Chunk::Trailers(0)),
                    Some(size) => Self::Chunks(Chunk::Data(size)),
                    None => return broken("a chunk without a size"),
                },
                Self::Chunks(Chunk::End) => {
                    if !ready!(reader.poll_line(cx, LINE_BYTES_MAX))?.is_empty() {
                        return broken("a chunk that is longer than it said");
                    }
                    Self::chunks()
                }
                Self::Chunks(Chunk::Trailers(came)) => {
                    let line = ready!(reader.poll_line(cx, LINE_BYTES_MAX))?;
                    match came + line.len() {
                        _ if line.is_empty() => Self::Over,
                        came if came > TRAILER_BYTES_MAX => return broken("trailers without an end"),
                        came => Self::Chunks(Chunk::Trailers(came)),
                    }
                }
            };
        }
    }
}

fn broken<T>(why: &'static str) -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::other(why)))
}

/// The size that the line before a chunk says, in hexadecimal digits, behind which extensions may stand.
fn size(line: &[u8]) -> Option<u64> {
    let said = line.split(|byte| *byte == b';').next()?;
    let blanks = said.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let said = said.get(..said.len() - blanks)?;
    // As many digits as fit.
    if said.is_empty() || said.len() > 16 || !said.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(said).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncWriteExt, duplex};

    /// What a body says whose bytes come in pieces of this length, and what stands behind it. `None` when it
    /// breaks.
    async fn read(mut coming: Coming, bytes: &[u8], piece: usize) -> Option<(String, String)> {
        let (near, mut far) = duplex(1 << 16);
        let bytes = bytes.to_vec();
        let saying = tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut reader = Reader::new(near);
        let mut said = Vec::new();
        while let Some(some) = poll_fn(|cx| coming.poll(&mut reader, cx)).await {
            said.extend_from_slice(&some.ok()?);
        }
        assert_eq!(coming, Coming::Over);
        saying.await.unwrap();
        while poll_fn(|cx| reader.poll_fill(cx)).await.unwrap() > 0 {}
        Some((String::from_utf8(said).unwrap(), String::from_utf8(reader.buffer.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn a_body_ends_where_it_says_in_whatever_pieces_it_comes() {
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(2_000));
        for (coming, bytes, expected) in [
            (Coming::Over, "rest", Some(("", "rest"))),
            (Coming::sized(3), "abcrest", Some(("abc", "rest"))),
            (Coming::sized(3), "ab", None),
            (Coming::UntilEnd, "abc", Some(("abc", ""))),
            (
                Coming::chunks(),
                "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nrest",
                Some(("abc0123456789", "rest")),
            ),
            (Coming::chunks(), "003 \r\nabc\r\n0;x\r\na: b\r\n\r\nrest", Some(("abc", "rest"))),
            (Coming::chunks(), &trailers, Some(("", ""))),
            (Coming::chunks(), "3\r\nabc\r\n", None),
            (Coming::chunks(), "3\r\nabcd\r\n0\r\n\r\n", None),
            (Coming::chunks(), "3\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "3\r\nabc\n0\r\n\r\n", None),
            (Coming::chunks(), " 3\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "0x3\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "+3\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "00000000000000003\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "fffffffffffffffff\r\nabc", None),
            (Coming::chunks(), "0\r\n\n", None),
            (Coming::chunks(), "3\r\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "3\x0c\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "3;a\rb\r\nabc\r\n0\r\n\r\n", None),
            (Coming::chunks(), "3\r\nabc\r\n0\r\na: b\rc\r\n\r\n", None),
        ] {
            for piece in [1, 2, 5, 100_000] {
                let said = read(coming, bytes.as_bytes(), piece).await;
                let said = said.as_ref().map(|(said, rest)| (&**said, &**rest));
                assert_eq!(said, expected, "{bytes:.80} in pieces of {piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_read_and_dropped_is_bounded() {
        for (bytes, fits) in [
            (format!("0;{}\r\n\r\n", "x".repeat(LINE_BYTES_MAX - 10)), true),
            (format!("0;{}\r\n\r\n", "x".repeat(LINE_BYTES_MAX)), false),
            (format!("0\r\n{}\r\n", format!("a: {}\r\n", "x".repeat(1_000)).repeat(16)), true),
            (format!("0\r\n{}\r\n", format!("a: {}\r\n", "x".repeat(1_000)).repeat(17)), false),
        ] {
            assert_eq!(read(Coming::chunks(), bytes.as_bytes(), 777).await.is_some(), fits, "{bytes:.20}");
        }
    }
}
