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
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use memchr::memmem;
use tokio::task::coop;

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
    /// How much of a head was there when its end was last looked for.
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
    pub(super) body: AnswerBody,
}

/// The body of an answer whose head has come.
#[derive(Debug)]
pub(super) enum AnswerBody {
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
        // Asked outright: a task that did much would be told to wait, which says nothing of the connection.
        let look = coop::unconstrained(poll_fn(|cx| self.reader.poll_fill(cx)));
        pin!(look).poll(&mut Context::from_waker(Waker::noop())).is_pending()
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
            if !sending.has_begun() {
                let error = read.err().unwrap_or_else(|| io::Error::other("an answer to nothing"));
                return Poll::Ready(Err(Unanswered::Unsent(error)));
            }
            Poll::Ready(read.map_err(|error| Unanswered::Broken(stopped.take().unwrap_or(error))))
        })
        .await
    }

    fn poll_head(&mut self, is_head: bool, cx: &mut Context<'_>) -> Poll<io::Result<Answered>> {
        loop {
            let buffer = &self.reader.buffer;
            // Looked at when something of it is there, and then not before all of it is.
            let may_be_whole = !buffer.is_empty() && (self.partial == 0 || ends_head(buffer, self.partial));
            self.partial = buffer.len();
            if may_be_whole {
                // Most answers are there whole: one copy, of which headers and body are parts.
                let came = Bytes::copy_from_slice(buffer);
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
                AnswerBody::Whole(came.slice(head.length..head.length + length))
            }
            None => AnswerBody::Coming(head.coming),
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
    use std::pin::Pin;
    use std::time::Duration;
    use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};

    use crate::gateway::Arrival;
    use crate::gateway::headers::Introduction;
    use crate::gateway::link::{Connector, MemoryDialer};
    use crate::http::Body;

    const LATE: &[u8] = b"HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n";

    async fn connection() -> (Connection, DuplexStream) {
        let (dialer, mut arriving) = MemoryDialer::new();
        let link = Connector::memory(dialer, Duration::from_mins(1)).connect().await.unwrap();
        (Connection::over(link), arriving.recv().await.unwrap())
    }

    fn sending() -> Sending {
        let (head, ()) = http::Request::get("/a").body(()).unwrap().into_parts();
        let arrival = Arrival { address: None, is_secure: false, request_id: HeaderValue::from_static("r") };
        let introduction = Introduction::new(None, arrival, None).unwrap();
        Sending::new(&head, &HeaderValue::from_static("up"), &introduction, Body::Empty)
    }

    #[tokio::test]
    async fn what_a_connection_says_before_it_took_anything_is_not_an_answer() {
        let (mut connection, mut far) = connection().await;
        let link = &mut connection.reader.from;
        while poll_fn(|cx| Poll::Ready(Pin::new(&mut *link).poll_write(cx, &[0; 4096]).is_ready())).await {}
        far.write_all(LATE).await.unwrap();
        let answered = connection.ask(&mut sending()).await;
        assert!(matches!(answered, Err(Unanswered::Unsent(_))), "{answered:?}");
    }

    #[tokio::test]
    async fn a_kept_connection_is_looked_at_by_a_task_that_did_much_as_well() {
        for says in [&b""[..], LATE] {
            let (mut connection, mut far) = connection().await;
            far.write_all(says).await.unwrap();
            // From here on the runtime has the task wait, whatever it asks for.
            while coop::has_budget_remaining() {
                coop::consume_budget().await;
            }
            assert_eq!(connection.still_stands(), says.is_empty());
        }
    }

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_is_not_searched_again_from_its_start() {
        let (mut connection, mut far) = connection().await;
        for byte in LATE {
            assert_eq!(connection.partial, connection.reader.buffer.len());
            far.write_all(&[*byte]).await.unwrap();
            let _ = poll_fn(|cx| Poll::Ready(connection.poll_head(false, cx).is_ready())).await;
        }
        assert_eq!((connection.partial, connection.reader.buffer.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_a_connection_says_that_takes_no_request_is_not_its_answer() {
        for takes_it in [true, false] {
            let (mut connection, mut far) = connection().await;
            far.write_all(LATE).await.unwrap();
            let kept = takes_it.then_some(far);
            let mut sending = sending();
            let answered = connection.ask(&mut sending).await;
            assert_eq!(answered.is_ok(), takes_it);
            assert_eq!(matches!(answered, Err(Unanswered::Unsent(_))), !takes_it);
            assert_eq!(sending.has_begun(), takes_it, "it can go over another one");
            drop(kept);
        }
    }
}
