//! The atomic words of this room, so that a model checker can put its own in their place.
//!
//! Under `--cfg loom` they are loom's, which tries every interleaving of a small test; else the standard ones.
//!
//! Never here: an operation on a word.

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
