//! Event streams (`text/event-stream`) on their way to a caller.
//!
//! Bytes go on as they came, as soon as they came. Only where somebody must look at the events is one held until it
//! is whole, within bounds; then its data may be replaced, and everything else of it stays as it was. Events of ours
//! and the comments that keep a quiet stream alive are put between events alone. Silence of the other end is
//! normal here: what ends a stream is its tether, its ends, or an event that may not be shown.
//!
//! Never here: what an event means, or a stream that goes on behind an event that was not let through.

mod data;
mod reader;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::body::{BodyError, Relayed};
use crate::domain::tether::Tether;
use reader::{Piece, Reader};

pub use data::EventData;

/// How long nothing goes out before a comment does. Below half a minute: common proxies close after a minute of
/// silence, some after half of one.
pub const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(25);
/// That comment, with the line that ends it.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
/// The most bytes of one event that is held until it is whole.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of all events that are held at one time by all streams of one room.
pub const HELD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// One whole event, as far as it has data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// What its `event` field says; empty where it has none.
    pub name: &'a [u8],
    /// Its data, the lines of several `data` fields joined by line feeds.
    pub data: &'a [u8],
}

/// What becomes of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on as the bytes that it was.
    Keep,
    /// It goes on with this data instead; its other fields stay.
    Replace(Bytes),
    /// It does not go on, and nothing behind it: the stream breaks off. The word says why, for the log.
    Cut(&'static str),
}

/// Looks at each whole event that has data, in order.
pub type Rewriter = Box<dyn FnMut(&Event<'_>) -> Verdict + Send + Sync>;

/// Counts what all streams of one place hold of events that are not whole yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct EventRoom(Arc<AtomicUsize>);

impl EventRoom {
    /// Bytes held now.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that somebody who held `before` bytes holds `now`; false when that is more than there is room for.
    fn note(&self, before: usize, now: usize) -> bool {
        self.0.fetch_add(now, Ordering::Relaxed);
        let all = self.0.fetch_sub(before, Ordering::Relaxed) - before;
        now <= before || all <= HELD_BYTES_MAX
    }
}

/// An event stream that passes through.
pub struct Events {
    source: Relayed,
    stage: Stage,
    reader: Reader,
    waiting: VecDeque<Piece>,
    /// Whether what went out last ended an event, so that something of ours can stand behind it.
    is_between: bool,
    has_begun: bool,
    inlet: Option<mpsc::Receiver<Bytes>>,
    silence: Silence,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Coming,
    /// The source has ended; what was read of it still goes out.
    Leaving,
    Over,
}

/// The time in which nothing went out.
struct Silence {
    most: Duration,
    timer: Pin<Box<Sleep>>,
    is_timed: bool,
}

impl Events {
    /// The stream that `source` is. One that hangs on a tether may stay silent as long as that holds.
    pub fn new(source: Relayed) -> Self {
        Self {
            source: source.patient(),
            stage: Stage::Coming,
            reader: Reader::default(),
            waiting: VecDeque::new(),
            is_between: true,
            has_begun: false,
            inlet: None,
            silence: Silence {
                most: KEEP_ALIVE_AFTER,
                timer: Box::pin(sleep(KEEP_ALIVE_AFTER)),
                is_timed: false,
            },
            stop: None,
        }
    }

    /// The same, each whole event shown to `rewriter`, and what is held for that counted in `room`.
    #[must_use]
    pub fn rewritten(mut self, rewriter: Rewriter, room: EventRoom) -> Self {
        self.reader.rewrites(rewriter, room);
        self
    }

    /// The same, with whole events of ours put in between as they come. Each must end with an empty line.
    #[must_use]
    pub fn with_inlet(mut self, inlet: mpsc::Receiver<Bytes>) -> Self {
        self.inlet = Some(inlet);
        self
    }

    /// The same, kept alive after another time of silence than [`KEEP_ALIVE_AFTER`].
    #[cfg(test)]
    const fn kept_alive_after(mut self, silence: Duration) -> Self {
        self.silence.most = silence;
        self
    }

    /// Has it end between two events once `shutdown` is said, as if its sender had nothing more to say: a stop
    /// waits for what is under way, and this may be for ever.
    pub(super) fn end_at(&mut self, shutdown: &CancellationToken) {
        self.stop = Some(Box::pin(shutdown.clone().cancelled_owned()));
    }

    /// What it hangs on.
    pub(super) const fn tether(&self) -> Option<&Tether> {
        self.source.tether()
    }

    /// Whether nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        let nothing_is_left = self.waiting.is_empty() && self.reader.is_empty();
        match self.stage {
            Stage::Coming => nothing_is_left && self.source.is_end(),
            Stage::Leaving => nothing_is_left,
            Stage::Over => true,
        }
    }

    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let next = if self.stage == Stage::Over { Poll::Ready(None) } else { self.poll_next(cx) };
        match &next {
            Poll::Ready(Some(Ok(_))) => {
                self.has_begun = true;
                self.silence.is_timed = false;
            }
            Poll::Ready(None | Some(Err(_))) => {
                self.stage = Stage::Over;
                self.waiting.clear();
            }
            Poll::Pending => {}
        }
        next
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(Err(denial)) = self.tether().map(Tether::check) {
            return Poll::Ready(Some(Err(BodyError::Untethered(denial))));
        }
        loop {
            if self.is_between
                && let Poll::Ready(Some(ours)) = self.poll_inlet(cx)
            {
                return Poll::Ready(Some(Ok(ours)));
            }
            if let Some(piece) = self.waiting.pop_front() {
                self.is_between = piece.is_between;
                return Poll::Ready(Some(Ok(piece.bytes)));
            }
            if self.stage == Stage::Leaving || (self.is_between && self.is_stopped(cx)) {
                return Poll::Ready(None);
            }
            let read = match self.source.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    let chunk = if self.has_begun { self.reader.without_mark(chunk) } else { chunk };
                    self.reader.take(chunk, self.inlet.is_some(), &mut self.waiting)
                }
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(None) => {
                    self.stage = Stage::Leaving;
                    self.reader.finish(&mut self.waiting)
                }
                Poll::Pending => return self.poll_quiet(cx),
            };
            if let Err(reason) = read {
                tracing::warn!(reason, "an event stream of the upstream was broken off");
                return Poll::Ready(Some(Err(BodyError::Event)));
            }
        }
    }

    fn is_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready())
    }

    fn poll_inlet(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(inlet) = &mut self.inlet else { return Poll::Ready(None) };
        let next = inlet.poll_recv(cx);
        if matches!(next, Poll::Ready(None)) {
            self.inlet = None;
        }
        next
    }

    /// A comment when nothing went out for so long.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if self.silence.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // In the middle of an event there is no place for it.
            if self.is_between {
                return Poll::Ready(Some(Ok(Bytes::from_static(KEEP_ALIVE))));
            }
        }
    }
}

impl Silence {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_timed {
            self.timer.set(sleep(self.most));
            self.is_timed = true;
        }
        let over = self.timer.as_mut().poll(cx);
        self.is_timed = over.is_pending();
        over
    }
}

/// The mark of the byte order, which may stand before a stream's first line.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// The name and the value of the field that a line is; a comment's name is empty.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return (line, &[]) };
    let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

#[cfg(test)]
mod tests;
