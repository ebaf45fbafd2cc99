//! The replay memory under its lock, and what becomes of it when the daemon stops.
//!
//! A signature is looked for and remembered under one lock, so that of any number of equal requests one is
//! taken. A clean stop saves the memory; a start takes it out of the file, durably, before anything is served,
//! so that a start after a kill finds none and knows it.
//!
//! Never here: how long a signature is remembered, or how many are (domain).

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Engine;
use crate::domain::replays::Replays;
use crate::domain::time::Wall;
use crate::store::ChangeError;

/// The memory that all requests share.
#[derive(Debug)]
pub(super) struct SharedReplays(Mutex<Replays>);

impl SharedReplays {
    pub(super) fn new(signatures_max: usize) -> Self {
        Self(Mutex::new(Replays::new(signatures_max)))
    }

    /// Nothing panics between two halves of a change here, so a poisoned lock is still good.
    pub(super) fn lock(&self) -> MutexGuard<'_, Replays> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what has left its window, so that a daemon without signed requests keeps none of it.
    pub(super) fn sweep(&self, now: Wall) {
        self.lock().let_go(now);
    }
}

impl Engine {
    /// Takes over what the last clean stop saved; without it, what was stamped before this start is refused.
    /// To be called once, before anything is served.
    pub async fn recover_replays(&self) -> Result<(), ChangeError> {
        let saved = self.store.take_used_signatures().await?;
        self.replays.lock().recover(saved, self.clock.now().wall);
        Ok(())
    }

    /// Saves the memory for the next start. To be called when nothing is served any more.
    pub async fn save_replays(&self) -> Result<(), ChangeError> {
        let saved = self.replays.lock().saved();
        self.store.save_used_signatures(saved).await
    }
}
