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
use super::time::Wall;

/// What the checks read of one secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveSecret {
    pub(super) epoch: u32,
    pub(super) created_at: Wall,
    pub(super) ends_at: Option<Wall>,
}

/// What the checks read of a key, compiled from its record.
#[derive(Debug)]
pub struct KeyFacts {
    pub(super) id: KeyId,
    version: u64,
    /// The newest first.
    secrets: [Option<LiveSecret>; SECRETS_MAX],
    pub(super) revoked_at: Option<Wall>,
    pub(super) expires_at: Option<Wall>,
    pub(super) addresses: Option<AddressRules>,
    pub(super) require_signature: bool,
    pub(super) signature_replay: SignatureReplay,
    pub(super) permissions: PermissionBits,
    pub(super) rate: Option<Rates>,
    scopes: String,
}

impl KeyFacts {
    /// The facts of a record under its profile.
    pub fn compile(record: &KeyRecord, profile: &Profile) -> Self {
        let scopes: Vec<_> = record.permissions.iter().map(Permission::as_str).collect();
        Self {
            id: record.id,
            version: record.version,
            secrets: std::array::from_fn(|place| {
                let secret = record.secrets.iter().rev().nth(place)?;
                Some(LiveSecret {
                    epoch: secret.epoch,
                    created_at: secret.created_at,
                    ends_at: secret.ends_at,
                })
            }),
            revoked_at: record.revoked_at,
            expires_at: record.expires_at,
            addresses: record.addresses.clone(),
            require_signature: record.require_signature,
            signature_replay: record.signature_replay,
            permissions: profile.compile(&record.permissions),
            rate: record.rate.clone(),
            scopes: scopes.join(" "),
        }
    }

    /// The key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The record's version that these facts are of.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether every request must be signed.
    pub const fn requires_signature(&self) -> bool {
        self.require_signature
    }

    /// The epochs of its secrets, the newest first.
    pub fn epochs(&self) -> impl Iterator<Item = u32> + '_ {
        self.secrets.iter().flatten().map(|secret| secret.epoch)
    }

    pub(super) fn secret(&self, epoch: u32) -> Option<&LiveSecret> {
        self.secrets.iter().flatten().find(|secret| secret.epoch == epoch)
    }

    /// The permissions held, as text with spaces between: what an upstream is told.
    pub fn scopes(&self) -> &str {
        &self.scopes
    }

    /// What is held of the profile's catalogue.
    pub const fn permissions(&self) -> PermissionBits {
        self.permissions
    }
}

/// What a meter sells that nobody knows, or on a plan that nobody knows.
const NOTHING: MeterTerms = MeterTerms { limit: Some(0), admitted: Some(0) };

/// What the checks read of a workspace, compiled from its record.
#[derive(Debug)]
pub struct WorkspaceFacts {
    pub(super) id: WorkspaceId,
    version: u64,
    pub(super) status: WorkspaceStatus,
    plan: String,
    pub(super) paid: bool,
    /// Of each of its keys.
    pub(super) rate: Option<Rates>,
    /// Of all its keys together.
    pub(super) shared_rate: Option<Rate>,
    meters: Vec<MeterTerms>,
    anchor: Wall,
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
            shared_rate: record.overrides.workspace_rate.or(plan.and_then(|plan| plan.workspace_rate)),
            meters: profile.meters.iter().enumerate().map(terms).collect(),
            anchor: record.billing_anchor,
        }
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
