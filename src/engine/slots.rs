//! One slot per key and per workspace in use, and the list of those whose counters changed.
//!
//! A slot is never replaced while anybody holds it, so a proof, a change and a stream that hold it speak of the same
//! one. Whoever loads a record while a change is under way finds the slot that the change made, or makes the slot that
//! the change will find. A key's slot that nobody holds (no proof, no request, no change, no list) and that knows
//! nothing which the file does not may be let go; whoever was reading the file meanwhile must read it again.
//!
//! Never here: a guard that leaves a function, a lock held over another or over an await.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;

use super::live::{LiveKey, LiveWorkspace, awaits};
use super::shared_terms::SharedTerms;
use crate::domain::id::{KeyId, WorkspaceId};

/// Lists of changed records are spread over this many locks, so that keys rarely meet at one.
const DIRTY_SHARDS: usize = 16;
/// Slots of keys are spread over this many locks.
const KEY_SHARDS: usize = 64;
/// Slots of one shard that are not worth looking through.
const SHARD_KEYS_MIN: usize = 8;

/// The slots.
#[derive(Debug)]
pub(super) struct Slots {
    keys: Box<[Mutex<KeyShard>]>,
    /// How often slots were let go; changed under the lock of the shard that they were in.
    evictions: AtomicU64,
    terms: SharedTerms,
    workspaces: DashMap<WorkspaceId, Arc<LiveWorkspace>>,
    dirty_keys: [Mutex<Vec<Arc<LiveKey>>>; DIRTY_SHARDS],
    dirty_workspaces: Mutex<Vec<Arc<LiveWorkspace>>>,
}

#[derive(Debug, Default)]
struct KeyShard {
    keys: HashSet<Slot>,
    /// The number of slots at which they are looked through again.
    look_at: usize,
}

/// A slot, found by its key's id.
#[derive(Debug)]
struct Slot(Arc<LiveKey>);

impl Borrow<KeyId> for Slot {
    fn borrow(&self) -> &KeyId {
        self.0.id_ref()
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id_ref().hash(state);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.0.id_ref() == other.0.id_ref()
    }
}

impl Eq for Slot {}

/// Taken before a record is read from the file: what was read goes into the slot only if none was let go since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LoadTicket(u64);

/// A slot was let go while the record was read, so that it may be older than what that one knew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MayBeOld;

impl Default for Slots {
    fn default() -> Self {
        Self {
            keys: (0..KEY_SHARDS).map(|_| Mutex::default()).collect(),
            evictions: AtomicU64::new(0),
            terms: SharedTerms::default(),
            workspaces: DashMap::default(),
            dirty_keys: Default::default(),
            dirty_workspaces: Mutex::default(),
        }
    }
}

impl KeyShard {
    /// Lets go what nobody holds, when there are twice as many as were held the last time.
    fn make_room(&mut self, evictions: &AtomicU64) {
        if self.keys.len() < self.look_at.max(SHARD_KEYS_MIN) {
            return;
        }
        let before = self.keys.len();
        // Whoever takes hold of a slot does so under the lock of its shard, which is held here.
        self.keys.retain(|Slot(key)| Arc::strong_count(key) > 1 || key.denies_undurably());
        if self.keys.len() < before {
            evictions.fetch_add(1, Ordering::SeqCst);
        }
        self.look_at = 2 * self.keys.len();
    }
}

impl Slots {
    fn shard(&self, id: KeyId) -> Option<MutexGuard<'_, KeyShard>> {
        // The end of an id is random.
        let place = usize::try_from(id.as_u128() % KEY_SHARDS as u128).unwrap_or(0);
        // Each step leaves a shard whole.
        Some(self.keys.get(place)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The slot of a key, if it is made.
    pub(super) fn key(&self, id: KeyId) -> Option<Arc<LiveKey>> {
        self.shard(id)?.keys.get(&id).map(|Slot(key)| Arc::clone(key))
    }

    /// To be taken before the record of a key is read.
    pub(super) fn ticket(&self) -> LoadTicket {
        LoadTicket(self.evictions.load(Ordering::SeqCst))
    }

    /// Fills an empty slot with what was read under `ticket`; gives back what stands in it, which may be another's.
    pub(super) fn fill_key(&self, mut made: LiveKey, ticket: LoadTicket) -> Result<Arc<LiveKey>, MayBeOld> {
        let id = made.id();
        made.share_terms(&self.terms);
        let mut shard = self.shard(id).ok_or(MayBeOld)?;
        if let Some(Slot(present)) = shard.keys.get(&id) {
            return Ok(Arc::clone(present));
        }
        // A slot of this key that was let go was so under the lock that is held here, and counted.
        if self.evictions.load(Ordering::SeqCst) != ticket.0 {
            return Err(MayBeOld);
        }
        shard.make_room(&self.evictions);
        let made = Arc::new(made);
        shard.keys.insert(Slot(Arc::clone(&made)));
        Ok(made)
    }

    /// How many keys have a slot.
    #[cfg(test)]
    pub(super) fn keys_len(&self) -> usize {
        self.keys.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).keys.len()).sum()
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
    pub(super) fn fill_workspace(&self, id: WorkspaceId, made: LiveWorkspace) -> Arc<LiveWorkspace> {
        Arc::clone(self.workspaces.entry(id).or_insert_with(|| Arc::new(made)).value())
    }

    /// Puts a key on the list of the next checkpoint.
    pub(super) fn note_key(&self, key: &Arc<LiveKey>) {
        if key.flag(awaits::COUNTERS) {
            self.list(key);
        }
    }

    /// The same behind a note of usage, `is_counted` when its counters changed as well.
    pub(super) fn note_used(&self, key: &Arc<LiveKey>, is_counted: bool) {
        let counters = if is_counted { awaits::COUNTERS } else { 0 };
        if key.flag_noted(awaits::USAGE | counters) {
            self.list(key);
        }
    }

    fn list(&self, key: &Arc<LiveKey>) {
        let shard = usize::try_from(key.id().as_u128() % DIRTY_SHARDS as u128).unwrap_or(0);
        if let Some(shard) = self.dirty_keys.get(shard) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(key));
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
