//! One connection to an upstream in HTTP/1.1, run by whoever has its exchange.
//!
//! It has no task of its own. The exchange that holds it writes and reads in its own steps; so nobody is
//! woken to hand over a request or an answer. Whoever holds it owns it: what is dropped in the middle closes.
//! It is free for the next exchange when both messages have gone whole, neither side said that it was the
//! last, and nothing stands behind them.
//!
//! Never here: a choice among connections, or a request that is sent again.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use memchr::memmem;

use super::answer_body::Coming;
use super::answer_head::AnswerHead;
use super::clients::BUFFER_BYTES_MAX;
use super::interim::INTERIM_MAX;
use super::link::Link;
use super::reader::Reader;
use super::sending::{Sending, Unsendable};
use crate::http::body::BodyError;

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reader: Reader<Link>,
    /// Whether something may be asked behind the answer that is coming.
    goes_on: bool,
    /// The interim answers to the request that it has.
    interim: u32,
    /// How much of a head was there when it was last looked at.
    partial: usize,
}

/// Why a connection has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It ended before anything of the request was sent.
    Unsent(io::Error),
    /// It broke off, and nobody knows what has arrived.
    Broken(io::Error),
    /// The caller's body failed.
    Body(BodyError),
}

/// The head of an answer, and what came of its body with it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) head: http::Response<()>,
    pub(super) body: Arriving,
}

/// A body whose head has come.
#[derive(Debug)]
pub(super) enum Arriving {
    /// All of it came with the head.
    Whole(Bytes),
    /// More comes.
    Coming(Coming),
}

impl Connection {
    /// A connection over `link`, which nothing was said on.
    pub(super) fn over(link: Link) -> Self {
        Self { reader: Reader::new(link), goes_on: true, interim: 0, partial: 0 }
    }

    /// Whether a connection that nobody used still stands: the upstream has not closed it, and has said
    /// nothing unasked.
    pub(super) fn still_stands(&mut self) -> bool {
        self.reader.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether the next exchange can have it, when the body of the last answer has come whole.
    pub(super) fn is_free(&self) -> bool {
        self.goes_on && self.reader.buffer.is_empty()
    }

    /// Sends a request and waits for the head of its answer. The answer may come before the request has gone
    /// whole.
    pub(super) async fn ask(&mut self, sending: &mut Sending) -> Result<Answered, Unanswered> {
        (self.goes_on, self.interim, self.partial) = (false, 0, 0);
        let mut stopped = None;
        poll_fn(|cx| {
            if stopped.is_none() {
                match sending.poll(&mut self.reader.from, cx) {
                    Poll::Ready(Err(Unsendable::Body(error))) => {
                        return Poll::Ready(Err(Unanswered::Body(error)));
                    }
                    // Whatever was said on it was no answer to this.
                    Poll::Ready(Err(Unsendable::Link(error))) if !sending.has_begun() => {
                        return Poll::Ready(Err(Unanswered::Unsent(error)));
                    }
                    // One that takes no more may have answered why.
                    Poll::Ready(Err(Unsendable::Link(error))) => stopped = Some(error),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            let read = ready!(self.poll_head(sending.is_head, cx));
            Poll::Ready(read.map_err(|error| {
                let error = stopped.take().unwrap_or(error);
                if sending.has_begun() { Unanswered::Broken(error) } else { Unanswered::Unsent(error) }
            }))
        })
        .await
    }

    fn poll_head(&mut self, is_head: bool, cx: &mut Context<'_>) -> Poll<io::Result<Answered>> {
        loop {
            let buffer = &self.reader.buffer;
            // Looked at when something of it is there, and then not before all of it is.
            if !buffer.is_empty() && (self.partial == 0 || ends_head(buffer, self.partial)) {
                // Most answers are there whole: one copy, of which headers and body are parts.
                let came = Bytes::copy_from_slice(buffer);
                self.partial = came.len();
                if let Some(head) = AnswerHead::read(&came, is_head)? {
                    self.partial = 0;
                    self.reader.buffer.advance(head.length);
                    if !head.is_interim() {
                        return Poll::Ready(Ok(self.answered(head, &came)));
                    }
                    self.interim += 1;
                    if self.interim > INTERIM_MAX {
                        return Poll::Ready(Err(io::Error::other("interim answers without an end")));
                    }
                    continue;
                }
            }
            if self.reader.buffer.len() >= BUFFER_BYTES_MAX {
                return Poll::Ready(Err(io::Error::other("a head without an end")));
            }
            if ready!(self.reader.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The answer of this head, which `came` begins with.
    fn answered(&mut self, head: AnswerHead, came: &Bytes) -> Answered {
        self.goes_on = head.goes_on;
        let length = match head.coming {
            Coming::Over => Some(0),
            Coming::Sized(length) => usize::try_from(length).ok(),
            Coming::Chunks(_) | Coming::UntilEnd => None,
        };
        let body = match length.filter(|length| *length <= self.reader.buffer.len()) {
            Some(length) => {
                self.reader.buffer.advance(length);
                Arriving::Whole(came.slice(head.length..head.length + length))
            }
            None => Arriving::Coming(head.coming),
        };
        Answered { head: head.answer, body }
    }
}

/// Whether a head ends behind its first bytes, in which it does not.
fn ends_head(buffer: &[u8], first: usize) -> bool {
    let behind = buffer.get(first.saturating_sub(3)..).unwrap_or_default();
    memmem::find(behind, b"\n\r\n").is_some() || memmem::find(behind, b"\n\n").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    use crate::gateway::Arrival;
    use crate::gateway::headers::Told;
    use crate::gateway::link::{Connector, MemoryDialer};
    use crate::http::Body;

    #[tokio::test]
    async fn what_a_connection_says_that_takes_no_request_is_not_its_answer() {
        for takes_it in [true, false] {
            let (dialer, mut arriving) = MemoryDialer::new();
            let link = Connector::memory(dialer, Duration::from_mins(1)).connect().await.unwrap();
            let mut far = arriving.recv().await.unwrap();
            far.write_all(b"HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let kept = takes_it.then_some(far);
            let mut connection = Connection::over(link);
            let (head, ()) = http::Request::get("/a").body(()).unwrap().into_parts();
            let arrival =
                Arrival { address: None, is_secure: false, request_id: HeaderValue::from_static("r") };
            let told = Told::new(None, arrival, None).unwrap();
            let mut sending = Sending::new(&head, &HeaderValue::from_static("up"), &told, Body::Empty);
            let answered = connection.ask(&mut sending).await;
            assert_eq!(answered.is_ok(), takes_it);
            assert_eq!(matches!(answered, Err(Unanswered::Unsent(_))), !takes_it && !sending.has_begun());
            assert_eq!(sending.is_over(), takes_it, "it can go over another one");
            drop(kept);
        }
    }
}
