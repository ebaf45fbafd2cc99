//! SIGTERM and SIGINT: the first asks the daemon to drain, a second one to stop at once. SIGHUP asks it to read
//! its certificates again.
//!
//! They are taken over before the daemon starts, so one that comes early is not lost. One wish may arrive as
//! several signals (`timeout` sends one to the process and one to its group), so those right behind the first
//! are taken for the same.
//!
//! Never here: what a drain does (app).

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// Signals so soon behind the first are the same wish: far longer than a kernel takes, shorter than a hand.
const SAME_WISH: Duration = Duration::from_millis(500);

/// The wish to stop or to read again, from the terminal or from a service manager.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

impl Signals {
    /// Takes the signals over, for the rest of the process' life.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next wish to stop.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the next wish of either kind.
    pub(super) async fn wish(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// Waits for a wish behind the one that was just heard.
    pub(super) async fn second(&mut self) {
        let same = async {
            loop {
                self.next().await;
            }
        };
        let _: Result<(), _> = timeout(SAME_WISH, same).await;
        self.next().await;
    }
}
