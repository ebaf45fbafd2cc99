//! Posts: making, reading and changing them, the one place that both doors ask.
//!
//! A post belongs to one workspace and is seen by no other. Its id grows with the time of its making, so a
//! list by id is a list by age. Account ids are kept as they came; nobody looks them up. Whoever reads a post
//! sees it as of that moment: one whose time has come is published, whether or not that was written down.
//!
//! Never here: HTTP, JSON-RPC, a redb type, when a post is published (`publishing` says that).

pub(super) mod analytics;
pub(super) mod publishing;
pub(super) mod views;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sandbox;
use super::failure::{Failure, SandboxError};
use super::members::Members;
use super::number::{id_of, new_number, number_behind};
use super::page::Page;
use super::records::due::Alteration;
use super::records::file::Collection;
use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;

/// Characters (Unicode scalar values) of a post's text at most.
pub(super) const BODY_CHARS_MAX: usize = 10_000;
/// Accounts that one post may name.
pub(super) const ACCOUNT_IDS_MAX: usize = 50;
/// Characters of one account id at most.
pub(super) const ACCOUNT_ID_CHARS_MAX: usize = 100;

/// The fields that a caller may set.
pub(super) const FIELDS: [&str; 2] = ["body", "account_ids"];

const ID_WORD: &str = "post_";

/// The collection.
pub(super) const COLLECTION: &str = "posts";

/// A post as callers see it.
#[derive(Serialize, Debug)]
pub(super) struct Post {
    id: String,
    status: Status,
    body: String,
    account_ids: Vec<String>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
}

/// A post as the file holds it. What came with a later version is left out where it is nothing, so that an
/// older one reads on.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptPost {
    id: String,
    pub(super) status: Status,
    pub(super) body: String,
    pub(super) account_ids: Vec<String>,
    created_at: String,
    pub(super) updated_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scheduled_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published_at: Option<String>,
    #[serde(default, skip_serializing_if = "Counts::are_none")]
    pub(super) counts: Counts,
}

/// What is counted of a post.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    /// How often it was read by its id.
    pub(super) views: u64,
    /// How often its text or its accounts were changed.
    pub(super) edits: u64,
    /// How often it was given a time.
    pub(super) schedulings: u64,
}

/// How far a post has come.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Draft,
    Scheduled,
    Published,
}

/// What a new post needs.
pub(super) struct Draft {
    body: String,
    account_ids: Vec<String>,
}

impl Draft {
    /// Reads a draft; both fields are required.
    pub(super) fn from_members(mut members: Members) -> Result<Self, Failure> {
        members.only(&FIELDS)?;
        Ok(Self {
            body: body(members.take("body").unwrap_or_default())?,
            account_ids: account_ids(members.take("account_ids").unwrap_or_default())?,
        })
    }
}

/// What is to change in a post: one field or both.
pub(super) struct Edit {
    body: Option<String>,
    account_ids: Option<Vec<String>>,
}

impl Edit {
    /// Reads an edit; one that changes nothing is refused, since it is a mistake.
    pub(super) fn from_members(mut members: Members) -> Result<Self, Failure> {
        members.only(&FIELDS)?;
        let edit = Self {
            body: members.take("body").map(body).transpose()?,
            account_ids: members.take("account_ids").map(account_ids).transpose()?,
        };
        if edit.body.is_none() && edit.account_ids.is_none() {
            return Err(Failure::Invalid("At least one of body, account_ids must be given.".to_owned()));
        }
        Ok(edit)
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.views = self.views.saturating_add(other.views);
        self.edits = self.edits.saturating_add(other.edits);
        self.schedulings = self.schedulings.saturating_add(other.schedulings);
    }

    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl KeptPost {
    pub(super) fn read(document: &[u8]) -> Result<Self, SandboxError> {
        serde_json::from_slice(document).map_err(SandboxError::Unreadable)
    }

    pub(super) fn written(&self) -> Result<Vec<u8>, SandboxError> {
        serde_json::to_vec(self).map_err(SandboxError::Unreadable)
    }
}

impl From<KeptPost> for Post {
    fn from(kept: KeptPost) -> Self {
        Self {
            id: kept.id,
            status: kept.status,
            body: kept.body,
            account_ids: kept.account_ids,
            created_at: kept.created_at,
            updated_at: kept.updated_at,
            scheduled_at: kept.scheduled_at,
            published_at: kept.published_at,
        }
    }
}

impl Sandbox {
    /// Makes a draft.
    pub(super) async fn create_post(&self, workspace: WorkspaceId, draft: Draft) -> Result<Post, Failure> {
        let now = self.now();
        let proposed = new_number(now)?;
        let time = now.to_rfc3339();
        let document = self.records.insert(posts(workspace), proposed, move |number| {
            let draft = KeptPost {
                id: id_of(ID_WORD, number),
                status: Status::Draft,
                body: draft.body,
                account_ids: draft.account_ids,
                created_at: time.clone(),
                updated_at: time,
                scheduled_at: None,
                published_at: None,
                counts: Counts::default(),
            };
            draft.written()
        });
        Ok(KeptPost::read(&document.await?.ok_or(Failure::Full)?)?.into())
    }

    /// A page of posts, newest first.
    pub(super) async fn list_posts(&self, workspace: WorkspaceId, page: Page) -> Result<Vec<Post>, Failure> {
        let now = self.now();
        let documents = self.records.newest(posts(workspace), page.offset, page.limit).await?;
        let posts = documents.iter().map(|document| Ok(KeptPost::read(document)?.seen_at(now).into()));
        Ok(posts.collect::<Result<_, SandboxError>>()?)
    }

    /// One post. That it was looked at is counted.
    pub(super) async fn post(&self, workspace: WorkspaceId, id: &str) -> Result<Post, Failure> {
        let number = number(id)?;
        let post = self.kept_post(workspace, number).await?;
        self.count_view(workspace, number).await?;
        Ok(post.into())
    }

    pub(super) async fn kept_post(&self, workspace: WorkspaceId, number: u128) -> Result<KeptPost, Failure> {
        let now = self.now();
        let document = self.records.find(posts(workspace), number).await?;
        Ok(KeptPost::read(&document.ok_or(Failure::NotFound("post"))?)?.seen_at(now))
    }

    /// Changes a post and returns it as it is then. A scheduled one keeps its time; one that is published is
    /// out, and refused.
    pub(super) async fn update_post(
        &self,
        workspace: WorkspaceId,
        id: &str,
        edit: Edit,
    ) -> Result<Post, Failure> {
        let now = self.now();
        self.alter_post(workspace, id, now, move |post| {
            if post.status == Status::Published {
                return Err(Failure::Invalid(
                    "status is published: the text and the accounts of such a post cannot be changed."
                        .to_owned(),
                ));
            }
            post.body = edit.body.unwrap_or_else(|| std::mem::take(&mut post.body));
            post.account_ids = edit.account_ids.unwrap_or_else(|| std::mem::take(&mut post.account_ids));
            post.counts.edits = post.counts.edits.saturating_add(1);
            Ok(())
        })
        .await
    }

    /// Lets `change` change a post as it is by `now`, unless it refuses.
    pub(super) async fn alter_post(
        &self,
        workspace: WorkspaceId,
        id: &str,
        now: Wall,
        change: impl FnOnce(&mut KeptPost) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Post, Failure> {
        let altered = self.records.alter(posts(workspace), number(id)?, move |document| {
            let post = KeptPost::read(document)?;
            let was_due = post.due();
            let mut post = post.seen_at(now);
            if let Err(refusal) = change(&mut post) {
                return Ok((Alteration::Nothing, Err(refusal)));
            }
            post.updated_at = now.to_rfc3339();
            let document = post.written()?;
            let due = post.due();
            Ok((Alteration::Replaced { document, was_due, due }, Ok(post.into())))
        });
        altered.await?.ok_or(Failure::NotFound("post"))?
    }

    /// Deletes a post, however far it has come.
    pub(super) async fn delete_post(&self, workspace: WorkspaceId, id: &str) -> Result<(), Failure> {
        let removed = self.records.alter(posts(workspace), number(id)?, |document| {
            Ok((Alteration::Removed { was_due: KeptPost::read(document)?.due() }, ()))
        });
        removed.await?.ok_or(Failure::NotFound("post"))
    }
}

pub(super) fn posts(workspace: WorkspaceId) -> Collection {
    Collection { workspace, name: COLLECTION.into() }
}

fn body(value: Value) -> Result<String, Failure> {
    match value {
        Value::String(text) if !text.trim().is_empty() && text.chars().count() <= BODY_CHARS_MAX => Ok(text),
        _ => Err(Failure::Invalid(format!(
            "body must be a text of 1 to {BODY_CHARS_MAX} characters, not only spaces."
        ))),
    }
}

fn account_ids(value: Value) -> Result<Vec<String>, Failure> {
    let wrong = || {
        Failure::Invalid(format!(
            "account_ids must be a list of 1 to {ACCOUNT_IDS_MAX} texts of 1 to {ACCOUNT_ID_CHARS_MAX} characters."
        ))
    };
    let Value::Array(values) = value else {
        return Err(wrong());
    };
    if !(1..=ACCOUNT_IDS_MAX).contains(&values.len()) {
        return Err(wrong());
    }
    let one = |value| match value {
        Value::String(id) if !id.is_empty() && id.chars().count() <= ACCOUNT_ID_CHARS_MAX => Ok(id),
        _ => Err(wrong()),
    };
    values.into_iter().map(one).collect()
}

/// The number in a post's id. A text that no id of ours has names no post.
pub(super) fn number(id: &str) -> Result<u128, Failure> {
    number_behind(ID_WORD, id).ok_or(Failure::NotFound("post"))
}
