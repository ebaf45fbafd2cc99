//! The tools for posts, media, texts and accounts: every route of the REST door that has rules of its own.
//!
//! Each asks the very rule that its route asks, so what one door makes the other shows.
//!
//! Never here: a rule about posts, how a tool is listed (`listed` says that).

mod listed;

use serde::Serialize;
use serde_json::value::RawValue;

use super::tools::{Data, ToolCall, id, written};
use crate::sandbox::Sandbox;
use crate::sandbox::accounts::ACCOUNTS;
use crate::sandbox::discovery::origin;
use crate::sandbox::failure::Failure;
use crate::sandbox::media::Announced;
use crate::sandbox::members::Members;
use crate::sandbox::page::{PARAMETERS, Page};
use crate::sandbox::posts::publishing::Schedule;
use crate::sandbox::posts::{Draft, Edit};
use crate::sandbox::samples::{PERSONA, TRENDS};
use crate::sandbox::writing::Wish;

/// A tool of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sandbox) enum Social {
    PostsList,
    PostsCreate,
    PostsGet,
    PostsUpdate,
    PostsDelete,
    PostsSchedule,
    PostsPublish,
    PostsAnalytics,
    MediaUploadUrl,
    MediaConfirm,
    AiRewrite,
    AiCompose,
    AiHashtags,
    AiThread,
    AiIdeas,
    AiOptimise,
    AccountsList,
    AccountsAnalytics,
    PersonaGet,
    TrendingList,
}

/// Every one, in the order of the list.
pub(super) const ALL: [Social; 20] = [
    Social::PostsList,
    Social::PostsCreate,
    Social::PostsGet,
    Social::PostsUpdate,
    Social::PostsDelete,
    Social::PostsSchedule,
    Social::PostsPublish,
    Social::PostsAnalytics,
    Social::MediaUploadUrl,
    Social::MediaConfirm,
    Social::AiRewrite,
    Social::AiCompose,
    Social::AiHashtags,
    Social::AiThread,
    Social::AiIdeas,
    Social::AiOptimise,
    Social::AccountsList,
    Social::AccountsAnalytics,
    Social::PersonaGet,
    Social::TrendingList,
];

impl Social {
    /// The tool with this name.
    pub(super) fn find(name: &str) -> Option<Self> {
        ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Does what it is for.
    pub(super) async fn run(self, call: ToolCall<'_>) -> Result<Box<RawValue>, Failure> {
        let ToolCall { sandbox, workspace, headers, arguments } = call;
        let mut members = Members::parse(arguments, "arguments")?;
        members.only(self.takes())?;
        match self {
            Self::PostsList => {
                let page = Page::from_members(&mut members)?;
                written(&Data { data: sandbox.list_posts(workspace, page).await? })
            }
            Self::PostsCreate => {
                written(&sandbox.create_post(workspace, Draft::from_members(members)?).await?)
            }
            Self::PostsGet => written(&sandbox.post(workspace, &id(&mut members, "id")?).await?),
            Self::PostsUpdate => {
                let id = id(&mut members, "id")?;
                written(&sandbox.update_post(workspace, &id, Edit::from_members(members)?).await?)
            }
            Self::PostsDelete => {
                let id = id(&mut members, "id")?;
                sandbox.delete_post(workspace, &id).await?;
                written(&Gone { id: &id, deleted: true })
            }
            Self::PostsSchedule => {
                let id = id(&mut members, "id")?;
                let schedule = Schedule::from_members(members)?;
                written(&sandbox.schedule_post(workspace, &id, schedule).await?)
            }
            Self::PostsPublish => written(&sandbox.publish_post(workspace, &id(&mut members, "id")?).await?),
            Self::PostsAnalytics => {
                let data = sandbox.post_analytics(workspace, &id(&mut members, "id")?).await?;
                written(&Data { data })
            }
            Self::MediaUploadUrl => {
                let rest = sandbox.product.rest.as_ref().ok_or_else(no_place)?;
                let place = format!("{}{}", origin(headers), rest.base.trim_end_matches('/'));
                let announced = Announced::from_members(members)?;
                written(&Data { data: sandbox.invite_media(workspace, announced).await?.at(&place) })
            }
            Self::MediaConfirm => {
                let data = sandbox.confirm_media(workspace, &id(&mut members, "id")?).await?;
                written(&Data { data })
            }
            Self::AiRewrite => write(sandbox, "rewrite", members).await,
            Self::AiCompose => write(sandbox, "compose", members).await,
            Self::AiHashtags => write(sandbox, "hashtags", members).await,
            Self::AiThread => write(sandbox, "thread", members).await,
            Self::AiIdeas => write(sandbox, "ideas", members).await,
            Self::AiOptimise => write(sandbox, "optimise", members).await,
            Self::AccountsList => written(&Data { data: Page::from_members(&mut members)?.of(&ACCOUNTS) }),
            Self::AccountsAnalytics => written(&Data { data: sandbox.account_analytics(workspace).await? }),
            Self::PersonaGet => written(&Data { data: PERSONA }),
            Self::TrendingList => written(&Data { data: Page::from_members(&mut members)?.of(&TRENDS) }),
        }
    }

    /// The names of its arguments.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::PostsList | Self::AccountsList | Self::TrendingList => &PARAMETERS,
            Self::PostsCreate => &["body", "account_ids"],
            Self::PostsUpdate => &["id", "body", "account_ids"],
            Self::PostsSchedule => &["id", "scheduled_at"],
            Self::PostsGet
            | Self::PostsDelete
            | Self::PostsPublish
            | Self::PostsAnalytics
            | Self::MediaConfirm => &["id"],
            Self::MediaUploadUrl => &["filename", "content_type"],
            Self::AiRewrite => &["text", "tone"],
            Self::AiCompose => &["prompt"],
            Self::AiIdeas => &["topic"],
            Self::AiHashtags | Self::AiThread | Self::AiOptimise => &["text"],
            Self::AccountsAnalytics | Self::PersonaGet => &[],
        }
    }
}

/// A text of one of the kinds that there are.
async fn write(sandbox: &Sandbox, kind: &'static str, members: Members) -> Result<Box<RawValue>, Failure> {
    written(&sandbox.write(&Wish::from_members(kind, members)?).await?)
}

#[derive(Serialize)]
struct Gone<'a> {
    id: &'a str,
    deleted: bool,
}

fn no_place() -> Failure {
    Failure::Invalid("This product has no REST door, and so no place to upload to.".to_owned())
}
