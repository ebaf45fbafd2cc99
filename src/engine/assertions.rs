//! What an upstream is told of a caller: made once and told again while nothing of it changes, and where it is in a
//! form that can be checked, signed once and told for half its life.
//!
//! It says what the live record said when it was made. It is told again only as long as that record, its workspace
//! and the signing key are the same and half of a token's time is left, so a change is told with the very next
//! request, and the price of a signature is paid twice a minute for a key and not for each request.
//!
//! Never here: a decision; what is told was granted.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::generations::{AsItIs, Generations};
use super::install_secret::{InstallSecretError, InstallSecrets};
use super::live::LiveKey;
use super::{Engine, Granted};
use crate::domain::assertion::{ASSERTION_SECS, AssertionKey, AssertionSigner, Claims};
use crate::domain::id::KeyId;
use crate::domain::identity::Identity;
use crate::domain::time::Wall;

/// The most identities that are remembered, of some 500 bytes each and as many again with a token: beyond as many
/// keys at once each request pays for its own, and for a signature.
const IDENTITIES_MAX: usize = 20_000;

/// For how long a token is told, in microseconds: what is left of it then is enough for the call.
const TOLD_MICROS: i64 = ASSERTION_SECS * 1_000_000 / 2;

/// How long the key of a retired install secret is still published, in microseconds: until nothing that it
/// signed holds any more, and a little for slow clocks.
const PUBLISHED_MICROS: i64 = 2 * ASSERTION_SECS * 1_000_000;

/// The signers and what they made.
pub(super) struct Assertions {
    signers: ArcSwap<Signers>,
    /// Keys' ids are made here, of random bytes.
    made: Generations<KeyId, Arc<Made>, BuildHasherDefault<AsItIs>>,
}

struct Signers {
    current: Arc<AssertionSigner>,
    /// The one before, and when it was retired.
    before: Option<(Arc<AssertionSigner>, Wall)>,
}

/// An identity and all that it was made of.
struct Made {
    identity: Arc<Identity>,
    key_version: u64,
    workspace_version: u64,
    signed: Option<Signed>,
}

/// By whom and when a token was signed.
struct Signed {
    at: Wall,
    by: Arc<AssertionSigner>,
}

impl Assertions {
    pub(super) fn new(secrets: &InstallSecrets) -> Result<Self, InstallSecretError> {
        let current = Arc::new(secrets.assertion_signer()?);
        let signers = ArcSwap::from_pointee(Signers { current, before: None });
        Ok(Self { signers, made: Generations::new(IDENTITIES_MAX / 2) })
    }

    /// Signs under the newest secret from here on.
    pub(super) fn sign_under(&self, current: AssertionSigner, now: Wall) {
        let current = Arc::new(current);
        self.signers.rcu(|signers| Signers {
            current: Arc::clone(&current),
            before: Some((Arc::clone(&signers.current), now)),
        });
    }

    /// Drops what was forgotten.
    pub(super) fn sweep(&self) {
        self.made.sweep();
    }
}

impl Engine {
    /// What an upstream is told of who stands behind a grant, with a token where it `asserts`; `None` when a name in
    /// that is none of ours.
    pub fn identity(&self, granted: &Granted, asserts: bool) -> Option<Arc<Identity>> {
        self.identity_of(granted.live_key(), asserts, granted.decided_at())
    }

    /// The same of a key, at this moment.
    pub(super) fn identity_of(&self, key: &LiveKey, asserts: bool, now: Wall) -> Option<Arc<Identity>> {
        let (facts, workspace) = (key.facts.load(), key.workspace.facts.load());
        let signers = asserts.then(|| self.assertions.signers.load());
        let signer = signers.as_ref().map(|signers| &signers.current);
        let is_told_still = |signed: &Signed| {
            (0..TOLD_MICROS).contains(&(now.micros() - signed.at.micros()))
                && signer.is_some_and(|signer| Arc::ptr_eq(&signed.by, signer))
        };
        let is_told = |made: &Made| {
            made.key_version == facts.version()
                && made.workspace_version == workspace.version()
                && made.signed.as_ref().map_or(!asserts, is_told_still)
        };
        if let Some(made) = self.assertions.made.find(&facts.id()).filter(|made| is_told(made)) {
            return Some(Arc::clone(&made.identity));
        }
        let claims = Claims {
            audience: &key.workspace.profile.name,
            key: facts.id(),
            workspace: workspace.id(),
            plan: workspace.plan(),
            scopes: facts.scopes(),
            issued_at: now,
        };
        let (token, of_token) = match signer {
            Some(signer) => {
                let token: Arc<str> = signer.sign(&claims)?.into();
                (Some(token), Some(Signed { at: now, by: Arc::clone(signer) }))
            }
            None => (None, None),
        };
        let (plan, scopes) = (workspace.plan().to_owned(), facts.scopes().to_owned());
        let identity = Arc::new(Identity::new(facts.id(), workspace.id(), plan, scopes, token));
        let made = Made {
            identity: Arc::clone(&identity),
            key_version: facts.version(),
            workspace_version: workspace.version(),
            signed: of_token,
        };
        self.assertions.made.insert(facts.id(), Arc::new(made));
        Some(identity)
    }

    /// The keys that check what is asserted: the current one first, then one that was just retired.
    pub fn assertion_keys(&self) -> Vec<AssertionKey> {
        let now = self.clock.now().wall;
        let signers = self.assertions.signers.load();
        let is_published = |retired_at: Wall| now.micros() - retired_at.micros() < PUBLISHED_MICROS;
        let before = signers.before.iter().filter(|(_, retired_at)| is_published(*retired_at));
        let keys = std::iter::once(&signers.current).chain(before.map(|(signer, _)| signer));
        keys.map(|signer| signer.key().clone()).collect()
    }
}
