//! How long an answer is waited for, and as long as what.
//!
//! The wait for an answer starts when the request's body has gone; sending that has its own limit. The tether is
//! asked in the same step that lets the exchange go on, before it, and again and again while nothing comes. A
//! timer runs only while something is waited for, one at a time.
//!
//! Never here: what is waited for.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::domain::denial::{Fault, Refusal};
use crate::domain::tether::Tether;
use crate::http::CHECK_EVERY;

/// The limits of one wait.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    /// What it hangs on.
    pub(super) tether: Option<&'a Tether>,
    /// Word of when the request's body has gone; taken once it has.
    pub(super) sent: &'a mut Option<oneshot::Receiver<()>>,
    /// The longest that the body may take.
    pub(super) send_max: Duration,
    /// The longest from then on.
    pub(super) answer_max: Duration,
}

impl Patience<'_> {
    /// Waits for `exchange`.
    pub(super) async fn wait<T>(&mut self, exchange: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut exchange = pin!(exchange);
        let mut left = if self.sent.is_some() { self.send_max } else { self.answer_max };
        let mut step = Duration::ZERO;
        let mut timer = pin!(None::<Sleep>);
        poll_fn(|cx| {
            loop {
                if let Some(tether) = self.tether {
                    tether.check()?;
                }
                let polled = exchange.as_mut().poll(cx);
                if self.sent.as_mut().is_some_and(|sent| Pin::new(sent).poll(cx).is_ready()) {
                    *self.sent = None;
                    left = self.answer_max;
                    timer.set(None);
                }
                if let Poll::Ready(done) = polled {
                    return Poll::Ready(Ok(done));
                }
                if timer.is_none() {
                    step = if self.tether.is_some() { left.min(CHECK_EVERY) } else { left };
                    timer.set(Some(sleep(step)));
                }
                if let Some(timer) = timer.as_mut().as_pin_mut() {
                    ready!(timer.poll(cx));
                }
                timer.set(None);
                left = left.saturating_sub(step);
                if left.is_zero() {
                    return Poll::Ready(Err(Fault::UpstreamLate.into()));
                }
            }
        })
        .await
    }
}
