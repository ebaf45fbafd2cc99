//! The connections in HTTP/1.1 to one upstream: kept while unused, each one exchange's at a time.
//!
//! The one that was used last is used next, so that a quiet upstream comes down to few. A kept connection is
//! looked at before it is used: one that was closed, or that said something unasked, is dropped. There are at
//! most so many, and none is kept for longer than it may be. One that ended in doubt is never kept.
//!
//! Never here: a second try of what was sent.

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::connection::{Connection, Unanswered};
use super::link::Connector;
use crate::domain::causes::Causes;
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::http::Body;
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

    /// Sends a request once, and waits for its answer.
    pub(super) async fn ask(&self, mut request: Box<Request<Body>>) -> Result<Response<Answering>, Refusal> {
        while let Some(mut connection) = self.kept.take() {
            match connection.ask(request).await {
                Ok(answer) => return Ok(self.answered(connection, answer)),
                // It had closed, and nothing of the request was sent.
                Err(Unanswered::Unsent(unsent, _)) => request = unsent,
                Err(Unanswered::Broken(error)) => return Err(broken(&error)),
            }
        }
        // In a room of its own, since few exchanges need it.
        let mut connection = Box::pin(self.connect()).await?;
        match connection.ask(request).await {
            Ok(answer) => Ok(self.answered(connection, answer)),
            Err(Unanswered::Unsent(_, error) | Unanswered::Broken(error)) => Err(broken(&error)),
        }
    }

    async fn connect(&self) -> Result<Box<Connection>, Refusal> {
        let link = self.connector.connect().await.map_err(|error| unreachable(&error))?;
        Ok(Box::new(Connection::over(link).await.map_err(|error| broken(&error))?))
    }

    fn answered(&self, connection: Box<Connection>, answer: Response<Incoming>) -> Response<Answering> {
        answer.map(|body| {
            // Most answers are there whole with their heads.
            let connection = if connection.is_free() {
                self.kept.keep(connection);
                None
            } else {
                Some(connection)
            };
            Answering {
                body: Some(body),
                connection,
                running: None,
                kept: Arc::clone(&self.kept),
                failed: None,
            }
        })
    }
}

fn unreachable(error: &io::Error) -> Refusal {
    said(error, Fault::UpstreamUnreachable)
}

fn broken(error: &hyper::Error) -> Refusal {
    // It may be the caller's body that failed, and not the upstream.
    let failed = error.source().and_then(|cause| cause.downcast_ref::<BodyError>());
    failed.map_or_else(|| said(error, Fault::UpstreamBroken), |body| Denial::from(body).into())
}

fn said(error: &(dyn Error + 'static), fault: Fault) -> Refusal {
    tracing::warn!(error = %Causes(error), fault = fault.name(), "the upstream did not answer");
    fault.into()
}

/// The body of an answer, and the connection that it still comes on.
#[derive(Debug)]
pub(super) struct Answering {
    body: Option<Incoming>,
    connection: Option<Box<Connection>>,
    /// Held by the body of a connection that goes on by itself.
    running: Option<oneshot::Sender<()>>,
    kept: Arc<Kept>,
    /// Why the body broke off, to be told in the next step.
    failed: Option<hyper::Error>,
}

impl Answering {
    /// The body, whose connection goes on as it is asked for.
    pub(super) fn into_source(mut self) -> Source {
        match self.body.take_if(|_| self.connection.is_none()) {
            Some(body) => Source::Incoming(body),
            None => Source::Driven(Box::new(self)),
        }
    }

    /// The same while the request's body is still being sent: the connection goes on by itself, since neither
    /// side may wait for the other to be read. It is not used again, and has `send_max` to end behind the
    /// answer.
    pub(super) fn into_running_source(mut self, send_max: Duration) -> Source {
        let Some(connection) = self.connection.take() else { return self.into_source() };
        let (answered, is_answered) = oneshot::channel();
        self.running = Some(answered);
        tokio::spawn(async move {
            let mut running = pin!(connection.run_out());
            tokio::select! {
                () = &mut running => {}
                _ = is_answered => drop(timeout(send_max, running).await),
            }
        });
        Source::Driven(Box::new(self))
    }
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if let Some(error) = this.failed.take() {
            this.body = None;
            return Poll::Ready(Some(Err(error)));
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = match &mut this.connection {
            Some(connection) => connection.poll_body(cx, body),
            None => Pin::new(body).poll_frame(cx),
        };
        if let Poll::Ready(Some(Err(error))) = polled {
            // What came before is sent on first: a caller shall see how far it went.
            this.failed = Some(error);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.is_free()
        {
            self.kept.keep(connection);
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

    fn keep(self: &Arc<Self>, connection: Box<Connection>) {
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
