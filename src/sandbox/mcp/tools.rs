//! MCP tools: how one is listed and what a call of it gives, whoever does the work.
//!
//! Each has a schema for its arguments, one for what it gives, and the hints that tell reading from writing
//! from deleting. Wrong arguments are an ordinary result with `isError`, since a model can read it and try
//! again; the protocol's own errors are for callers that break the protocol. A tool that the profile names and
//! nobody built is listed, so that what a key may see can be tried, and says so when it is called.
//!
//! Never here: what a tool does, the protocol around a call.

use std::borrow::Cow;

use http::HeaderMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::kept::Kept;
use super::social::{self, Social};
use crate::domain::id::WorkspaceId;
use crate::sandbox::Sandbox;
use crate::sandbox::failure::{Failure, Fault, SandboxError};
use crate::sandbox::members::Members;
use crate::sandbox::product::Server;

/// A tool that is built.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) enum Tool<'a> {
    Social(Social),
    Kept(Kept<'a>),
}

/// What is found under a tool's name.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) enum Found<'a> {
    Tool(Tool<'a>),
    /// The profile names it, and nothing is behind it.
    NotBuilt,
    Nothing,
}

/// A tool as `tools/list` shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sandbox) struct Listed {
    pub(super) name: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<Cow<'static, str>>,
    pub(super) description: Cow<'static, str>,
    pub(super) input_schema: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<Hints>,
}

/// What a client may think of a tool before it calls it.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's four")]
pub(in crate::sandbox) struct Hints {
    read_only_hint: bool,
    destructive_hint: bool,
    idempotent_hint: bool,
    open_world_hint: bool,
}

impl Hints {
    const NONE: Self = Self {
        read_only_hint: false,
        destructive_hint: false,
        idempotent_hint: false,
        open_world_hint: false,
    };
    /// It changes nothing.
    pub(super) const READS: Self = Self { read_only_hint: true, idempotent_hint: true, ..Self::NONE };
    /// It makes something new each time.
    pub(super) const CREATES: Self = Self::NONE;
    /// It changes something, and the same call again changes no more.
    pub(super) const CHANGES: Self = Self { idempotent_hint: true, ..Self::NONE };
    /// It takes something away.
    pub(super) const DELETES: Self = Self { destructive_hint: true, idempotent_hint: true, ..Self::NONE };
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

/// A call of a tool: whose it is, what it says, and what came with it.
pub(super) struct ToolCall<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) workspace: WorkspaceId,
    pub(super) headers: &'a HeaderMap,
    /// The text of one JSON object.
    pub(super) arguments: &'a [u8],
}

/// The whole list: what is built at this endpoint, then what else the profile names.
pub(in crate::sandbox) fn list(sandbox: &Sandbox, server: Server<'_>) -> Vec<Listed> {
    let (built, named) = match server {
        Server::Built => (social::ALL.as_slice(), sandbox.product.tools.as_slice()),
        Server::Named(names) => (&[][..], names),
    };
    let named = named.iter().filter(|name| !built.iter().any(|tool| tool.name() == name.as_str()));
    let derived = named.map(|name| match sandbox.kinds.purpose(name) {
        Some(purpose) => Kept(purpose).listed(name),
        None => not_built(name),
    });
    built.iter().map(|tool| tool.listed()).chain(derived).collect()
}

/// The tool with this name.
pub(in crate::sandbox) fn find<'a>(sandbox: &'a Sandbox, server: Server<'_>, name: &str) -> Found<'a> {
    if let (Server::Built, Some(tool)) = (server, Social::find(name)) {
        return Found::Tool(Tool::Social(tool));
    }
    match sandbox.kinds.purpose(name) {
        Some(purpose) => Found::Tool(Tool::Kept(Kept(purpose))),
        None if sandbox.product.tools.iter().any(|known| known == name) => Found::NotBuilt,
        None => Found::Nothing,
    }
}

impl Tool<'_> {
    /// Calls the tool. A refusal is an outcome; only a fault of ours is an error.
    pub(super) async fn call(self, call: ToolCall<'_>) -> Result<Outcome, Fault> {
        let ran = match self {
            Self::Social(tool) => tool.run(call).await,
            Self::Kept(tool) => tool.run(call).await,
        };
        match ran {
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
}

/// What is not built as it is listed.
fn not_built(name: &str) -> Listed {
    Listed {
        name: name.to_owned().into(),
        title: None,
        description: NOT_BUILT.into(),
        input_schema: json!({"type": "object"}),
        output_schema: None,
        annotations: None,
    }
}

/// What is said of a tool that the profile names and nobody built.
pub(super) const NOT_BUILT: &str = "The sandbox does not have this tool.";

/// `{"data": …}`.
#[derive(Serialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// Takes an id out of the arguments.
pub(super) fn id(members: &mut Members, name: &str) -> Result<String, Failure> {
    match members.take(name) {
        Some(Value::String(id)) => Ok(id),
        _ => Err(Failure::Invalid(format!("{name} must be a text: an id as it was given."))),
    }
}

/// A result as it is answered.
pub(super) fn written(result: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    to_raw_value(result).map_err(|error| SandboxError::Unreadable(error).into())
}
