//! A request on its way out in HTTP/1.1: its head as bytes, and its body as it comes.
//!
//! How the body is framed follows from what is known of its length. What has come of it by then goes out in
//! one write with what stands before it. Nothing of it belongs to a connection until the first byte has gone,
//! so one that could not take it leaves it whole for the next.
//!
//! Never here: a choice of what is said, but for where it goes and how long it is.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, request};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::headers::Introduction;
use crate::http::Body;
use crate::http::body::BodyError;

/// What is asked for a head and a small body: as much as an allocator keeps at hand. Most take less.
const OUT_BYTES: usize = 1024;

/// A request of which something may have gone.
pub(super) struct Sending {
    /// What goes next.
    out: BytesMut,
    /// What goes behind that, uncopied.
    piece: Bytes,
    body: Body,
    left: Left,
    has_begun: bool,
    /// Whether the connection keeps some of what it took.
    is_kept_back: bool,
    /// Whether it is a HEAD, whose answer has no body.
    pub(super) is_head: bool,
}

/// What is still to come of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Nothing,
    Sized(u64),
    Chunks,
}

/// Why a request cannot go on.
#[derive(Debug)]
pub(super) enum Unsendable {
    /// The caller's body failed.
    Body(BodyError),
    /// The connection takes nothing more.
    Link(io::Error),
}

impl From<io::Error> for Unsendable {
    fn from(error: io::Error) -> Self {
        Self::Link(error)
    }
}

impl Sending {
    /// A request to `host`. Of its body the headers say `Transfer-Encoding` if nobody knows how long it is, or
    /// that its length is 0, and no other length; of the `introduction` they say nothing.
    pub(super) fn new(
        head: &request::Parts,
        host: &HeaderValue,
        introduction: &Introduction,
        body: Body,
    ) -> Self {
        let left = match body.size_hint().exact() {
            Some(0) => Left::Nothing,
            _ if body.is_end_stream() => Left::Nothing,
            Some(length) => Left::Sized(length),
            None => Left::Chunks,
        };
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut out = BytesMut::with_capacity(OUT_BYTES);
        // Behind a host alone, a query may stand without a path.
        let slash = if target.starts_with('/') { "" } else { "/" };
        for part in [head.method.as_str(), " ", slash, target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        let mut say = |name: &HeaderName, value: &[u8]| {
            for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        };
        say(&HOST, host.as_bytes());
        for (name, value) in &head.headers {
            say(name, value.as_bytes());
        }
        introduction.each(|name, value| say(&name, value.as_bytes()));
        if let Left::Sized(length) = left {
            say(&CONTENT_LENGTH, length.to_string().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        let is_head = head.method == Method::HEAD;
        Self { out, piece: Bytes::new(), body, left, has_begun: false, is_kept_back: false, is_head }
    }

    /// Whether any of it has gone.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether all of it has gone.
    pub(super) fn is_over(&self) -> bool {
        self.left == Left::Nothing && self.out.is_empty() && self.piece.is_empty() && !self.is_kept_back
    }

    /// Goes on as far as body and connection let it; ready when all has gone.
    pub(super) fn poll(
        &mut self,
        link: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Unsendable>> {
        loop {
            self.gather(cx)?;
            if self.out.is_empty() && self.piece.is_empty() {
                ready!(Pin::new(link).poll_flush(cx))?;
                self.is_kept_back = false;
                return if self.left == Left::Nothing { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let written = if self.piece.is_empty() {
                Pin::new(&mut *link).poll_write(cx, &self.out)
            } else {
                let both = [IoSlice::new(&self.out), IoSlice::new(&self.piece)];
                Pin::new(&mut *link).poll_write_vectored(cx, &both)
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(Unsendable::Link(io::ErrorKind::WriteZero.into())));
            }
            (self.has_begun, self.is_kept_back) = (true, true);
            let of_out = written.min(self.out.len());
            self.out.advance(of_out);
            self.piece.advance(written - of_out);
            if written > of_out && self.piece.is_empty() && self.left == Left::Chunks {
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Takes what has come of the body, up to what stands at hand.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), Unsendable> {
        while self.left != Left::Nothing && self.piece.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.push(data)?;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Err(Unsendable::Body(error)),
                Poll::Ready(None) if self.left == Left::Chunks => {
                    self.out.extend_from_slice(b"0\r\n\r\n");
                    self.left = Left::Nothing;
                }
                Poll::Ready(None) => return Err(otherwise_long()),
            }
        }
        Ok(())
    }

    fn push(&mut self, data: Bytes) -> Result<(), Unsendable> {
        // A chunk of no bytes would be the last one.
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.left {
            Left::Nothing => return Err(otherwise_long()),
            Left::Sized(left) => *left = left.checked_sub(data.len() as u64).ok_or_else(otherwise_long)?,
            Left::Chunks => self.out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes()),
        }
        // What would need more memory goes as it is.
        let is_copied = data.len() <= self.out.capacity() - self.out.len();
        if is_copied {
            self.out.extend_from_slice(&data);
        } else {
            self.piece = data;
        }
        match self.left {
            Left::Chunks if is_copied => self.out.extend_from_slice(b"\r\n"),
            Left::Sized(0) => {
                self.left = Left::Nothing;
                // Whoever waits for its end hears of it.
                self.body = Body::Empty;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Without what is said.
impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}

/// A body that is not as long as it said would end in the next request, or never.
fn otherwise_long() -> Unsendable {
    Unsendable::Body(io::Error::other("a body is not as long as it said").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::{Frame, SizeHint};
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, duplex};

    use crate::gateway::Arrival;
    use crate::http::body::{Relayed, Source};

    /// Pieces of a body that says how long it is, or does not.
    struct Pieces(VecDeque<Bytes>, Option<u64>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }

        fn size_hint(&self) -> SizeHint {
            self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn relayed(pieces: &[&[u8]], length: Option<u64>) -> Body {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let source = Source::Driven(Box::new(Pieces(pieces, length)));
        Body::Relayed(Relayed::new(source, u64::MAX, Duration::MAX))
    }

    fn sending(target: &str, body: Body) -> Sending {
        let (head, ()) = http::Request::put(target).header("x", "y").body(()).unwrap().into_parts();
        let arrival = Arrival { address: None, is_secure: true, request_id: HeaderValue::from_static("r") };
        let introduction = Introduction::new(None, arrival, None).unwrap();
        Sending::new(&head, &HeaderValue::from_static("up"), &introduction, body)
    }

    /// What goes over a connection that takes so many bytes at a time, and whether it went whole.
    async fn sent(body: Body, bytes_at_once: usize) -> (String, bool) {
        let (mut near, mut far) = duplex(bytes_at_once);
        let mut sending = sending("/a?b=c", body);
        let seen = tokio::spawn(async move {
            let mut seen = String::new();
            far.read_to_string(&mut seen).await.unwrap();
            seen
        });
        let sent = poll_fn(|cx| sending.poll(&mut near, cx)).await;
        assert_eq!(sent.is_ok(), sending.is_over());
        drop(near);
        (seen.await.unwrap(), sent.is_ok())
    }

    #[tokio::test]
    async fn a_request_goes_out_framed_by_what_is_known_of_its_body() {
        let large = "x".repeat(0x4001);
        let head = "PUT /a?b=c HTTP/1.1\r\nhost: up\r\nx: y\r\nx-keyward-request-id: r\r\nx-forwarded-proto: https\r\n";
        for (body, expected) in [
            (Body::Empty, "\r\n".to_owned()),
            (relayed(&[], Some(0)), "\r\n".to_owned()),
            (Body::Whole(Bytes::from_static(b"abc")), "content-length: 3\r\n\r\nabc".to_owned()),
            (relayed(&[b"a", b"", b"bc"], Some(3)), "content-length: 3\r\n\r\nabc".to_owned()),
            (relayed(&[b"a", b"", b"bc"], None), "\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n".to_owned()),
            (relayed(&[], None), "\r\n0\r\n\r\n".to_owned()),
            (
                relayed(&[b"a", large.as_bytes(), b"b"], None),
                format!("\r\n1\r\na\r\n4001\r\n{large}\r\n1\r\nb\r\n0\r\n\r\n"),
            ),
            (
                relayed(&[large.as_bytes(), b"b"], Some(large.len() as u64 + 1)),
                format!("content-length: {}\r\n\r\n{large}b", large.len() + 1),
            ),
        ] {
            // Of a body all sizes of a connection make the same bytes; it is made anew for each.
            assert_eq!(sent(body, 1 << 20).await, (format!("{head}{expected}"), true));
        }
        for bytes_at_once in [1, 3, 100] {
            let body = relayed(&[b"a", large.as_bytes(), b"b"], None);
            let (seen, whole) = sent(body, bytes_at_once).await;
            assert!(
                whole && seen.ends_with(&format!("4001\r\n{large}\r\n1\r\nb\r\n0\r\n\r\n")),
                "{bytes_at_once}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_as_long_as_it_said_does_not_go_whole() {
        for pieces in [&[&b"ab"[..]][..], &[], &[b"ab", b"cd"]] {
            let (seen, whole) = sent(relayed(pieces, Some(3)), 1 << 20).await;
            assert!(!whole && !seen.contains('d'), "{seen}");
        }
        // Nor does the rest of it, over another connection.
        let mut sending = sending("/", relayed(&[b"abcd", b"xyz"], Some(3)));
        let stopped = poll_fn(|cx| sending.poll(&mut Taking { flushes: true }, cx)).await;
        assert!(matches!(stopped, Err(Unsendable::Body(BodyError::Broken(_)))), "{stopped:?}");
    }

    /// Takes all that it is given, and keeps it until it may flush.
    struct Taking {
        flushes: bool,
    }

    impl AsyncWrite for Taking {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.flushes { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_connection_took_and_keeps_has_not_gone() {
        let mut sending = sending("/", Body::Empty);
        let mut link = Taking { flushes: false };
        let first = poll_fn(|cx| Poll::Ready(sending.poll(&mut link, cx).is_ready())).await;
        assert!(!first && sending.has_begun() && !sending.is_over());
        link.flushes = true;
        poll_fn(|cx| sending.poll(&mut link, cx)).await.unwrap();
        assert!(sending.is_over());
    }

    #[tokio::test]
    async fn a_target_begins_with_a_slash_however_it_was_asked_for() {
        for (asked, target) in
            [("/a?b", "/a?b"), ("http://up?b", "/?b"), ("http://up", "/"), ("http://up/a", "/a")]
        {
            let head = sending(asked, Body::Empty).out;
            assert!(head.starts_with(format!("PUT {target} HTTP/1.1\r\n").as_bytes()), "{asked}");
        }
    }
}
