//! Changes that deny already and that the disk refused: they are tried again until they are durable.
//!
//! A revoke, a suspension and a deletion act before their commit. When the commit fails, or the line of changes
//! is full, they go on acting, their caller is told that they are not durable, and they stand here, one for
//! each key and workspace, until a try succeeds or a later change of the same thing takes their place. A stop
//! without one more success loses them, which is what the caller was told.
//!
//! A later word wins: an activation that begins while a suspension waits here takes it out first, so that no
//! try can follow the activation's commit; should the activation fail, the suspension is put back.
//!
//! Never here: a change that only gives, or the timer (app's checkpoints ask for each round).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

use super::live::{LiveKey, LiveWorkspace};
use super::{ChangeRefused, Engine};
use crate::domain::audit::AuditEntry;
use crate::domain::causes::Causes;
use crate::domain::denial::Fault;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::record::{WorkspacePatch, WorkspaceRecord, WorkspaceStatus};
use crate::store::{ChangeError, Store, Urgency};

/// The most changes that wait to be tried again. The next one is refused as busy; it denies all the same.
const RETRIES_MAX: usize = 10_000;
/// How many of them are tried at once: a few groups of the writer.
const TRIED_AT_ONCE: usize = 512;
/// When a caller may come back that found no place here, in seconds.
const FULL_RETRY_SECS: u32 = 5;

/// The place of a deletion among the changes of a workspace's status: nothing comes after it.
pub(super) const LAST_WORD: u64 = u64::MAX;

/// Whom a change takes something away from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Narrowed {
    Key(KeyId),
    Workspace(WorkspaceId),
}

/// What is taken away.
#[derive(Clone, Debug)]
pub(super) enum Narrowing {
    /// A key is revoked. A key whose profile is not served here has no slot.
    Revoke { key: KeyId, slot: Option<Arc<LiveKey>> },
    /// A workspace is suspended; `number` is that of this change among those of its status.
    Suspend { workspace: WorkspaceId, slot: Arc<LiveWorkspace>, number: u64 },
    /// A workspace is deleted. One whose profile is not served here has no slot.
    Delete { workspace: WorkspaceId, slot: Option<Arc<LiveWorkspace>> },
}

/// A change that denies already and is not durable.
#[derive(Clone, Debug)]
pub(super) struct Undurable {
    pub(super) narrowing: Narrowing,
    /// Its audit row, as of when it began.
    pub(super) audit: AuditEntry,
}

impl Undurable {
    const fn of(&self) -> Narrowed {
        match &self.narrowing {
            Narrowing::Revoke { key, .. } => Narrowed::Key(*key),
            Narrowing::Suspend { workspace, .. } | Narrowing::Delete { workspace, .. } => {
                Narrowed::Workspace(*workspace)
            }
        }
    }

    /// Its place among the changes of the same thing. A revoke is the one word of its kind.
    const fn number(&self) -> u64 {
        match &self.narrowing {
            Narrowing::Revoke { .. } => 0,
            Narrowing::Suspend { number, .. } => *number,
            Narrowing::Delete { .. } => LAST_WORD,
        }
    }
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Retries(Mutex<HashMap<Narrowed, Undurable>>);

impl Retries {
    /// Puts a change on the list, over an older one of the same thing. False when the list is full.
    #[must_use]
    pub(super) fn keep(&self, undurable: Undurable) -> bool {
        let mut list = self.list();
        if list.len() >= RETRIES_MAX && !list.contains_key(&undurable.of()) {
            return false;
        }
        put(&mut list, undurable);
        true
    }

    /// Puts back what was taken out, unless a newer one of the same thing came meanwhile. It had its place.
    pub(super) fn give_back(&self, undurable: Undurable) {
        put(&mut self.list(), undurable);
    }

    /// Takes out what waits for this one, for a change that is to take its place.
    pub(super) fn withdraw(&self, of: Narrowed) -> Option<Undurable> {
        self.list().remove(&of)
    }

    /// A change of this one is durable: it and those with smaller numbers, which began before it, are done.
    pub(super) fn done(&self, of: Narrowed, number: u64) {
        let mut list = self.list();
        if list.get(&of).is_some_and(|kept| kept.number() <= number) {
            list.remove(&of);
        }
    }

    fn waits(&self, undurable: &Undurable) -> bool {
        self.list().get(&undurable.of()).is_some_and(|kept| kept.number() == undurable.number())
    }

    fn all(&self) -> Vec<Undurable> {
        self.list().values().cloned().collect()
    }

    fn len(&self) -> usize {
        self.list().len()
    }

    fn list(&self) -> MutexGuard<'_, HashMap<Narrowed, Undurable>> {
        // A change is put in or taken out in one statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(list: &mut HashMap<Narrowed, Undurable>, undurable: Undurable) {
    let newer = list.get(&undurable.of()).is_some_and(|kept| kept.number() > undurable.number());
    if !newer {
        list.insert(undurable.of(), undurable);
    }
}

impl Engine {
    /// How many changes deny already and are not durable.
    pub fn undurable_changes(&self) -> usize {
        self.retries.len()
    }

    /// What to tell of a change that denies already, and whose commit came to this end. If more tries can
    /// help, there will be some.
    pub(super) fn not_committed(&self, undurable: Undurable, error: ChangeError) -> ChangeRefused {
        if !matches!(error, ChangeError::NotDurable(_) | ChangeError::Busy) {
            return error.into();
        }
        if self.retries.keep(undurable) {
            return ChangeRefused::InForce(error);
        }
        tracing::error!(
            error = %Causes(&error),
            "a change denies already and is not durable; too many are, and it is not tried again"
        );
        ChangeRefused::Failed(Fault::Busy { retry_after_secs: FULL_RETRY_SECS })
    }

    /// Tries once more to make durable what denies already. A round in which nothing succeeds is not gone on
    /// with: the disk, or the line, has not healed.
    pub(super) async fn retry_undurable(&self) {
        for some in self.retries.all().chunks(TRIED_AT_ONCE) {
            let mut tries = JoinSet::new();
            for undurable in some.iter().cloned() {
                let (store, retries) = (self.store.clone(), Arc::clone(&self.retries));
                tries.spawn(async move { undurable.try_again(&store, &retries).await });
            }
            if !tries.join_all().await.contains(&Tried::Done) {
                return;
            }
        }
    }
}

/// What a try that the store did not refuse has made.
enum Committed {
    /// What denies is in the file.
    InForce,
    /// Nothing: a later change took its place.
    TakenOut,
}

/// How a try went.
#[derive(PartialEq, Eq)]
pub(super) enum Tried {
    Done,
    NotYet,
}

impl Undurable {
    /// One try, and what follows from how it goes.
    pub(super) async fn try_again(self, store: &Store, retries: &Arc<Retries>) -> Tried {
        let of = self.of();
        match self.commit(store, retries).await {
            Ok(Committed::InForce) => {
                tracing::info!(?of, "a change that the disk had refused is durable now");
            }
            // Should what took it out fail, it is put back, and must be tried again.
            Ok(Committed::TakenOut) => return Tried::Done,
            Err(ChangeError::NotDurable(_) | ChangeError::Busy) => return Tried::NotYet,
            Err(error) => {
                tracing::error!(error = %Causes(&error), ?of, "a change that denies already was given up");
            }
        }
        retries.done(of, self.number());
        Tried::Done
    }

    async fn commit(&self, store: &Store, retries: &Arc<Retries>) -> Result<Committed, ChangeError> {
        let (urgency, audit) = (Urgency::Revoke, self.audit.clone());
        match &self.narrowing {
            Narrowing::Revoke { key, slot } => {
                let at = audit.at;
                let record = store.update_key(*key, urgency, audit, move |record| record.revoked(at)).await?;
                if let Some(slot) = slot {
                    slot.apply(&record);
                }
            }
            Narrowing::Suspend { workspace, slot, number } => {
                let (this, retries) = (self.clone(), Arc::clone(retries));
                // Asked in the one line of all changes: what took this one out stands behind it there.
                let suspend = move |record: WorkspaceRecord| {
                    if record.status == WorkspaceStatus::Suspended || !retries.waits(&this) {
                        return record;
                    }
                    let status = Some(WorkspaceStatus::Suspended);
                    record.patched(WorkspacePatch { status, ..WorkspacePatch::default() })
                };
                let record = store.update_workspace(*workspace, urgency, audit, suspend, None).await?;
                slot.apply(&record);
                if record.status == WorkspaceStatus::Active {
                    return Ok(Committed::TakenOut);
                }
                if record.status == WorkspaceStatus::Suspended {
                    slot.status_is_committed(*number);
                }
            }
            Narrowing::Delete { workspace, slot } => {
                let delete = WorkspaceRecord::deleted;
                let record = store.update_workspace(*workspace, urgency, audit, delete, None).await?;
                if let Some(slot) = slot {
                    slot.apply(&record);
                }
            }
        }
        Ok(Committed::InForce)
    }
}
