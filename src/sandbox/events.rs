//! A stream of events as an answer's body: each is sent when its time has come, as from one who speaks.
//!
//! Never here: what an event says.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use super::answer::Answer;

/// Between two events: slow enough to be seen to come one by one, fast enough that nobody waits.
const PACE: Duration = Duration::from_millis(10);

/// An answer that says these, and then that it is done, as OpenAI's streams do.
pub(super) fn stream(events: &[Value]) -> Answer {
    let mut left: VecDeque<_> =
        events.iter().map(|event| Bytes::from(format!("data: {event}\n\n"))).collect();
    left.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    let mut answer = Response::new(Events { left, pause: None }.boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

struct Events {
    left: VecDeque<Bytes>,
    /// None before the first, which is sent at once.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
        }
        this.pause = Some(Box::pin(sleep(PACE)));
        Poll::Ready(this.left.pop_front().map(|event| Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }
}
