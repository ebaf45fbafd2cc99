//! What a client gets: one JSON body, or a stream of events.
//!
//! A stream that is silent says a comment now and then, so that nobody between takes it for dead. One that answers a
//! request ends with its answer, or with an error that says that there will be none.
//!
//! Never here: what a message says.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::message::{self, INTERNAL_ERROR, METHOD_NOT_FOUND, MODERN_REFUSALS};
use super::outbox::Event;
use super::waiting::Waiting;
use crate::domain::mcp::Era;

/// What a request gets.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// How long a stream is silent before it says that it is there.
const COMMENT_INTERVAL: Duration = Duration::from_secs(20);
/// How long a caller should wait before it tries again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");
/// Asks proxies to pass a stream on as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What is said in a server's place when it broke off.
const BROKE_OFF: &str = "The server broke off before it answered.";

/// The answer to a request that a server was asked: JSON, if that is what comes first.
pub(super) async fn of_server(mut waiting: Waiting, era: Era) -> Answer {
    match waiting.inbox.next().await {
        Some(Event::Answer(text, error)) => json(status(era, error), text),
        Some(first) => stream(waiting, Some(first)),
        None => error(StatusCode::BAD_GATEWAY, waiting.id.as_deref(), INTERNAL_ERROR, BROKE_OFF),
    }
}

/// The answer to the first request of a session, which takes nothing ahead of it, and whether it went well.
pub(super) async fn of_first(mut waiting: Waiting) -> (Answer, bool) {
    match waiting.inbox.next().await {
        Some(Event::Answer(text, error)) => (json(StatusCode::OK, text), error.is_none()),
        Some(_) | None => {
            (error(StatusCode::BAD_GATEWAY, waiting.id.as_deref(), INTERNAL_ERROR, BROKE_OFF), false)
        }
    }
}

/// The status that an answer travels with. In the legacy era errors are answers like all others.
fn status(era: Era, error: Option<i32>) -> StatusCode {
    match (era, error) {
        (Era::Modern, Some(METHOD_NOT_FOUND)) => StatusCode::NOT_FOUND,
        (Era::Modern, Some(code)) if MODERN_REFUSALS.contains(&code) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// A JSON body.
pub(super) fn json(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An error of our own. `id` is JSON, null when there is none.
pub(super) fn error(status: StatusCode, id: Option<&str>, code: i32, message: &str) -> Answer {
    let mut answer = json(status, message::error(id.unwrap_or("null"), code, message));
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        }
        _ => {}
    }
    answer
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default().boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// A stream of events: the first, and what comes.
pub(super) fn stream(waiting: Waiting, first: Option<Event>) -> Answer {
    let mut comments = interval(COMMENT_INTERVAL);
    comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    comments.reset();
    // Word that it is open, for who waits for a first byte.
    let opened = first.is_none();
    let events = Events { waiting, first, opened, comments, is_over: false };
    let mut answer = Response::new(events.boxed_unsync());
    for (name, value) in
        [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")]
    {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The body of a stream.
struct Events {
    waiting: Waiting,
    first: Option<Event>,
    opened: bool,
    comments: Interval,
    is_over: bool,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut this.opened) {
            return Poll::Ready(Some(Ok(comment())));
        }
        let next = match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => this.waiting.inbox.poll_next(cx),
        };
        let event = match next {
            Poll::Ready(event) => event,
            Poll::Pending => {
                ready!(this.comments.poll_tick(cx));
                return Poll::Ready(Some(Ok(comment())));
            }
        };
        this.comments.reset();
        let text = match event {
            Some(Event::Message(text)) => text,
            Some(Event::Answer(text, _)) => {
                this.is_over = true;
                text
            }
            Some(Event::End) => return Poll::Ready(None),
            None => {
                this.is_over = true;
                let Some(id) = &this.waiting.id else { return Poll::Ready(None) };
                message::error(id, INTERNAL_ERROR, BROKE_OFF)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(format!("event: message\ndata: {text}\n\n"))))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn comment() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b":\n\n"))
}
