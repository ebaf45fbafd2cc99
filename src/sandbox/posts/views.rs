//! How often posts are looked at: counted in memory, and added to the posts now and then.
//!
//! A look writes nothing by itself. Whoever asks for the counts gets them exactly, since they are added first;
//! a crash loses the looks of the last moment, a stop loses none. Only so many wait, also while none can be
//! added.
//!
//! Never here: what counts as a look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::WorkspaceId;
use crate::sandbox::Sandbox;
use crate::sandbox::failure::SandboxError;
use crate::sandbox::posts::{KeptPost, posts};
use crate::sandbox::records::due::{Alteration, alter_in};

/// Posts whose looks wait in memory at most; one more, and all are added.
const POSTS_MAX: usize = 4096;

/// Looks that are not yet added to their posts.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Views(Mutex<Looks>);

/// How often each post was looked at.
type Looks = HashMap<(WorkspaceId, u128), u64>;

impl Views {
    /// Counts a look; false when it finds no place.
    fn count(&self, workspace: WorkspaceId, number: u128) -> bool {
        let mut waiting = self.waiting();
        let has_place = waiting.len() < POSTS_MAX || waiting.contains_key(&(workspace, number));
        if has_place {
            let looks = waiting.entry((workspace, number)).or_default();
            *looks = looks.saturating_add(1);
        }
        has_place
    }

    /// Takes away those that were added.
    fn settle(&self, added: &Looks) {
        let mut waiting = self.waiting();
        for (post, looks) in added {
            if let Some(left) = waiting.get_mut(post) {
                *left = left.saturating_sub(*looks);
            }
        }
        waiting.retain(|_, left| *left > 0);
    }

    fn waiting(&self) -> MutexGuard<'_, Looks> {
        // Nothing between two statements can panic here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// Counts a look at a post. While looks cannot be added, one that finds no place is a failure.
    pub(in crate::sandbox) async fn count_view(
        &self,
        workspace: WorkspaceId,
        number: u128,
    ) -> Result<(), SandboxError> {
        while !self.views.count(workspace, number) {
            self.save_views().await?;
        }
        Ok(())
    }

    /// Adds all looks to their posts. What could not be added waits on.
    pub(in crate::sandbox) async fn save_views(&self) -> Result<(), SandboxError> {
        if self.views.waiting().is_empty() {
            return Ok(());
        }
        let views = Arc::clone(&self.views);
        // In the line of the writes: one adds at a time, and who comes second finds everything added. They wait
        // until they are in the file, so a caller that leaves in the middle costs none and adds none twice.
        self.records
            .write(move |file| {
                let adding = views.waiting().clone();
                if adding.is_empty() {
                    return Ok(());
                }
                file.write_due(|tables| {
                    for ((workspace, number), looks) in &adding {
                        alter_in(tables, &posts(*workspace), *number, |document| {
                            Ok((added(document, *looks)?, ()))
                        })?;
                    }
                    Ok(())
                })?;
                views.settle(&adding);
                Ok(())
            })
            .await
    }
}

fn added(document: &[u8], views: u64) -> Result<Alteration, SandboxError> {
    let mut post = KeptPost::read(document)?;
    post.counts.views = post.counts.views.saturating_add(views);
    let due = post.due();
    Ok(Alteration::Replaced { document: post.written()?, was_due: due, due })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Wall;
    use crate::sandbox::SandboxOptions;

    #[tokio::test]
    async fn looks_that_cannot_be_added_wait_up_to_a_bound() {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(SandboxOptions {
            file: directory.path().join("sandbox.redb"),
            uploads: directory.path().join("uploads"),
            wall: Arc::new(|| Wall::from_secs(0)),
            llm: None,
        })
        .unwrap();
        let workspace = WorkspaceId::from_u128(1);
        let look = async |number| sandbox.count_view(workspace, number).await;
        for number in 0..POSTS_MAX as u128 {
            look(number).await.unwrap();
        }
        sandbox.records.close().await.unwrap();
        for number in 0..10 {
            look(POSTS_MAX as u128 + number).await.unwrap_err();
            look(number).await.unwrap();
        }
        assert_eq!(sandbox.views.waiting().len(), POSTS_MAX);
        assert_eq!(sandbox.views.waiting().values().sum::<u64>(), POSTS_MAX as u64 + 10);
    }
}
