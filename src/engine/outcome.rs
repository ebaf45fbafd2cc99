//! What a decision comes to: a grant and the key behind it, or a refusal, each with where the caller's rates stood.
//!
//! A grant holds its key, so that the key's slot stays; what it says of the key beyond the decision is of the moment at
//! which it is asked.
//!
//! Never here: a decision (verify), or a grant that no decision made.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;

use super::live::{KeyHold, LiveKey};
use super::tether::TetherParts;
use crate::domain::decision::{Grant, RateReceipt, may};
use crate::domain::denial::{Denial, Refusal};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::meter::Quota;
use crate::domain::permission::PermissionBits;
use crate::domain::profile::Requirement;
use crate::domain::rate::bucket::TooFast;
use crate::domain::rate::state::{LimitMarks, LimitStates};
use crate::domain::tether::Tether;
use crate::domain::time::Wall;

/// A grant and the key behind it.
#[derive(Debug)]
pub struct Granted {
    grant: Grant,
    key: KeyHold,
    address: Option<IpAddr>,
    marks: LimitMarks,
    quota: Option<Quota>,
}

impl Granted {
    pub(super) fn new(grant: Grant, key: KeyHold, address: Option<IpAddr>, told: Told) -> Self {
        let Told { marks, quota, .. } = told;
        Self { grant, key, address, marks, quota }
    }

    /// The key.
    pub const fn key(&self) -> KeyId {
        self.grant.key()
    }

    /// The account.
    pub const fn workspace(&self) -> WorkspaceId {
        self.grant.workspace()
    }

    /// Where the caller's rates stood when it was granted, and its month once it was.
    pub fn limit_states(&self) -> LimitStates {
        self.marks.states(self.quota)
    }

    /// The time by which it was decided.
    pub const fn decided_at(&self) -> Wall {
        self.grant.decided_at()
    }

    /// Its living state.
    pub(super) fn live_key(&self) -> &Arc<LiveKey> {
        &self.key
    }

    /// What the key holds of its profile's catalogue at this moment.
    pub fn permissions(&self) -> PermissionBits {
        self.key.facts.load().permissions()
    }

    /// The predicate that decides what the key may do, for lists that show only that.
    pub fn reach(&self) -> Reach {
        Reach(Arc::clone(&self.key))
    }

    /// The grant, and what it hangs on from now on, for the gateway.
    pub fn into_parts(self) -> (Grant, Tether) {
        let parts = TetherParts { proof: self.grant.proof(), address: self.address };
        (self.grant, parts.to(Guard::into_inner(self.key)))
    }
}

/// A refusal, and where the caller's rates stood, when it came as far as them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The refusal.
    pub refusal: Refusal,
    limits: Option<Box<(LimitMarks, Option<Quota>)>>,
}

impl From<Refusal> for Refused {
    /// A refusal that came before the rate was looked at.
    fn from(refusal: Refusal) -> Self {
        Self { refusal, limits: None }
    }
}

impl Refused {
    pub(super) fn new(refusal: Refusal, told: Told) -> Self {
        let is_told = !told.marks.is_empty() || told.quota.is_some();
        Self { refusal, limits: is_told.then(|| Box::new((told.marks, told.quota))) }
    }

    /// Where the caller's rates stood; empty for whoever proved nothing, and without a rate.
    pub fn limit_states(&self) -> LimitStates {
        self.limits.as_deref().map(|(marks, quota)| marks.states(*quota)).unwrap_or_default()
    }

    /// The word of the denial or fault.
    pub fn name(&self) -> &'static str {
        self.refusal.name()
    }
}

/// What is known of a decision beside its outcome.
pub(super) struct Told {
    /// When it was made.
    pub(super) at: Wall,
    /// Whether it changed what is counted of the key.
    pub(super) is_counted: bool,
    marks: LimitMarks,
    pub(super) quota: Option<Quota>,
}

impl Told {
    pub(super) fn at(at: Wall) -> Self {
        Self { at, is_counted: false, marks: LimitMarks::default(), quota: None }
    }

    /// Notes where the rates stand, whatever came of them.
    #[inline]
    pub(super) fn note(
        &mut self,
        paid: Result<(RateReceipt, LimitMarks), TooFast>,
    ) -> Result<RateReceipt, Denial> {
        match paid {
            Ok((receipt, marks)) => {
                self.marks = marks;
                Ok(receipt)
            }
            Err(refused) => {
                self.marks = refused.marks;
                Err(Denial::Rate { retry_after_nanos: refused.retry_after_nanos })
            }
        }
    }
}

/// What a key may do, as far as permission and plan go.
#[derive(Debug)]
pub struct Reach(Arc<LiveKey>);

impl Reach {
    /// Whose it is.
    pub fn key(&self) -> KeyId {
        self.0.facts.load().id()
    }

    /// Whether a call that asks this much would pass permission and plan at this moment.
    pub fn covers(&self, requirement: &Requirement) -> bool {
        may(&self.0.facts.load(), &self.0.workspace.facts.load(), requirement).is_ok()
    }
}
