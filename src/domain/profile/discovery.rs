//! What a JSON-RPC door tells everyone of itself: at which paths, beside those that its profile lists.
//!
//! A path that the profile opens is not among them: it is the upstream's.
//!
//! Never here: what is told there.

use super::{Public, RpcDoor};

/// Where a listener tells of all its MCP servers.
pub const CATALOGUE_PATH: &str = "/.well-known/ai-catalog.json";
/// What stands behind the endpoint where it tells of itself.
const CARD_SUFFIX: &str = "/server-card";
/// Where clients look for who signs people in, whatever stands behind it.
const OAUTH_PATHS: [&str; 2] = ["/.well-known/oauth-", "/.well-known/openid-configuration"];

/// What is told at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Described {
    /// One MCP server: where it is, and that it asks for a key.
    Card,
    /// All MCP servers of a listener.
    Catalogue,
    /// That nobody is signed in here.
    NoOauth,
}

impl RpcDoor {
    /// Where this door tells of itself.
    pub fn card_path(&self) -> String {
        format!("{}{CARD_SUFFIX}", self.endpoint)
    }

    /// What this door, or its listener for it, tells at a path.
    pub fn describes(&self, path: &str) -> Option<Described> {
        if self.public_path(path).is_some() {
            None
        } else if path.strip_prefix(self.endpoint.as_str()) == Some(CARD_SUFFIX) {
            Some(Described::Card)
        } else if path == CATALOGUE_PATH {
            Some(Described::Catalogue)
        } else {
            OAUTH_PATHS.iter().any(|start| path.starts_with(start)).then_some(Described::NoOauth)
        }
    }

    /// That all this needs no key.
    pub const fn description(&self) -> Public {
        Public::UNPACED
    }
}
