//! The file below redb, and the databases that are open over it: one at a time that writes, or one that only
//! seems to.
//!
//! redb gives a database up for good when one write of it fails. So the file outlives its databases: it holds
//! the lock for all of them, and it knows the head of the file (redb's header) as the last good commit left it.
//! To put that head back undoes a commit that failed, whatever of it has reached the disk: a transaction writes
//! nothing over what the commit before it can reach. A database that met a failed write never writes again.
//!
//! Never here: when a database is given up or taken (healing).

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use redb::{
    BackendError, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageBackend,
    StorageError, TableError, TransactionError, WriteTransaction,
};

use super::error::StoreError;
use super::overlay::Overlay;
use super::page_cache;
use super::rows::{Definition, Rows};
use super::snapshot::Committed;

/// The part of the file that redb's header lies in, and nothing else.
const HEAD_BYTES: usize = 4096;

/// Tries whether something could be written where the file lies, and synced.
pub(super) type Probe = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// The file.
pub(super) struct Disk {
    file: Box<dyn StorageBackend>,
    /// The same file, where one can be asked for what is in memory.
    in_memory: Option<File>,
    probe: Probe,
    cache_bytes: usize,
    /// Whether the lock is held, for every database to come.
    is_taken: AtomicBool,
    head: Mutex<Head>,
}

#[derive(Default)]
struct Head {
    /// As it was written last.
    now: Vec<u8>,
    /// As the last good commit left it.
    kept: Vec<u8>,
}

impl Disk {
    pub(super) fn new(
        file: impl StorageBackend,
        in_memory: Option<File>,
        probe: Probe,
        cache_bytes: usize,
    ) -> Arc<Self> {
        let (is_taken, head) = (AtomicBool::default(), Mutex::default());
        Arc::new(Self { file: Box::new(file), in_memory, probe, cache_bytes, is_taken, head })
    }

    /// Opens a database that reads and writes the file.
    pub(super) fn open(self: &Arc<Self>) -> Result<Open, DatabaseError> {
        let (handle, watch, is_alive) = self.handle();
        let database = open_database(handle, self.cache_bytes)?;
        self.is_taken.store(true, Ordering::Relaxed);
        Ok(Open::new(database, watch, is_alive, false))
    }

    /// Opens a database that shows what the last good commit left, and keeps to itself what is written to it.
    pub(super) fn open_stand_in(self: &Arc<Self>) -> Result<Open, DatabaseError> {
        let (handle, watch, is_alive) = self.handle();
        let overlay = Overlay::new(handle).map_err(StorageError::Io)?;
        overlay.write(0, &self.head().kept).map_err(StorageError::Io)?;
        let database = open_database(overlay, self.cache_bytes)?;
        Ok(Open::new(database, watch, is_alive, true))
    }

    fn handle(self: &Arc<Self>) -> (Handle, Arc<Watch>, Weak<()>) {
        let (watch, alive) = (Arc::new(Watch::default()), Arc::new(()));
        let is_alive = Arc::downgrade(&alive);
        (Handle { disk: Arc::clone(self), watch: Arc::clone(&watch), _alive: alive }, watch, is_alive)
    }

    /// Notes that what was written last is durable: a commit came back, or a database was opened.
    pub(super) fn keep_head(&self) -> io::Result<()> {
        let mut head = self.head();
        if head.now.is_empty() {
            let mut read = vec![0; HEAD_BYTES];
            self.file.read(0, &mut read)?;
            head.now = read;
        }
        let Head { now, kept } = &mut *head;
        kept.clone_from(now);
        Ok(())
    }

    /// Reads what is in memory at once. What is not is waited for, and other tasks of this thread go on elsewhere.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.in_memory.as_ref().is_some_and(|file| page_cache::read_at_once(file, offset, out)) {
            return Ok(());
        }
        page_cache::wait(|| self.file.read(offset, out))
    }

    /// Tries whether the disk takes writes, with a file of its own.
    pub(super) fn probe(&self) -> io::Result<()> {
        (self.probe)()
    }

    /// Undoes whatever was written behind the last good commit, durably. Never beside a database that writes.
    pub(super) fn undo(&self) -> io::Result<()> {
        let mut head = self.head();
        self.file.write(0, &head.kept)?;
        self.file.sync_data()?;
        let Head { now, kept } = &mut *head;
        now.clone_from(kept);
        Ok(())
    }

    /// Lets the lock go: another process may have the file.
    pub(super) fn release(&self) -> io::Result<()> {
        self.is_taken.store(false, Ordering::Relaxed);
        self.file.close()
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        // Each change of it is whole.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was written, where it is of the head.
    fn note_written(&self, offset: u64, data: &[u8]) {
        let Some(offset) = usize::try_from(offset).ok().filter(|offset| *offset < HEAD_BYTES) else { return };
        let head = &mut *self.head();
        let end = HEAD_BYTES.min(offset.saturating_add(data.len()));
        // Before the first database is open there is no head to keep.
        let place = head.now.get_mut(offset..end);
        if let Some((place, data)) = place.zip(data.get(..end - offset)) {
            place.copy_from_slice(data);
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// Opens a database over any backend.
pub(super) fn open_database(
    backend: impl StorageBackend,
    cache_bytes: usize,
) -> Result<Contained, DatabaseError> {
    // A file that was cut or overwritten may make redb panic while it opens it; that is a damaged file, too.
    let open = || Database::builder().set_cache_size(cache_bytes).create_with_backend(backend);
    let opened = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(broke_off("opening")));
    Ok(Contained(Some(opened?)))
}

fn broke_off(while_it: &str) -> DatabaseError {
    StorageError::Corrupted(format!("it broke off while {while_it}")).into()
}

/// A database that ends without a panic: redb reads and writes when it closes one, and may meet a page that makes no
/// sense.
pub(super) struct Contained(Option<Database>);

impl Contained {
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        self.0.as_ref().ok_or(StorageError::DatabaseClosed)?.begin_read()
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, TransactionError> {
        self.0.as_ref().ok_or(StorageError::DatabaseClosed)?.begin_write()
    }

    pub(super) fn close(mut self) -> Result<(), DatabaseError> {
        let Some(database) = self.0.take() else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| database.close())).unwrap_or_else(|_| Err(broke_off("closing")))
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // What was not closed is repaired by the next start.
        let database = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// A database over the file.
pub(super) struct Open {
    pub(super) database: Contained,
    pub(super) watch: Arc<Watch>,
    /// Whether what is written to it is lost.
    is_stand_in: bool,
    /// Dead once nothing reads through it any more.
    is_alive: Weak<()>,
    readers: AtomicUsize,
    /// What the last commit left.
    shown: ArcSwapOption<Committed>,
}

impl Open {
    fn new(database: Contained, watch: Arc<Watch>, is_alive: Weak<()>, is_stand_in: bool) -> Self {
        let (readers, shown) = (AtomicUsize::new(0), ArcSwapOption::empty());
        Self { database, watch, is_stand_in, is_alive, readers, shown }
    }

    /// Shows what the last commit left to all who begin to read from here on. To be called behind each commit, by
    /// whoever made it and before anybody is told: readers then share one transaction, and meet none of the locks
    /// that redb holds while it grows its file or writes its header.
    pub(super) fn show_last_commit(&self) {
        // Where that fails, whoever reads begins for himself, and is told why.
        self.shown.store(Committed::read(&self.database).ok().map(Arc::new));
    }

    fn last_commit(&self) -> Result<Arc<Committed>, StoreError> {
        self.shown.load_full().map_or_else(|| Committed::read(&self.database).map(Arc::new), Ok)
    }

    /// Whether what is written to it reaches the file.
    pub(super) fn takes_writes(&self) -> bool {
        !self.is_stand_in && !self.watch.has_failed()
    }

    /// How many read it now.
    pub(super) fn readers(&self) -> usize {
        self.readers.load(Ordering::SeqCst)
    }

    /// Says when nothing has this database any more.
    pub(super) fn is_alive(&self) -> Weak<()> {
        Weak::clone(&self.is_alive)
    }
}

/// Somebody who reads what one commit left; to be kept for as long as its tables.
pub(super) struct Reading {
    committed: Arc<Committed>,
    open: Arc<Open>,
}

impl Reading {
    pub(super) fn begin(open: Arc<Open>) -> Result<Self, StoreError> {
        let committed = open.last_commit()?;
        open.readers.fetch_add(1, Ordering::SeqCst);
        Ok(Self { committed, open })
    }

    pub(super) fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Opens a table.
    pub(super) fn open_table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        definition: &Definition<K, V>,
    ) -> Result<Rows<ReadOnlyTable<K, V>>, TableError> {
        definition.read(self.committed.txn())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.open.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What failed below a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    /// Something that was to be written, or synced.
    Write,
    /// Something that was to be read.
    Read,
}

/// Whom a failure is told to.
type Told = Box<dyn Fn(Failed) + Send + Sync>;

/// Whether something failed below one database.
#[derive(Default)]
pub(super) struct Watch {
    has_failed: AtomicBool,
    /// The first failure, where it has a number of the system's or a kind alone.
    cause: OnceLock<(Option<i32>, io::ErrorKind)>,
    told: OnceLock<Told>,
}

impl Watch {
    /// Whether something failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// From here on the database writes nothing.
    pub(super) fn fence(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    /// Has failures told, before redb hears of them.
    pub(super) fn tell(&self, told: Told) {
        // Said once for each database.
        let _ = self.told.set(told);
    }

    fn note<T>(&self, failed: Failed, done: io::Result<T>) -> io::Result<T> {
        let Err(error) = &done else { return done };
        let _ = self.cause.set((error.raw_os_error(), error.kind()));
        let is_first = !self.has_failed.swap(true, Ordering::SeqCst);
        if let Some(told) = self.told.get().filter(|_| is_first) {
            told(failed);
        }
        done
    }

    /// The first failure.
    pub(super) fn cause(&self) -> StoreError {
        let (number, kind) = self.cause.get().copied().unwrap_or((None, io::ErrorKind::Other));
        let cause = number.map_or_else(|| kind.into(), io::Error::from_raw_os_error);
        StoreError::database("use its file")(StorageError::Io(cause))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("has_failed", &self.has_failed()).finish_non_exhaustive()
    }
}

/// The file, as one database has it.
#[derive(Debug)]
struct Handle {
    disk: Arc<Disk>,
    watch: Arc<Watch>,
    _alive: Arc<()>,
}

impl Handle {
    fn is_taken(&self) -> bool {
        self.disk.is_taken.load(Ordering::Relaxed)
    }

    fn write_with(&self, write: impl FnOnce(&dyn StorageBackend) -> io::Result<()>) -> io::Result<()> {
        if self.watch.has_failed() {
            return Err(io::Error::other("a write before this one failed"));
        }
        self.watch.note(Failed::Write, write(self.disk.file.as_ref()))
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.watch.note(Failed::Read, self.disk.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.watch.note(Failed::Read, self.disk.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_with(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_with(StorageBackend::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_with(|file| file.write(offset, data))?;
        self.disk.note_written(offset, data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        // The lock stays for the next database, unless there never was one.
        if self.is_taken() { Ok(()) } else { self.disk.file.close() }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.is_taken() { Ok(true) } else { self.disk.file.try_lock_range(start, end) }
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.is_taken() { Ok(()) } else { self.disk.file.unlock_range(start, end) }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.file.query_lock_range(start, end)
    }
}
