//! A connection whose first bytes were looked at before anybody read them.
//!
//! What was looked at is read first, whole and once; behind it the connection is what it was.
//!
//! Never here: what the bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most bytes looked at: most heads whole, so that they cost one read.
const LOOKED_AT_MAX: usize = 2048;

/// A connection, and what was read of it ahead.
#[derive(Debug)]
pub(super) struct Sniffed<T> {
    ahead: Vec<u8>,
    given: usize,
    socket: T,
}

impl<T: AsyncRead + Unpin> Sniffed<T> {
    pub(super) const fn new(socket: T) -> Self {
        Self { ahead: Vec::new(), given: 0, socket }
    }

    /// Whether the connection begins with `start`, of at most [`LOOKED_AT_MAX`] bytes. Waits until that can be
    /// said; one that ends before begins otherwise. To be asked before anything is read.
    pub(super) async fn begins_with(&mut self, start: &[u8]) -> io::Result<bool> {
        loop {
            let same = self.ahead.iter().zip(start).take_while(|(here, wanted)| here == wanted).count();
            if same == start.len() {
                return Ok(true);
            }
            if same < self.ahead.len() {
                return Ok(false);
            }
            self.ahead.reserve_exact(LOOKED_AT_MAX.saturating_sub(self.ahead.len()));
            if (&mut self.socket).take(LOOKED_AT_MAX as u64).read_buf(&mut self.ahead).await? == 0 {
                return Ok(false);
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sniffed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.ahead.get(self.given..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let here = left.get(..buf.remaining()).unwrap_or(left);
        buf.put_slice(here);
        self.given += here.len();
        if self.given == self.ahead.len() {
            self.ahead = Vec::new();
            self.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sniffed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_was_looked_at_is_read_first_and_once() {
        for (sent, begins) in
            [("PRI rest", true), ("PRI", true), ("PRINT", false), ("PR", false), ("", false)]
        {
            let (mut client, socket) = tokio::io::duplex(4096);
            client.write_all(sent.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut sniffed = Sniffed::new(socket);
            let start = if sent == "PRINT" { "PRIX" } else { "PRI" };
            assert_eq!(sniffed.begins_with(start.as_bytes()).await.unwrap(), begins, "{sent}");
            let mut read = String::new();
            sniffed.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_waited_for_until_they_differ() {
        let (mut client, socket) = tokio::io::duplex(4096);
        let mut sniffed = Sniffed::new(socket);
        let sending = async {
            for byte in b"PRO" {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (begins, ()) = tokio::join!(sniffed.begins_with(b"PRI * HTTP/2.0"), sending);
        assert!(!begins.unwrap());
    }
}
