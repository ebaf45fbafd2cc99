//! How often posts are looked at: counted in memory, and added to the posts now and then.
//!
//! A look writes nothing by itself. Whoever asks for the counts gets them exactly, since they are added first;
//! a crash loses the looks of the last moment, a stop loses none.
//!
//! Never here: what counts as a look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::id::WorkspaceId;
use crate::sandbox::Sandbox;
use crate::sandbox::failure::SandboxError;
use crate::sandbox::posts::{KeptPost, posts};
use crate::sandbox::records::due::{Alteration, alter_in};

/// Posts whose looks wait in memory at most; one more, and all are added.
const POSTS_MAX: usize = 4096;

/// Looks that are not yet added to their posts.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Views {
    waiting: Mutex<HashMap<(WorkspaceId, u128), u64>>,
    /// One adds at a time, so that who comes second finds everything added.
    adding: tokio::sync::Mutex<()>,
}

impl Sandbox {
    /// Counts a look at a post.
    pub(in crate::sandbox) async fn count_view(
        &self,
        workspace: WorkspaceId,
        number: u128,
    ) -> Result<(), SandboxError> {
        let is_full = {
            let mut waiting = self.views.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let many = waiting.len();
            let place = waiting.entry((workspace, number)).or_default();
            *place = place.saturating_add(1);
            many >= POSTS_MAX
        };
        if is_full { self.save_views().await } else { Ok(()) }
    }

    /// Adds all looks to their posts. What could not be added waits on.
    pub(in crate::sandbox) async fn save_views(&self) -> Result<(), SandboxError> {
        let _adding = self.views.adding.lock().await;
        let taken = std::mem::take(&mut *self.views.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.is_empty() {
            return Ok(());
        }
        let taken = Arc::new(taken);
        let adding = Arc::clone(&taken);
        let added = self.records.write(move |file| {
            file.write_due(|tables| {
                for ((workspace, number), views) in adding.iter() {
                    alter_in(tables, &posts(*workspace), *number, |document| {
                        Ok((added(document, *views)?, ()))
                    })?;
                }
                Ok(())
            })
        });
        let added = added.await;
        if added.is_err() {
            let mut waiting = self.views.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (post, views) in taken.iter() {
                let place = waiting.entry(*post).or_default();
                *place = place.saturating_add(*views);
            }
        }
        added
    }
}

fn added(document: &[u8], views: u64) -> Result<Alteration, SandboxError> {
    let mut post = KeptPost::read(document)?;
    post.counts.views = post.counts.views.saturating_add(views);
    let due = post.due();
    Ok(Alteration::Replaced { document: post.written()?, was_due: due, due })
}
