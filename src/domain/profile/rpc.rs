//! The JSON-RPC door of a profile: where messages come in, and what each method and tool asks.
//!
//! A tool is closed unless the profile opens it. Only a profile's own list opens anything without a key.
//!
//! Never here: the reading of a message.

use std::collections::HashMap;

use super::{Public, Requirement};

/// The JSON-RPC door of a profile.
#[derive(Debug)]
pub struct RpcDoor {
    /// The one path that takes messages, such as `/api/mcp-app`.
    pub endpoint: String,
    /// Where a GET opens the older transport's stream (HTTP+SSE, 2024-11-05), such as `/sse`; `None` is not at
    /// all.
    pub sse: Option<String>,
    /// Paths that answer a GET without a key.
    pub public_paths: Vec<String>,
    /// Methods that need no key.
    pub keyless_methods: Vec<String>,
    /// Methods beside `tools/call` that any standing key may use.
    pub methods: Vec<String>,
    /// What each tool asks.
    pub tools: HashMap<String, Requirement>,
    /// The id that a refusal of a key carries.
    pub refused_key_id: RefusedKeyId,
}

/// The id that a refusal of a key carries over JSON-RPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RefusedKeyId {
    /// Always null: the message need not be read to say it.
    #[default]
    Null,
    /// The message's own, where it has one that can be read.
    Echo,
}

impl RpcDoor {
    /// Whether a path is this door's.
    pub fn is_at(&self, path: &str) -> bool {
        self.endpoint == path || self.sse.as_deref() == Some(path) || self.public_path(path).is_some()
    }

    /// Whether a GET of this path needs no key.
    pub fn public_path(&self, path: &str) -> Option<Public> {
        self.public_paths.iter().any(|known| known == path).then_some(Public::UNPACED)
    }

    /// Whether this method needs no key.
    pub fn keyless_method(&self, method: &str) -> Option<Public> {
        self.keyless_methods.iter().any(|known| known == method).then_some(Public::UNPACED)
    }
}
