//! The redb file behind one type, [`Store`], whose methods are transactions in domain types.
//!
//! What a change answered is durable: it survives a kill at any instant, whole, with its one audit row.
//! Changes go through one writer thread and are made on the newest state; reads see the last commit.
//! Checkpoints hold absolute values, so saving twice is harmless; a crash loses what was counted since the
//! last one. One process at a time has the file, and only its owner may read it.
//!
//! Never here: a decision, a status code, a redb type in a public signature, or raw key text.

mod audit;
mod batch;
mod changes;
mod clock_mark;
mod codec;
mod disk;
mod error;
mod file;
mod healing;
mod imports;
mod install_secrets;
mod meters;
mod migrations;
mod overlay;
mod page_cache;
pub mod private_file;
mod queue;
mod reads;
mod replays;
mod rows;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;
mod usage;
mod writer;

pub use batch::{BATCH_KEYS_MAX, Walked, WalkedSecrets};
pub use codec::key::{from_bytes as key_record_from_bytes, to_bytes as key_record_to_bytes};
pub use error::{ChangeError, StoreError};
pub use healing::DiskHealth;
pub use imports::{IMPORT_BATCH_MAX, ImportCase, ImportDone, ImportOutcome, ImportedKey};
pub use meters::{MeterRows, StoredMeters};
pub use reads::{CANDIDATES_MAX, KeyCondition, KeyFilter, Listed, PAGE_MAX, Page, WorkspaceFilter};
pub use snapshot::Snapshot;
pub use usage::{HourRow, StoredUsage, USAGE_ROWS_MAX};

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use self::changes::{CHANGE_ROWS_MAX, Done, WORKSPACE_CHANGE_ROWS_MAX};
use self::disk::{Disk, Open, Reading};
use self::healing::Illness;
use self::queue::{CHECKPOINT_ROWS_MAX, Lane, Queue};
use self::tables::WriteTables;
use self::writer::Change;
use crate::domain::audit::AuditEntry;
use crate::domain::audit::seal::AuditSealer;
use crate::domain::counts::KeyCounters;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::record::{KeyRecord, WorkspaceRecord};
use crate::domain::time::Wall;

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// The most memory for pages of the file, in bytes.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    /// 16 MiB: warm requests never read the file, so this only has to hold the upper levels of the trees, which of
    /// a million keys take 5, and what one transaction writes. What else is read the system has in memory, a
    /// microsecond away. redb's own default is 1 GiB.
    fn default() -> Self {
        Self { cache_bytes: 16 << 20 }
    }
}

/// What a checkpoint saves, as absolute values.
#[derive(Clone, Default)]
pub struct Counted {
    /// The counters of keys.
    pub keys: Vec<(KeyId, KeyCounters)>,
    /// The meters of workspaces.
    pub meters: Vec<Arc<dyn MeterRows>>,
    /// The mark of believed time, when it is to move.
    pub clock_mark: Option<Wall>,
}

impl Counted {
    /// Of how many keys and workspaces.
    pub fn records(&self) -> usize {
        self.keys.len() + self.meters.len()
    }
}

/// How much a change of a key or a workspace hurries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// It takes something away from somebody: a revoke, a suspension. It goes before all others.
    Revoke,
    /// Any other change.
    Admin,
}

impl Urgency {
    const fn lane(self) -> Lane {
        match self {
            Self::Revoke => Lane::Revoke,
            Self::Admin => Lane::Admin,
        }
    }
}

/// The store. Clones share one file and one writer.
///
/// A change is queued when its future is first polled, and refused at once ([`ChangeError::Busy`]) when the
/// queue is full; from then on it is made whether or not the future lives on.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the store and its writer thread share.
struct Shared {
    disk: Arc<Disk>,
    /// The database in use; `None` once closed. Another one takes its place after an I/O error.
    open: RwLock<Option<Arc<Open>>>,
    illness: Illness,
    queue: Queue,
    commits: AtomicU64,
    /// What seals audit rows: the last one; those before it are for checks.
    sealers: RwLock<Vec<Arc<AuditSealer>>>,
    /// Who is told of each key record before it is committed; one for each engine over this store.
    witnesses: RwLock<Vec<KeyWitness>>,
}

/// Is told of a key record on the writer's thread, before the commit that writes it. It must be quick.
pub type KeyWitness = Arc<dyn Fn(&KeyRecord) + Send + Sync>;

impl Store {
    /// Opens the store at `path`, or makes it when nothing is there; its directory must exist. A file that
    /// others may read, that is in use, not ours, damaged or newer is refused and left as it is.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let (disk, open) = file::open(path, options.cache_bytes)?;
        Self::over(disk, open).map_err(StoreError::file("start the thread that writes", path))
    }

    /// Starts the writer of an open database.
    fn over(disk: Arc<Disk>, open: Open) -> io::Result<Self> {
        let open = Arc::new(open);
        open.show_last_commit();
        let shared = Arc::new(Shared {
            disk,
            open: RwLock::new(Some(Arc::clone(&open))),
            illness: Illness::default(),
            queue: Queue::default(),
            commits: AtomicU64::new(0),
            sealers: RwLock::default(),
            witnesses: RwLock::default(),
        });
        shared.watch(&open);
        drop(open);
        let for_writer = Arc::clone(&shared);
        let writer =
            thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer::run(&for_writer))?;
        Ok(Self(Arc::new(Inner { shared, writer: Mutex::new(Some(writer)) })))
    }

    /// Makes a workspace and its default key, in one transaction with one audit row.
    pub async fn create_workspace(
        &self,
        workspace: WorkspaceRecord,
        default_key: KeyRecord,
        audit: AuditEntry,
    ) -> Result<(), ChangeError> {
        self.change(Lane::Admin, CHANGE_ROWS_MAX, move |tables| {
            changes::create_workspace(tables, &workspace, &default_key, &audit)
        })
        .await
    }

    /// Makes a key.
    pub async fn create_key(&self, key: KeyRecord, audit: AuditEntry) -> Result<(), ChangeError> {
        self.change(Lane::Admin, CHANGE_ROWS_MAX, move |tables| changes::create_key(tables, &key, &audit))
            .await
    }

    /// Changes a key. `change` gets the newest state, on the writer's thread, and must be quick. When it
    /// returns a record of the same version, nothing is written, no audit row appears, and the record as it
    /// stands is the answer.
    pub async fn update_key(
        &self,
        id: KeyId,
        urgency: Urgency,
        audit: AuditEntry,
        change: impl FnOnce(KeyRecord) -> KeyRecord + Send + 'static,
    ) -> Result<KeyRecord, ChangeError> {
        self.change(urgency.lane(), CHANGE_ROWS_MAX, move |tables| {
            changes::update_key(tables, id, &audit, change)
        })
        .await
    }

    /// Changes a workspace, by the rules of [`Store::update_key`].
    ///
    /// What the change makes of the limits is told to `meters` in the same transaction, which writes their rows.
    /// When it moves the billing anchor, these take the place of every meter row of the workspace: periods are
    /// numbered from the anchor.
    pub async fn update_workspace(
        &self,
        id: WorkspaceId,
        urgency: Urgency,
        audit: AuditEntry,
        change: impl FnOnce(WorkspaceRecord) -> WorkspaceRecord + Send + 'static,
        meters: Option<Arc<dyn MeterRows>>,
    ) -> Result<WorkspaceRecord, ChangeError> {
        let told = meters.clone();
        let (change, answer) = Change::new(WORKSPACE_CHANGE_ROWS_MAX, move |tables: &mut WriteTables<'_>| {
            changes::update_workspace(tables, id, &audit, change, told.as_deref())
        });
        let change = change.settling(meters.into_iter().collect());
        self.0.shared.queue.push(urgency.lane(), Box::new(change))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Saves counts as absolute values, in parts that other changes go between. Saving twice is harmless;
    /// when the future is dropped, the parts not yet queued are not saved.
    pub async fn checkpoint(&self, counted: Counted) -> Result<(), ChangeError> {
        let Counted { keys, meters, mut clock_mark } = counted;
        for part in keys.chunks(CHECKPOINT_ROWS_MAX) {
            let part = part.to_vec();
            // The mark goes with the first part: what follows is no older.
            let mark = clock_mark.take();
            self.change(Lane::Checkpoint, part.len() + 1, move |tables| {
                mark.map_or(Ok(()), |mark| clock_mark::put(tables, mark))?;
                changes::checkpoint(tables, &part)
            })
            .await?;
        }
        if let Some(mark) = clock_mark {
            self.save_clock_mark(mark).await?;
        }
        self.save_meters(meters).await
    }

    /// Tells `witness` of each key record from now on, before it is committed; of some that never will be, as well.
    pub fn tell_of_keys(&self, witness: KeyWitness) {
        self.0.shared.witnesses.write().unwrap_or_else(PoisonError::into_inner).push(witness);
    }

    /// Waits until every change that the writer has begun by now is committed or refused.
    pub async fn pass_the_writer(&self) -> Result<(), ChangeError> {
        self.change(Lane::Admin, 0, |_| Ok(Done { value: (), wrote: false })).await
    }

    /// How many transactions were committed since the store was opened.
    pub fn commits(&self) -> u64 {
        self.0.shared.commits.load(Ordering::Relaxed)
    }

    /// How the disk does.
    pub fn disk_health(&self) -> DiskHealth {
        self.0.shared.illness.health()
    }

    /// How many changes wait for the writer.
    #[cfg(test)]
    pub(crate) fn waiting_changes(&self) -> usize {
        self.0.shared.queue.waiting()
    }

    /// Makes the changes that wait, ends the writer and closes the file; blocks until that is done. Later
    /// reads and changes are refused with [`StoreError::Closed`]; closing again is nothing.
    pub fn close(&self) -> Result<(), StoreError> {
        self.0.end_writer();
        let shared = &self.0.shared;
        let open = shared.open.write().unwrap_or_else(PoisonError::into_inner).take();
        open.map_or(Ok(()), |open| shared.close(open))
    }

    /// Queues a change and waits until it is durable or refused.
    async fn change<T: Send + 'static>(
        &self,
        lane: Lane,
        rows: usize,
        make: impl FnOnce(&mut WriteTables<'_>) -> Result<Done<T>, ChangeError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let (change, answer) = Change::new(rows, make);
        self.0.shared.queue.push(lane, Box::new(change))?;
        // Without an answer the writer is gone, and with it the promise.
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    fn begin_read(&self) -> Result<Reading, StoreError> {
        self.0.shared.begin_read()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Shared {
    fn sealer(&self) -> Option<Arc<AuditSealer>> {
        self.sealers.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    fn witnesses(&self) -> Vec<KeyWitness> {
        self.witnesses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database in use.
    fn current(&self) -> Result<Arc<Open>, StoreError> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    fn is_in_use(&self, open: &Arc<Open>) -> bool {
        let in_use = self.open.read().unwrap_or_else(PoisonError::into_inner);
        in_use.as_ref().is_some_and(|in_use| Arc::ptr_eq(in_use, open))
    }

    fn begin_read(&self) -> Result<Reading, StoreError> {
        loop {
            let open = self.current()?;
            // Not under the lock: a write that fails at this moment may hold it up, and wants the lock.
            let reading = Reading::begin(Arc::clone(&open));
            // What was begun over a database that was given up meanwhile is begun again.
            if self.is_in_use(&open) || reading.is_err() && self.current().is_err() {
                return reading;
            }
        }
    }

    fn close(&self, open: Arc<Open>) -> Result<(), StoreError> {
        let (is_ill, watch) = (self.illness.health().is_ill, Arc::clone(&open.watch));
        let closed = if let Some(open) = healing::alone(open) {
            open.database.close().map_err(StoreError::database("close its file"))
        } else {
            // Somebody still reads it, and ends it. It has nothing to write that a start could miss.
            watch.fence();
            Ok(())
        };
        let released = self.disk.release().map_err(redb::StorageError::Io);
        let released = released.map_err(StoreError::database("let go of its file"));
        if is_ill { Err(StoreError::Ill) } else { closed.and(released) }
    }
}

impl Inner {
    fn end_writer(&self) {
        self.shared.queue.close();
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A change that held the last clone drops it on the writer's own thread, which cannot wait for
        // itself.
        let another = writer.take().filter(|running| running.thread().id() != thread::current().id());
        if let Some(running) = another {
            // The thread answers for its panics itself; there is nothing to learn from how it ended.
            let _ = running.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_writer();
    }
}
