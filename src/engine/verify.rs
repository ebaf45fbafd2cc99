//! The pipeline: proof, standing, bucket, permission and plan, meter, grant.
//!
//! Time and the live record are read together, after the last wait (the file, the slow hash), so that nothing
//! is decided by what was true before it. Given a well-formed credential every failed proof is the same
//! answer, and nothing is spent before proof.
//!
//! Never here: a verdict that is remembered, an error that admits.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::live::{CachedProof, LiveKey, LiveWorkspace};
use super::outcome::{Granted, Refused, Told};
use super::prove::AtOnce;
use super::signing::Signature;
use super::tally::Door;
use super::tether::TetherParts;
use crate::domain::decision::{
    Admission, CallerToken, Case, Grant, Metered, Wanted, allowed, pace, pace_route, refused_before_route,
    rehearse, standing, stands_but_for_signature,
};
use crate::domain::denial::{Denial, Refusal};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::PresentedKey;
use crate::domain::meter::ledger::Ledger;
use crate::domain::meter::{PeriodMeter, Quota};
use crate::domain::profile::{MeterNo, Profile};
use crate::domain::rate::Rates;
use crate::domain::rate::bucket::TooFast;
use crate::domain::signature::Signer;
use crate::domain::tether::Tether;
use crate::domain::time::Now;
use crate::domain::usage::Place;

/// One thing that a caller wants.
pub struct Attempt<'a> {
    /// The door it came through.
    pub door: Door,
    /// The product it is about.
    pub profile: &'a Arc<Profile>,
    /// The credential's bytes, or why there is none to check.
    pub credential: Result<&'a [u8], Denial>,
    /// What is wanted.
    pub wanted: Wanted,
    /// The caller's address, when it is known.
    pub address: Option<IpAddr>,
    /// Units of the meter; the bucket always gives one token.
    pub cost: u64,
}

impl Attempt<'_> {
    fn asked(&self) -> Asked<'_> {
        let Self { door, wanted, address, cost, .. } = self;
        Asked { door: *door, place: wanted.place(), address: *address, wanted, cost: *cost }
    }
}

/// Without the credential.
impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt of {:?} at {:?}", self.wanted, self.door)
    }
}

/// What is asked of a proven key.
struct Asked<'a> {
    door: Door,
    /// Where it is counted.
    place: Place,
    address: Option<IpAddr>,
    wanted: &'a Wanted,
    cost: u64,
}

/// An attempt that something must be waited for.
enum Late<'a> {
    /// Only the file can tell whether it is a key.
    Unproven(PresentedKey<'a>),
    Outran(Box<Outran>),
}

/// A call that outran the lease, on its way to the books.
struct Outran {
    proven: CachedProof,
    told: Told,
    now: Now,
    admission: Metered,
}

/// What a decision came to, as far as it goes without a wait.
enum Decided {
    Granted(Grant, Option<Quota>),
    /// The lease was outrun.
    Outran(Metered),
}

/// A proven key in good standing, before it was asked what it wants.
#[derive(Debug)]
pub struct Caller {
    pub(super) door: Door,
    pub(super) address: Option<IpAddr>,
    pub(super) proven: CachedProof,
    /// The token that was taken ahead, or why there was none.
    pub(super) token: Option<Result<CallerToken, TooFast>>,
    /// No token was there, and none was taken yet.
    token_missed: bool,
    /// Whose signature could be checked; there unless the request is decided on at once.
    pub(super) signer: Option<Signer>,
    pub(super) signature: Signature,
    /// Where it is counted when it turns out to want nothing that the profile names.
    pub(super) place: Place,
}

impl Caller {
    fn new(door: Door, address: Option<IpAddr>, proven: CachedProof, signer: Option<Signer>) -> Self {
        let (signature, place) = (Signature::NotSent, Place::Other);
        Self { door, address, proven, token: None, token_missed: false, signer, signature, place }
    }

    /// The key.
    pub const fn key(&self) -> KeyId {
        self.proven.proof.key()
    }

    /// The account.
    pub fn workspace(&self) -> WorkspaceId {
        self.proven.key.workspace.facts.load().id()
    }

    /// Whether its rate is used up, which [`Engine::admit`] will say.
    pub const fn is_too_fast(&self) -> bool {
        self.token_missed || matches!(self.token, Some(Err(_)))
    }
}

impl Engine {
    /// Decides one attempt and spends what it costs.
    pub async fn verify(&self, attempt: Attempt<'_>) -> Result<Granted, Refused> {
        match self.verify_at_once(&attempt) {
            Ok(outcome) => outcome,
            // In a room of its own, as all that few requests need: the others do not carry it along.
            Err(late) => Box::pin(self.verify_late(&attempt, late)).await,
        }
    }

    /// The same as far as it goes without a wait, which is all the way for nearly every attempt.
    fn verify_at_once<'a>(&self, attempt: &Attempt<'a>) -> Result<Result<Granted, Refused>, Late<'a>> {
        match self.prove_at_once(&attempt.credential, attempt.profile) {
            Ok(AtOnce::Proven(proven)) => self.settle_unsigned(attempt, proven).map_err(Late::Outran),
            Ok(AtOnce::Unsure(presented)) => Err(Late::Unproven(presented)),
            Err(refusal) => Ok(Err(self.refused_unproven(attempt, refusal))),
        }
    }

    async fn verify_late(&self, attempt: &Attempt<'_>, late: Late<'_>) -> Result<Granted, Refused> {
        let settled = match late {
            Late::Outran(outran) => Err(outran),
            Late::Unproven(presented) => {
                match self.prove_late(presented, attempt.profile, attempt.address).await {
                    Ok(proven) => self.settle_unsigned(attempt, proven),
                    Err(refusal) => return Err(self.refused_unproven(attempt, refusal)),
                }
            }
        };
        match settled {
            Ok(outcome) => outcome,
            Err(outran) => self.settle_late(&attempt.asked(), *outran).await,
        }
    }

    #[inline]
    fn settle_unsigned(
        &self,
        attempt: &Attempt<'_>,
        proven: CachedProof,
    ) -> Result<Result<Granted, Refused>, Box<Outran>> {
        self.settle(&attempt.asked(), proven, None, &Signature::NotSent)
    }

    fn refused_unproven(&self, attempt: &Attempt<'_>, refusal: Refusal) -> Refused {
        self.tally.count(attempt.door, &Err::<(), _>(refusal.clone()));
        refusal.into()
    }

    /// Proves a credential and checks its standing but for a signature, for a door that must read more before it
    /// knows what is wanted. [`Engine::admit`] goes on from here. Nothing is spent yet.
    pub async fn identify(
        &self,
        door: Door,
        profile: &Arc<Profile>,
        credential: &Result<&[u8], Denial>,
        address: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        self.identify_at(Place::Other, door, profile, credential, address).await
    }

    /// The same for a door that knows by now where the request is counted.
    pub async fn identify_at(
        &self,
        place: Place,
        door: Door,
        profile: &Arc<Profile>,
        credential: &Result<&[u8], Denial>,
        address: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        let identified = self.identified(door, profile, credential, address).await;
        let (outcome, key) = match identified {
            Ok(caller) => return Ok(Caller { place, ..caller }),
            Err((key, refusal)) => (Err(refusal), key),
        };
        if let Some(key) = key {
            self.note_usage(&key, place, self.clock.now().wall, &outcome, false);
        }
        self.tally.count(door, &outcome);
        outcome
    }

    /// The same for a rehearsal: a refusal is counted nowhere.
    pub async fn identify_to_rehearse(
        &self,
        door: Door,
        profile: &Arc<Profile>,
        credential: &Result<&[u8], Denial>,
        address: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        self.identified(door, profile, credential, address).await.map_err(|(_, refusal)| refusal)
    }

    /// The caller, or why there is none, and whose key it was if that was proven.
    async fn identified(
        &self,
        door: Door,
        profile: &Arc<Profile>,
        credential: &Result<&[u8], Denial>,
        address: Option<IpAddr>,
    ) -> Result<Caller, (Option<Arc<LiveKey>>, Refusal)> {
        let proven = self.prove(credential, profile, address).await.map_err(|refusal| (None, refusal))?;
        let signer = credential.as_ref().ok().map(|text| Signer::new(proven.proof, text));
        let stands = self.stands(&proven, address);
        stands.map_err(|refusal| (Some(Arc::clone(&proven.key)), refusal))?;
        Ok(Caller::new(door, address, proven.kept(), signer))
    }

    /// What an identified caller's wait hangs on, while more is read for it.
    pub fn tether(&self, caller: &Caller) -> Tether {
        let CachedProof { proof, key } = &caller.proven;
        TetherParts { proof: *proof, address: caller.address }.to(Arc::clone(key))
    }

    /// Takes the caller's token ahead, before more is read for it. What came of it is told by
    /// [`Engine::admit`]. The token of a signed request waits for its signature.
    pub fn pace(&self, caller: &mut Caller) {
        let now = self.clock.now();
        let CachedProof { proof, key } = &caller.proven;
        (caller.token, caller.token_missed) = key.with_case(caller.address, now, |case| {
            if let Some(is_there) = Self::foresees_token(caller, case) {
                return (None, !is_there);
            }
            let taken = standing(*proof, case).ok().map(|standing| {
                let take = |rates: &Rates| key.bucket.take(rates, now.mono);
                let pace = || pace(&standing, case, take, &key.workspace.bucket);
                take_token(proof.epoch(), key, case, pace)
            });
            (taken, false)
        });
        if caller.token.is_some() {
            self.slots.note_key(key);
        }
    }

    /// Decides what an identified caller wants, by the facts of this moment, and spends what it costs.
    pub async fn admit(&self, caller: Caller, wanted: &Wanted, cost: u64) -> Result<Granted, Refused> {
        let place = if wanted.place() == Place::Other { caller.place } else { wanted.place() };
        let Caller { door, address, proven, token, signature, .. } = caller;
        let asked = Asked { door, place, address, wanted, cost };
        match self.settle(&asked, proven, token, &signature) {
            Ok(outcome) => outcome,
            Err(outran) => Box::pin(self.settle_late(&asked, *outran)).await,
        }
    }

    /// What [`Engine::admit`] would say, without spending anything or noting a use.
    pub fn rehearse(&self, caller: &Caller, wanted: &Wanted, cost: u64) -> Result<(), Denial> {
        let CachedProof { proof, key } = &caller.proven;
        let now = self.clock.now();
        key.with_case(caller.address, now, |case| {
            early_denial(key)?;
            rehearse(
                *proof,
                case,
                wanted,
                &self.buckets(key, wanted),
                |number| key.workspace.meter_now(number, now),
                cost,
            )
        })
    }

    /// Decides and counts what came of it, unless the meter's lease was outrun.
    fn settle(
        &self,
        asked: &Asked<'_>,
        proven: CachedProof,
        token: Option<Result<CallerToken, TooFast>>,
        signature: &Signature,
    ) -> Result<Result<Granted, Refused>, Box<Outran>> {
        let now = self.clock.now();
        let mut told = Told::at(now.wall);
        let decided = proven.key.with_case(asked.address, now, |case| {
            self.decide(&proven, signature, token, case, &mut told, asked)
        });
        let outcome = match decided {
            Ok(Decided::Granted(grant, quota)) => {
                told.quota = quota;
                Ok(grant)
            }
            Ok(Decided::Outran(admission)) => {
                return Err(Box::new(Outran { proven: proven.kept(), told, now, admission }));
            }
            Err(refusal) => Err(refusal),
        };
        Ok(self.count(asked, proven, told, outcome))
    }

    /// The same behind a wait for the lease.
    async fn settle_late(&self, asked: &Asked<'_>, outran: Outran) -> Result<Granted, Refused> {
        let Outran { proven, mut told, now, admission } = outran;
        // Whoever goes away meanwhile has paid all the same.
        self.slots.note_key(&proven.key);
        let outcome = self.buy_for(&proven.key, asked.address, admission, asked.cost).await;
        told.quota = quota_of(&outcome, asked.wanted, &proven.key.workspace, now);
        self.count(asked, proven, told, outcome)
    }

    #[inline]
    fn count(
        &self,
        asked: &Asked<'_>,
        CachedProof { key, .. }: CachedProof,
        told: Told,
        outcome: Result<Grant, Refusal>,
    ) -> Result<Granted, Refused> {
        self.note_usage(&key, asked.place, told.at, &outcome, told.is_counted);
        self.tally.count(asked.door, &outcome);
        match outcome {
            Ok(grant) => Ok(Granted::new(grant, key, asked.address, told)),
            Err(refusal) => Err(Refused::new(refusal, told)),
        }
    }

    /// All checks in their order, by the facts of one moment, as far as they need no wait.
    fn decide(
        &self,
        CachedProof { proof, key }: &CachedProof,
        signature: &Signature,
        token: Option<Result<CallerToken, TooFast>>,
        case: &Case<'_>,
        told: &mut Told,
        &Asked { wanted, cost, .. }: &Asked<'_>,
    ) -> Result<Decided, Refusal> {
        early_denial(key)?;
        let standing = self.standing_of(*proof, signature, case)?;
        told.is_counted = true;
        let take = |rates: &Rates| key.bucket.take(rates, case.now.mono);
        let pace = || pace(&standing, case, take, &key.workspace.bucket);
        let token = token.unwrap_or_else(|| take_token(proof.epoch(), key, case, pace));
        let paid = match token {
            Ok(token) => pace_route(token, case, self.route_bucket(key, wanted).as_ref()),
            Err(refused) => {
                let route = self.route_bucket_as_it_stands(key, wanted);
                Err(refused_before_route(refused, case, route.as_ref()))
            }
        };
        let token = told.note(paid)?;
        match allowed(standing, token, case, wanted)? {
            Admission::Unmetered(admission) => Ok(Decided::Granted(admission.grant(), None)),
            Admission::Metered(admission) => Ok(self.sell(key, case, admission, cost)),
        }
    }

    /// Sells out of the lease at hand, and sees to it that there will be more.
    fn sell(&self, key: &LiveKey, case: &Case<'_>, admission: Metered, cost: u64) -> Decided {
        let (workspace, number) = (&key.workspace, admission.meter());
        let Some(meter) = workspace.meters.present(number, case.workspace, case.now.wall) else {
            return Decided::Outran(admission);
        };
        match admission.buy(&meter, cost) {
            Ok(grant) => {
                self.slots.note_workspace(workspace);
                if meter.is_low() {
                    self.renew_lease(workspace, workspace.meters.begins_write_if_free());
                }
                Decided::Granted(grant, meter.quota(case.workspace.terms(number)))
            }
            Err(admission) => Decided::Outran(admission),
        }
    }

    /// Buys for a call that outran the lease. What stood before the wait is asked again after it.
    async fn buy_for(
        &self,
        key: &Arc<LiveKey>,
        address: Option<IpAddr>,
        admission: Metered,
        cost: u64,
    ) -> Result<Grant, Refusal> {
        let sale = self.buy(&key.workspace, admission.meter(), cost).await?;
        key.with_case(address, self.clock.now(), |case| {
            early_denial(key)?;
            admission.bought(case, sale)
        })
        .map_err(Refusal::Denied)
    }

    fn stands(&self, proven: &CachedProof, address: Option<IpAddr>) -> Result<(), Refusal> {
        early_denial(&proven.key)?;
        let now = self.clock.now();
        proven
            .key
            .with_case(address, now, |case| stands_but_for_signature(proven.proof, case))
            .map_err(Refusal::Denied)
    }
}

/// How far the month is used of what was granted, or refused for that.
fn quota_of(
    granted: &Result<Grant, Refusal>,
    wanted: &Wanted,
    workspace: &LiveWorkspace,
    now: Now,
) -> Option<Quota> {
    let meter = match (granted, wanted) {
        (Ok(_), Wanted::Known(requirement)) => requirement.meter?,
        (Err(Refusal::Denied(Denial::Quota { meter, .. })), _) => *meter,
        _ => return None,
    };
    let facts = workspace.facts.load();
    workspace.meters.present(meter, &facts, now.wall)?.quota(facts.terms(meter))
}

/// Notes a successful authentication and takes its token. Whoever calls puts the key on the checkpoint's list
/// afterwards, when everything is counted.
pub(super) fn take_token<T>(epoch: u32, key: &LiveKey, case: &Case<'_>, pace: impl FnOnce() -> T) -> T {
    key.touch(epoch, case.now.wall);
    pace()
}

/// What a revoke, a deletion or a suspension says before its commit.
pub(super) fn early_denial(key: &LiveKey) -> Result<(), Denial> {
    if key.is_revoked() || key.workspace.is_deleted() {
        return Err(Denial::Revoked);
    }
    if key.workspace.is_suspending() {
        return Err(Denial::Suspended);
    }
    Ok(())
}

impl LiveKey {
    /// Decides with the facts of this moment.
    pub(super) fn with_case<T>(
        &self,
        address: Option<IpAddr>,
        now: Now,
        decide: impl FnOnce(&Case<'_>) -> T,
    ) -> T {
        let (key, workspace) = (self.facts.load(), self.workspace.facts.load());
        decide(&Case { key: &key, workspace: &workspace, address, now })
    }
}

impl LiveWorkspace {
    /// The meter to ask what it would sell.
    pub(super) fn meter_now(&self, number: MeterNo, now: Now) -> PeriodMeter {
        let facts = self.facts.load();
        // A requirement's meter is one of the profile's own; were it not, there are no terms that it sells by.
        let unknown = || Ledger::new(facts.period(now.wall), facts.terms(number)).meter();
        self.meters.present(number, &facts, now.wall).map_or_else(unknown, |meter| PeriodMeter::clone(&meter))
    }
}
