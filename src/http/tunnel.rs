//! A connection that is no longer HTTP: bytes of a client and of an upstream, passed on as they come.
//!
//! A tunnel holds two small buffers, ends when both sides have ended or one of them breaks, when neither has
//! sent anything for too long, and as soon as its tether breaks. An answer carries it to the connection that
//! gives the answer, which runs it once.
//!
//! Never here: a look at what passes, or a tunnel that nobody's answer brought.

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{sleep, timeout};

use super::Response;
use super::tethered::CHECK_EVERY;
use crate::domain::tether::Tether;

/// The bytes that each direction holds.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long one side may go on when the other has ended.
const END_MAX: Duration = Duration::from_secs(5);

/// A tunnel to be run by whoever gives the answer that it lies in.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<Far>>>);

/// The far side of a tunnel.
pub(super) struct Far {
    stream: Upgraded,
    quiet_max: Duration,
    tether: Option<Tether>,
    /// Let go when the tunnel ends.
    held: Box<dyn Any + Send + Sync>,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Closed,
    Broken,
    Quiet,
    Untethered,
}

impl Tunnel {
    /// A tunnel to `far`, in which there may be silence for at most `quiet_max`; it lasts as long as `tether`
    /// holds, and holds `held` until its end.
    pub fn new(
        far: Upgraded,
        quiet_max: Duration,
        tether: Option<Tether>,
        held: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Far { stream: far, quiet_max, tether, held }))))
    }

    /// Takes the tunnel out of the answer that carries one.
    pub(super) fn of(answer: &mut Response) -> Option<Far> {
        let tunnel = answer.extensions_mut().remove::<Self>()?;
        tunnel.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

impl Far {
    /// Passes bytes both ways until the end. `begun` is what the client had sent already.
    pub(super) async fn run(self, near: impl AsyncRead + AsyncWrite, begun: Bytes) {
        let Self { stream, quiet_max, tether, held } = self;
        let (near_reader, near_writer) = split(near);
        let (far_reader, far_writer) = split(TokioIo::new(stream));
        let pipe = Pipe { tether: tether.as_ref(), moved: &AtomicBool::new(false) };
        let ended = tokio::select! {
            ended = pipe.both(
                pipe.pass(&begun, near_reader, far_writer),
                pipe.pass(&[], far_reader, near_writer),
            ) => ended,
            ended = pipe.watch(quiet_max) => ended,
        };
        tracing::debug!(?ended, "a tunnel ended");
        drop(held);
    }
}

/// What both directions share.
#[derive(Clone, Copy)]
struct Pipe<'a> {
    tether: Option<&'a Tether>,
    /// Whether anything passed since the last look.
    moved: &'a AtomicBool,
}

impl Pipe<'_> {
    async fn both(
        self,
        outward: impl Future<Output = io::Result<()>>,
        inward: impl Future<Output = io::Result<()>>,
    ) -> End {
        let (mut outward, mut inward) = (pin!(outward), pin!(inward));
        let passed = tokio::select! {
            passed = &mut outward => match passed {
                Ok(()) => timeout(END_MAX, inward).await.unwrap_or(Ok(())),
                broken => broken,
            },
            passed = &mut inward => match passed {
                Ok(()) => timeout(END_MAX, outward).await.unwrap_or(Ok(())),
                broken => broken,
            },
        };
        if passed.is_ok() { End::Closed } else { End::Broken }
    }

    async fn pass(
        self,
        begun: &[u8],
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        self.write(begun, &mut to).await?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            self.write(buffer.get(..read).unwrap_or_default(), &mut to).await?;
        }
    }

    async fn write(self, bytes: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.tether.is_some_and(|tether| tether.check().is_err()) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.moved.store(true, Ordering::Relaxed);
        to.write_all(bytes).await?;
        to.flush().await?;
        self.moved.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends with the tether, or when nothing has moved for so long.
    async fn watch(self, quiet_max: Duration) -> End {
        let step = CHECK_EVERY.min(quiet_max);
        let mut quiet = Duration::ZERO;
        while quiet < quiet_max {
            sleep(step).await;
            if self.tether.is_some_and(|tether| tether.check().is_err()) {
                return End::Untethered;
            }
            quiet = if self.moved.swap(false, Ordering::Relaxed) { Duration::ZERO } else { quiet + step };
        }
        End::Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::denial::Denial;
    use tokio::io::duplex;

    const LONG: Duration = Duration::from_mins(1);

    /// Runs a pipe between two ends that the test holds.
    fn piped(
        tether: Option<Tether>,
        quiet_max: Duration,
    ) -> (tokio::task::JoinHandle<End>, [tokio::io::DuplexStream; 2]) {
        let (near, client) = duplex(64);
        let (far, server) = duplex(64);
        let running = tokio::spawn(async move {
            let moved = AtomicBool::new(false);
            let pipe = Pipe { tether: tether.as_ref(), moved: &moved };
            let ((near_reader, near_writer), (far_reader, far_writer)) = (split(near), split(far));
            tokio::select! {
                end = pipe.both(
                    pipe.pass(b"begun", near_reader, far_writer),
                    pipe.pass(&[], far_reader, near_writer),
                ) => end,
                end = pipe.watch(quiet_max) => end,
            }
        });
        (running, [client, server])
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_each_end_reaches_the_other_side() {
        let (running, [mut client, mut server]) = piped(None, LONG);
        client.write_all(b" out").await.unwrap();
        let mut got = [0; 9];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"begun out");
        server.write_all(b"in").await.unwrap();
        drop(server);
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"in");
        drop(client);
        assert_eq!(running.await.unwrap(), End::Closed);
    }

    #[tokio::test]
    async fn silence_has_its_length_and_a_broken_tether_ends_at_once_what_is_silent_or_not() {
        let (running, ends) = piped(None, Duration::from_millis(20));
        assert_eq!(running.await.unwrap(), End::Quiet);
        drop(ends);
        let (running, ends) = piped(Some(Tether::new(|| Err(Denial::Revoked))), LONG);
        assert_eq!(running.await.unwrap(), End::Broken, "nothing was passed on");
        drop(ends);
    }
}
