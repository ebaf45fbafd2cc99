//! The MCP tools: posts and accounts as a model sees them, six of them.
//!
//! Each has a schema for its arguments and the hints that tell reading from writing from deleting. Wrong
//! arguments are an ordinary result with `isError`, since a model can read it and try again; the protocol's
//! own errors are for callers that break the protocol.
//!
//! Never here: a rule about posts, the protocol around a call.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::domain::id::WorkspaceId;
use crate::sandbox::Sandbox;
use crate::sandbox::accounts::ACCOUNTS;
use crate::sandbox::failure::{Failure, Fault, SandboxError};
use crate::sandbox::members::Members;
use crate::sandbox::page::{LIMIT_DEFAULT, LIMIT_MAX, PARAMETERS, Page};
use crate::sandbox::posts::{ACCOUNT_ID_CHARS_MAX, ACCOUNT_IDS_MAX, BODY_CHARS_MAX, Draft, Edit};

/// A tool there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sandbox) enum Tool {
    PostsList,
    PostsCreate,
    PostsGet,
    PostsUpdate,
    PostsDelete,
    AccountsList,
}

/// Every tool, in the order of the list.
const ALL: [Tool; 6] = [
    Tool::PostsList,
    Tool::PostsCreate,
    Tool::PostsGet,
    Tool::PostsUpdate,
    Tool::PostsDelete,
    Tool::AccountsList,
];

/// A tool as `tools/list` shows it.
#[derive(Serialize)]
pub(in crate::sandbox) struct Listed {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    #[serde(rename = "inputSchema")]
    input_schema: Value,
    annotations: Value,
}

/// What a call gives, in the protocol's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sandbox) struct Outcome {
    content: [Text; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Box<RawValue>>,
    is_error: bool,
}

#[derive(Serialize)]
struct Text {
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
}

/// The whole list.
pub(in crate::sandbox) fn list() -> Vec<Listed> {
    ALL.into_iter().map(Tool::listed).collect()
}

impl Tool {
    /// The tool with this name.
    pub(in crate::sandbox) fn find(name: &str) -> Option<Self> {
        ALL.into_iter().find(|tool| tool.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::PostsList => "posts_list",
            Self::PostsCreate => "posts_create",
            Self::PostsGet => "posts_get",
            Self::PostsUpdate => "posts_update",
            Self::PostsDelete => "posts_delete",
            Self::AccountsList => "accounts_list",
        }
    }

    fn listed(self) -> Listed {
        let id = || json!({"type": "string", "description": "The post's id, such as posts_list shows it."});
        let body = || json!({"type": "string", "minLength": 1, "maxLength": BODY_CHARS_MAX, "description": "The post's text."});
        let account_ids = || {
            json!({
                "type": "array", "minItems": 1, "maxItems": ACCOUNT_IDS_MAX,
                "items": {"type": "string", "minLength": 1, "maxLength": ACCOUNT_ID_CHARS_MAX},
                "description": "The accounts that the post is for."
            })
        };
        let page = || {
            json!({
                "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                "offset": {"type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 0}
            })
        };
        let (title, description, properties, required) = match self {
            Self::PostsList => {
                ("List posts", "Lists the workspace's posts, newest first.", page(), json!([]))
            }
            Self::PostsCreate => (
                "Create a post",
                "Creates a draft post.",
                json!({"body": body(), "account_ids": account_ids()}),
                json!(["body", "account_ids"]),
            ),
            Self::PostsGet => ("Get a post", "Gets one post.", json!({"id": id()}), json!(["id"])),
            Self::PostsUpdate => (
                "Update a post",
                "Changes a post's text, its accounts, or both.",
                json!({"id": id(), "body": body(), "account_ids": account_ids()}),
                json!(["id"]),
            ),
            Self::PostsDelete => {
                ("Delete a post", "Deletes a post for good.", json!({"id": id()}), json!(["id"]))
            }
            Self::AccountsList => {
                ("List accounts", "Lists the connected social accounts.", page(), json!([]))
            }
        };
        let reads = matches!(self, Self::PostsList | Self::PostsGet | Self::AccountsList);
        Listed {
            name: self.name(),
            title,
            description,
            input_schema: json!({
                "type": "object", "properties": properties, "required": required, "additionalProperties": false
            }),
            annotations: json!({
                "readOnlyHint": reads,
                "destructiveHint": self == Self::PostsDelete,
                "idempotentHint": self != Self::PostsCreate,
                "openWorldHint": false
            }),
        }
    }

    /// Calls the tool. A refusal is an outcome; only a fault of ours is an error.
    pub(in crate::sandbox) async fn call(
        self,
        sandbox: &Sandbox,
        workspace: WorkspaceId,
        arguments: &[u8],
    ) -> Result<Outcome, Fault> {
        match self.run(sandbox, workspace, arguments).await {
            Ok(json) => Ok(Outcome {
                content: [Text { kind: "text", text: json.get().to_owned() }],
                structured_content: Some(json),
                is_error: false,
            }),
            Err(Failure::Fault(fault)) => Err(fault),
            Err(refusal) => Ok(Outcome {
                content: [Text { kind: "text", text: refusal.message() }],
                structured_content: None,
                is_error: true,
            }),
        }
    }

    async fn run(
        self,
        sandbox: &Sandbox,
        workspace: WorkspaceId,
        arguments: &[u8],
    ) -> Result<Box<RawValue>, Failure> {
        let mut members = Members::parse(arguments, "arguments")?;
        match self {
            Self::PostsList => {
                members.only(&PARAMETERS)?;
                let page = Page::from_members(&mut members)?;
                written(&Data { data: sandbox.list_posts(workspace, page).await? })
            }
            Self::AccountsList => {
                members.only(&PARAMETERS)?;
                written(&Data { data: Page::from_members(&mut members)?.of(&ACCOUNTS) })
            }
            Self::PostsCreate => {
                let draft = Draft::from_members(members)?;
                written(&sandbox.create_post(workspace, draft).await?)
            }
            Self::PostsGet => {
                members.only(&["id"])?;
                written(&sandbox.post(workspace, &id(&mut members)?).await?)
            }
            Self::PostsUpdate => {
                members.only(&["id", "body", "account_ids"])?;
                let id = id(&mut members)?;
                let edit = Edit::from_members(members)?;
                written(&sandbox.update_post(workspace, &id, edit).await?)
            }
            Self::PostsDelete => {
                members.only(&["id"])?;
                let id = id(&mut members)?;
                sandbox.delete_post(workspace, &id).await?;
                written(&Deleted { id: &id, deleted: true })
            }
        }
    }
}

#[derive(Serialize)]
struct Data<T> {
    data: Vec<T>,
}

#[derive(Serialize)]
struct Deleted<'a> {
    id: &'a str,
    deleted: bool,
}

fn id(members: &mut Members) -> Result<String, Failure> {
    match members.take("id") {
        Some(Value::String(id)) => Ok(id),
        _ => Err(Failure::Invalid("id must be a text: the post's id.".to_owned())),
    }
}

fn written(result: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    to_raw_value(result).map_err(|error| SandboxError::Unreadable(error).into())
}
