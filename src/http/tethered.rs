//! Waits that end when what they are for no longer stands.
//!
//! Before each step of an exchange, and at least twice a second while it stands still, its [`Tether`] is asked.
//! An exchange that lost its tether is dropped before it is polled again, so nothing more of it happens.
//!
//! Never here: what a tether asks about.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::{Body, Response};
use crate::domain::denial::Denial;
use crate::domain::tether::Tether;

/// How often a tether is asked while nothing comes. Below half a second by enough that a busy machine keeps
/// the promise that streams end within one.
pub const CHECK_EVERY: Duration = Duration::from_millis(400);

/// Waits for `exchange` as long as `tether` holds. It is asked in the same step that lets the exchange go on,
/// before it; what is ready by then and was not asked for any more is dropped. Without a tether this is the
/// plain wait.
pub async fn tethered<T>(tether: Option<&Tether>, exchange: impl Future<Output = T>) -> Result<T, Denial> {
    let Some(tether) = tether else { return Ok(exchange.await) };
    let mut exchange = pin!(exchange);
    // What is ready at once needs none.
    let mut again = pin!(None::<Sleep>);
    poll_fn(|cx| {
        loop {
            tether.check()?;
            if let Poll::Ready(done) = exchange.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if again.is_none() {
                again.set(Some(sleep(CHECK_EVERY)));
            }
            if let Some(again) = again.as_mut().as_pin_mut() {
                ready!(again.poll(cx));
            }
            again.set(None);
        }
    })
    .await
}

/// The tether of the answer that a connection is giving, shared by its service and its socket.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentTether(Arc<Current>);

#[derive(Debug, Default)]
struct Current {
    /// Whether there is one: most answers have none, and then nothing is locked.
    is_there: AtomicBool,
    tether: Mutex<Option<Tether>>,
}

impl CurrentTether {
    /// From here on it is this answer's.
    pub(super) fn follow(&self, answer: &Response) {
        let tether = match answer.body() {
            Body::Relayed(relayed) => relayed.tether().cloned(),
            Body::Events(events) => events.tether().cloned(),
            Body::Empty | Body::Whole(_) => None,
        };
        let is_there = tether.is_some();
        // Only who gives the answers, one after the other, comes here.
        if is_there || self.0.is_there.load(Ordering::Relaxed) {
            *self.lock() = tether;
            self.0.is_there.store(is_there, Ordering::Relaxed);
        }
    }

    /// The tether now.
    pub(super) fn tether(&self) -> Option<Tether> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tether>> {
        // Nothing between two statements can panic here.
        self.0.tether.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time in which nothing moves: it has a most length, and its tether is asked meanwhile.
#[derive(Debug)]
pub(super) struct Pause {
    left: Duration,
    step_length: Duration,
    step: Pin<Box<Sleep>>,
}

/// Why a pause was too long.
#[derive(Debug)]
pub(super) enum PauseOver {
    /// It reached its most length.
    TooLong,
    /// What it was for no longer stands.
    Untethered(Denial),
}

impl Pause {
    /// A pause of at most `most`. One without a tether is one step.
    pub(super) fn new(most: Duration, tether: Option<&Tether>) -> Self {
        let step_length = if tether.is_some() { most.min(CHECK_EVERY) } else { most };
        Self { left: most, step_length, step: Box::pin(sleep(step_length)) }
    }

    /// Ready when it is over. The tether is asked each time that a step is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, tether: Option<&Tether>) -> Poll<PauseOver> {
        loop {
            ready!(self.step.as_mut().poll(cx));
            self.left = self.left.saturating_sub(self.step_length);
            if let Some(Err(denial)) = tether.map(Tether::check) {
                return Poll::Ready(PauseOver::Untethered(denial));
            }
            if self.left.is_zero() {
                return Poll::Ready(PauseOver::TooLong);
            }
            self.step_length = self.left.min(CHECK_EVERY);
            self.step.set(sleep(self.step_length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::oneshot;

    /// A tether that breaks once it was asked `times` times.
    fn holds(times: usize) -> (Tether, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let check =
            move || if count.fetch_add(1, Ordering::SeqCst) < times { Ok(()) } else { Err(Denial::Revoked) };
        (Tether::new(check), asked)
    }

    #[tokio::test]
    async fn an_exchange_without_a_tether_left_is_not_begun() {
        let (tether, _) = holds(0);
        let mut begun = false;
        assert_eq!(tethered(Some(&tether), async { begun = true }).await, Err(Denial::Revoked));
        assert!(!begun);
        assert_eq!(tethered(Some(&holds(1).0), async { begun = true }).await, Ok(()));
        assert!(begun);
    }

    #[tokio::test]
    async fn what_comes_after_the_tether_broke_is_not_taken() {
        let (tether, asked) = holds(1);
        let (come, coming) = oneshot::channel::<()>();
        let waiting = tokio::spawn(async move { tethered(Some(&tether), coming).await.map(drop) });
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        come.send(()).unwrap();
        assert_eq!(waiting.await.unwrap(), Err(Denial::Revoked));
    }

    #[tokio::test]
    async fn an_exchange_that_stands_still_is_asked_about_at_least_twice_a_second() {
        let (tether, asked) = holds(2);
        let ended = tethered(Some(&tether), std::future::pending::<()>()).await;
        assert_eq!((ended, asked.load(Ordering::SeqCst)), (Err(Denial::Revoked), 3));
        assert!(CHECK_EVERY * 2 < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_pause_has_its_length_with_and_without_a_tether() {
        let over = async |tether: Option<&Tether>| {
            let mut pause = Pause::new(CHECK_EVERY + Duration::from_millis(1), tether);
            poll_fn(|cx| pause.poll(cx, tether)).await
        };
        let (tether, asked) = holds(usize::MAX);
        assert!(matches!(over(Some(&tether)).await, PauseOver::TooLong));
        assert_eq!(asked.load(Ordering::SeqCst), 2, "after 400 and 401 ms");
        assert!(matches!(over(None).await, PauseOver::TooLong));
        assert!(matches!(over(Some(&holds(0).0)).await, PauseOver::Untethered(Denial::Revoked)));
    }
}
