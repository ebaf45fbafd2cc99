//! What was proven otherwise than by a stored fingerprint of the current install secret is remembered in the
//! file, so that the next first use after a start needs no slow hash.
//!
//! Proofs only put a line on a bounded list; each checkpoint writes what is there, in batches with one audit
//! row each. A full list drops what comes: it is learnt at a later proof. Where fingerprints are kept in
//! memory alone, nothing is listed, and what is stored is removed in the same way.
//!
//! Never here: a proof, or a wait of the caller for the disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ChangeRefused;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, Subject};
use crate::domain::causes::Causes;
use crate::domain::hash::StoredFingerprint;
use crate::domain::id::KeyId;
use crate::domain::record::{KeyRecord, SECRETS_MAX};
use crate::engine::Engine;
use crate::engine::live::{CachedProof, LiveKey};
use crate::engine::loading::read_failed;
use crate::store::{BATCH_KEYS_MAX, ChangeError};

/// The most keys that wait to be learnt: more than can be proven between two checkpoints, and 2 MB.
const WAITING_KEYS_MAX: usize = 10_000;

/// The fingerprints that wait for the next checkpoint.
#[derive(Debug, Default)]
pub(in crate::engine) struct PendingFingerprints {
    waiting: Mutex<HashMap<KeyId, Pending>>,
    failing: AtomicBool,
}

/// What is to be learnt of one key: fingerprints by the epoch of their secret, each once.
#[derive(Debug)]
struct Pending {
    key: Arc<LiveKey>,
    fingerprints: Vec<(u32, StoredFingerprint)>,
}

impl PendingFingerprints {
    fn note(&self, key: &Arc<LiveKey>, epoch: u32, fingerprint: StoredFingerprint) {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_KEYS_MAX && !waiting.contains_key(&key.id()) {
            return;
        }
        let of_key = waiting
            .entry(key.id())
            .or_insert_with(|| Pending { key: Arc::clone(key), fingerprints: Vec::new() });
        of_key.fingerprints.retain(|(known, _)| *known != epoch);
        if of_key.fingerprints.len() < SECRETS_MAX {
            of_key.fingerprints.push((epoch, fingerprint));
        }
    }

    fn take(&self) -> Vec<(KeyId, Pending)> {
        std::mem::take(&mut *self.waiting()).into_iter().collect()
    }

    /// Puts back what could not be written, behind what was noted meanwhile.
    fn put_back(&self, pending: Vec<(KeyId, Pending)>) {
        let mut waiting = self.waiting();
        for (id, of_key) in pending {
            if waiting.len() < WAITING_KEYS_MAX {
                waiting.entry(id).or_insert(of_key);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<KeyId, Pending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Notes the fingerprint of a secret that was just proven, for the next checkpoint to store.
    pub(in crate::engine) fn learn(&self, proven: &CachedProof, fingerprint: StoredFingerprint) {
        if self.stores_fingerprints {
            self.pending_fingerprints.note(&proven.key, proven.proof.epoch(), fingerprint);
        }
    }

    /// Stores every fingerprint that waits. What the disk refuses waits on, and is told once.
    pub(in crate::engine) async fn store_pending_fingerprints(&self) {
        let mut pending = self.pending_fingerprints.take();
        while !pending.is_empty() {
            let batch = pending.split_off(pending.len().saturating_sub(BATCH_KEYS_MAX));
            if let Err(error) = self.store_batch(&batch).await {
                pending.extend(batch);
                self.pending_fingerprints.put_back(pending);
                if !self.pending_fingerprints.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %Causes(&error), "fingerprints could not be learnt, trying again");
                }
                return;
            }
            self.pending_fingerprints.failing.store(false, Ordering::Relaxed);
        }
    }

    async fn store_batch(&self, batch: &[(KeyId, Pending)]) -> Result<(), ChangeError> {
        let fingerprints: HashMap<_, _> =
            batch.iter().map(|(id, of_key)| (*id, of_key.fingerprints.clone())).collect();
        let learnt = move |record: KeyRecord| {
            let pending = fingerprints.get(&record.id).into_iter().flatten();
            pending.fold(record, |record, (epoch, stored)| record.with_fingerprint(*epoch, stored.clone()))
        };
        let ids = batch.iter().map(|(id, _)| *id).collect();
        let slots: HashMap<_, _> = batch.iter().map(|(id, of_key)| (*id, &of_key.key)).collect();
        let audit = self.batch_entry(AuditAction::FingerprintsLearnt);
        for record in self.store.update_keys(ids, learnt, audit).await? {
            if let Some(slot) = slots.get(&record.id) {
                slot.apply(&record);
            }
        }
        Ok(())
    }

    /// Removes every stored fingerprint, where they are to be kept in memory alone. In batches, each with its
    /// audit row; a start that finds none left writes nothing. Gives the number of keys that had one.
    pub async fn forget_fingerprints(&self) -> Result<usize, ChangeRefused> {
        let (mut after, mut forgotten) = (None, 0);
        if self.stores_fingerprints {
            return Ok(forgotten);
        }
        loop {
            let walked = self.read(move |store| store.walk_fingerprints(after)).await;
            let walked = walked.map_err(|error| read_failed(&error))?;
            if !walked.found.is_empty() {
                let audit = self.batch_entry(AuditAction::FingerprintsForgotten);
                let forget = KeyRecord::without_fingerprints;
                let changed = self.store.update_keys(walked.found, forget, audit).await?;
                forgotten += changed.len();
                for record in changed {
                    if let Some(slot) = self.slots.key(record.id) {
                        slot.apply(&record);
                    }
                }
            }
            after = walked.go_on_after;
            if after.is_none() {
                return Ok(forgotten);
            }
        }
    }

    /// The audit row of a batch, once it is known which keys changed.
    fn batch_entry(&self, action: AuditAction) -> impl FnOnce(&[KeyId]) -> AuditEntry + Send + use<> {
        let entry = self.entry(Actor::System, action, Subject::Installation);
        move |ids| {
            let mut root = blake3::Hasher::new();
            for id in ids {
                root.update(&id.as_u128().to_be_bytes());
            }
            let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            let subject = Subject::Keys { count, root: *root.finalize().as_bytes() };
            AuditEntry { subject, ..entry }
        }
    }
}
