//! Lines out of a stream, of bounded length.
//!
//! A line over its bound is read to its end and thrown away, so that the next one is whole. Reading can be given up
//! at any await and taken up again: nothing of a line is lost.
//!
//! Never here: what a line says.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// One line without its end, or word that one was too long.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// The whole line.
    Whole(Vec<u8>),
    /// It was longer than the bound.
    TooLong,
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    held: Vec<u8>,
    overlong: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::new(reader), bytes_max, held: Vec::new(), overlong: false }
    }

    /// The next line; none at the end. What stands behind the last line break is a line too.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let found = self.reader.fill_buf().await?;
            if found.is_empty() {
                let is_begun = self.overlong || !self.held.is_empty();
                return Ok(is_begun.then(|| self.take()));
            }
            let end = found.iter().position(|byte| *byte == b'\n');
            let part = found.get(..end.unwrap_or(found.len())).unwrap_or_default();
            if !self.overlong && self.held.len() + part.len() <= self.bytes_max {
                self.held.extend_from_slice(part);
            } else {
                self.overlong = true;
                self.held = Vec::new();
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        let line = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.overlong) { Line::TooLong } else { Line::Whole(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_a_long_one_costs_only_itself() {
        let text = b"one\n\n0123456789\n012345678\nlast";
        let mut lines = Lines::new(&text[..], 9);
        let whole = |text: &str| Some(Line::Whole(text.as_bytes().to_vec()));
        assert_eq!(lines.next().await.unwrap(), whole("one"));
        assert_eq!(lines.next().await.unwrap(), whole(""));
        assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().await.unwrap(), whole("012345678"));
        assert_eq!(lines.next().await.unwrap(), whole("last"));
        assert_eq!(lines.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_that_comes_in_pieces_is_one() {
        use tokio::io::AsyncWriteExt;
        let (mut near, far) = tokio::io::duplex(3);
        let writing = tokio::spawn(async move { near.write_all(b"0123456789ab\nx\n").await });
        let mut lines = Lines::new(far, 12);
        assert_eq!(lines.next().await.unwrap(), Some(Line::Whole(b"0123456789ab".to_vec())));
        assert_eq!(lines.next().await.unwrap(), Some(Line::Whole(b"x".to_vec())));
        writing.await.unwrap().unwrap();
    }
}
