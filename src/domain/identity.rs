//! Who stands behind a request, as an upstream is told.
//!
//! Shared by the requests of one key for as long as nothing of it changes, and with it the form in which it is
//! written: that is made once, by whoever writes it first.
//!
//! Never here: how it is written, or when it is out of date.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

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
    written: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Identity {
    /// An identity that nobody has written yet.
    pub const fn new(
        key: KeyId,
        workspace: WorkspaceId,
        plan: String,
        scopes: String,
        assertion: Option<Arc<str>>,
    ) -> Self {
        Self { key, workspace, plan, scopes, assertion, written: OnceLock::new() }
    }

    /// Its written form, made by `write` the first time. There is one kind of form: `None` when it was written in
    /// another.
    pub fn written<T: Any + Send + Sync>(&self, write: impl FnOnce(&Self) -> T) -> Option<&T> {
        self.written.get_or_init(|| Box::new(write(self))).downcast_ref()
    }
}

/// Without the assertion, which is for the upstream alone.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {} in {}", self.key, self.workspace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_once_and_in_one_form() {
        let (key, workspace) = (KeyId::from_u128(1), WorkspaceId::from_u128(2));
        let identity = Identity::new(key, workspace, "pro".into(), "posts:read".into(), None);
        let written = |number: u32| identity.written(move |_| number).copied();
        assert_eq!((written(1), written(2)), (Some(1), Some(1)));
        assert_eq!(identity.written(|of| of.plan.clone()), None);
    }
}
