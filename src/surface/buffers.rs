//! How much memory bodies that are read whole may take at one time.
//!
//! Whoever reads a body takes room for the most that it may become, before the first byte, and gives it back
//! with the permit. When there is no room the request is refused as busy, so that many slow senders cannot
//! add up.
//!
//! Never here: the reading of a body, or a wait for room.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::denial::Fault;

/// Room for all bodies together: 256 MiB, in KiB. A quarter of a small machine's memory.
const ROOM_KIB: usize = 256 * 1024;
/// What a caller is told to wait when there is no room, in whole seconds.
const BUSY_RETRY_SECS: u32 = 1;

/// The room.
#[derive(Debug)]
pub(super) struct Buffers(Semaphore);

impl Default for Buffers {
    fn default() -> Self {
        Self(Semaphore::new(ROOM_KIB))
    }
}

impl Buffers {
    /// Room for a body of at most `max_bytes`, until the permit is dropped.
    pub(super) fn hold(&self, max_bytes: u64) -> Result<SemaphorePermit<'_>, Fault> {
        let kib = u32::try_from(max_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        self.0.try_acquire_many(kib).map_err(|_| Fault::Busy { retry_after_secs: BUSY_RETRY_SECS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_for_the_most_that_a_body_may_become_and_given_back() {
        let buffers = Buffers::default();
        let all: Vec<_> = (0..256).map(|_| buffers.hold(1024 * 1024).unwrap()).collect();
        assert!(matches!(buffers.hold(1), Err(Fault::Busy { .. })));
        drop(all);
        assert!(buffers.hold(1).is_ok());
    }
}
