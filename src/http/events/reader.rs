//! Where the events of a stream begin and end, and what becomes of each.
//!
//! Reads as the HTML standard says (section 9.2.6): lines end with CRLF, LF or CR, an empty line ends an event, a
//! mark of the byte order may stand before the first. However the stream is cut into chunks, the same comes out. An
//! event that its stream's end leaves without the empty line is looked at like any other: some readers take it.
//!
//! Never here: a wait, or what an event means.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use super::{EVENT_BYTES_MAX, Event, EventRoom, MARK, Rewriter, Verdict, field};

/// A part of the stream, ready to go out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// Whether something of ours may stand behind it.
    pub(super) is_between: bool,
}

/// Reads a stream chunk by chunk.
#[derive(Default)]
pub(super) struct Reader {
    position: Position,
    rewriting: Option<Rewriting>,
}

struct Rewriting {
    rewriter: Rewriter,
    room: EventRoom,
    /// What came of the event that is not whole yet.
    held: Vec<u8>,
    noted_bytes: usize,
    has_read_first: bool,
}

impl Reader {
    pub(super) fn rewrites(&mut self, rewriter: Rewriter, room: EventRoom) {
        let (held, noted_bytes, has_read_first) = (Vec::new(), 0, false);
        self.rewriting = Some(Rewriting { rewriter, room, held, noted_bytes, has_read_first });
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.rewriting.as_ref().is_none_or(|rewriting| rewriting.held.is_empty())
    }

    /// The stream's first chunk, when something of ours stands before it already: the mark may only be the very
    /// first.
    pub(super) fn without_mark(&self, mut chunk: Bytes) -> Bytes {
        if self.position.mark_bytes == 0 && chunk.starts_with(MARK) {
            chunk.split_off(MARK.len())
        } else {
            chunk
        }
    }

    /// Reads on. Where `is_split`, what ends an event and what begins the next go out apart, so that something of
    /// ours finds a place.
    pub(super) fn take(
        &mut self,
        chunk: Bytes,
        is_split: bool,
        out: &mut VecDeque<Piece>,
    ) -> Result<(), &'static str> {
        match &mut self.rewriting {
            None => {
                pass(&mut self.position, chunk, is_split, out);
                Ok(())
            }
            Some(rewriting) => rewriting.take(&mut self.position, &chunk, out),
        }
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self, out: &mut VecDeque<Piece>) -> Result<(), &'static str> {
        let Some(rewriting) = &mut self.rewriting else { return Ok(()) };
        if rewriting.held.is_empty() {
            return Ok(());
        }
        let rest = Bytes::from(std::mem::take(&mut rewriting.held));
        rewriting.note_held()?;
        let shown = rewriting.decided(&rest)?.unwrap_or(rest);
        out.push_back(Piece { bytes: shown, is_between: false });
        Ok(())
    }
}

fn pass(position: &mut Position, chunk: Bytes, is_split: bool, out: &mut VecDeque<Piece>) {
    let (mut last_end, mut between_there) = (0, false);
    for (number, byte) in chunk.iter().enumerate() {
        position.step(*byte);
        if is_split && position.is_at_end() {
            (last_end, between_there) = (number + 1, position.has_room());
        }
    }
    if is_split && between_there && last_end < chunk.len() {
        out.push_back(Piece { bytes: chunk.slice(..last_end), is_between: true });
        out.push_back(Piece { bytes: chunk.slice(last_end..), is_between: false });
    } else if !chunk.is_empty() {
        out.push_back(Piece { bytes: chunk, is_between: position.has_room() });
    }
}

impl Rewriting {
    fn take(
        &mut self,
        position: &mut Position,
        chunk: &Bytes,
        out: &mut VecDeque<Piece>,
    ) -> Result<(), &'static str> {
        // What is kept goes out in runs: from `kept_from` to `begun` is decided, from there on is not whole.
        let (mut kept_from, mut begun) = (0, 0);
        let mut room_there = true;
        for (number, byte) in chunk.iter().enumerate() {
            position.step(*byte);
            let end = number + 1;
            // A line feed that comes with its carriage return ends the same line.
            let goes_on = *byte == b'\r' && chunk.get(end) == Some(&b'\n');
            if !position.is_at_end() || goes_on {
                continue;
            }
            let is_straight = self.held.is_empty();
            let event = if is_straight {
                chunk.slice(begun..end)
            } else {
                self.held.extend_from_slice(chunk.get(begun..end).unwrap_or_default());
                Bytes::from(std::mem::take(&mut self.held))
            };
            if event.len() > EVENT_BYTES_MAX {
                return Err(TOO_LARGE);
            }
            match self.decided(&event)? {
                None if is_straight => {}
                decided => {
                    push(out, chunk.slice(kept_from..begun), room_there);
                    push(out, decided.unwrap_or(event), position.has_room());
                    kept_from = end;
                }
            }
            begun = end;
            room_there = position.has_room();
        }
        push(out, chunk.slice(kept_from..begun), room_there);
        self.held.extend_from_slice(chunk.get(begun..).unwrap_or_default());
        self.note_held()
    }

    fn note_held(&mut self) -> Result<(), &'static str> {
        let now = self.held.len();
        let there_is_room = self.room.note(self.noted_bytes, now);
        self.noted_bytes = now;
        if now > EVENT_BYTES_MAX || !there_is_room { Err(TOO_LARGE) } else { Ok(()) }
    }

    /// What stands for an event's bytes; nothing when they stay.
    fn decided(&mut self, event: &[u8]) -> Result<Option<Bytes>, &'static str> {
        let is_first = !std::mem::replace(&mut self.has_read_first, true);
        let marked = if is_first && event.starts_with(MARK) { MARK.len() } else { 0 };
        let (mark, event) = event.split_at_checked(marked).unwrap_or((&[], event));
        let (mut name, mut data): (&[u8], Option<Cow<'_, [u8]>>) = (&[], None);
        for line in lines(event) {
            match field(line.text) {
                (b"event", value) => name = value,
                (b"data", value) => match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let data = data.to_mut();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                },
                _ => {}
            }
        }
        let Some(data) = data else { return Ok(None) };
        match (self.rewriter)(&Event { name, data: &data }) {
            Verdict::Keep => Ok(None),
            Verdict::Replace(data) => Ok(Some(rebuilt(mark, event, &data))),
            Verdict::Cut(reason) => Err(reason),
        }
    }
}

impl Drop for Rewriting {
    fn drop(&mut self) {
        self.room.note(self.noted_bytes, 0);
    }
}

const TOO_LARGE: &str = "an event is larger than can be held";

fn push(out: &mut VecDeque<Piece>, bytes: Bytes, is_between: bool) {
    if !bytes.is_empty() {
        out.push_back(Piece { bytes, is_between });
    }
}

/// An event with other data, in the place of what it had.
fn rebuilt(mark: &[u8], event: &[u8], data: &[u8]) -> Bytes {
    let mut rebuilt = Vec::with_capacity(event.len().min(data.len()) + 64);
    rebuilt.extend_from_slice(mark);
    let mut is_written = false;
    for line in lines(event) {
        if field(line.text).0 != b"data" {
            rebuilt.extend_from_slice(line.text);
            rebuilt.extend_from_slice(line.end);
        } else if !is_written {
            is_written = true;
            let end = if line.end.is_empty() { b"\n" } else { line.end };
            for part in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
                rebuilt.extend_from_slice(b"data: ");
                rebuilt.extend_from_slice(part);
                rebuilt.extend_from_slice(end);
            }
        }
    }
    rebuilt.into()
}

/// One line and what ends it.
struct Line<'a> {
    text: &'a [u8],
    end: &'a [u8],
}

fn lines(mut text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let length = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
        let (line, rest) = text.split_at_checked(length)?;
        let end = if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
        let (end, rest) = rest.split_at_checked(end)?;
        text = rest;
        Some(Line { text: line, end })
    })
}

/// Where in the stream a byte stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Position {
    line: LineSoFar,
    /// A field of this event was seen.
    is_open: bool,
    /// The last byte was a carriage return: a line feed would belong to it.
    after_return: bool,
    /// This stream's lines end with a lone carriage return.
    returns_alone: bool,
    /// How much of the mark was seen; past it once something else was.
    mark_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum LineSoFar {
    #[default]
    Nothing,
    Comment,
    Field,
}

impl Position {
    fn step(&mut self, byte: u8) {
        if self.mark_bytes < MARK.len() {
            if MARK.get(self.mark_bytes) == Some(&byte) {
                self.mark_bytes += 1;
                return;
            }
            if self.mark_bytes > 0 {
                (self.line, self.is_open) = (LineSoFar::Field, true);
            }
            self.mark_bytes = MARK.len();
        }
        let ends_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if ends_return => {}
            b'\n' | b'\r' => {
                self.returns_alone |= ends_return;
                if self.line == LineSoFar::Nothing {
                    self.is_open = false;
                }
                self.line = LineSoFar::Nothing;
            }
            _ => {
                self.returns_alone |= ends_return;
                if self.line == LineSoFar::Nothing {
                    let is_comment = byte == b':';
                    self.line = if is_comment { LineSoFar::Comment } else { LineSoFar::Field };
                    self.is_open |= !is_comment;
                }
            }
        }
    }

    /// Whether no event is open and a line has ended here.
    fn is_at_end(&self) -> bool {
        self.line == LineSoFar::Nothing && !self.is_open && matches!(self.mark_bytes, 0 | 3)
    }

    /// Whether something of ours may stand here. Not between a carriage return and its line feed.
    fn has_room(&self) -> bool {
        self.is_at_end() && (!self.after_return || self.returns_alone)
    }
}
