//! Signed requests on their way through the pipeline.
//!
//! A door says that a signature was sent as soon as it has seen the headers, and brings it with the whole body.
//! From the first on, the request is decided on with that signature or not at all: one that was announced and
//! never brought is a wrong one. Without any, a key that requires one is refused by its standing.
//!
//! Never here: a header, or a signature that counts as used before everything in front of it has passed.

use super::Engine;
use super::live::CachedProof;
use super::outcome::{Refused, Told};
use super::verify::{Caller, early_denial, take_token};
use crate::domain::decision::{
    Case, Standing, has_token, pace_route, pace_unread, standing, standing_signed, stands_but_for_signature,
};
use crate::domain::denial::{Denial, Refusal};
use crate::domain::proof::Proof;
use crate::domain::rate::Rates;
use crate::domain::signature::{Sent, Signable, Signed};

/// What is known of a request's signature.
#[derive(Debug)]
pub(super) enum Signature {
    /// There is none.
    NotSent,
    /// There is one, and nothing shows that it is the key's.
    Unproven,
    /// It is the key's own over this request.
    Proven(Signed),
}

impl Caller {
    /// Notes what the headers say, before the body is read.
    pub const fn announce_signature(&mut self, sent: &Sent) {
        if !matches!(sent, Sent::Nothing) {
            self.signature = Signature::Unproven;
        }
    }

    /// Whether it brought no signature and is the key's that demands one: nothing more need be read for it.
    pub fn lacks_signature(&self) -> bool {
        matches!(self.signature, Signature::NotSent) && self.proven.key.facts.load().requires_signature()
    }

    /// Compares what was sent with the whole request, in constant time.
    pub fn check_signature(&mut self, sent: &Sent, request: &Signable<'_>) {
        self.announce_signature(sent);
        if let (Sent::Signature(sent), Some(signer)) = (sent, &self.signer)
            && let Some(signed) = sent.signed_by(signer, request)
        {
            self.signature = Signature::Proven(signed);
        }
    }
}

impl Engine {
    /// What an identified caller is told whose request could not be read, or found no room to be: that, after its
    /// standing and its token. Its signature cannot be looked at; only that there is none where there must be one.
    pub fn refuse(&self, caller: Caller, refusal: impl Into<Refusal>) -> Refused {
        let Caller { door, address, proven: CachedProof { proof, key }, token, signature, place, .. } =
            caller;
        let now = self.clock.now();
        let mut told = Told::at(now.wall);
        let passed = key.with_case(address, now, |case| {
            early_denial(&key)?;
            match signature {
                Signature::NotSent => standing(proof, case).map(drop),
                Signature::Unproven | Signature::Proven(_) => stands_but_for_signature(proof, case),
            }?;
            let take = |rates: &Rates| key.bucket.take(rates, now.mono);
            let pace = || pace_unread(proof, case, take, &key.workspace.bucket);
            told.is_counted = true;
            let token = token.map_or_else(|| take_token(proof.epoch(), &key, case, pace), Ok)?;
            // Nothing is known of what it wanted, so no route's bucket is asked.
            told.note(token.and_then(|token| pace_route(token, case, None))).map(drop)
        });
        let refusal = passed.map_or_else(Refusal::Denied, |()| refusal.into());
        let refused = Err::<(), _>(refusal.clone());
        self.note_usage(&key, place, now.wall, &refused, told.is_counted);
        self.tally.count(door, &refused);
        Refused::new(refusal, told)
    }

    /// Whether the caller's token must wait for its signature, which comes first in the order of checks; then
    /// it is only foreseen whether there is one.
    pub(super) fn foresees_token(caller: &Caller, case: &Case<'_>) -> Option<bool> {
        let waits = !matches!(caller.signature, Signature::NotSent) || case.key.requires_signature();
        waits.then(|| has_token(case, &caller.proven.key.buckets()))
    }

    /// The standing of a request with what came of its signature.
    pub(super) fn standing_of(
        &self,
        proof: Proof,
        signature: &Signature,
        case: &Case<'_>,
    ) -> Result<Standing, Refusal> {
        match signature {
            Signature::NotSent => Ok(standing(proof, case)?),
            Signature::Unproven => {
                stands_but_for_signature(proof, case)?;
                Err(Denial::Signature.into())
            }
            Signature::Proven(signed) => standing_signed(signed, case, &mut self.replays.lock()),
        }
    }
}
