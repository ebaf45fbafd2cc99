//! Bodies: what an answer or a forwarded request carries, and how a client's body is read, relayed or dropped
//! within bounds.
//!
//! A body that comes from elsewhere has a most number of bytes, a longest pause between two frames, and loses
//! its trailers. A declared length over the bound is refused before a byte is read. A tethered body ends, cut
//! off, as soon as what it is relayed on no longer stands.
//!
//! Never here: decoding of any content encoding, or a body without an end.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::tethered::{Pause, PauseOver};
use crate::domain::denial::{Denial, Invalid};
use crate::domain::tether::Tether;

/// The most bytes of an unread body that are read only to keep the connection.
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// The longest that such a rest is waited for.
pub const DRAIN_TIME_MAX: Duration = Duration::from_millis(100);

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than it may be.
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The most bytes it may have.
        max_bytes: u64,
    },
    /// It paused for too long, or took too long in all.
    #[error("the body came too slowly")]
    Late,
    /// Its sender broke off, or framed it wrongly.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// What it was let through on no longer stands.
    #[error("the body was cut off: {} holds now", .0.name())]
    Untethered(Denial),
    /// An event of it could not be let through.
    #[error("an event of the stream could not be let through")]
    Event,
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

/// What a body that did not arrive whole makes of its request.
impl From<&BodyError> for Denial {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::TooLarge { max_bytes } => Self::TooLarge { max_bytes: *max_bytes },
            BodyError::Late | BodyError::Broken(_) | BodyError::Event => Self::Invalid(Invalid::Framing),
            BodyError::Untethered(denial) => denial.clone(),
        }
    }
}

/// A body on its way out: of an answer, or of a request to an upstream.
#[derive(Debug, Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes in hand.
    Whole(Bytes),
    /// Bytes that pass through as they come.
    Relayed(Relayed),
    /// An event stream that passes through.
    Events(Box<Events>),
}

impl Body {
    /// Has an event stream end with the daemon. Everything else has an end of its own.
    pub(super) fn end_at(&mut self, shutdown: &CancellationToken) {
        if let Self::Events(events) = self {
            events.end_at(shutdown);
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Relayed(relayed) => relayed.poll_data(cx).map_ok(Frame::data),
            Self::Events(events) => events.poll_data(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Relayed(relayed) => relayed.is_end(),
            Self::Events(events) => events.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relayed(relayed) => http_body::Body::size_hint(&relayed.source),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// Where a relayed body comes from.
pub enum Source {
    /// Bytes that have come already.
    Arrived(Bytes),
    /// A connection that runs by itself.
    Incoming(Incoming),
    /// A connection that runs while its body is asked for.
    Driven(Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send + Sync + Unpin>),
}

impl From<Incoming> for Source {
    fn from(incoming: Incoming) -> Self {
        Self::Incoming(incoming)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Arrived(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Arrived(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Driven(driven) => Pin::new(driven).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Arrived(bytes) => bytes.is_empty(),
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Driven(driven) => driven.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Arrived(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Driven(driven) => driven.size_hint(),
        }
    }
}

/// A body that passes through frame by frame.
#[derive(Debug)]
pub struct Relayed {
    source: Source,
    left_bytes: u64,
    max_bytes: u64,
    pause_max: Duration,
    pausing: Option<Pause>,
    over: bool,
    held: Held,
    tether: Option<Tether>,
}

/// What is let go when a relayed body ends, breaks or is dropped.
#[derive(Debug, Default)]
pub enum Held {
    /// Nothing.
    #[default]
    Nothing,
    /// A place among those that may be open at once, whoever counts them; it is free again when this is
    /// dropped.
    Place(Box<dyn Any + Send + Sync>),
    /// The other end learns that nothing more will come.
    Notice(oneshot::Sender<()>),
}

impl Relayed {
    /// Passes `source` on: at most `max_bytes`, with no pause longer than `pause_max` while it is waited for.
    pub fn new(source: impl Into<Source>, max_bytes: u64, pause_max: Duration) -> Self {
        Self {
            source: source.into(),
            left_bytes: max_bytes,
            max_bytes,
            pause_max,
            pausing: None,
            over: false,
            held: Held::Nothing,
            tether: None,
        }
    }

    /// The same, as long as `tether` holds: it is asked before each frame, and again and again while none
    /// comes.
    #[must_use]
    pub fn tethered(self, tether: Option<Tether>) -> Self {
        Self { tether, ..self }
    }

    /// The same for an event stream, whose sender may have nothing to say for as long as the tether holds. One
    /// without a tether keeps its longest pause: nobody else would ever end it.
    pub(super) fn patient(self) -> Self {
        let pause_max = if self.tether.is_some() { Duration::MAX } else { self.pause_max };
        Self { pause_max, ..self }
    }

    /// What it hangs on.
    pub(super) const fn tether(&self) -> Option<&Tether> {
        self.tether.as_ref()
    }

    /// The same, holding `held` until the end.
    #[must_use]
    pub fn holding(self, held: Held) -> Self {
        Self { held, ..self }
    }

    /// Whether nothing more will come.
    pub fn is_end(&self) -> bool {
        self.over || http_body::Body::is_end_stream(&self.source)
    }

    /// Refuses at once what declares to be too large.
    pub fn check_declared(&self) -> Result<(), BodyError> {
        let too_large = http_body::Body::size_hint(&self.source).lower() > self.max_bytes;
        if too_large { Err(BodyError::TooLarge { max_bytes: self.max_bytes }) } else { Ok(()) }
    }

    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let next = if self.over { Poll::Ready(None) } else { self.poll_source(cx) };
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.over = true;
            self.held = Held::Nothing;
        }
        next
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(Err(denial)) = self.tether.as_ref().map(Tether::check) {
            return Poll::Ready(Some(Err(BodyError::Untethered(denial))));
        }
        loop {
            match http_body::Body::poll_frame(Pin::new(&mut self.source), cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.pausing = None;
                    // Trailers end here: whoever reads headers must not find more of them behind the body.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(self.within(data)));
                    }
                }
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let tether = self.tether.as_ref();
                    let pausing = self.pausing.get_or_insert_with(|| Pause::new(self.pause_max, tether));
                    return pausing.poll(cx, tether).map(|over| {
                        Some(Err(match over {
                            PauseOver::TooLong => BodyError::Late,
                            PauseOver::Untethered(denial) => BodyError::Untethered(denial),
                        }))
                    });
                }
            }
        }
    }

    fn within(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let left = self.left_bytes.checked_sub(data.len() as u64);
        self.left_bytes = left.ok_or(BodyError::TooLarge { max_bytes: self.max_bytes })?;
        Ok(data)
    }
}

/// Reads a whole body of at most `max_bytes` within `time_max`.
pub async fn read<B>(body: B, max_bytes: u64, time_max: Duration) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }
    timeout(time_max, gather(body, max_bytes)).await.unwrap_or(Err(BodyError::Late))
}

async fn gather<B>(mut body: B, max_bytes: u64) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let declared = body.size_hint().lower();
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Into::into)?.into_data() else {
            continue;
        };
        if (first.len() + all.len() + data.len()) as u64 > max_bytes {
            return Err(BodyError::TooLarge { max_bytes });
        }
        // Most bodies are one frame, which then needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            let begun = std::mem::take(&mut first);
            make_room(&mut all, begun.len() + data.len(), declared, max_bytes);
            all.extend_from_slice(&begun);
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// Makes room for `more` bytes: for all that was declared, or else twice as much as before, and never for more
/// than may come. Whoever counts the memory of bodies counts their most bytes, not what a buffer would have
/// spare.
fn make_room(all: &mut Vec<u8>, more: usize, declared: u64, max_bytes: u64) {
    let needed = all.len() + more;
    if needed > all.capacity() {
        let wanted = declared.max(2 * all.capacity() as u64).min(max_bytes);
        let wanted = usize::try_from(wanted).unwrap_or(needed).max(needed);
        all.reserve_exact(wanted - all.len());
    }
}

/// What is left of a body that nobody wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing: the connection can go on.
    Nothing,
    /// More: the answer must close the connection.
    More,
}

/// Reads and drops what is left of a small body, so that an early answer need not cost the connection.
/// `expect` is the request's header of that name.
pub async fn drain(expect: Option<&HeaderValue>, body: Incoming) -> Rest {
    if http_body::Body::is_end_stream(&body) {
        return Rest::Nothing;
    }
    // Whoever waits for `100 Continue` would be told to go on by the first read, and is owed the refusal
    // instead.
    if expect.is_some() || http_body::Body::size_hint(&body).lower() > DRAIN_BYTES_MAX {
        return Rest::More;
    }
    timeout(DRAIN_TIME_MAX, drop_frames(body)).await.unwrap_or(Rest::More)
}

async fn drop_frames(mut body: Incoming) -> Rest {
    let mut dropped = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Rest::More;
        };
        dropped += frame.data_ref().map_or(0, |data| data.len() as u64);
        if dropped > DRAIN_BYTES_MAX {
            return Rest::More;
        }
    }
    Rest::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Frames of unknown length; what follows them is an end, or nothing for ever.
    struct Frames {
        left: VecDeque<&'static str>,
        ends: bool,
    }

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            match self.left.pop_front() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes()))))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn frames(frames: &[&'static str]) -> Frames {
        Frames { left: frames.iter().copied().collect(), ends: true }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_body_is_read_up_to_its_last_allowed_byte() {
        assert_eq!(read(frames(&["abc", "de"]), 5, LONG).await.unwrap(), "abcde");
        assert_eq!(read(frames(&["abc"]), 3, LONG).await.unwrap(), "abc");
        assert_eq!(read(frames(&[]), 0, LONG).await.unwrap(), "");
        let over = read(frames(&["abc", "de"]), 4, LONG).await.unwrap_err();
        assert!(matches!(over, BodyError::TooLarge { max_bytes: 4 }));
    }

    #[test]
    fn a_growing_body_takes_no_more_memory_than_it_may_have_bytes() {
        for declared in [0, 1000] {
            let mut all = Vec::new();
            for _ in 0..100 {
                make_room(&mut all, 10, declared, 1000);
                all.extend_from_slice(&[7; 10]);
                assert!(all.capacity() <= 1000, "{} at {}", all.capacity(), all.len());
                assert!(declared == 0 || all.capacity() == 1000, "one allocation for what was declared");
            }
        }
    }

    #[tokio::test]
    async fn a_declared_length_over_the_bound_is_refused_unread() {
        let mut body = Body::Whole(Bytes::from_static(b"abcdef"));
        let over = read(&mut body, 5, LONG).await.unwrap_err();
        assert!(matches!(over, BodyError::TooLarge { max_bytes: 5 }));
        assert!(matches!(body, Body::Whole(_)));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_late() {
        let stuck = Frames { left: VecDeque::new(), ends: false };
        assert!(matches!(read(stuck, 5, Duration::from_millis(5)).await, Err(BodyError::Late)));
    }
}
