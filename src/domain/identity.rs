//! Who stands behind a request, as an upstream is told.
//!
//! It is made for each request, of what the key and its workspace are at that moment, so there is no form of it that
//! could be out of date.
//!
//! Never here: how it is written.

use std::fmt;
use std::sync::Arc;

use super::id::{KeyId, WorkspaceId};

/// Who stands behind a grant.
pub struct Identity {
    /// The key.
    pub key: KeyId,
    /// The account.
    pub workspace: WorkspaceId,
    /// The account's plan.
    pub plan: String,
    /// The permissions held, with spaces between.
    pub scopes: String,
    /// The same in a form that can be checked, where the upstream is told so.
    pub assertion: Option<Arc<str>>,
}

/// Without the assertion, which is for the upstream alone.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {} in {}", self.key, self.workspace)
    }
}
