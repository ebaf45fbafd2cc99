//! One slot per key and per workspace in use, and the list of those whose counters changed.
//!
//! A slot is made once and never replaced, so a proof, a change and a stream that hold it speak of the same
//! one. Whoever loads a record while a change is under way finds the slot that the change made, or makes the
//! slot that the change will find.
//!
//! Never here: a guard that leaves a function, a lock held over another or over an await.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use super::live::{LiveKey, LiveWorkspace};
use crate::domain::id::{KeyId, WorkspaceId};

/// Lists of changed records are spread over this many locks, so that keys rarely meet at one.
const DIRTY_SHARDS: usize = 16;

/// The slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    keys: DashMap<KeyId, Arc<LiveKey>>,
    workspaces: DashMap<WorkspaceId, Arc<LiveWorkspace>>,
    dirty_keys: [Mutex<Vec<Arc<LiveKey>>>; DIRTY_SHARDS],
    dirty_workspaces: Mutex<Vec<Arc<LiveWorkspace>>>,
}

impl Slots {
    /// The slot of a key, if it is made.
    pub(super) fn key(&self, id: KeyId) -> Option<Arc<LiveKey>> {
        self.keys.get(&id).map(|slot| Arc::clone(slot.value()))
    }

    /// The slot of a workspace, if it is made.
    pub(super) fn workspace(&self, id: WorkspaceId) -> Option<Arc<LiveWorkspace>> {
        self.workspaces.get(&id).map(|slot| Arc::clone(slot.value()))
    }

    /// Every workspace in use.
    pub(super) fn workspaces(&self) -> Vec<Arc<LiveWorkspace>> {
        self.workspaces.iter().map(|slot| Arc::clone(slot.value())).collect()
    }

    /// Fills an empty slot; gives back what stands in it, which may be another's.
    pub(super) fn fill_key(&self, id: KeyId, made: LiveKey) -> Arc<LiveKey> {
        Arc::clone(self.keys.entry(id).or_insert_with(|| Arc::new(made)).value())
    }

    /// Fills an empty slot; gives back what stands in it, which may be another's.
    pub(super) fn fill_workspace(&self, id: WorkspaceId, made: LiveWorkspace) -> Arc<LiveWorkspace> {
        Arc::clone(self.workspaces.entry(id).or_insert_with(|| Arc::new(made)).value())
    }

    /// Puts a key on the list of the next checkpoint.
    pub(super) fn note_key(&self, key: &Arc<LiveKey>) {
        if key.mark_dirty() {
            let shard = usize::try_from(key.id().as_u128() % DIRTY_SHARDS as u128).unwrap_or(0);
            if let Some(shard) = self.dirty_keys.get(shard) {
                shard.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(key));
            }
        }
    }

    /// Puts a workspace on the list of the next checkpoint.
    pub(super) fn note_workspace(&self, workspace: &Arc<LiveWorkspace>) {
        if workspace.mark_dirty() {
            let mut list = self.dirty_workspaces.lock().unwrap_or_else(PoisonError::into_inner);
            list.push(Arc::clone(workspace));
        }
    }

    /// Takes both lists.
    pub(super) fn take_noted(&self) -> (Vec<Arc<LiveKey>>, Vec<Arc<LiveWorkspace>>) {
        let mut keys = Vec::new();
        for shard in &self.dirty_keys {
            keys.append(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let workspaces =
            std::mem::take(&mut *self.dirty_workspaces.lock().unwrap_or_else(PoisonError::into_inner));
        (keys, workspaces)
    }
}
