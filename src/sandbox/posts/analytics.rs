//! Analytics: what the sandbox really counts of posts, and nothing else.
//!
//! There is no audience here, so there are no likes or impressions to tell: a view is a read of one post by its
//! id through these doors. Counts of a workspace are made when they are asked for, over all of its posts.
//!
//! Never here: a number that nobody counted.

use serde::Serialize;

use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;
use crate::sandbox::Sandbox;
use crate::sandbox::accounts::ACCOUNTS;
use crate::sandbox::failure::{Failure, SandboxError};
use crate::sandbox::posts::{Counts, KeptPost, Status, number, posts};

/// What is known of one post.
#[derive(Serialize, Debug)]
pub(in crate::sandbox) struct PostAnalytics {
    post_id: String,
    status: Status,
    #[serde(flatten)]
    counts: Counts,
    accounts: usize,
    characters: usize,
}

/// What is known of a workspace's posts.
#[derive(Serialize, Debug)]
pub(in crate::sandbox) struct AccountAnalytics {
    posts: Tally,
    #[serde(flatten)]
    counts: Counts,
    accounts: Vec<OfAccount>,
}

#[derive(Serialize, Debug)]
struct OfAccount {
    id: &'static str,
    posts: Tally,
}

/// Posts by how far they have come.
#[derive(Serialize, Clone, Copy, Default, Debug)]
struct Tally {
    draft: u64,
    scheduled: u64,
    published: u64,
}

impl Tally {
    fn add(&mut self, status: Status) {
        let place = match status {
            Status::Draft => &mut self.draft,
            Status::Scheduled => &mut self.scheduled,
            Status::Published => &mut self.published,
        };
        *place = place.saturating_add(1);
    }
}

impl AccountAnalytics {
    fn of_nothing() -> Self {
        let accounts = ACCOUNTS.iter().map(|account| OfAccount { id: account.id, posts: Tally::default() });
        Self { posts: Tally::default(), counts: Counts::default(), accounts: accounts.collect() }
    }

    fn add(&mut self, document: &[u8], now: Wall) -> Result<(), SandboxError> {
        let post = KeptPost::read(document)?.seen_at(now);
        self.posts.add(post.status);
        self.counts.add(post.counts);
        for account in &mut self.accounts {
            if post.account_ids.iter().any(|id| id == account.id) {
                account.posts.add(post.status);
            }
        }
        Ok(())
    }
}

impl Sandbox {
    /// The counts of one post.
    pub(in crate::sandbox) async fn post_analytics(
        &self,
        workspace: WorkspaceId,
        id: &str,
    ) -> Result<PostAnalytics, Failure> {
        let number = number(id)?;
        self.save_views().await?;
        let post = self.kept_post(workspace, number).await?;
        Ok(PostAnalytics {
            post_id: id.to_owned(),
            status: post.status,
            counts: post.counts,
            accounts: post.account_ids.len(),
            characters: post.body.chars().count(),
        })
    }

    /// The counts of all of a workspace's posts, and how many there are for each connected account.
    pub(in crate::sandbox) async fn account_analytics(
        &self,
        workspace: WorkspaceId,
    ) -> Result<AccountAnalytics, Failure> {
        self.save_views().await?;
        let now = self.now();
        let add = move |sum: &mut AccountAnalytics, document: &[u8]| sum.add(document, now);
        Ok(self.records.each(posts(workspace), AccountAnalytics::of_nothing(), add).await?)
    }
}
