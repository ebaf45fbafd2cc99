//! The audit log's rows: who changed what, and when.
//!
//! Each change has exactly one row, written in the change's own transaction, with what each field was before
//! and is after.
//!
//! Never here: a secret, a stored hash or a fingerprint.

pub mod chain;
pub mod differences;
pub mod seal;

use self::seal::AuditHash;
use super::id::{KeyId, WorkspaceId};
use super::time::Wall;

/// One row of the audit log: exactly one for each change, written in the change's own transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRow {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// What was done, by whom and when.
    pub entry: AuditEntry,
    /// Stands for this row and all before it.
    pub hash: AuditHash,
}

/// What an audit row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// When.
    pub at: Wall,
    /// By whom.
    pub actor: Actor,
    /// What.
    pub action: AuditAction,
    /// To what.
    pub subject: Subject,
    /// What became of each field. Whoever asks for a change of a record leaves it empty: the store compares
    /// the records themselves.
    pub changes: Vec<FieldChange>,
}

impl AuditEntry {
    /// The entry with these changes behind its own.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = FieldChange>) -> Self {
        let mut entry = self.clone();
        entry.changes.extend(changes);
        entry
    }
}

/// What became of one field, as text. Without either value, only that it changed is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldChange {
    /// Its name, as the admin API has it.
    pub field: String,
    /// What it was; `None` when it was not set.
    pub before: Option<String>,
    /// What it is; `None` when it is not set.
    pub after: Option<String>,
}

/// Who made a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// Keyward itself, at a first start.
    System,
    /// The holder of this admin key.
    AdminKey(KeyId),
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditAction {
    /// A workspace was made, with its default key.
    WorkspaceCreated,
    /// A workspace was changed.
    WorkspaceUpdated,
    /// A key was made.
    KeyCreated,
    /// A key was changed.
    KeyUpdated,
    /// A key was revoked.
    KeyRevoked,
    /// A key got another secret.
    KeyRotated,
    /// A batch of keys from elsewhere was taken in.
    KeysImported,
    /// A workspace was deleted, with its keys.
    WorkspaceDeleted,
    /// A new install secret was made.
    InstallSecretRotated,
    /// Fingerprints of proven keys were stored.
    FingerprintsLearnt,
    /// Stored fingerprints were removed, since they are to be kept in memory alone.
    FingerprintsForgotten,
    /// The machine's clock was believed as it stands.
    ClockConfirmed,
}

impl AuditAction {
    /// Every action.
    pub const ALL: [Self; 12] = [
        Self::WorkspaceCreated,
        Self::WorkspaceUpdated,
        Self::KeyCreated,
        Self::KeyUpdated,
        Self::KeyRevoked,
        Self::KeyRotated,
        Self::KeysImported,
        Self::WorkspaceDeleted,
        Self::InstallSecretRotated,
        Self::FingerprintsLearnt,
        Self::FingerprintsForgotten,
        Self::ClockConfirmed,
    ];

    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkspaceCreated => "workspace.created",
            Self::WorkspaceUpdated => "workspace.updated",
            Self::KeyCreated => "key.created",
            Self::KeyUpdated => "key.updated",
            Self::KeyRevoked => "key.revoked",
            Self::KeyRotated => "key.rotated",
            Self::KeysImported => "keys.imported",
            Self::WorkspaceDeleted => "workspace.deleted",
            Self::InstallSecretRotated => "install_secret.rotated",
            Self::FingerprintsLearnt => "fingerprints.learnt",
            Self::FingerprintsForgotten => "fingerprints.forgotten",
            Self::ClockConfirmed => "clock.confirmed",
        }
    }
}

/// What a change was made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// This workspace.
    Workspace(WorkspaceId),
    /// This key.
    Key(KeyId),
    /// A batch of keys that were changed as one.
    Keys {
        /// How many.
        count: u32,
        /// BLAKE3 over what names them, in their order, so that the batch can be held against it later: of an
        /// import the records without their hashes, of fingerprints the ids.
        root: [u8; 32],
    },
    /// What belongs to no workspace, such as the install secret.
    Installation,
}
