//! The one order of checks, as types: who skips one does not compile.
//!
//! ```text
//! Proof ─ standing ─► Standing ──────────────┐     (with a signature: Signed ─ standing_signed ─► Standing)
//! buckets ─► CallerToken ─► RateReceipt ─────┴─ allowed ─► Admission ─┬─ no meter ─────────────► Grant
//!                                                                     └─ meter ─► MeterReceipt ─► Grant
//! ```
//!
//! standing: not revoked → workspace active → secret not ended → not expired → address → signature. allowed:
//! permission → paid plan. What is checked is always the facts of this moment; nothing here remembers a verdict.
//! `explain` tells the outcome of the same checks one by one.
//!
//! Never here: a verdict that is kept, or a way to a `Grant` around a check.

use std::net::IpAddr;
use std::sync::Arc;

use super::denial::{Denial, Refusal};
use super::facts::{KeyFacts, WorkspaceFacts};
use super::id::{KeyId, WorkspaceId};
use super::meter::PeriodMeter;
use super::meter::lease::MeterReceipt;
use super::profile::{MeterNo, Public, Requirement};
use super::proof::Proof;
use super::rate::bucket::{Bucket, Taken, TooFast, longer_wait};
use super::rate::state::LimitMarks;
use super::rate::windows::Windows;
use super::rate::{Rate, Rates};
use super::record::{SignatureReplay, WorkspaceStatus};
use super::replays::Replays;
use super::signature::Signed;
use super::time::{Mono, Now, Wall};
use super::usage::Place;

/// What an attempt is after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// A known thing and what it asks.
    Known(Requirement),
    /// Something that is refused whoever asks; told only to a proven caller, after its rate token.
    Refused(Denial),
    /// The same at a place that the profile names.
    RefusedAt(Place, Denial),
}

impl Wanted {
    /// Where it is counted.
    pub const fn place(&self) -> Place {
        match self {
            Self::Known(requirement) => requirement.place,
            Self::Refused(_) => Place::Other,
            Self::RefusedAt(place, _) => *place,
        }
    }

    /// What its meter gives for it, unless the caller says otherwise.
    pub fn cost(&self) -> u64 {
        match self {
            Self::Known(requirement) => requirement.cost.units(),
            Self::Refused(_) | Self::RefusedAt(..) => 1,
        }
    }
}

/// Everything that one decision is about.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The key, as it is now.
    pub key: &'a KeyFacts,
    /// Its workspace, as it is now.
    pub workspace: &'a WorkspaceFacts,
    /// The caller's address, when it is known.
    pub address: Option<IpAddr>,
    /// The time, read once for this request.
    pub now: Now,
}

/// A proven key that is in good standing.
#[derive(Debug)]
pub struct Standing {
    proof: Proof,
    /// The workspace's number, without its alignment: a grant is moved about.
    workspace: [u8; 16],
}

impl Standing {
    const fn of(proof: Proof, case: &Case<'_>) -> Self {
        Self { proof, workspace: case.workspace.id.as_u128().to_ne_bytes() }
    }

    /// Which of the key's secrets was presented.
    pub const fn epoch(&self) -> u32 {
        self.proof.epoch()
    }
}

/// One check of a proven key, in the order of checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The key is not revoked.
    Revoked,
    /// The workspace is active.
    Workspace,
    /// The secret has not ended.
    Secret,
    /// The key has not passed its expiry.
    Expired,
    /// The caller's address is among the key's.
    Address,
    /// The signature that the key demands.
    Signature,
    /// The bucket holds a token.
    Rate,
    /// The permission is held.
    Permission,
    /// The plan is a paid one.
    Plan,
    /// The month is not used up.
    Quota,
}

/// A check of standing: of the secret with this epoch, in this case.
pub(super) type StandingCheck = fn(u32, &Case<'_>) -> Result<(), Denial>;

/// The checks of standing before the signature's, in their order.
pub(super) const STANDING: [(Check, StandingCheck); 5] = [
    (Check::Revoked, is_not_revoked),
    (Check::Workspace, has_active_workspace),
    (Check::Secret, has_living_secret),
    (Check::Expired, is_not_expired),
    (Check::Address, is_at_its_address),
];

/// First decision: is this key in good standing here and now, without a signature? One that was sent is never
/// left unchecked: then it is [`standing_signed`] that decides.
pub fn standing(proof: Proof, case: &Case<'_>) -> Result<Standing, Denial> {
    stands(proof, case)?;
    Ok(Standing::of(proof, case))
}

/// The same with a signature that is the key's own: is it in its window and, where the key asks for that, used
/// for the first time? It counts as used from here on, unless something before it in the order of checks fails
/// or there is no room to remember it.
pub fn standing_signed(signed: &Signed, case: &Case<'_>, replays: &mut Replays) -> Result<Standing, Refusal> {
    let proof = signed.proof();
    stands_but_for_signature(proof, case)?;
    let secret = case.key.secret(proof.epoch()).ok_or(Denial::Revoked)?;
    if !signed.stamp().is_current(case.now.wall) {
        return Err(Denial::Signature.into());
    }
    match case.key.terms.signature_replay {
        SignatureReplay::Once => replays.take(signed, secret.created_at, case.now.wall)?,
        SignatureReplay::Window => {}
    }
    Ok(Standing::of(proof, case))
}

fn stands(proof: Proof, case: &Case<'_>) -> Result<(), Denial> {
    stands_but_for_signature(proof, case)?;
    needs_no_signature(case)
}

/// All of standing that can be told before a request was read whole, and of a request that was let through and
/// goes on.
pub fn stands_but_for_signature(proof: Proof, case: &Case<'_>) -> Result<(), Denial> {
    if proof.key() != case.key.id {
        return Err(Denial::Unknown);
    }
    STANDING.iter().try_for_each(|(_, check)| check(proof.epoch(), case))
}

fn is_not_revoked(_: u32, case: &Case<'_>) -> Result<(), Denial> {
    if case.key.revoked_at().is_some() { Err(Denial::Revoked) } else { Ok(()) }
}

/// A deleted workspace is told like a revoked key: it is for good.
fn has_active_workspace(_: u32, case: &Case<'_>) -> Result<(), Denial> {
    match case.workspace.status {
        WorkspaceStatus::Active => Ok(()),
        WorkspaceStatus::Suspended => Err(Denial::Suspended),
        WorkspaceStatus::Deleted => Err(Denial::Revoked),
    }
}

fn has_living_secret(epoch: u32, case: &Case<'_>) -> Result<(), Denial> {
    let lives = case.key.secret(epoch).is_some_and(|secret| !secret.has_ended(case.now));
    if lives { Ok(()) } else { Err(Denial::Revoked) }
}

fn is_not_expired(_: u32, case: &Case<'_>) -> Result<(), Denial> {
    if case.key.expiry.has_come(case.now) { Err(Denial::Expired) } else { Ok(()) }
}

fn is_at_its_address(_: u32, case: &Case<'_>) -> Result<(), Denial> {
    match &case.key.terms.addresses {
        Some(rules) if !rules.admit(case.address) => Err(Denial::Address),
        _ => Ok(()),
    }
}

/// Whether a request without a signature will do.
pub(super) fn needs_no_signature(case: &Case<'_>) -> Result<(), Denial> {
    if case.key.terms.require_signature { Err(Denial::Signature) } else { Ok(()) }
}

/// The tokens that a proven caller pays whatever it wants: its key's and its workspace's.
#[derive(Debug)]
#[must_use = "paid tokens are the entrance to the checks that follow"]
pub struct CallerToken {
    marks: LimitMarks,
}

/// All tokens of one request, those of the route among them. Only [`pace_route`] makes one.
#[derive(Debug)]
#[must_use = "paid tokens are the entrance to the checks that follow"]
pub struct RateReceipt(());

/// The buckets that a decision may look into, as they stand.
#[derive(Clone, Debug)]
pub struct Buckets<'a> {
    /// The key's.
    pub key: Windows,
    /// The one that all keys of the workspace share.
    pub workspace: &'a Bucket,
    /// The key's own for what is wanted, and its rate.
    pub route: Option<(Rate, Arc<Bucket>)>,
}

/// Takes one token from each of the key's windows, by `take`, and then one from the bucket that the workspace's
/// keys share. A proven request takes them whatever follows, so that probing is not free; so what the key paid
/// is gone when the workspace's bucket is empty.
pub fn pace(
    _: &Standing,
    case: &Case<'_>,
    take: impl FnOnce(&Rates) -> Result<Taken, TooFast>,
    workspace: &Bucket,
) -> Result<CallerToken, TooFast> {
    take_tokens(case, take, workspace)
}

/// Takes those tokens ahead of the signature, for a request that was refused before its signature could be
/// looked at.
pub fn pace_unread(
    proof: Proof,
    case: &Case<'_>,
    take: impl FnOnce(&Rates) -> Result<Taken, TooFast>,
    workspace: &Bucket,
) -> Result<Result<CallerToken, TooFast>, Denial> {
    stands_but_for_signature(proof, case)?;
    Ok(take_tokens(case, take, workspace))
}

/// Takes one token from the bucket of what is wanted, where it has one, behind those of the caller. Gives where all
/// of them stand now beside it.
#[inline]
pub fn pace_route(
    CallerToken { mut marks }: CallerToken,
    case: &Case<'_>,
    route: Option<&(Rate, Arc<Bucket>)>,
) -> Result<(RateReceipt, LimitMarks), TooFast> {
    let Some((rate, bucket)) = route else { return Ok((RateReceipt(()), marks)) };
    match bucket.take(rate, 1, case.now.mono) {
        Ok(taken) => {
            taken.mark().into_iter().for_each(|mark| marks.note_route(mark));
            Ok((RateReceipt(()), marks))
        }
        Err(refused) => {
            marks.note_route(bucket.mark(rate, case.now.mono));
            Err(too_fast(refused.retry_after_nanos, marks))
        }
    }
}

/// A refusal by the caller's own buckets, with the wait that the bucket of what is wanted would add. It gives
/// nothing.
pub fn refused_before_route(
    refused: TooFast,
    case: &Case<'_>,
    route: Option<&(Rate, Arc<Bucket>)>,
) -> TooFast {
    let TooFast { retry_after_nanos, mut marks } = refused;
    if let Some((rate, bucket)) = route {
        marks.note_route(bucket.mark(rate, case.now.mono));
    }
    too_fast(retry_after_nanos, marks)
}

/// Whether [`pace`] would find its tokens.
pub fn has_token(case: &Case<'_>, buckets: &Buckets<'_>) -> bool {
    would_pace(case, &Buckets { route: None, ..buckets.clone() }).is_ok()
}

fn take_tokens(
    case: &Case<'_>,
    take: impl FnOnce(&Rates) -> Result<Taken, TooFast>,
    workspace: &Bucket,
) -> Result<CallerToken, TooFast> {
    let mut marks = LimitMarks::default();
    if let Some(rates) = rates_of(case) {
        match take(rates) {
            Ok(taken) => marks.key = taken.into_marks(),
            Err(TooFast { retry_after_nanos, mut marks }) => {
                if let Some(rate) = shared_rate_of(case) {
                    marks.note_workspace(workspace.mark(rate, case.now.mono));
                }
                return Err(too_fast(retry_after_nanos, marks));
            }
        }
    }
    if let Some(rate) = shared_rate_of(case) {
        match workspace.take(rate, 1, case.now.mono) {
            Ok(taken) => taken.mark().into_iter().for_each(|mark| marks.note_workspace(mark)),
            Err(refused) => {
                marks.note_workspace(workspace.mark(rate, case.now.mono));
                return Err(too_fast(refused.retry_after_nanos, marks));
            }
        }
    }
    Ok(CallerToken { marks })
}

/// A refusal by one bucket of several: the wait is over when all of them have a token again, also those that gave
/// theirs to the request that is refused.
fn too_fast(wait_nanos: Option<u64>, marks: LimitMarks) -> TooFast {
    TooFast { retry_after_nanos: longer_wait(wait_nanos, marks.longest_wait()), marks }
}

pub(super) fn rates_of<'a>(case: &Case<'a>) -> Option<&'a Rates> {
    case.key.terms.rate.as_ref().or(case.workspace.rate.as_ref())
}

pub(super) fn shared_rate_of<'a>(case: &Case<'a>) -> Option<&'a Rate> {
    case.workspace.shared_rate.as_deref()
}

/// What [`pace`] and [`pace_route`] would say, taking nothing.
pub(super) fn would_pace(case: &Case<'_>, buckets: &Buckets<'_>) -> Result<(), Denial> {
    let now = case.now.mono;
    let key = rates_of(case).map(|rates| buckets.key.peek(rates, 1, now));
    let workspace = shared_rate_of(case).map(|rate| buckets.workspace.peek(rate, 1, now));
    let route = buckets.route.as_ref().map(|(rate, bucket)| bucket.peek(rate, 1, now));
    let refused = [key, workspace, route].into_iter().flatten().filter_map(Result::err);
    match refused.map(|refused| refused.retry_after_nanos).reduce(longer_wait) {
        None => Ok(()),
        Some(retry_after_nanos) => Err(Denial::Rate { retry_after_nanos }),
    }
}

impl From<TooFast> for Denial {
    fn from(refused: TooFast) -> Self {
        Self::Rate { retry_after_nanos: refused.retry_after_nanos }
    }
}

/// A key that may do what it wants, as far as permission and plan go.
#[derive(Debug)]
pub enum Admission {
    /// No meter counts it.
    Unmetered(Unmetered),
    /// It needs a unit of a meter.
    Metered(Metered),
}

/// An admission that needs nothing more.
#[derive(Debug)]
pub struct Unmetered(Grant);

/// An admission that needs a sale.
#[derive(Debug)]
pub struct Metered {
    grant: Grant,
    meter: MeterNo,
    requirement: Requirement,
}

/// Second decision: may a key in good standing, with its token taken, do this?
pub fn allowed(
    standing: Standing,
    _: RateReceipt,
    case: &Case<'_>,
    wanted: &Wanted,
) -> Result<Admission, Denial> {
    let requirement = permits(case, wanted)?;
    let grant = Grant { standing, decided_at: case.now.wall };
    Ok(match requirement.meter {
        None => Admission::Unmetered(Unmetered(grant)),
        Some(meter) => Admission::Metered(Metered { grant, meter, requirement }),
    })
}

fn permits(case: &Case<'_>, wanted: &Wanted) -> Result<Requirement, Denial> {
    let requirement = match wanted {
        Wanted::Known(requirement) => *requirement,
        Wanted::Refused(denial) | Wanted::RefusedAt(_, denial) => return Err(denial.clone()),
    };
    may(case.key, case.workspace, &requirement)?;
    Ok(requirement)
}

/// The predicate behind the second decision, for lists that show only what may be called.
pub fn may(key: &KeyFacts, workspace: &WorkspaceFacts, requirement: &Requirement) -> Result<(), Denial> {
    ASKED.iter().try_for_each(|(_, check)| check(key, workspace, *requirement))
}

/// A check of what is asked for.
pub(super) type AskedCheck = fn(&KeyFacts, &WorkspaceFacts, Requirement) -> Result<(), Denial>;

/// The checks of what is asked for, in their order.
pub(super) const ASKED: [(Check, AskedCheck); 2] =
    [(Check::Permission, holds_the_permission), (Check::Plan, has_a_paid_plan)];

fn holds_the_permission(key: &KeyFacts, _: &WorkspaceFacts, asked: Requirement) -> Result<(), Denial> {
    match asked.permission {
        Some(needed) if !key.terms.permissions.holds(needed) => {
            Err(Denial::Permission { needed: Some(needed) })
        }
        _ => Ok(()),
    }
}

fn has_a_paid_plan(_: &KeyFacts, workspace: &WorkspaceFacts, asked: Requirement) -> Result<(), Denial> {
    if asked.paid && !workspace.paid { Err(Denial::Plan) } else { Ok(()) }
}

impl Unmetered {
    /// The grant.
    pub fn grant(self) -> Grant {
        self.0
    }
}

impl Metered {
    /// The meter that must sell.
    pub const fn meter(&self) -> MeterNo {
        self.meter
    }

    /// Buys `cost` units out of the lease at hand and makes the sale final; gives itself back when there are not
    /// as many.
    pub fn buy(self, meter: &PeriodMeter, cost: u64) -> Result<Grant, Self> {
        if meter.sell_for_good(cost) { Ok(self.grant) } else { Err(self) }
    }

    /// Makes a sale final that had to be waited for, if what stood before the wait still stands; else its units
    /// go back.
    pub fn bought(self, case: &Case<'_>, sale: MeterReceipt) -> Result<Grant, Denial> {
        stands_but_for_signature(self.grant.standing.proof, case)?;
        may(case.key, case.workspace, &self.requirement)?;
        sale.keep();
        Ok(self.grant)
    }
}

/// Permission to proceed, held by value. The gateway asks for one.
#[derive(Debug)]
pub struct Grant {
    standing: Standing,
    decided_at: Wall,
}

impl Grant {
    /// Who may proceed.
    pub const fn key(&self) -> KeyId {
        self.standing.proof.key()
    }

    /// By which of its secrets.
    pub const fn proof(&self) -> Proof {
        self.standing.proof
    }

    /// On whose account.
    pub const fn workspace(&self) -> WorkspaceId {
        WorkspaceId::from_u128(u128::from_ne_bytes(self.standing.workspace))
    }

    /// The time by which it was decided, and its meter's period was chosen.
    pub const fn decided_at(&self) -> Wall {
        self.decided_at
    }
}

/// What the order of checks would say, spending nothing: neither a token nor a unit.
pub fn rehearse(
    proof: Proof,
    case: &Case<'_>,
    wanted: &Wanted,
    buckets: &Buckets<'_>,
    meter_of: impl FnOnce(MeterNo) -> PeriodMeter,
    cost: u64,
) -> Result<(), Denial> {
    stands(proof, case)?;
    would_pace(case, buckets)?;
    match permits(case, wanted)?.meter {
        Some(meter) => would_buy(case, meter, &meter_of(meter), cost),
        None => Ok(()),
    }
}

/// What a purchase would come to, buying nothing.
pub(super) fn would_buy(
    case: &Case<'_>,
    meter: MeterNo,
    counted: &PeriodMeter,
    cost: u64,
) -> Result<(), Denial> {
    let used_up = Denial::month_used_up(meter, counted.period().end);
    counted.would_sell(case.workspace.terms(meter), cost).map_err(used_up)
}

/// Permission to reach something public without a key: no identity, paced by address.
#[derive(Debug)]
pub struct OpenPass(());

impl OpenPass {
    /// The pass to something that the profile opens, for a caller whose address has a token left in `bucket`.
    pub fn paced(_: Public, rate: Option<&Rate>, bucket: &Bucket, now: Mono) -> Result<Self, Denial> {
        match rate {
            Some(rate) => Ok(bucket.take(rate, 1, now).map(|_token| Self(()))?),
            None => Ok(Self(())),
        }
    }

    /// The same, when a second bucket has a token left as well. The first one's is spent either way.
    pub fn paced_again(self, rate: &Rate, bucket: &Bucket, now: Mono) -> Result<Self, Denial> {
        Ok(bucket.take(rate, 1, now).map(|_token| self)?)
    }
}
