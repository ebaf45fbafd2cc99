//! One request under way: what comes for it, and what happens when nobody waits for that any more.
//!
//! Never here: how a server is told.

use std::fmt;

use super::outbox::Inbox;

/// A client that waits for the answer to its request, or listens on a stream.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) inbox: Inbox,
    /// The request's id as the client wrote it; none for a stream that answers nothing.
    pub(super) id: Option<String>,
    #[expect(dead_code, reason = "what it is for happens when it is dropped")]
    pub(super) ticket: Ticket,
}

/// Does something when it is dropped.
pub(super) struct Ticket(Option<Box<dyn FnOnce() + Send>>);

impl Ticket {
    pub(super) fn new(when_dropped: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(when_dropped)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}
