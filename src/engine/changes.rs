//! The only place that changes key and workspace records: new ones, edits, rotations, revokes, deletions.
//!
//! File first, memory second, reply third. A change fills the slot of what it changes before its commit, so
//! that a loader that runs beside it cannot put an older record in its place. Only a revoke, a suspension and a
//! deletion act before their commit: if the disk refuses, they deny already, the error says so, and they are
//! tried again (`retries`). A change goes on when its caller hangs up.
//!
//! Never here: what a caller may change (surface), how a row is written (store).

mod creation;
mod install_secret;
mod keys;
mod learning;
mod rotation;
mod workspaces;

pub use creation::{CreatedKey, CreatedWorkspace, NewKey, NewWorkspace, mint};
pub use install_secret::InstallSecretNames;
pub(super) use learning::PendingFingerprints;
pub use rotation::RotatedKey;

use super::Engine;
use super::install_secret::InstallSecretError;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, Subject};
use crate::domain::causes::Causes;
use crate::domain::denial::Fault;
use crate::domain::rotation::RotationRefused;
use crate::store::{ChangeError, StoreError};

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeRefused {
    /// No workspace has this id, or its profile is not served here.
    #[error("there is no such workspace")]
    NoSuchWorkspace,
    /// No key has this id.
    #[error("there is no such key")]
    NoSuchKey,
    /// A deleted workspace and its keys stay as they are.
    #[error("the workspace is deleted")]
    WorkspaceDeleted,
    /// A revoked key stays as it is.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The key cannot be rotated.
    #[error("the key cannot be rotated: {0:?}")]
    Rotation(RotationRefused),
    /// The install secret could not be replaced; nothing was changed.
    #[error("the install secret stays as it was")]
    InstallSecret(#[source] InstallSecretError),
    /// Our own failure; nothing was changed.
    #[error("the change could not be made: {0:?}")]
    Failed(Fault),
    /// The disk refused.
    #[error("the change could not be made durable")]
    NotDurable(#[source] StoreError),
    /// A revoke or a suspension that denies already and is not durable: it is tried again until it is.
    #[error("the change is in force and not durable yet")]
    InForce(#[source] ChangeError),
}

impl From<ChangeError> for ChangeRefused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NoSuchWorkspace => Self::NoSuchWorkspace,
            ChangeError::NoSuchKey => Self::NoSuchKey,
            ChangeError::WorkspaceDeleted => Self::WorkspaceDeleted,
            ChangeError::NotDurable(cause) => Self::NotDurable(cause),
            ChangeError::Busy => Self::Failed(Fault::Busy { retry_after_secs: 1 }),
            other => {
                tracing::error!(error = %Causes(&other), "a change was given up");
                Self::Failed(Fault::Internal)
            }
        }
    }
}

impl From<RotationRefused> for ChangeRefused {
    fn from(refused: RotationRefused) -> Self {
        match refused {
            RotationRefused::Revoked => Self::KeyRevoked,
            RotationRefused::UnderWay { .. } | RotationRefused::WornOut => Self::Rotation(refused),
        }
    }
}

impl From<Fault> for ChangeRefused {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl Engine {
    /// What the audit row of a change says besides its before and after, which the store adds.
    pub(super) fn entry(&self, actor: Actor, action: AuditAction, subject: Subject) -> AuditEntry {
        AuditEntry { at: self.clock.now().wall, actor, action, subject, changes: Vec::new() }
    }
}

/// A change must not stop half-way when its caller hangs up, so it runs in a task of its own.
pub(super) async fn run_to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeRefused>> + Send + 'static,
) -> Result<T, ChangeRefused> {
    let done = tokio::spawn(change).await;
    done.unwrap_or(Err(ChangeRefused::Failed(Fault::Internal)))
}

pub(super) fn random<const LEN: usize>() -> Result<[u8; LEN], ChangeRefused> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|_| ChangeRefused::Failed(Fault::Internal))?;
    Ok(bytes)
}
