//! Runs something until it ends or a stop is asked for, and asks about the stop only when that woke it.
//!
//! A connection is polled for each request on it, and the stop comes once in its life. Asking a cancellation token each
//! time takes two locks; here its word sets a flag of this connection's own.
//!
//! Never here: what is done about a stop.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::CancellationToken;

/// What `running` comes to; `None` once `stop` is cancelled, which leaves it where it is.
pub(super) async fn until_stop<F: Future + Unpin>(
    stop: &CancellationToken,
    running: &mut F,
) -> Option<F::Output> {
    let (mut stopping, mut running) = (pin!(stop.cancelled()), pin!(running));
    let mut word: Option<Arc<StopWord>> = None;
    poll_fn(|cx| {
        let is_new = !word.as_ref().is_some_and(|word| word.task.will_wake(cx.waker()));
        let listening = match &word {
            Some(word) if !is_new => word,
            _ => word.insert(Arc::new(StopWord { came: AtomicBool::new(true), task: cx.waker().clone() })),
        };
        if listening.came.swap(false, Ordering::Acquire) {
            let waker = Waker::from(Arc::clone(listening));
            if stopping.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return Poll::Ready(None);
            }
        }
        running.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Word of the stop for one task.
struct StopWord {
    /// Whether the token has to be asked.
    came: AtomicBool,
    task: Waker,
}

impl Wake for StopWord {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.came.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_ends_is_told_and_a_stop_ends_the_wait_alone() {
        let stop = CancellationToken::new();
        let (done, mut waiting) = oneshot::channel();
        done.send(7).unwrap();
        assert_eq!(until_stop(&stop, &mut waiting).await, Some(Ok(7)));

        let (done, waiting) = oneshot::channel();
        let (stopped, child) = (stop.clone(), stop.child_token());
        let running = tokio::spawn(async move {
            let mut waiting = waiting;
            let ended = until_stop(&child, &mut waiting).await;
            (ended, waiting.await)
        });
        // It waits by now, on this one thread, and the word wakes it.
        tokio::task::yield_now().await;
        stopped.cancel();
        tokio::task::yield_now().await;
        done.send(8).unwrap();
        assert_eq!(running.await.unwrap(), (None, Ok(8)));
    }

    #[tokio::test]
    async fn a_task_that_is_polled_by_another_waker_still_hears_of_the_stop() {
        struct Counting(std::sync::atomic::AtomicUsize);
        impl Wake for Counting {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let stop = CancellationToken::new();
        let mut never = std::future::pending::<()>();
        let mut waiting = pin!(until_stop(&stop, &mut never));
        let wakers = [0, 0].map(|none| Arc::new(Counting(none.into())));
        for counting in &wakers {
            let waker = Waker::from(Arc::clone(counting));
            let waiting: Pin<&mut _> = waiting.as_mut();
            assert_eq!(waiting.poll(&mut Context::from_waker(&waker)), Poll::Pending);
        }
        stop.cancel();
        assert_eq!(wakers[1].0.load(Ordering::Relaxed), 1);
        let waker = Waker::from(Arc::clone(&wakers[1]));
        assert_eq!(waiting.poll(&mut Context::from_waker(&waker)), Poll::Ready(None));
    }
}
