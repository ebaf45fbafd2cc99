//! What waits to go out to one client: the events of an answer or of a stream, bounded in bytes.
//!
//! A client that reads too slowly is cut off rather than waited for: nobody else's answer stands behind it. The one
//! exception is an empty outbox, which takes any event, so that a large answer goes through.
//!
//! Never here: a wait on the side that puts something in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

/// The most bytes that wait for one client, but for a single event.
const OUTBOX_BYTES_MAX: usize = 8 << 20;
/// The most bytes that wait for all clients of one upstream.
const ALL_BYTES_MAX: usize = 128 << 20;
/// What an event counts beside its text, so that there cannot be millions of empty ones.
const EVENT_BYTES: usize = 256;

/// Something for a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A message that is no answer to its request.
    Message(String),
    /// The answer, and the code of an error. Nothing comes after it.
    Answer(String, Option<i32>),
    /// The server ended a subscription. Nothing comes after it.
    End,
}

/// The bytes that wait for all clients of one upstream. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Where events are put.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: mpsc::UnboundedSender<Event>,
    waiting: Arc<Waiting>,
}

/// Where they are taken out.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Event>,
    waiting: Arc<Waiting>,
}

/// The bytes of one outbox, given back when neither end is left.
#[derive(Debug)]
struct Waiting {
    bytes: AtomicUsize,
    budget: Budget,
}

/// An outbox and its other end.
pub(super) fn outbox(budget: &Budget) -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting { bytes: AtomicUsize::new(0), budget: budget.clone() });
    (Outbox { sender, waiting: Arc::clone(&waiting) }, Inbox { receiver, waiting })
}

impl Outbox {
    /// Puts an event in. False when there is no room for it, or nobody to take it: then the outbox must go.
    #[must_use]
    pub(super) fn put(&self, event: Event) -> bool {
        let bytes = event.bytes();
        let here = self.waiting.bytes.load(Ordering::Relaxed);
        let all = self.waiting.budget.0.load(Ordering::Relaxed);
        if here > 0 && here + bytes > OUTBOX_BYTES_MAX || all + bytes > ALL_BYTES_MAX {
            return false;
        }
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.sender.send(event).is_ok()
    }

    /// Whether nobody takes anything out any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Inbox {
    /// The next event; none when the outbox went without a last one.
    pub(super) async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let polled = self.receiver.poll_recv(cx);
        if let Poll::Ready(Some(event)) = &polled {
            let bytes = event.bytes();
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.waiting.budget.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        polled
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

impl Event {
    const fn bytes(&self) -> usize {
        EVENT_BYTES
            + match self {
                Self::Message(text) | Self::Answer(text, _) => text.len(),
                Self::End => 0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Event {
        Event::Message("x".repeat(bytes))
    }

    #[tokio::test]
    async fn an_outbox_is_full_at_its_bound_and_takes_again_what_was_made_room_for() {
        let budget = Budget::default();
        let (outbox, mut inbox) = outbox(&budget);
        assert!(outbox.put(message(OUTBOX_BYTES_MAX + 1)), "an empty one takes any event");
        assert!(!outbox.put(message(1)));
        inbox.next().await.unwrap();
        let half = message(OUTBOX_BYTES_MAX / 2 - EVENT_BYTES);
        assert!(outbox.put(half.clone()) && outbox.put(half.clone()));
        assert!(!outbox.put(Event::End));
        assert_eq!(inbox.next().await.unwrap(), half);
        assert!(outbox.put(Event::End));
    }

    #[tokio::test]
    async fn what_waits_for_all_is_bounded_and_given_back_by_those_who_go() {
        let budget = Budget::default();
        let full: Vec<_> = (0..ALL_BYTES_MAX / OUTBOX_BYTES_MAX)
            .map(|_| {
                let (outbox, inbox) = outbox(&budget);
                assert!(outbox.put(message(OUTBOX_BYTES_MAX - EVENT_BYTES)));
                (outbox, inbox)
            })
            .collect();
        let (late, inbox) = outbox(&budget);
        assert!(!late.put(Event::End));
        drop(full);
        assert!(late.put(Event::End));
        drop((late, inbox));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nobody_to_take_it_is_told() {
        let (outbox, inbox) = outbox(&Budget::default());
        drop(inbox);
        assert!(!outbox.put(Event::End));
    }
}
