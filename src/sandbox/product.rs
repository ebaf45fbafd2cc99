//! What the sandbox knows of the product that it stands behind: where its doors are and how it speaks.
//!
//! What is built is found by path, whatever product it belongs to. Of what is not built it knows the names: a
//! route answers 501, and tools are listed so that what a key may see of them can be tried, but not called.
//!
//! Never here: a product's name, or an answer that looks like a real one.

use serde_json::{Value, json};

use super::discovery;
use super::mcp::tools;
use crate::dialect::Envelope;

/// What the sandbox knows of the product that it stands behind.
#[derive(Clone, Debug, Default)]
pub struct SandboxProduct {
    /// The endpoint of its JSON-RPC door.
    pub endpoint: Option<String>,
    /// Where its older transport (HTTP+SSE) opens a stream, if it is served.
    pub sse: Option<String>,
    /// The names of its tools, in the order of the list.
    pub tools: Vec<String>,
    /// Its REST door, if it has one.
    pub rest: Option<RestShape>,
}

/// What an upstream knows of the REST door in front of it.
#[derive(Clone, Debug)]
pub struct RestShape {
    /// The path that all its routes lie under, such as `/v1`.
    pub base: String,
    /// The shape of its errors.
    pub envelope: Envelope,
}

/// The server that an MCP endpoint shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server<'a> {
    /// The one whose tools are built.
    Built,
    /// One whose tools have only names.
    Named(&'a [String]),
}

impl Server<'_> {
    pub(super) fn info(self) -> Value {
        match self {
            Self::Built => {
                json!({"name": discovery::NAME, "title": discovery::TITLE, "version": discovery::VERSION})
            }
            Self::Named(_) => {
                json!({"name": "keyward-sandbox", "title": "Keyward sandbox", "version": discovery::VERSION})
            }
        }
    }

    pub(super) const fn instructions(self) -> &'static str {
        match self {
            Self::Built => {
                "Draft posts for the workspace's social accounts. Posts are kept here and reach no network."
            }
            Self::Named(_) => {
                "The list shows the tools that the profile names and the key may call; none is built yet."
            }
        }
    }

    pub(super) fn tools(self) -> Value {
        match self {
            Self::Built => json!(tools::list()),
            Self::Named(names) => names
                .iter()
                .map(|name| {
                    json!({
                        "name": name,
                        "description": "The sandbox does not have this tool yet.",
                        "inputSchema": {"type": "object"}
                    })
                })
                .collect(),
        }
    }
}
