//! The streams of one connection: how many are open, and whether each still moves.
//!
//! Each stream is a task. One whose client closed its window is cut off after the stall limit, and sooner when
//! its answer's tether breaks; the others go on. What a client begins and takes back is counted against what
//! was answered.
//!
//! Never here: a byte of an answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::body::BodyError;
use super::super::tethered::{CurrentTether, Pause};
use super::super::{Body, Response};
use crate::domain::tether::Tether;

/// How many streams more than were answered a client may take back. People leave pages, and programs have
/// deadlines; neither does so for hundreds of requests of which none was answered.
const LEFT_BEHIND_MAX: u64 = 100;

/// The most bytes handed over at once: one frame. Of what was handed over nothing says how far it is, so a
/// larger piece would hide a client that takes it slowly from one that takes nothing, and the last of an
/// answer would be out of every limit.
const PIECE_BYTES_MAX: usize = super::FRAME_BYTES_MAX as usize;

tokio::task_local! {
    /// The stream that a task is about.
    static STREAM: Arc<Stream>;
}

/// What one stream is doing.
#[derive(Debug, Default)]
struct Stream {
    tether: CurrentTether,
    is_answered: AtomicBool,
    /// Pieces that were handed over to be sent.
    pieces: AtomicU64,
    /// Whether the last of them was, and nothing was asked for since.
    is_sending: AtomicBool,
}

/// Streams since the connection began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    begun: u64,
    ended: u64,
    answered: u64,
}

impl Counts {
    const fn are_left_behind(self) -> bool {
        self.ended.saturating_sub(self.answered) > LEFT_BEHIND_MAX.saturating_add(self.answered)
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    counts: watch::Sender<Counts>,
    tasks: TaskTracker,
    ending: CancellationToken,
    stall_max: Duration,
}

impl Streams {
    pub(super) fn new(stall_max: Duration) -> Self {
        let (counts, _) = watch::channel(Counts::default());
        Self { counts, tasks: TaskTracker::new(), ending: CancellationToken::new(), stall_max }
    }

    /// Runs streams; one for each connection.
    pub(super) fn executor(&self) -> StreamExecutor {
        StreamExecutor {
            counts: self.counts.clone(),
            tasks: self.tasks.clone(),
            ending: self.ending.clone(),
            stall_max: self.stall_max,
        }
    }

    /// Waits until there was no stream for `time`.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut counts = self.counts.subscribe();
        loop {
            let Ok(idle) = counts.wait_for(|counts| counts.begun == counts.ended).await.map(|idle| *idle)
            else {
                return;
            };
            if timeout(time, counts.wait_for(|counts| counts.begun != idle.begun)).await.is_err() {
                return;
            }
        }
    }

    /// Waits until too many streams were taken back.
    pub(super) async fn left_behind(&self) {
        let _ = self.counts.subscribe().wait_for(|counts| counts.are_left_behind()).await;
    }

    /// Ends what is left of them.
    pub(super) async fn end(self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs each stream of a connection in a task of its own.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    counts: watch::Sender<Counts>,
    tasks: TaskTracker,
    ending: CancellationToken,
    stall_max: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let (counts, ending, stall_max) = (self.counts.clone(), self.ending.clone(), self.stall_max);
        counts.send_modify(|counts| counts.begun += 1);
        self.tasks.spawn(async move {
            let state = Arc::new(Stream::default());
            let _ended = Ended { counts, state: Arc::clone(&state) };
            ending.run_until_cancelled(while_it_moves(stream, state, stall_max)).await;
        });
    }
}

/// Counts a stream as ended when it is dropped, however that comes.
struct Ended {
    counts: watch::Sender<Counts>,
    state: Arc<Stream>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let answered = u64::from(self.state.is_answered.load(Ordering::Relaxed));
        self.counts.send_modify(|counts| {
            counts.ended += 1;
            counts.answered += answered;
        });
    }
}

/// Runs a stream to its end, or until its client has not taken a piece for too long. Dropping it resets it.
async fn while_it_moves<F: Future<Output = ()>>(stream: F, state: Arc<Stream>, stall_max: Duration) {
    let mut stream = pin!(STREAM.scope(Arc::clone(&state), stream));
    let mut stalled: Option<(u64, Pause)> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !state.is_sending.load(Ordering::Relaxed) {
            stalled = None;
            return Poll::Pending;
        }
        let (piece, tether) = (state.pieces.load(Ordering::Relaxed), state.tether.tether());
        if stalled.as_ref().is_some_and(|(stalled_at, _)| *stalled_at != piece) {
            stalled = None;
        }
        let (_, pause) = stalled.get_or_insert_with(|| (piece, Pause::new(stall_max, tether.as_ref())));
        pause.poll(cx, tether.as_ref()).map(drop)
    })
    .await;
}

/// The answer of the stream whose task this is, its body watched.
pub(super) fn paced(answer: Response) -> http::Response<Paced> {
    let stream = STREAM.try_with(Arc::clone).unwrap_or_default();
    stream.tether.follow(&answer);
    stream.is_answered.store(true, Ordering::Relaxed);
    answer.map(|body| Paced { body, rest: Bytes::new(), stream })
}

/// A body in small pieces that notes when one of them waits to be taken.
#[derive(Debug)]
pub(super) struct Paced {
    body: Body,
    /// What came of it already and was not handed over.
    rest: Bytes,
    stream: Arc<Stream>,
}

impl Paced {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        } else if let Some(Err(denial)) = self.stream.tether.tether().as_ref().map(Tether::check) {
            return Poll::Ready(Some(Err(BodyError::Untethered(denial))));
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = self.poll_piece(cx);
        let is_sending = matches!(next, Poll::Ready(Some(Ok(_))));
        if is_sending {
            self.stream.pieces.fetch_add(1, Ordering::Relaxed);
        }
        self.stream.is_sending.store(is_sending, Ordering::Relaxed);
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
