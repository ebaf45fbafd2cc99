//! The connections in HTTP/1.1 to one upstream: kept while unused, each one exchange's at a time.
//!
//! The one that was used last is used next, so that a quiet upstream comes down to few. A kept connection is
//! looked at before it is used: one that was closed, or that said something unasked, is dropped. There are at
//! most so many, and none is kept for longer than it may be. One that ended in doubt is never kept.
//!
//! Never here: a second try of what was sent.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::answer_body::Coming;
use super::connection::{AnswerBody, Answered, Connection, Unanswered};
use super::link::{Connector, Link};
use super::reader::Reader;
use super::sending::Sending;
use crate::domain::causes::Causes;
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::http::body::{BodyError, Source};

/// In how many steps the age of an unused connection is counted.
const AGES: u32 = 4;

/// The connections to one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connector: Connector,
    /// What the upstream is called.
    pub(super) host: HeaderValue,
    kept: Arc<Kept>,
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        host: HeaderValue,
        idle_max: Duration,
        connections_max: usize,
    ) -> Self {
        let kept = Kept { idle_max, connections_max, unused: Mutex::default() };
        Self { connector, host, kept: Arc::new(kept) }
    }

    /// Sends a request once, and waits for its answer. What of the request is still being sent then has
    /// `send_max` to end behind the answer.
    pub(super) async fn ask(
        &self,
        mut sending: Sending,
        send_max: Duration,
    ) -> Result<Response<Source>, Refusal> {
        while let Some(mut connection) = self.kept.take() {
            match connection.ask(&mut sending).await {
                Ok(answered) => return Ok(self.answer(connection, sending, answered, send_max)),
                // It had closed, and nothing of the request was sent.
                Err(Unanswered::Unsent(_)) => {}
                Err(unanswered) => return Err(refusal(unanswered)),
            }
        }
        // In a room of its own, since few exchanges need it.
        let mut connection = Box::pin(self.connect()).await?;
        match connection.ask(&mut sending).await {
            Ok(answered) => Ok(self.answer(connection, sending, answered, send_max)),
            Err(unanswered) => Err(refusal(unanswered)),
        }
    }

    async fn connect(&self) -> Result<Box<Connection>, Refusal> {
        let link = self.connector.connect().await;
        let link = link.map_err(|error| said(&error, Fault::UpstreamUnreachable))?;
        Ok(Box::new(Connection::over(link)))
    }

    fn answer(
        &self,
        connection: Box<Connection>,
        sending: Sending,
        answered: Answered,
        send_max: Duration,
    ) -> Response<Source> {
        let Answered { head, body } = answered;
        head.map(|()| match body {
            AnswerBody::Whole(bytes) if sending.is_over() => {
                self.kept.keep_if_free(connection);
                Source::Arrived(bytes)
            }
            AnswerBody::Whole(bytes) => {
                send_rest(sending, connection.reader.from, None, send_max);
                Source::Arrived(bytes)
            }
            AnswerBody::Coming(coming) if sending.is_over() => {
                let far = Far::Connection(connection, Arc::clone(&self.kept));
                Source::Driven(Box::new(Answering { far, coming, failed: None }))
            }
            // Neither side may wait for the other to be read.
            AnswerBody::Coming(coming) => {
                let (reader, writer) = connection.reader.split();
                let (answered, is_answered) = oneshot::channel();
                send_rest(sending, writer, Some(is_answered), send_max);
                let far = Far::Reader(reader, answered);
                Source::Driven(Box::new(Answering { far, coming, failed: None }))
            }
        })
    }
}

/// Sends the rest of a request whose answer has come, in a task of its own. Nothing more is asked on its
/// connection, and it has `send_max` to end once the answer has gone.
fn send_rest(
    mut sending: Sending,
    mut link: impl AsyncWrite + Unpin + Send + 'static,
    is_answered: Option<oneshot::Receiver<()>>,
    send_max: Duration,
) {
    tokio::spawn(async move {
        let has_gone = {
            let mut rest = pin!(poll_fn(|cx| sending.poll(&mut link, cx)));
            let answered = async {
                if let Some(is_answered) = is_answered {
                    let _ = is_answered.await;
                }
            };
            tokio::select! {
                sent = &mut rest => sent.is_ok(),
                () = answered => timeout(send_max, rest).await.is_ok_and(|sent| sent.is_ok()),
            }
        };
        // The upstream shall not wait for what never comes.
        if !has_gone {
            let _ = link.shutdown().await;
        }
    });
}

fn refusal(unanswered: Unanswered) -> Refusal {
    match unanswered {
        // It was the caller's body that failed, and not the upstream.
        Unanswered::Body(error) => Denial::from(&error).into(),
        Unanswered::Unsent(error) | Unanswered::Broken(error) => said(&error, Fault::UpstreamBroken),
    }
}

fn said(error: &(dyn Error + 'static), fault: Fault) -> Refusal {
    tracing::warn!(error = %Causes(error), fault = fault.name(), "the upstream did not answer");
    fault.into()
}

/// The body of an answer that still comes.
#[derive(Debug)]
struct Answering {
    far: Far,
    coming: Coming,
    /// Why the body broke off, to be told in the next step.
    failed: Option<io::Error>,
}

/// Where it comes from.
#[derive(Debug)]
enum Far {
    /// A connection that may be kept behind it.
    Connection(Box<Connection>, Arc<Kept>),
    /// One on which the request is still being sent, and whoever sends it hears of the end of this.
    Reader(Reader<ReadHalf<Link>>, #[expect(dead_code, reason = "its end is the word")] oneshot::Sender<()>),
    /// Nowhere any more.
    Nothing,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { far, coming, failed } = &mut *self;
        if let Some(error) = failed.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        let polled = match far {
            Far::Connection(connection, _) => coming.poll(&mut connection.reader, cx),
            Far::Reader(reader, _) => coming.poll(reader, cx),
            Far::Nothing => return Poll::Ready(None),
        };
        match ready!(polled) {
            Some(Ok(bytes)) => {
                if *coming == Coming::Over {
                    self.end();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                // What came before is sent on first: a caller shall see how far it went.
                *failed = Some(error);
                *far = Far::Nothing;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.coming == Coming::Over && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.coming {
            Coming::Over => SizeHint::with_exact(0),
            Coming::Sized(left) => SizeHint::with_exact(left),
            Coming::Chunks(_) | Coming::UntilEnd => SizeHint::default(),
        }
    }
}

impl Answering {
    /// It has come whole.
    fn end(&mut self) {
        if let Far::Connection(connection, kept) = std::mem::replace(&mut self.far, Far::Nothing) {
            kept.keep_if_free(connection);
        }
    }
}

/// The connections that nobody uses.
#[derive(Debug)]
struct Kept {
    idle_max: Duration,
    connections_max: usize,
    unused: Mutex<Unused>,
}

#[derive(Debug, Default)]
struct Unused {
    /// The one that was used last stands last, each with the age of this pool at which it came.
    connections: Vec<(Box<Connection>, u32)>,
    age: u32,
    /// Whether somebody counts the age.
    is_swept: bool,
}

impl Kept {
    fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (mut connection, _) = self.unused().connections.pop()?;
            if connection.still_stands() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection on which both messages have gone whole, if it goes on.
    fn keep_if_free(self: &Arc<Self>, mut connection: Box<Connection>) {
        if !connection.is_free() {
            return;
        }
        connection.reader.rest();
        let mut unused = self.unused();
        if unused.connections.len() >= self.connections_max {
            drop(unused);
            return;
        }
        let age = unused.age;
        unused.connections.push((connection, age));
        if !unused.is_swept
            && let Ok(runtime) = Handle::try_current()
        {
            unused.is_swept = true;
            runtime.spawn(sweep(Arc::downgrade(self), self.idle_max / AGES));
        }
    }

    /// Drops what is too old; true when nothing is left.
    fn age(&self) -> bool {
        let mut unused = self.unused();
        unused.age = unused.age.wrapping_add(1);
        let age = unused.age;
        let too_old =
            unused.connections.iter().take_while(|(_, came)| age.wrapping_sub(*came) >= AGES).count();
        let dropped: Vec<_> = unused.connections.drain(..too_old).collect();
        unused.is_swept = !unused.connections.is_empty();
        let is_swept = unused.is_swept;
        drop(unused);
        drop(dropped);
        !is_swept
    }

    fn unused(&self) -> MutexGuard<'_, Unused> {
        // Each change is whole by itself.
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the unused connections of a pool grow old, until there are none.
async fn sweep(kept: Weak<Kept>, step: Duration) {
    loop {
        sleep(step).await;
        let Some(kept) = kept.upgrade() else { return };
        if kept.age() {
            return;
        }
    }
}
