//! What the sandbox knows of the product that it stands behind: where its doors are, how it speaks, and what its
//! tools are called.
//!
//! What is built is found by path, or follows from a tool's name, whatever product it belongs to. What is not
//! built says so: a route answers 501, and a tool is listed, so that what a key may see can be tried.
//!
//! Never here: a product's name, or an answer that looks like a real one.

use serde_json::{Value, json};

use super::discovery;
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
    /// The one that has tools with rules of their own.
    Built,
    /// One whose tools follow from their names.
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
                "Tools list, find, make, change and delete records of their kind, each workspace's its own. \
                 The list shows those that the key may call. Nothing leaves this server."
            }
        }
    }
}
