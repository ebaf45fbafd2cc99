//! When posts are published: at once, or at a time that was given ahead.
//!
//! A post goes from draft to published and never back; between them it may be scheduled, as often as one
//! likes. It is published at its time, not when somebody notices: what was due while the sandbox was not
//! running has that time too. Nothing leaves the sandbox.
//!
//! Never here: a timer (app has one), a network.

use serde_json::Value;

use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;
use crate::sandbox::Sandbox;
use crate::sandbox::failure::{Failure, SandboxError};
use crate::sandbox::members::Members;
use crate::sandbox::posts::{KeptPost, Post, Status};
use crate::sandbox::records::due::Alteration;

/// When a post is to be published.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct Schedule {
    at: Wall,
}

impl Schedule {
    /// Reads `{scheduled_at}`. Whether it lies ahead is seen when it is used.
    pub(in crate::sandbox) fn from_members(mut members: Members) -> Result<Self, Failure> {
        members.only(&["scheduled_at"])?;
        let at = match members.take("scheduled_at") {
            Some(Value::String(text)) => Wall::parse(&text),
            _ => None,
        };
        // Whole milliseconds, as they are told and kept.
        let at = at.map(|at| Wall::from_micros(at.micros() / 1000 * 1000));
        at.map(|at| Self { at }).ok_or_else(|| {
            Failure::Invalid(
                "scheduled_at must be a time in the future as RFC 3339 writes it, such as 2030-01-31T09:00:00Z."
                    .to_owned(),
            )
        })
    }
}

impl KeptPost {
    /// When it publishes itself.
    pub(in crate::sandbox) fn due(&self) -> Option<Wall> {
        if self.status != Status::Scheduled {
            return None;
        }
        self.scheduled_at.as_deref().and_then(Wall::parse)
    }

    /// The post as it is by this moment.
    pub(in crate::sandbox) fn seen_at(mut self, now: Wall) -> Self {
        if self.due().is_some_and(|at| at <= now) {
            self.status = Status::Published;
            self.published_at.clone_from(&self.scheduled_at);
            self.updated_at = self.scheduled_at.clone().unwrap_or(self.updated_at);
        }
        self
    }
}

impl Sandbox {
    /// Gives a post a time, or another one.
    pub(in crate::sandbox) async fn schedule_post(
        &self,
        workspace: WorkspaceId,
        id: &str,
        schedule: Schedule,
    ) -> Result<Post, Failure> {
        let now = self.now();
        self.alter_post(workspace, id, now, move |post| {
            if schedule.at <= now {
                return Err(Failure::Invalid(format!(
                    "scheduled_at must lie in the future; it is {} now.",
                    now.to_rfc3339()
                )));
            }
            check_unpublished(post, "scheduled")?;
            post.status = Status::Scheduled;
            post.scheduled_at = Some(schedule.at.to_rfc3339());
            post.counts.schedulings = post.counts.schedulings.saturating_add(1);
            Ok(())
        })
        .await
    }

    /// Publishes a post now, also one that had a time.
    pub(in crate::sandbox) async fn publish_post(
        &self,
        workspace: WorkspaceId,
        id: &str,
    ) -> Result<Post, Failure> {
        let now = self.now();
        self.alter_post(workspace, id, now, move |post| {
            check_unpublished(post, "published again")?;
            post.status = Status::Published;
            // A time that did not come about is not told any more.
            post.scheduled_at = None;
            post.published_at = Some(now.to_rfc3339());
            Ok(())
        })
        .await
    }
}

/// What becomes of a post that is due: what readers already see is written down.
pub(in crate::sandbox) fn settled(document: &[u8], now: Wall) -> Result<Alteration, SandboxError> {
    let post = KeptPost::read(document)?;
    let was_due = post.due();
    let post = post.seen_at(now);
    Ok(Alteration::Replaced { document: post.written()?, was_due, due: post.due() })
}

fn check_unpublished(post: &KeptPost, wish: &str) -> Result<(), Failure> {
    if post.status == Status::Published {
        return Err(Failure::Invalid(format!(
            "status is published since {}: the post cannot be {wish}.",
            post.published_at.as_deref().unwrap_or("before")
        )));
    }
    Ok(())
}
