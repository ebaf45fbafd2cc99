//! New workspaces and new keys.
//!
//! A key's text is drawn here, hashed by the slow-hash workers, and leaves in the one answer that shows it. A
//! prefix that another key has is drawn anew.
//!
//! Never here: a text that is kept, or one that was made elsewhere.

use std::sync::Arc;

use super::{ChangeRefused, random, run_to_the_end};
use crate::domain::address::AddressRules;
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::denial::Fault;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};
use crate::domain::permission::Permission;
use crate::domain::rate::Rates;
use crate::domain::record::{
    KeyRecord, KeySecret, Label, Overrides, SignatureReplay, WorkspaceRecord, WorkspaceStatus,
};
use crate::domain::time::Wall;
use crate::engine::Engine;
use crate::store::ChangeError;

/// How often a key is drawn whose prefix is taken: a chance of one in 62⁸ for each key that exists.
pub(super) const PREFIXES_MAX: usize = 8;
/// How often random bytes are drawn until enough of them are usable, which the first nearly always are.
const DRAWS_MAX: usize = 8;

/// A wanted workspace.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    /// Its name.
    pub name: Label,
    /// Its profile, by name.
    pub profile: String,
    /// Its plan, by name.
    pub plan: String,
    /// Where its months start; now, when it is left out.
    pub billing_anchor: Option<Wall>,
    /// Its brands.
    pub brands: Vec<Label>,
}

/// A wanted key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The workspace it is bound to.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: Option<Label>,
    /// What it is for.
    pub description: Option<String>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// When it ends.
    pub expires_at: Option<Wall>,
    /// From where it may be used.
    pub addresses: Option<AddressRules>,
    /// Its own rate.
    pub rate: Option<Rates>,
    /// A JSON object of the user's own, as text.
    pub metadata: Option<String>,
    /// Whether every request must be signed.
    pub require_signature: bool,
    /// How often one signature is taken.
    pub signature_replay: SignatureReplay,
}

/// A key that was made, with the one copy of its text.
#[derive(Debug)]
pub struct CreatedKey {
    /// The record.
    pub record: KeyRecord,
    /// The text, to be shown once.
    pub raw: RawKey,
}

/// A workspace that was made, with its default key.
#[derive(Debug)]
pub struct CreatedWorkspace {
    /// The record.
    pub workspace: WorkspaceRecord,
    /// The key that may do everything.
    pub default_key: CreatedKey,
}

impl Engine {
    /// Makes a workspace and its default key, which may do everything.
    pub async fn create_workspace(
        self: &Arc<Self>,
        actor: Actor,
        new: NewWorkspace,
    ) -> Result<CreatedWorkspace, ChangeRefused> {
        let id = WorkspaceId::new(self.clock.now().wall.millis_since_epoch(), random()?);
        self.create_workspace_as(id, actor, new, None).await
    }

    /// Makes the workspace of the admin keys around the first of them, which stands in its file before it
    /// stands in the store. Unlike a drawn key, a given one whose prefix is taken is an error.
    pub async fn create_system_workspace(
        self: &Arc<Self>,
        new: NewWorkspace,
        first_key: RawKey,
    ) -> Result<CreatedWorkspace, ChangeRefused> {
        self.create_workspace_as(WorkspaceId::SYSTEM, Actor::System, new, Some(first_key)).await
    }

    async fn create_workspace_as(
        self: &Arc<Self>,
        id: WorkspaceId,
        actor: Actor,
        new: NewWorkspace,
        given: Option<RawKey>,
    ) -> Result<CreatedWorkspace, ChangeRefused> {
        let tag = self.profile(&new.profile).ok_or(ChangeRefused::NoSuchWorkspace)?.tag.clone();
        let now = self.clock.now().wall;
        let workspace = WorkspaceRecord {
            id,
            version: 1,
            name: new.name,
            profile: new.profile,
            plan: new.plan,
            billing_anchor: new.billing_anchor.unwrap_or(now),
            brands: new.brands,
            status: WorkspaceStatus::Active,
            overrides: Overrides::default(),
            created_at: now,
        };
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let audit = engine.entry(actor, AuditAction::WorkspaceCreated, Subject::Workspace(id));
            let key = everything_in(id);
            let default_key = match given {
                Some(raw) => {
                    let key = engine.hashed(key, raw, now).await?;
                    engine.store.create_workspace(workspace.clone(), key.record.clone(), audit).await?;
                    key
                }
                None => {
                    engine
                        .drawn(&tag, key, now, |record| {
                            engine.store.create_workspace(workspace.clone(), record, audit.clone())
                        })
                        .await?
                }
            };
            Ok(CreatedWorkspace { workspace, default_key })
        })
        .await
    }

    /// Makes a key.
    pub async fn create_key(
        self: &Arc<Self>,
        actor: Actor,
        new: NewKey,
    ) -> Result<CreatedKey, ChangeRefused> {
        let workspace = self.workspace(new.workspace).await?;
        if workspace.status == WorkspaceStatus::Deleted {
            return Err(ChangeRefused::WorkspaceDeleted);
        }
        let profile = self.profile(&workspace.profile).ok_or(ChangeRefused::NoSuchWorkspace)?;
        let (tag, now) = (profile.tag.clone(), self.clock.now().wall);
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let store = |record: KeyRecord| {
                let subject = Subject::Key(record.id);
                let audit = engine.entry(actor, AuditAction::KeyCreated, subject);
                engine.store.create_key(record, audit)
            };
            engine.drawn(&tag, new, now, store).await
        })
        .await
    }

    /// Draws keys until `store` takes one: a prefix that another key has is drawn anew.
    async fn drawn<F: Future<Output = Result<(), ChangeError>>>(
        &self,
        tag: &Tag,
        new: NewKey,
        now: Wall,
        store: impl Fn(KeyRecord) -> F,
    ) -> Result<CreatedKey, ChangeRefused> {
        for _ in 0..PREFIXES_MAX {
            let raw = mint(tag).ok_or(ChangeRefused::Failed(Fault::Internal))?;
            let key = self.hashed(new.clone(), raw, now).await?;
            match store(key.record.clone()).await {
                Ok(()) => return Ok(key),
                Err(ChangeError::PrefixTaken) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ChangeRefused::Failed(Fault::Internal))
    }

    /// Runs the slow hash over a fresh text and makes the secret of it, a key's first.
    pub(super) async fn secret_of(
        &self,
        raw: RawKey,
        now: Wall,
    ) -> Result<(RawKey, KeySecret), ChangeRefused> {
        let (raw, hash) = self.slow_hash.create(raw).await?;
        let keyring = Arc::clone(&self.keyring.load());
        let fingerprint =
            self.stores_fingerprints.then(|| keyring.stored(keyring.fingerprint(&raw.as_presented())));
        let secret = KeySecret {
            prefix: raw.prefix().ok_or(ChangeRefused::Failed(Fault::Internal))?,
            epoch: 1,
            hash,
            fingerprint,
            imported: None,
            created_at: now,
            ends_at: None,
        };
        Ok((raw, secret))
    }

    /// Runs the slow hash over a fresh key and makes its record.
    async fn hashed(&self, new: NewKey, raw: RawKey, now: Wall) -> Result<CreatedKey, ChangeRefused> {
        let (raw, secret) = self.secret_of(raw, now).await?;
        let record = KeyRecord {
            id: KeyId::new(now.millis_since_epoch(), random()?),
            version: 1,
            workspace: new.workspace,
            name: new.name,
            description: new.description,
            permissions: new.permissions,
            secrets: vec![secret],
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            addresses: new.addresses,
            rate: new.rate,
            metadata: new.metadata,
            require_signature: new.require_signature,
            signature_replay: new.signature_replay,
        };
        Ok(CreatedKey { record, raw })
    }
}

/// The default key of a workspace, which may do everything.
fn everything_in(workspace: WorkspaceId) -> NewKey {
    NewKey {
        workspace,
        name: Label::parse("default"),
        description: None,
        permissions: vec![Permission::everything()],
        expires_at: None,
        addresses: None,
        rate: None,
        metadata: None,
        require_signature: false,
        signature_replay: SignatureReplay::Once,
    }
}

/// A new key text, from the operating system's randomness; `None` when there is none to be had.
pub fn mint(tag: &Tag) -> Option<RawKey> {
    let mut drawn = zeroize::Zeroizing::new([0; MINT_RANDOM_BYTES]);
    (0..DRAWS_MAX).find_map(|_| {
        getrandom::fill(drawn.as_mut()).ok()?;
        RawKey::mint(tag, &drawn)
    })
}
