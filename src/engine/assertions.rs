//! What an upstream is told of a caller; where that is in a form that can be checked, signed once and told
//! for half its life.
//!
//! A token says what the live record said when it was signed. It is told again only as long as that record,
//! its workspace and the signing key are the same and half of its time is left, so a change is told with the
//! very next request, and the price of a signature is paid twice a minute for a key and not for each request.
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
use crate::domain::facts::{KeyFacts, WorkspaceFacts};
use crate::domain::id::KeyId;
use crate::domain::identity::Identity;
use crate::domain::time::Wall;

/// The most tokens that are remembered, of some 500 bytes each: beyond as many keys at once each request pays for a
/// signature.
const TOKENS_MAX: usize = 20_000;

/// For how long a token is told, in microseconds: what is left of it then is enough for the call.
const TOLD_MICROS: i64 = ASSERTION_SECS * 1_000_000 / 2;

/// How long the key of a retired install secret is still published, in microseconds: until nothing that it
/// signed holds any more, and a little for slow clocks.
const PUBLISHED_MICROS: i64 = 2 * ASSERTION_SECS * 1_000_000;

/// The signers and what they signed.
pub(super) struct Assertions {
    signers: ArcSwap<Signers>,
    /// Keys' ids are made here, of random bytes.
    tokens: Generations<KeyId, Arc<Token>, BuildHasherDefault<AsItIs>>,
}

struct Signers {
    current: Arc<AssertionSigner>,
    /// The one before, and when it was retired.
    before: Option<(Arc<AssertionSigner>, Wall)>,
}

/// A token and all that it was made of.
struct Token {
    text: Arc<str>,
    key_version: u64,
    workspace_version: u64,
    signed_at: Wall,
    signed_by: Arc<AssertionSigner>,
}

impl Assertions {
    pub(super) fn new(secrets: &InstallSecrets) -> Result<Self, InstallSecretError> {
        let current = Arc::new(secrets.assertion_signer()?);
        let signers = ArcSwap::from_pointee(Signers { current, before: None });
        Ok(Self { signers, tokens: Generations::new(TOKENS_MAX / 2) })
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
        self.tokens.sweep();
    }
}

impl Engine {
    /// What an upstream is told of who stands behind a grant, with a token where it `asserts`; `None` when a name in
    /// that is none of ours.
    pub fn identity(&self, granted: &Granted, asserts: bool) -> Option<Box<Identity>> {
        self.identity_of(granted.live_key(), asserts, granted.decided_at())
    }

    /// The same of a key, at this moment. To remember it for each key would cost more than to make it: with
    /// many keys in turn, a look-up and lines of memory that nobody else needs.
    pub(super) fn identity_of(&self, key: &LiveKey, asserts: bool, now: Wall) -> Option<Box<Identity>> {
        let (facts, workspace) = (key.facts.load(), key.workspace.facts.load());
        let assertion = if asserts { Some(self.token(key, &facts, &workspace, now)?) } else { None };
        Some(Box::new(Identity {
            key: facts.id(),
            workspace: workspace.id(),
            plan: workspace.plan().to_owned(),
            scopes: facts.scopes().to_owned(),
            assertion,
        }))
    }

    /// The token of a key, signed anew where the last one no longer says what is so.
    fn token(
        &self,
        key: &LiveKey,
        facts: &KeyFacts,
        workspace: &WorkspaceFacts,
        now: Wall,
    ) -> Option<Arc<str>> {
        let signers = self.assertions.signers.load();
        let signer = &signers.current;
        let is_told_still = |token: &Token| {
            token.key_version == facts.version()
                && token.workspace_version == workspace.version()
                && (0..TOLD_MICROS).contains(&(now.micros() - token.signed_at.micros()))
                && Arc::ptr_eq(&token.signed_by, signer)
        };
        if let Some(token) = self.assertions.tokens.find(&facts.id()).filter(|token| is_told_still(token)) {
            return Some(Arc::clone(&token.text));
        }
        let claims = Claims {
            audience: &key.workspace.profile.name,
            key: facts.id(),
            workspace: workspace.id(),
            plan: workspace.plan(),
            scopes: facts.scopes(),
            issued_at: now,
        };
        let text: Arc<str> = signer.sign(&claims)?.into();
        let token = Token {
            text: Arc::clone(&text),
            key_version: facts.version(),
            workspace_version: workspace.version(),
            signed_at: now,
            signed_by: Arc::clone(signer),
        };
        self.assertions.tokens.insert(facts.id(), Arc::new(token));
        Some(text)
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
