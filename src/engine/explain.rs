//! What a request of a key would be told, check by check: the live record's view, nothing spent or noted.
//!
//! Never here: a verdict that opens anything.

use std::net::IpAddr;

use super::live::LiveKey;
use super::{ChangeRefused, Engine};
use crate::domain::decision::{Check, Wanted};
use crate::domain::denial::Denial;
use crate::domain::explain::{Explained, Finding, explain};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::Prefix;

/// An attempt to explain.
#[derive(Debug)]
pub struct ToExplain {
    /// The key.
    pub key: KeyId,
    /// The prefix and epoch of the secret that would be presented.
    pub secret: (Prefix, u32),
    /// What is wanted.
    pub wanted: Wanted,
    /// The caller's address, when one is given.
    pub address: Option<IpAddr>,
    /// Units of the meter.
    pub cost: u64,
}

/// What each check says of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The account.
    pub workspace: WorkspaceId,
    /// Every check in its order.
    pub findings: Vec<Finding>,
}

impl Explanation {
    /// The first check that fails, and what the caller would be refused for.
    pub fn denied(&self) -> Option<(Check, &Denial)> {
        self.findings.iter().find_map(|finding| Some((finding.check, finding.outcome.as_ref().err()?)))
    }
}

impl Engine {
    /// Says what each check would say, by the facts of this moment, without spending anything or noting a use.
    pub async fn explain(&self, asked: &ToExplain) -> Result<Explanation, ChangeRefused> {
        let key = self.key_slot(asked.key).await?;
        let (prefix, epoch) = asked.secret;
        let explained = Explained {
            profile: &key.workspace.profile,
            prefix,
            epoch,
            wanted: &asked.wanted,
            cost: asked.cost,
            in_force: in_force(&key),
        };
        let now = self.clock.now();
        Ok(key.with_case(asked.address, now, |case| Explanation {
            workspace: case.workspace.id(),
            findings: explain(&explained, case, &self.buckets(&key, explained.wanted), |number| {
                key.workspace.meter_now(number, now)
            }),
        }))
    }
}

/// The check that a change fails already before it is in the file.
fn in_force(key: &LiveKey) -> Option<(Check, Denial)> {
    if key.is_revoked() {
        return Some((Check::Revoked, Denial::Revoked));
    }
    if key.workspace.is_deleted() {
        return Some((Check::Workspace, Denial::Revoked));
    }
    key.workspace.is_suspending().then_some((Check::Workspace, Denial::Suspended))
}
