//! The tether of an exchange to its key: the live record, asked at the moment of each question.
//!
//! It asks what the order of checks asked of the key's standing (not revoked, not suspended, not expired, its
//! secret not ended, its address not lost), by the same functions, at the clock's present time. So what ends
//! a key needs to wake nobody: an expiry that comes by itself, an overlap's end or a clock that was set ends
//! what is open just as a revoke does. What a request spends is not asked again, nor its signature.
//!
//! Never here: the file, a wait, a verdict that is kept.

use std::net::IpAddr;
use std::sync::Arc;

use super::live::LiveKey;
use super::verify::early_denial;
use crate::domain::decision::stands_but_for_signature;
use crate::domain::proof::Proof;
use crate::domain::tether::Tether;

/// What a tether is made of beside the key: who came in, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct TetherParts {
    pub(super) proof: Proof,
    pub(super) address: Option<IpAddr>,
}

impl TetherParts {
    /// The tether to this key. It keeps the live record, and not the engine.
    pub(super) fn to(self, key: Arc<LiveKey>) -> Tether {
        let Self { proof, address } = self;
        Tether::new(move || {
            early_denial(&key)?;
            key.with_case(address, key.workspace.clock.now(), |case| stands_but_for_signature(proof, case))
        })
    }
}
