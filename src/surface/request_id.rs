//! Ids by which one request is found again, here and at its upstream.
//!
//! Never here: an id that a caller gave, or one that anything is decided by.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives ids that differ within a run by a counter and between runs by chance. They are names, not secrets.
#[derive(Debug)]
pub(super) struct RequestIds {
    run: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { run: RandomState::new().hash_one("run"), next: AtomicU64::new(1) }
    }
}

impl RequestIds {
    pub(super) fn next(&self) -> String {
        format!("req_{:016x}{:08x}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
