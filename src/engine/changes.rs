//! The only place that changes key and workspace records: new ones, edits, revokes.
//!
//! File first, memory second, reply third. A change fills the slot of what it changes before its commit, so
//! that a loader that runs beside it cannot put an older record in its place. Only a revoke and a suspension
//! act before their commit: if the disk refuses, they deny already, and the error says so. A change goes on
//! when its caller hangs up.
//!
//! Never here: what a caller may change (surface), how a row is written (store).

use std::sync::Arc;

use super::Engine;
use super::live::CachedProof;
use super::loading::read_failed;
use crate::domain::address::AddressRules;
use crate::domain::bucket::Rate;
use crate::domain::causes::Causes;
use crate::domain::denial::Fault;
use crate::domain::hash::{Fingerprint, StoredFingerprint};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};
use crate::domain::permission::Permission;
use crate::domain::record::{
    Actor, AuditAction, AuditEntry, KeyPatch, KeyRecord, KeySecret, Label, Overrides, Subject,
    WorkspacePatch, WorkspaceRecord, WorkspaceStatus,
};
use crate::domain::time::Wall;
use crate::store::{ChangeError, StoreError, Urgency};

/// How often a key is drawn whose prefix is taken: a chance of one in 62⁸ for each key that exists.
const PREFIXES_MAX: usize = 8;
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
    pub rate: Option<Rate>,
    /// A JSON object of the user's own, as text.
    pub metadata: Option<String>,
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

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeRefused {
    /// No workspace has this id, or its profile is not served here.
    #[error("there is no such workspace")]
    NoSuchWorkspace,
    /// No key has this id.
    #[error("there is no such key")]
    NoSuchKey,
    /// A revoked key stays as it is.
    #[error("the key is revoked")]
    KeyRevoked,
    /// Our own failure; nothing was changed.
    #[error("the change could not be made: {0:?}")]
    Failed(Fault),
    /// The disk refused. A revoke or a suspension denies already all the same.
    #[error("the change could not be made durable")]
    NotDurable(#[source] StoreError),
}

impl From<ChangeError> for ChangeRefused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NoSuchWorkspace => Self::NoSuchWorkspace,
            ChangeError::NoSuchKey => Self::NoSuchKey,
            ChangeError::NotDurable(cause) => Self::NotDurable(cause),
            ChangeError::Busy => Self::Failed(Fault::Busy { retry_after_secs: 1 }),
            other => {
                tracing::error!(error = %Causes(&other), "a change was given up");
                Self::Failed(Fault::Internal)
            }
        }
    }
}

impl From<Fault> for ChangeRefused {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
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
            let audit =
                engine.entry(actor, AuditAction::WorkspaceCreated, Subject::Workspace(id), Vec::new());
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
        let profile = self.profile(&workspace.profile).ok_or(ChangeRefused::NoSuchWorkspace)?;
        let (tag, now) = (profile.tag.clone(), self.clock.now().wall);
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let store = |record: KeyRecord| {
                let subject = Subject::Key(record.id);
                let audit = engine.entry(actor, AuditAction::KeyCreated, subject, Vec::new());
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

    /// Changes a key. `fields` are the names of what is set, for the audit.
    pub async fn update_key(
        self: &Arc<Self>,
        actor: Actor,
        id: KeyId,
        patch: KeyPatch,
        fields: Vec<String>,
    ) -> Result<KeyRecord, ChangeRefused> {
        let slot = self.key_slot(id).await?;
        if slot.is_revoked() {
            return Err(ChangeRefused::KeyRevoked);
        }
        let audit = self.entry(actor, AuditAction::KeyUpdated, Subject::Key(id), fields);
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let change = move |record: KeyRecord| {
                if record.revoked_at.is_some() { record } else { record.patched(patch) }
            };
            let record = engine.store.update_key(id, Urgency::Admin, audit, change).await?;
            slot.apply(&record);
            if record.revoked_at.is_some() { Err(ChangeRefused::KeyRevoked) } else { Ok(record) }
        })
        .await
    }

    /// Revokes a key, for good: it denies before this waits for the disk, and again is fine.
    pub async fn revoke_key(self: &Arc<Self>, actor: Actor, id: KeyId) -> Result<KeyRecord, ChangeRefused> {
        // A key whose profile is not served here has no slot, and is revoked in the file all the same.
        let slot = match self.key_slot(id).await {
            Err(ChangeRefused::NoSuchWorkspace) => None,
            slot => Some(slot?),
        };
        if let Some(slot) = &slot {
            slot.revoke();
        }
        let at = self.clock.now().wall;
        let audit = self.entry(actor, AuditAction::KeyRevoked, Subject::Key(id), Vec::new());
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let revoke = move |record: KeyRecord| record.revoked(at);
            let record = engine.store.update_key(id, Urgency::Revoke, audit, revoke).await?;
            if let Some(slot) = &slot {
                slot.apply(&record);
            }
            Ok(record)
        })
        .await
    }

    /// Stores the fingerprint of a secret that the slow hash just proved, so that its next first use needs
    /// none. In a task of its own: the caller does not wait for the disk.
    pub(super) fn learn(&self, proven: &CachedProof, fingerprint: Fingerprint) {
        let stored = StoredFingerprint { made_by: self.fingerprinter.made_by(), fingerprint };
        let (store, key, epoch) = (self.store.clone(), Arc::clone(&proven.key), proven.proof.epoch());
        let audit = self.entry(
            Actor::System,
            AuditAction::KeyUpdated,
            Subject::Key(key.id()),
            vec!["fingerprint".to_owned()],
        );
        tokio::spawn(async move {
            let change = move |record: KeyRecord| record.with_fingerprint(epoch, stored);
            match store.update_key(key.id(), Urgency::Admin, audit, change).await {
                Ok(record) => key.apply(&record),
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), key = %key.id(), "a fingerprint could not be learnt");
                }
            }
        });
    }

    fn entry(&self, actor: Actor, action: AuditAction, subject: Subject, fields: Vec<String>) -> AuditEntry {
        AuditEntry { at: self.clock.now().wall, actor, action, subject, fields }
    }

    /// Changes a workspace. `fields` are the names of what is set, for the audit.
    pub async fn update_workspace(
        self: &Arc<Self>,
        actor: Actor,
        id: WorkspaceId,
        patch: WorkspacePatch,
        fields: Vec<String>,
    ) -> Result<WorkspaceRecord, ChangeRefused> {
        let record = self.workspace(id).await?;
        let slot = self.fill_workspace(&record).await.map_err(|error| read_failed(&error))?;
        let slot = slot.ok_or(ChangeRefused::NoSuchWorkspace)?;
        let is_suspension = patch.status == Some(WorkspaceStatus::Suspended);
        if is_suspension {
            slot.suspend();
        }
        let sets_status = patch.status.is_some();
        // A suspension takes something away from somebody: it goes before other changes.
        let urgency = if is_suspension { Urgency::Revoke } else { Urgency::Admin };
        let audit = self.entry(actor, AuditAction::WorkspaceUpdated, Subject::Workspace(id), fields);
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let new_anchor = patch.billing_anchor;
            let change = move |record: WorkspaceRecord| record.patched(patch);
            // No checkpoint may save what was numbered from the old anchor behind the move.
            let _numbering = match new_anchor {
                Some(_) => Some(engine.numbering.lock().await),
                None => None,
            };
            let now = engine.clock.now().wall;
            let moved = new_anchor.map_or_else(Vec::new, |anchor| slot.meters_from(anchor, now));
            let record = engine.store.update_workspace(id, urgency, audit, change, moved).await?;
            slot.apply(&record, now);
            if sets_status {
                slot.status_is_committed();
            }
            engine.slots.note_workspace(&slot);
            Ok(record)
        })
        .await
    }

    /// Runs the slow hash over a fresh key and makes its record.
    async fn hashed(&self, new: NewKey, raw: RawKey, now: Wall) -> Result<CreatedKey, ChangeRefused> {
        let (raw, hash) = self.slow_hash.create(raw).await?;
        let fingerprint = self.fingerprinter.fingerprint(&raw.as_presented());
        let made_by = self.fingerprinter.made_by();
        let secret = KeySecret {
            prefix: raw.prefix(),
            epoch: 1,
            hash,
            fingerprint: Some(StoredFingerprint { made_by, fingerprint }),
            created_at: now,
            ends_at: None,
        };
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
            require_signature: false,
        };
        Ok(CreatedKey { record, raw })
    }
}

/// A change must not stop half-way when its caller hangs up, so it runs in a task of its own.
async fn run_to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeRefused>> + Send + 'static,
) -> Result<T, ChangeRefused> {
    let done = tokio::spawn(change).await;
    done.unwrap_or(Err(ChangeRefused::Failed(Fault::Internal)))
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

fn random<const LEN: usize>() -> Result<[u8; LEN], ChangeRefused> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|_| ChangeRefused::Failed(Fault::Internal))?;
    Ok(bytes)
}
