//! What comes from an upstream in HTTP/1.1, read ahead: some bytes, a line.
//!
//! The buffer grows while bytes come faster than they are taken, up to a bound, and never for what is not
//! there.
//!
//! Never here: what the bytes mean.

use std::fmt;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf, split};

use super::clients::BUFFER_BYTES_MAX;

/// How much is read at once, at first.
const READ_BYTES: usize = 8 * 1024;

/// A connection's reading side.
pub(super) struct Reader<R> {
    pub(super) from: R,
    /// What has come and was not taken.
    pub(super) buffer: BytesMut,
    read_bytes: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new(), read_bytes: READ_BYTES }
    }

    /// The same, and the writing side of its connection apart from it.
    pub(super) fn split(self) -> (Reader<ReadHalf<R>>, WriteHalf<R>)
    where
        R: AsyncWrite,
    {
        let (from, writer) = split(self.from);
        (Reader { from, buffer: self.buffer, read_bytes: self.read_bytes }, writer)
    }

    /// Gives back what fast reading took. Nothing is left untaken.
    pub(super) fn rest(&mut self) {
        if self.read_bytes > READ_BYTES {
            (self.buffer, self.read_bytes) = (BytesMut::new(), READ_BYTES);
        }
    }

    /// Reads more; how much it was, 0 at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(self.read_bytes);
        let read = ready!(pin!(self.from.read_buf(&mut self.buffer)).poll(cx))?;
        if read >= self.read_bytes {
            self.read_bytes = (2 * self.read_bytes).min(BUFFER_BYTES_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// What has come, up to so many bytes; `None` at the end.
    pub(super) fn poll_some(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: u64,
    ) -> Poll<io::Result<Option<Bytes>>> {
        if self.buffer.is_empty() && ready!(self.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(None));
        }
        let length = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(self.buffer.len());
        Poll::Ready(Ok(Some(self.buffer.split_to(length).freeze())))
    }

    /// A line of at most so many bytes, without its end.
    pub(super) fn poll_line(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<BytesMut>> {
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer) {
                let mut line = self.buffer.split_to(end + 1);
                if end >= bytes_max || !line.ends_with(b"\r\n") {
                    return Poll::Ready(Err(io::Error::other("a line that ends otherwise, or not")));
                }
                line.truncate(end - 1);
                if memchr(b'\r', &line).is_some() {
                    return Poll::Ready(Err(io::Error::other("a line that some would end earlier")));
                }
                return Poll::Ready(Ok(line));
            }
            if self.buffer.len() >= bytes_max {
                return Poll::Ready(Err(io::Error::other("a line that does not end")));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Without what came.
impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}
