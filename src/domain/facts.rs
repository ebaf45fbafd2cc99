//! Facts: what the checks read of a key and of a workspace, compiled once from its record.
//!
//! Whatever the profile decides is decided here, so that a check looks nothing up: permissions are bits, a plan
//! is whether it is paid and what it admits. A plan that the profile no longer has gives the least.
//!
//! Never here: a check (decision), or a fact that changes without a new version of the record.

use super::address::AddressRules;
use super::id::{KeyId, WorkspaceId};
use super::meter::ledger::MeterTerms;
use super::period::{Period, PeriodIndex};
use super::permission::{Permission, PermissionBits};
use super::profile::{MeterNo, Profile};
use super::rate::{Rate, Rates};
use super::record::{KeyRecord, SECRETS_MAX, SignatureReplay, WorkspaceRecord, WorkspaceStatus};
use super::time::{Now, Wall};

use std::sync::Arc;

/// When something ends, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End(Wall);

impl End {
    const NEVER: Self = Self(Wall::from_micros(i64::MAX));

    fn of(end: Option<Wall>) -> Self {
        end.map_or(Self::NEVER, Self)
    }

    pub(super) fn moment(self) -> Option<Wall> {
        (self != Self::NEVER).then_some(self.0)
    }

    pub(super) fn has_come(self, now: Now) -> bool {
        self != Self::NEVER && now.wall >= self.0
    }
}

/// What the checks read of one secret. In this order, since the first two are what every check reads.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct LiveSecret {
    pub(super) epoch: u32,
    has_end: bool,
    pub(super) end: End,
    pub(super) created_at: Wall,
}

impl LiveSecret {
    pub(super) fn has_ended(&self, now: Now) -> bool {
        self.has_end && self.end.has_come(now)
    }
}

/// What the checks read of a key, compiled from its record. What many keys have alike lies apart; the rest in the order
/// of how often it is read, so that most checks need the first part alone.
#[derive(Debug)]
#[repr(C)]
pub struct KeyFacts {
    pub(super) id: KeyId,
    pub(super) terms: Arc<KeyTerms>,
    revoked: End,
    pub(super) expiry: End,
    newest: Option<LiveSecret>,
    /// The one before, while it overlaps.
    before: Option<Box<LiveSecret>>,
    version: u64,
}

/// What a key may do and under which conditions: the part of its facts that is the same for many keys, so that one
/// copy can serve them all.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyTerms {
    pub(super) permissions: PermissionBits,
    pub(super) rate: Option<Rates>,
    pub(super) addresses: Option<AddressRules>,
    pub(super) require_signature: bool,
    pub(super) signature_replay: SignatureReplay,
    scopes: String,
}

impl KeyFacts {
    /// The facts of a record under its profile.
    pub fn compile(record: &KeyRecord, profile: &Profile) -> Self {
        let scopes: Vec<_> = record.permissions.iter().map(Permission::as_str).collect();
        let mut secrets = record.secrets.iter().rev().take(SECRETS_MAX).map(|secret| LiveSecret {
            epoch: secret.epoch,
            has_end: secret.ends_at.is_some(),
            end: End::of(secret.ends_at),
            created_at: secret.created_at,
        });
        Self {
            id: record.id,
            version: record.version,
            newest: secrets.next(),
            before: secrets.next().map(Box::new),
            revoked: End::of(record.revoked_at),
            expiry: End::of(record.expires_at),
            terms: Arc::new(KeyTerms {
                permissions: profile.compile(&record.permissions),
                rate: record.rate.clone(),
                addresses: record.addresses.clone(),
                require_signature: record.require_signature,
                signature_replay: record.signature_replay,
                scopes: scopes.join(" "),
            }),
        }
    }

    /// A bit of the last part that most checks read. It says nothing; who looks at it has the part at hand soon.
    #[inline]
    pub fn glance(&self) -> bool {
        self.newest.is_some_and(|secret| secret.has_end)
    }

    /// The key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key, to be found by.
    pub const fn id_ref(&self) -> &KeyId {
        &self.id
    }

    /// The record's version that these facts are of.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether every request must be signed.
    pub fn requires_signature(&self) -> bool {
        self.terms.require_signature
    }

    /// The epochs of its secrets, the newest first.
    pub fn epochs(&self) -> impl Iterator<Item = u32> + '_ {
        self.secrets().map(|secret| secret.epoch)
    }

    pub(super) fn secret(&self, epoch: u32) -> Option<&LiveSecret> {
        self.secrets().find(|secret| secret.epoch == epoch)
    }

    fn secrets(&self) -> impl Iterator<Item = &LiveSecret> {
        self.newest.iter().chain(self.before.as_deref())
    }

    /// Whether the record says that it is revoked.
    pub fn is_revoked(&self) -> bool {
        self.revoked_at().is_some()
    }

    pub(super) fn revoked_at(&self) -> Option<Wall> {
        self.revoked.moment()
    }

    /// The permissions held, as text with spaces between: what an upstream is told.
    pub fn scopes(&self) -> &str {
        &self.terms.scopes
    }

    /// What is held of the profile's catalogue.
    pub fn permissions(&self) -> PermissionBits {
        self.terms.permissions
    }

    /// What it may do, apart from whose it is.
    pub const fn terms(&self) -> &Arc<KeyTerms> {
        &self.terms
    }

    /// Puts an equal copy of its terms in their place; they stay when it differs.
    pub fn share(&mut self, terms: Arc<KeyTerms>) {
        if self.terms == terms {
            self.terms = terms;
        }
    }
}

/// What a meter sells that nobody knows, or on a plan that nobody knows.
const NOTHING: MeterTerms = MeterTerms { limit: Some(0), admitted: Some(0) };

/// What the checks read of a workspace, compiled from its record; what most of them read comes first.
#[derive(Debug)]
#[repr(C)]
pub struct WorkspaceFacts {
    pub(super) id: WorkspaceId,
    pub(super) status: WorkspaceStatus,
    pub(super) paid: bool,
    /// Of all its keys together; apart, since few have one.
    pub(super) shared_rate: Option<Box<Rate>>,
    /// Of each of its keys.
    pub(super) rate: Option<Rates>,
    meters: Vec<MeterTerms>,
    anchor: Wall,
    version: u64,
    plan: String,
}

impl WorkspaceFacts {
    /// The facts of a record under its profile. A plan that the profile no longer has is treated as the
    /// least: unpaid, with nothing left on any meter.
    pub fn compile(record: &WorkspaceRecord, profile: &Profile) -> Self {
        let plan = profile.plan(&record.plan);
        let terms = |(place, name): (usize, &String)| {
            let Some(plan) = plan else { return NOTHING };
            let set = record.overrides.meters.get(name).copied();
            let limit = set.or_else(|| plan.limits.get(place).copied().flatten());
            MeterTerms { limit, admitted: limit.map(|limit| plan.grace.admitted(limit)) }
        };
        Self {
            id: record.id,
            version: record.version,
            status: record.status,
            plan: record.plan.clone(),
            paid: plan.is_some_and(|plan| plan.paid),
            rate: (record.overrides.rate.as_ref())
                .or(plan.and_then(|plan| plan.rate.as_ref()))
                .or(profile.rate.as_ref())
                .cloned(),
            shared_rate: (record.overrides.workspace_rate)
                .or(plan.and_then(|plan| plan.workspace_rate))
                .map(Box::new),
            meters: profile.meters.iter().enumerate().map(terms).collect(),
            anchor: record.billing_anchor,
        }
    }

    /// A bit of the last part that most checks read. It says nothing; who looks at it has the part at hand soon.
    #[inline]
    pub const fn glance(&self) -> bool {
        self.shared_rate.is_none()
    }

    /// The workspace.
    pub const fn id(&self) -> WorkspaceId {
        self.id
    }

    /// The record's version that these facts are of.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The plan's name.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// What a meter may sell in a period.
    pub fn terms(&self, meter: MeterNo) -> MeterTerms {
        self.meters.get(usize::from(meter.0)).copied().unwrap_or(NOTHING)
    }

    /// What each meter of the profile may sell in a period, in the profile's order.
    pub fn meters(&self) -> &[MeterTerms] {
        &self.meters
    }

    /// The billing period of this number.
    pub fn period_numbered(&self, index: PeriodIndex) -> Period {
        Period::numbered(self.anchor, index)
    }

    /// The billing period that `at` lies in.
    pub fn period(&self, at: Wall) -> Period {
        Period::containing(self.anchor, at)
    }
}
