//! Questions that a door asks the upstream for an identified caller before it decides what that caller wants.
//!
//! A caller that would be refused before its permission is looked at has none: nothing reaches the upstream for
//! it. An errand spends nothing, and the request is decided on as if there had been none.
//!
//! Never here: a grant, or what is asked.

use std::sync::Arc;

use super::signing::Signature;
use super::tether::TetherParts;
use super::verify::early_denial;
use super::{Caller, Engine};
use crate::domain::errand::{Errand, errand};
use crate::domain::identity::Identity;
use crate::domain::tether::Tether;

impl Engine {
    /// One errand for this caller: who is told to stand behind it, and what it hangs on. `None` when the caller
    /// does not stand, has no token or brought a wrong signature, which [`Engine::admit`] says; or when the
    /// upstream is to be told of callers in a form that it can check (`asserts`), and that cannot be made.
    pub fn errand(&self, caller: &Caller, asserts: bool) -> Option<(Errand, Box<Identity>, Tether)> {
        let key = &caller.proven.key;
        if caller.is_too_fast() || matches!(caller.signature, Signature::Unproven) || caller.lacks_signature()
        {
            return None;
        }
        early_denial(key).ok()?;
        let now = self.clock.now();
        let errand = key.with_case(caller.address, now, |case| errand(caller.proven.proof, case)).ok()?;
        let identity = self.identity_of(key, asserts, now.wall)?;
        let parts = TetherParts { proof: caller.proven.proof, address: caller.address };
        Some((errand, identity, parts.to(Arc::clone(key))))
    }
}
