//! What the sandbox says for the parts of a product that it does not have yet.
//!
//! It has `SocialCRM`'s posts and accounts. Of any other product it knows what the profile names: a route answers
//! 501 in the product's own envelope, and the tools are listed so that what a key may see of them can be tried,
//! but none can be called.
//!
//! Never here: a product's name, or an answer that looks like a real one.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::answer::Answer;
use super::discovery;
use super::tools;

/// What the sandbox knows of the product that it stands behind.
#[derive(Clone, Debug, Default)]
pub struct SandboxProduct {
    /// The endpoint of its JSON-RPC door.
    pub endpoint: Option<String>,
    /// The names of its tools, in the order of the list.
    pub tools: Vec<String>,
    /// How its REST door says that something is not built; without it, what is not there is not found.
    pub not_built: Option<Bytes>,
}

/// The answer to a route that a profile names and the sandbox does not have.
pub(super) fn not_built(body: &Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body.clone()));
    *answer.status_mut() = StatusCode::NOT_IMPLEMENTED;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
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
                "Draft posts for the workspace's social accounts. Drafts are kept, nothing is published."
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
