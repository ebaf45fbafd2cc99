//! What the sandbox does without being asked: posts that are due are published, uploads that nobody wants go, and
//! what is counted in memory is written down.
//!
//! It may be late or be cut short: readers see a post that is due as published anyway.
//!
//! Never here: a timer, a task.

use super::failure::SandboxError;
use super::records::due::{Alteration, Due};
use super::{Sandbox, media, posts};
use crate::domain::causes::Causes;
use crate::domain::time::Wall;

/// Records settled in one transaction at most.
const BATCH: usize = 256;

impl Sandbox {
    /// Does what is due by now; reads no file when nothing is. To be called as soon as it is open, and then
    /// again and again.
    pub async fn keep_up(&self) -> Result<(), SandboxError> {
        let now = self.now();
        if self.records.is_something_due(now) {
            self.settle(now, posts::COLLECTION, move |_, document| posts::publishing::settled(document, now))
                .await?;
            let blobs = self.blobs.clone();
            self.settle(now, media::COLLECTION, move |due, document| {
                media::settled(due, document, now, &blobs)
            })
            .await?;
        }
        self.save_views().await
    }

    /// Does `work` for all records of one kind that are due by now. One that cannot be read is left alone, so
    /// that it is in nobody's way.
    async fn settle(
        &self,
        now: Wall,
        name: &'static str,
        work: impl Fn(&Due, &[u8]) -> Result<Alteration, SandboxError> + Clone + Send + 'static,
    ) -> Result<(), SandboxError> {
        loop {
            let due = self.records.due_by(now, BATCH, name).await?;
            if due.is_empty() {
                return Ok(());
            }
            let work = work.clone();
            let settled = self.records.settle(due, move |due, document| match work(due, document) {
                Err(error @ SandboxError::Unreadable(_)) => {
                    tracing::error!(error = %Causes(&error), "a record that is due is left as it is");
                    Ok(Alteration::Nothing)
                }
                settled => settled,
            });
            settled.await?;
        }
    }
}
