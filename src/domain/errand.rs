//! A question that the gate itself asks an upstream for a caller, before it can decide what that caller wants.
//!
//! Such as what a tool does. Whoever it is asked for is proven and stands at that moment; nothing is sold for it,
//! and what comes back is the gate's to read, never the answer to what the caller asked.
//!
//! Never here: a way to let a caller's own request through; that is a grant's.

use super::decision::{Case, stands_but_for_signature};
use super::denial::Denial;
use super::id::WorkspaceId;
use super::proof::Proof;

/// Permission to ask one such question. Only [`errand`] makes one.
#[derive(Debug)]
#[must_use = "an errand is for asking one question"]
pub struct Errand {
    workspace: WorkspaceId,
}

impl Errand {
    /// On whose account.
    pub const fn workspace(&self) -> WorkspaceId {
        self.workspace
    }
}

/// Permission to ask one question for a proven key that stands. Its signature and its tokens are for the caller of
/// this to look at, as far as that can be done without spending them.
pub fn errand(proof: Proof, case: &Case<'_>) -> Result<Errand, Denial> {
    stands_but_for_signature(proof, case)?;
    Ok(Errand { workspace: case.workspace.id })
}
