//! Posts: the rules for drafts, the one place that both doors ask.
//!
//! A post belongs to one workspace and is seen by no other. Its id grows with the time of its making, so a
//! list by id is a list by age. Account ids are kept as they came; nobody looks them up.
//!
//! Never here: HTTP, JSON-RPC, a redb type.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sandbox;
use super::failure::{Failure, Fault, SandboxError};
use super::file::Collection;
use super::members::Members;
use super::page::Page;
use crate::domain::id::WorkspaceId;

/// Characters (Unicode scalar values) of a post's text at most.
pub(super) const BODY_CHARS_MAX: usize = 10_000;
/// Accounts that one post may name.
pub(super) const ACCOUNT_IDS_MAX: usize = 50;
/// Characters of one account id at most.
pub(super) const ACCOUNT_ID_CHARS_MAX: usize = 100;

/// The fields that a caller may set.
pub(super) const FIELDS: [&str; 2] = ["body", "account_ids"];

const ID_WORD: &str = "post_";

/// A post as callers see it and as the file holds it.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Post {
    id: String,
    status: Status,
    body: String,
    account_ids: Vec<String>,
    created_at: String,
    updated_at: String,
}

/// How far a post has come.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
enum Status {
    Draft,
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

impl Sandbox {
    /// Makes a draft.
    pub(super) async fn create_post(&self, workspace: WorkspaceId, draft: Draft) -> Result<Post, Failure> {
        let now = self.now();
        let proposed = new_number(now.millis_since_epoch())?;
        let time = now.to_rfc3339();
        let document = self.records.insert(posts(workspace), proposed, move |number| {
            written(&Post {
                id: format!("{ID_WORD}{number:032x}"),
                status: Status::Draft,
                body: draft.body,
                account_ids: draft.account_ids,
                created_at: time.clone(),
                updated_at: time,
            })
        });
        Ok(read(&document.await?.ok_or(Failure::Full)?)?)
    }

    /// A page of posts, newest first.
    pub(super) async fn list_posts(&self, workspace: WorkspaceId, page: Page) -> Result<Vec<Post>, Failure> {
        let documents = self.records.newest(posts(workspace), page.offset, page.limit).await?;
        Ok(documents.iter().map(|document| read(document)).collect::<Result<_, _>>()?)
    }

    /// One post.
    pub(super) async fn post(&self, workspace: WorkspaceId, id: &str) -> Result<Post, Failure> {
        let document = self.records.find(posts(workspace), number(id)?).await?;
        Ok(read(&document.ok_or(Failure::NotFound("post"))?)?)
    }

    /// Changes a post and returns it as it is then.
    pub(super) async fn update_post(
        &self,
        workspace: WorkspaceId,
        id: &str,
        edit: Edit,
    ) -> Result<Post, Failure> {
        let time = self.now().to_rfc3339();
        let document = self.records.change(posts(workspace), number(id)?, move |document| {
            let mut post = read(document)?;
            post.body = edit.body.unwrap_or(post.body);
            post.account_ids = edit.account_ids.unwrap_or(post.account_ids);
            post.updated_at = time;
            written(&post)
        });
        Ok(read(&document.await?.ok_or(Failure::NotFound("post"))?)?)
    }

    /// Deletes a post.
    pub(super) async fn delete_post(&self, workspace: WorkspaceId, id: &str) -> Result<(), Failure> {
        let removed = self.records.remove(posts(workspace), number(id)?).await?;
        if removed { Ok(()) } else { Err(Failure::NotFound("post")) }
    }
}

fn posts(workspace: WorkspaceId) -> Collection {
    Collection { workspace, name: "posts".into() }
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

/// 48 bits of milliseconds and 80 random bits.
pub(super) fn new_number(unix_millis: u64) -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    let (time, random) = bytes.split_at_mut(6);
    time.copy_from_slice(unix_millis.to_be_bytes().get(2..).unwrap_or(&[0; 6]));
    getrandom::fill(random).map_err(|error| Failure::Fault(Fault::Random(error)))?;
    Ok(u128::from_be_bytes(bytes))
}

/// The number in an id's text. A text that no id of ours has names no post.
fn number(id: &str) -> Result<u128, Failure> {
    let digits = id.strip_prefix(ID_WORD).filter(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()).ok_or(Failure::NotFound("post"))
}

fn read(document: &[u8]) -> Result<Post, SandboxError> {
    serde_json::from_slice(document).map_err(SandboxError::Unreadable)
}

fn written(post: &Post) -> Result<Vec<u8>, SandboxError> {
    serde_json::to_vec(post).map_err(SandboxError::Unreadable)
}
