//! One client connection as the server sees it: the socket, a watch over what is read, a limit on how long a
//! write may stand still.
//!
//! A client that stops reading its answer holds a connection and what lies in its buffers; after the stall
//! limit the write fails and the connection ends, and sooner if the answer's tether breaks. Time in which
//! there is nothing to write does not count.
//!
//! Never here: a change of any byte.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tethered::{CurrentTether, Pause, PauseOver};
use super::watch::{Doubts, Watch};

/// A watched socket.
#[derive(Debug)]
pub(super) struct Wire<T> {
    socket: T,
    /// Of HTTP/1.1 alone.
    watch: Option<Watch>,
    stall_limit: Duration,
    stalled: Option<Pause>,
    current_tether: CurrentTether,
}

impl<T> Wire<T> {
    pub(super) const fn new(
        socket: T,
        doubts: Doubts,
        stall_limit: Duration,
        current_tether: CurrentTether,
    ) -> Self {
        Self { socket, watch: Some(Watch::new(doubts)), stall_limit, stalled: None, current_tether }
    }

    /// The same without a watch, for what has frames of its own.
    pub(super) fn unwatched(socket: T, stall_limit: Duration) -> Self {
        Self { socket, watch: None, stall_limit, stalled: None, current_tether: CurrentTether::default() }
    }

    /// Whether everything read so far belongs to requests that are whole.
    pub(super) fn is_between_requests(&self) -> bool {
        self.watch.as_ref().is_none_or(Watch::is_between_requests)
    }

    pub(super) fn into_socket(self) -> T {
        self.socket
    }

    fn paced<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let tether = self.current_tether.tether();
        let stalled = self.stalled.get_or_insert_with(|| Pause::new(self.stall_limit, tether.as_ref()));
        stalled.poll(cx, tether.as_ref()).map(|over| {
            Err(match over {
                PauseOver::TooLong => io::ErrorKind::TimedOut.into(),
                PauseOver::Untethered(_) => io::ErrorKind::ConnectionAborted.into(),
            })
        })
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if let Some(watch) = &mut self.watch {
            watch.see(buf.filled().get(before..).unwrap_or_default());
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.paced(cx, written)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_write_that_stands_still_fails_and_one_that_moves_does_not() {
        let (socket, mut client) = tokio::io::duplex(8);
        let mut wire = Wire::new(socket, Doubts::new(), Duration::from_millis(20), CurrentTether::default());
        let reader = tokio::spawn(async move {
            let mut taken = [0; 64];
            client.read_exact(&mut taken).await.unwrap();
            client
        });
        wire.write_all(&[7; 64]).await.unwrap();
        let _client = reader.await.unwrap();
        let stalled = wire.write_all(&[7; 64]).await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    }
}
