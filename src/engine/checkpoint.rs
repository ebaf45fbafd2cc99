//! Saving what is counted in memory: last uses, buckets, meters, usage.
//!
//! Values are absolute, so saving twice is harmless. A crash loses at most what was counted since the last
//! checkpoint began; of meters that is only how much of a lease was used, never a unit. A checkpoint that fails
//! is logged and counted, its records stay on the list, and the next one saves them.
//!
//! Never here: the timer that asks for it (app), or anything that a request waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Engine;
use super::live::LiveWorkspace;
use crate::domain::time::Mono;
use crate::store::{ChangeError, Counted, DiskHealth, MeterRows};

/// How the checkpoints went.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    last_good_nanos: AtomicU64,
    failing: AtomicBool,
    failed: AtomicU64,
}

impl Checkpoints {
    /// Nanoseconds since the last good checkpoint, or since the start.
    pub(super) fn nanos_since_last_good(&self, now: Mono) -> u64 {
        now.nanos().saturating_sub(self.last_good_nanos.load(Ordering::Relaxed))
    }
}

impl Engine {
    /// Saves everything that changed since the last call, then what was learnt, and tries again what denies
    /// already and is not durable. Gives the number of keys
    /// and workspaces saved.
    pub async fn checkpoint(&self) -> Result<usize, ChangeError> {
        let saved = self.save_counted().await;
        self.retry_undurable().await;
        saved
    }

    async fn save_counted(&self) -> Result<usize, ChangeError> {
        self.keyless.sweep();
        self.route_buckets.sweep();
        self.assertions.sweep();
        self.replays.sweep(self.clock.now().wall);
        let clock_mark = self.clock_mark_line.lock().await;
        let (keys, workspaces) = self.slots.take_noted();
        let now = self.clock.now();
        let keys = self.take_notes(keys);
        let mut counted = Counted {
            keys: keys.iter().map(|key| (key.id(), key.counters(now))).collect(),
            meters: workspaces.iter().map(|workspace| self.meters_to_save(workspace)).collect(),
            clock_mark: None,
        };
        let records = counted.records();
        let mark = self.mark_to_save(records, now);
        counted.clock_mark = mark;
        let saved =
            if records == 0 && mark.is_none() { Ok(()) } else { self.store.checkpoint(counted).await };
        let saved = self.save_usage().await.and(saved);
        if saved.is_err() {
            for key in &keys {
                self.slots.note_key(key);
            }
            for workspace in &workspaces {
                self.slots.note_workspace(workspace);
            }
            self.checkpoints.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.checkpoints.last_good_nanos.store(now.mono.nanos(), Ordering::Relaxed);
            if let Some(mark) = mark {
                self.clock_mark.is_saved(mark);
            }
        }
        self.checkpoints.failing.store(saved.is_err(), Ordering::Relaxed);
        drop(clock_mark);
        self.store_pending_fingerprints().await;
        saved.map(|()| records)
    }

    fn meters_to_save(&self, workspace: &Arc<LiveWorkspace>) -> Arc<dyn MeterRows> {
        workspace.take_dirty();
        Arc::new(self.meter_write(workspace))
    }

    /// Checkpoints that could not be saved, since the start.
    pub fn checkpoints_failed(&self) -> u64 {
        self.checkpoints.failed.load(Ordering::Relaxed)
    }

    /// Whole seconds since the last good checkpoint, or since the start.
    pub fn checkpoint_age_secs(&self) -> u64 {
        self.checkpoints.nanos_since_last_good(self.clock.now().mono) / 1_000_000_000
    }

    /// Whether what is counted and changed reaches the disk: the last checkpoint was good, and no write failed
    /// since.
    pub fn is_ready(&self) -> bool {
        !self.checkpoints.failing.load(Ordering::Relaxed) && !self.disk_health().is_ill
    }

    /// How the disk does.
    pub fn disk_health(&self) -> DiskHealth {
        self.store.disk_health()
    }
}
