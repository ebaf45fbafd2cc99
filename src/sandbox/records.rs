//! The record file for async callers: each call runs on a thread that may block.
//!
//! Writes stand in one line, since redb takes one write at a time and a waiting one would hold a thread;
//! reads share a few places. A caller that leaves does not undo its write: it holds its place until the call
//! is done.
//!
//! Never here: a redb type, a second way to the file.

pub(super) mod due;
pub(super) mod file;
mod opening;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::blobs::BlobName;
use super::failure::SandboxError;
use super::media::Uploads;
use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;

use due::{Alteration, Due};
use file::{Collection, RecordFile};

/// Reads at one time. Each holds a blocking thread for some microseconds.
const READS_MAX: usize = 4;

/// A handle to the file; clones share it.
#[derive(Clone)]
pub(super) struct Records {
    file: Arc<RecordFile>,
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Records {
    /// Opens the file or makes it. Blocks.
    pub(super) fn open(path: &Path) -> Result<Self, SandboxError> {
        Ok(Self {
            file: Arc::new(RecordFile::open(path)?),
            writes: Arc::new(Semaphore::new(1)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        })
    }

    /// Whether the record is there that a blob belongs to. Blocks; for the start.
    pub(super) fn holds(&self, blob: &BlobName) -> Result<bool, SandboxError> {
        Ok(self.file.find(&blob.collection, blob.number)?.is_some())
    }

    /// What the uploads of all workspaces share. Blocks; for the start.
    pub(super) fn uploads(&self) -> Result<Uploads, SandboxError> {
        Uploads::open(&self.file)
    }

    /// See [`RecordFile::insert`].
    pub(super) async fn insert(
        &self,
        collection: Collection,
        proposed: u128,
        document: impl FnOnce(u128) -> Result<Vec<u8>, SandboxError> + Send + 'static,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.run(&self.writes, move |file| file.insert(&collection, proposed, document)).await
    }

    /// See [`RecordFile::find`].
    pub(super) async fn find(
        &self,
        collection: Collection,
        id: u128,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.run(&self.reads, move |file| file.find(&collection, id)).await
    }

    /// See [`RecordFile::newest`].
    pub(super) async fn newest(
        &self,
        collection: Collection,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SandboxError> {
        self.run(&self.reads, move |file| file.newest(&collection, offset, limit)).await
    }

    /// See [`RecordFile::newest_that`].
    pub(super) async fn newest_that(
        &self,
        collection: Collection,
        offset: usize,
        limit: usize,
        fits: impl Fn(&[u8]) -> Result<bool, SandboxError> + Send + 'static,
    ) -> Result<Vec<Vec<u8>>, SandboxError> {
        self.run(&self.reads, move |file| file.newest_that(&collection, offset, limit, fits)).await
    }

    /// See [`RecordFile::counts`].
    pub(super) async fn counts(&self, workspace: WorkspaceId) -> Result<Vec<(String, u64)>, SandboxError> {
        self.run(&self.reads, move |file| file.counts(workspace)).await
    }

    /// See [`RecordFile::older`].
    pub(super) async fn older(
        &self,
        collection: Collection,
        id: u128,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SandboxError> {
        self.run(&self.reads, move |file| file.older(&collection, id, limit)).await
    }

    /// See [`RecordFile::each`].
    pub(super) async fn each<T: Send + 'static>(
        &self,
        collection: Collection,
        mut gathered: T,
        look: impl Fn(&mut T, &[u8]) -> Result<(), SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        self.run(&self.reads, move |file| {
            file.each(&collection, |document| look(&mut gathered, document))?;
            Ok(gathered)
        })
        .await
    }

    /// See [`RecordFile::insert_due`].
    pub(super) async fn insert_due(
        &self,
        collection: Collection,
        proposed: u128,
        due: Wall,
        document: impl FnOnce(u128) -> Result<Vec<u8>, SandboxError> + Send + 'static,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.run(&self.writes, move |file| file.insert_due(&collection, proposed, due, document)).await
    }

    /// See [`RecordFile::alter`].
    pub(super) async fn alter<T: Send + 'static>(
        &self,
        collection: Collection,
        id: u128,
        work: impl FnOnce(&[u8]) -> Result<(Alteration, T), SandboxError> + Send + 'static,
    ) -> Result<Option<T>, SandboxError> {
        self.run(&self.writes, move |file| file.alter(&collection, id, work)).await
    }

    /// Whether something may be due by now. Reads no file.
    pub(super) fn is_something_due(&self, now: Wall) -> bool {
        self.file.due.is_reached(now)
    }

    /// See [`RecordFile::due_by`].
    pub(super) async fn due_by(
        &self,
        now: Wall,
        most: usize,
        name: &'static str,
    ) -> Result<Vec<Due>, SandboxError> {
        // In the line of the writes, so that none is under way.
        self.run(&self.writes, move |file| file.due_by(now, most, name)).await
    }

    /// See [`RecordFile::settle`].
    pub(super) async fn settle(
        &self,
        due: Vec<Due>,
        work: impl FnMut(&Due, &[u8]) -> Result<Alteration, SandboxError> + Send + 'static,
    ) -> Result<(), SandboxError> {
        self.run(&self.writes, move |file| file.settle(&due, work)).await
    }

    /// Whatever one transaction over the tables does.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RecordFile) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        self.run(&self.writes, work).await
    }

    /// See [`RecordFile::remove`].
    pub(super) async fn remove(&self, collection: Collection, id: u128) -> Result<bool, SandboxError> {
        self.run(&self.writes, move |file| file.remove(&collection, id)).await
    }

    /// See [`RecordFile::close`].
    pub(super) async fn close(&self) -> Result<(), SandboxError> {
        self.run(&self.writes, RecordFile::close).await
    }

    async fn run<T: Send + 'static>(
        &self,
        line: &Arc<Semaphore>,
        call: impl FnOnce(&RecordFile) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        let Ok(place) = Arc::clone(line).acquire_owned().await else {
            return Err(SandboxError::Closed);
        };
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            let outcome = call(&file);
            drop(place);
            outcome
        })
        .await
        .map_err(SandboxError::Interrupted)?
    }
}
