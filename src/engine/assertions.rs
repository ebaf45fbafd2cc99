//! What an upstream is told of a caller in a form that it can check: signed once, told for half its life.
//!
//! A token says what the live record said when it was signed. It is told again only as long as that record,
//! its workspace and the signing key are the same and half of its time is left, so a change is told with the
//! very next request, and the price of a signature is paid twice a minute for a key and not for each request.
//!
//! Never here: a decision; a token is made for what was granted.

use std::hash::RandomState;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::generations::Generations;
use super::install_secret::{InstallSecretError, InstallSecrets};
use super::live::LiveKey;
use super::{Engine, Granted};
use crate::domain::assertion::{ASSERTION_SECS, AssertionKey, AssertionSigner, Claims};
use crate::domain::id::KeyId;
use crate::domain::time::Wall;

/// The most tokens that are remembered, of some 500 bytes each: beyond as many keys at once each request pays
/// for a signature.
const ASSERTIONS_MAX: usize = 20_000;

/// For how long a token is told, in microseconds: what is left of it then is enough for the call.
const TOLD_MICROS: i64 = ASSERTION_SECS * 1_000_000 / 2;

/// How long the key of a retired install secret is still published, in microseconds: until nothing that it
/// signed holds any more, and a little for slow clocks.
const PUBLISHED_MICROS: i64 = 2 * ASSERTION_SECS * 1_000_000;

/// The signers and what they made.
pub(super) struct Assertions {
    signers: ArcSwap<Signers>,
    made: Generations<KeyId, Arc<Made>, RandomState>,
}

struct Signers {
    current: Arc<AssertionSigner>,
    /// The one before, and when it was retired.
    before: Option<(Arc<AssertionSigner>, Wall)>,
}

/// A token and all that it is about.
struct Made {
    token: Arc<str>,
    at: Wall,
    key_version: u64,
    workspace_version: u64,
    signer: Arc<AssertionSigner>,
}

impl Assertions {
    pub(super) fn new(secrets: &InstallSecrets) -> Result<Self, InstallSecretError> {
        let current = Arc::new(secrets.assertion_signer()?);
        let signers = ArcSwap::from_pointee(Signers { current, before: None });
        Ok(Self { signers, made: Generations::new(ASSERTIONS_MAX / 2) })
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
    /// The token that says who stands behind a grant; `None` when a name in it is none of ours.
    pub fn assertion(&self, granted: &Granted) -> Option<Arc<str>> {
        self.assertion_of(granted.live_key(), granted.decided_at())
    }

    /// The same of a key, at this moment.
    pub(super) fn assertion_of(&self, key: &LiveKey, now: Wall) -> Option<Arc<str>> {
        let (facts, workspace) = (key.facts.load(), key.workspace.facts.load());
        let signers = self.assertions.signers.load();
        let signer = &signers.current;
        let is_told = |made: &Made| {
            made.key_version == facts.version()
                && made.workspace_version == workspace.version()
                && (0..TOLD_MICROS).contains(&(now.micros() - made.at.micros()))
                && Arc::ptr_eq(&made.signer, signer)
        };
        if let Some(made) = self.assertions.made.find(&facts.id()).filter(|made| is_told(made)) {
            return Some(Arc::clone(&made.token));
        }
        let claims = Claims {
            audience: &key.workspace.profile.name,
            key: facts.id(),
            workspace: workspace.id(),
            plan: workspace.plan(),
            scopes: facts.scopes(),
            issued_at: now,
        };
        let token: Arc<str> = signer.sign(&claims)?.into();
        let made = Made {
            token: Arc::clone(&token),
            at: now,
            key_version: facts.version(),
            workspace_version: workspace.version(),
            signer: Arc::clone(signer),
        };
        self.assertions.made.insert(facts.id(), Arc::new(made));
        Some(token)
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
