//! The data of a stream of server-sent events, for those who wait for one message and pass nothing on.
//!
//! Events are read as the HTML standard says (section 9.2.6): lines end with CR, LF or both, comments and fields
//! that are not known are passed over, and an event that the stream breaks off in is none.
//!
//! Never here: a bound. Whoever feeds it counts the bytes.

use super::{MARK, field};

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub struct EventData {
    line: Vec<u8>,
    /// The last byte was a CR: a LF behind it ends nothing.
    after_cr: bool,
    /// The first line may begin with a byte order mark.
    is_begun: bool,
    /// There once a line of it was.
    data: Option<Vec<u8>>,
    /// It is some other kind of event than a message.
    is_other: bool,
}

impl EventData {
    /// Takes the next piece and gives the data of each message that it completes.
    pub fn take(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for byte in piece {
            let is_end = match byte {
                b'\n' if self.after_cr => false,
                b'\n' | b'\r' => true,
                _ => {
                    self.line.push(*byte);
                    false
                }
            };
            self.after_cr = *byte == b'\r';
            if is_end {
                let line = std::mem::take(&mut self.line);
                messages.extend(self.take_line(&line));
            }
        }
        messages
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let line = match line.strip_prefix(MARK) {
            Some(rest) if !self.is_begun => rest,
            _ => line,
        };
        self.is_begun = true;
        if line.is_empty() {
            let is_other = std::mem::take(&mut self.is_other);
            return self.data.take().filter(|_| !is_other);
        }
        let (name, value) = field(line);
        match name {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.is_other = !value.is_empty() && value != b"message",
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a stream that comes in pieces of this size.
    fn messages(stream: &str, size: usize) -> Vec<String> {
        let mut reader = EventData::default();
        let pieces = stream.as_bytes().chunks(size);
        pieces.flat_map(|piece| reader.take(piece)).map(|data| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn messages_are_read_however_they_are_cut_and_their_lines_end() {
        let stream = "\u{feff}: hello\nid: 7\nretry: 3\ndata: {\"a\":\ndata:1}\n\nevent: message\ndata:b\n\n\
                      event: endpoint\ndata: no\n\nevent:\ndata\n\n\ndata: c\nother: d\n\ndata: half\n";
        for lines in [stream.to_owned(), stream.replace('\n', "\r\n"), stream.replace('\n', "\r")] {
            for size in 1..lines.len() {
                assert_eq!(messages(&lines, size), ["{\"a\":\n1}", "b", "", "c"], "{size} {lines:?}");
            }
        }
    }
}
