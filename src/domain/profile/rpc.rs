//! The JSON-RPC door of a profile: where messages come in, and what each method and tool asks.
//!
//! A tool is closed unless the profile opens it. Only a profile's own list opens anything without a key.
//!
//! Never here: the reading of a message.

use std::collections::HashMap;

use super::{Public, Requirement, ToolPattern};

/// What stands among a door's methods for every one that is not named.
pub const ANY_METHOD: &str = "*";
/// The methods whose answers may hold a list of tools.
pub const LISTING_METHODS: [&str; 2] = ["tools/list", "tasks/result"];
/// The longest name of a method or tool that a profile can name, in bytes.
pub const METHOD_LEN_MAX: usize = 128;

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
    /// Methods beside `tools/call` that any standing key may use; [`ANY_METHOD`] among them is every other one.
    pub methods: Vec<String>,
    /// Methods that ask for more than a standing key.
    pub method_requirements: Vec<(String, Requirement)>,
    /// What each tool asks that is mapped by its name. [`RpcDoor::requirement`] is the question about any tool.
    pub tools: HashMap<String, Requirement>,
    /// What other tools ask, in their order: the first that fits decides.
    pub tool_patterns: Vec<ToolPattern>,
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

    /// Whether a method without a name of its own here is one of [`ANY_METHOD`]. Nothing that could be read as
    /// another way to ask for tools is.
    pub(in crate::domain) fn takes_any(&self, method: &str) -> bool {
        let is_of_tools = method.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("tools/"));
        self.methods.iter().any(|known| known == ANY_METHOD)
            && is_method(method)
            && (!is_of_tools || method == "tools/list")
    }

    /// Whether this method needs no key.
    pub fn keyless_method(&self, method: &str) -> Option<Public> {
        self.keyless_methods.iter().any(|known| known == method).then_some(Public::UNPACED)
    }
}

/// Whether a text is a method's name: 1 to [`METHOD_LEN_MAX`] of `A-Z`, `a-z`, `0-9`, `_`, `/`, `$`, `-` and `.`.
pub fn is_method(text: &str) -> bool {
    (1..=METHOD_LEN_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/$-.".contains(&byte))
}
