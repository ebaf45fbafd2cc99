//! Bytes that callers upload: files of a folder of our own beside the database, each for one record.
//!
//! A blob comes in pieces, is written to a draft, synced, and only then given its name, so that there is never
//! half a blob; what broke off leaves nothing. Its name is ours: the workspace, the collection and the number
//! of the record that it belongs to. What a workspace's blobs hold together is bounded, drafts included, and
//! memory is flat however long one is. A name is given once.
//!
//! Never here: what a blob means, or a caller's text in a path.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::task::spawn_blocking;

use super::answer::AnswerBody;
use super::failure::{Failure, Fault, SandboxError};
use super::records::file::Collection;
use crate::domain::id::WorkspaceId;
use crate::store::private_file;

/// Bytes of one workspace's blobs at most, those in the making included: a few of the largest uploads.
pub(super) const WORKSPACE_BYTES_MAX: u64 = 4 << 30;

/// Bytes that one piece of an answer holds at most.
const PIECE_BYTES: usize = 64 << 10;

/// What the names of drafts end in; they mean nothing after a crash.
const DRAFT: &str = ".new";

/// The mode of every blob: its owner alone.
const MODE: u32 = 0o600;

/// The blobs of one folder. Clones share it.
#[derive(Clone)]
pub(super) struct Blobs(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    /// Bytes by workspace, named ones and drafts.
    held: Mutex<HashMap<WorkspaceId, u64>>,
}

/// Which blob: that of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BlobName {
    /// Where its record lies.
    pub(super) collection: Collection,
    /// The record's number.
    pub(super) number: u128,
}

/// Why a blob was not taken.
#[derive(Debug)]
pub(super) enum BlobRefused {
    /// It is longer than it may be.
    TooLarge {
        /// How long it may be.
        bytes_max: u64,
    },
    /// The workspace's blobs would hold more than [`WORKSPACE_BYTES_MAX`].
    NoRoom,
    /// The body broke off.
    Broken,
    /// This name has a blob.
    Taken,
    /// The folder failed.
    File(SandboxError),
}

impl Blobs {
    /// Opens the folder (0700), or makes it in a directory that exists; removes what a crash left half done.
    /// Blocks.
    pub(super) fn open(folder: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::File { path: folder.to_owned(), source };
        private_file::create_directory(folder).map_err(failed)?;
        let found = folder.symlink_metadata().map_err(failed)?;
        if !found.is_dir() {
            return Err(SandboxError::NotOurs { path: folder.to_owned(), found: "no directory" });
        }
        if found.mode() & 0o077 != 0 {
            let mode = found.mode() & 0o777;
            return Err(SandboxError::FolderMode { path: folder.to_owned(), mode });
        }
        let mut held = HashMap::new();
        for entry in folder.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(DRAFT) {
                fs::remove_file(entry.path()).map_err(failed)?;
            } else if let Some(name) = name.to_str().and_then(BlobName::parse) {
                let bytes = entry.metadata().map_err(failed)?.len();
                *held.entry(name.collection.workspace).or_insert(0) += bytes;
            }
        }
        Ok(Self(Arc::new(Inner { folder: folder.to_owned(), held: Mutex::new(held) })))
    }

    /// Removes the blobs whose record is gone, as a crash between the two leaves them. Blocks; for the start.
    pub(super) fn keep_only(
        &self,
        is_kept: impl Fn(&BlobName) -> Result<bool, SandboxError>,
    ) -> Result<(), SandboxError> {
        for entry in self.0.folder.read_dir().map_err(SandboxError::Blob)? {
            let entry = entry.map_err(SandboxError::Blob)?;
            let Some(name) = entry.file_name().to_str().and_then(BlobName::parse) else { continue };
            if !is_kept(&name)? {
                self.remove_now(&name)?;
            }
        }
        Ok(())
    }

    /// An empty draft of at most `bytes_max` bytes.
    pub(super) async fn draft(
        &self,
        workspace: WorkspaceId,
        bytes_max: u64,
    ) -> Result<BlobDraft, BlobRefused> {
        let drawn = getrandom::u64().map_err(|error| failed(io::Error::other(error)))?;
        let path = DraftPath(self.0.folder.join(format!("{drawn:016x}{DRAFT}")));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(MODE);
        let file = tokio::fs::OpenOptions::from(options).open(&path.0).await.map_err(failed)?;
        let room = Room { blobs: self.clone(), workspace, bytes: 0 };
        Ok(BlobDraft { file, path, room, bytes_max })
    }

    /// A blob's length and its bytes as they are read, or `None` where there is none.
    pub(super) async fn read(&self, name: &BlobName) -> Result<Option<(u64, AnswerBody)>, SandboxError> {
        let file = match File::open(self.path(name)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(SandboxError::Blob)?,
        };
        let size = file.metadata().await.map_err(SandboxError::Blob)?.len();
        let body = Reading { file, left: size, piece: vec![0; PIECE_BYTES] };
        Ok(Some((size, body.boxed_unsync())))
    }

    /// Removes a blob; false when there was none. Whoever is reading it reads on to its end.
    pub(super) async fn remove(&self, name: BlobName) -> Result<bool, SandboxError> {
        let blobs = self.clone();
        spawn_blocking(move || blobs.remove_now(&name)).await.map_err(SandboxError::Interrupted)?
    }

    pub(super) fn remove_now(&self, name: &BlobName) -> Result<bool, SandboxError> {
        let path = self.path(name);
        // The lock is held so that two removals of one blob give its bytes back once.
        let mut held = self.held();
        let removed = path.symlink_metadata().and_then(|found| fs::remove_file(&path).map(|()| found.len()));
        match removed {
            Ok(bytes) => {
                give_back(&mut held, name.collection.workspace, bytes);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SandboxError::Blob(error)),
        }
    }

    fn path(&self, name: &BlobName) -> PathBuf {
        self.0.folder.join(name.text())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<WorkspaceId, u64>> {
        // Nothing between two statements can panic here.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobName {
    fn text(&self) -> String {
        let Collection { workspace, name } = &self.collection;
        format!("{:032x}.{name}.{:032x}", workspace.as_u128(), self.number)
    }

    fn parse(text: &str) -> Option<Self> {
        let (workspace, rest) = text.split_once('.')?;
        let (name, number) = rest.rsplit_once('.')?;
        let number_of = |text: &str| u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
        let workspace = WorkspaceId::from_u128(number_of(workspace)?);
        let collection = Collection { workspace, name: name.to_owned().into() };
        Some(Self { collection, number: number_of(number)? })
    }
}

/// A blob in the making; gone when dropped.
pub(super) struct BlobDraft {
    file: File,
    path: DraftPath,
    room: Room,
    bytes_max: u64,
}

impl BlobDraft {
    /// Adds bytes at its end.
    pub(super) async fn push(&mut self, data: &[u8]) -> Result<(), BlobRefused> {
        let more = data.len() as u64;
        if self.room.bytes.saturating_add(more) > self.bytes_max {
            return Err(BlobRefused::TooLarge { bytes_max: self.bytes_max });
        }
        self.room.take(more)?;
        self.file.write_all(data).await.map_err(failed)
    }

    /// Puts it on the disk.
    pub(super) async fn finish(mut self) -> Result<WholeBlob, BlobRefused> {
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        Ok(WholeBlob { path: self.path, room: self.room })
    }
}

/// A blob that is whole and on the disk, and has no name yet; gone when dropped.
pub(super) struct WholeBlob {
    path: DraftPath,
    room: Room,
}

impl WholeBlob {
    /// Bytes of it.
    pub(super) const fn size(&self) -> u64 {
        self.room.bytes
    }

    /// Gives it its name, durably. Blocks.
    pub(super) fn name(mut self, name: &BlobName) -> Result<(), BlobRefused> {
        // A link, unlike a rename, never replaces a blob that is there.
        match fs::hard_link(&self.path.0, self.room.blobs.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(BlobRefused::Taken),
            linked => linked.map_err(failed)?,
        }
        // From here on the bytes belong to the name.
        self.room.bytes = 0;
        fs::File::open(&self.room.blobs.0.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// Room that a draft takes of its workspace's, given back when dropped.
struct Room {
    blobs: Blobs,
    workspace: WorkspaceId,
    bytes: u64,
}

impl Room {
    fn take(&mut self, more: u64) -> Result<(), BlobRefused> {
        let mut held = self.blobs.held();
        let all = held.entry(self.workspace).or_insert(0);
        let after = all.saturating_add(more);
        if after > WORKSPACE_BYTES_MAX {
            return Err(BlobRefused::NoRoom);
        }
        *all = after;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        give_back(&mut self.blobs.held(), self.workspace, self.bytes);
    }
}

fn give_back(held: &mut HashMap<WorkspaceId, u64>, workspace: WorkspaceId, bytes: u64) {
    if let Some(all) = held.get_mut(&workspace) {
        *all = all.saturating_sub(bytes);
        if *all == 0 {
            held.remove(&workspace);
        }
    }
}

struct DraftPath(PathBuf);

impl Drop for DraftPath {
    fn drop(&mut self) {
        // One that cannot be removed is removed at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// A blob as an answer's body.
struct Reading {
    file: File,
    left: u64,
    piece: Vec<u8>,
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(this.left).unwrap_or(usize::MAX).min(this.piece.len());
        let mut piece = ReadBuf::new(this.piece.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut piece))?;
        let read = Bytes::copy_from_slice(piece.filled());
        if read.is_empty() {
            // Shorter than it was: the length that was told would not be kept.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left -= read.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(read))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn failed(error: io::Error) -> BlobRefused {
    BlobRefused::File(SandboxError::Blob(error))
}

impl From<BlobRefused> for Failure {
    fn from(refused: BlobRefused) -> Self {
        match refused {
            BlobRefused::TooLarge { bytes_max } => Self::TooLarge { bytes_max },
            BlobRefused::NoRoom => Self::NoRoom,
            BlobRefused::Broken => Self::Broken,
            BlobRefused::Taken => Self::Invalid("This was uploaded before.".to_owned()),
            BlobRefused::File(error) => Self::Fault(Fault::File(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::os::unix::fs::PermissionsExt;

    impl Blobs {
        /// Takes a whole body as the blob of this name; how many bytes it had. What breaks off or is too long
        /// leaves nothing.
        async fn take<B>(&self, name: BlobName, mut body: B, bytes_max: u64) -> Result<u64, BlobRefused>
        where
            B: http_body::Body<Data = Bytes> + Unpin,
        {
            if body.size_hint().lower() > bytes_max {
                return Err(BlobRefused::TooLarge { bytes_max });
            }
            let mut draft = self.draft(name.collection.workspace, bytes_max).await?;
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|_| BlobRefused::Broken)?.into_data() {
                    draft.push(&data).await?;
                }
            }
            let whole = draft.finish().await?;
            let size = whole.size();
            spawn_blocking(move || whole.name(&name)).await.unwrap()?;
            Ok(size)
        }
    }

    use http_body_util::Full;

    fn name(workspace: u128, number: u128) -> BlobName {
        let workspace = WorkspaceId::from_u128(workspace);
        BlobName { collection: Collection { workspace, name: "things".into() }, number }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("blobs");
        (directory, folder)
    }

    fn names(folder: &Path) -> Vec<String> {
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn text(blobs: &Blobs, name: &BlobName) -> Option<(u64, Bytes)> {
        let (size, body) = blobs.read(name).await.unwrap()?;
        Some((size, body.collect().await.unwrap().to_bytes()))
    }

    /// Pieces, and then an end or a break.
    struct Pieces(VecDeque<Result<Bytes, io::Error>>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop_front().map(|piece| piece.map(Frame::data)))
        }
    }

    #[tokio::test]
    async fn a_blob_is_taken_read_and_removed_and_is_for_its_owner_alone() {
        let (_directory, folder) = folder();
        let blobs = Blobs::open(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        let long = vec![7; 3 * PIECE_BYTES + 5];
        let size = blobs.take(name(1, 2), Full::<Bytes>::from(long.clone()), 1 << 20).await.unwrap();
        assert_eq!(size, long.len() as u64);
        assert_eq!(text(&blobs, &name(1, 2)).await, Some((size, long.into())));
        assert_eq!(text(&blobs, &name(2, 2)).await, None);
        assert_eq!(names(&folder), [name(1, 2).text()], "no draft is left");
        assert_eq!(folder.join(name(1, 2).text()).metadata().unwrap().mode() & 0o777, 0o600);

        let again = blobs.take(name(1, 2), Full::<Bytes>::from("x"), 10).await;
        assert!(matches!(again, Err(BlobRefused::Taken)), "a name is given once");
        assert_eq!(names(&folder).len(), 1);

        assert!(blobs.remove(name(1, 2)).await.unwrap());
        assert!(!blobs.remove(name(1, 2)).await.unwrap());
        assert!(names(&folder).is_empty() && blobs.held().is_empty());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_too_long_leaves_nothing() {
        let (_directory, folder) = folder();
        let blobs = Blobs::open(&folder).unwrap();
        let piece = || Ok(Bytes::from_static(b"abcde"));
        let broken = Pieces(VecDeque::from([piece(), Err(io::ErrorKind::ConnectionReset.into())]));
        assert!(matches!(blobs.take(name(1, 1), broken, 100).await, Err(BlobRefused::Broken)));
        let long = Pieces(VecDeque::from([piece(), piece()]));
        let refused = blobs.take(name(1, 1), long, 9).await;
        assert!(matches!(refused, Err(BlobRefused::TooLarge { bytes_max: 9 })));
        let told = blobs.take(name(1, 1), Full::<Bytes>::from("abcdefghij"), 9).await;
        assert!(matches!(told, Err(BlobRefused::TooLarge { .. })));
        assert!(names(&folder).is_empty() && blobs.held().is_empty());
        let fits = Pieces(VecDeque::from([piece(), piece()]));
        assert_eq!(blobs.take(name(1, 1), fits, 10).await.unwrap(), 10);
    }

    #[tokio::test]
    async fn a_workspace_has_only_so_much_room_and_drafts_take_of_it() {
        let (_directory, folder) = folder();
        let blobs = Blobs::open(&folder).unwrap();
        let workspace = WorkspaceId::from_u128(1);
        blobs.held().insert(workspace, WORKSPACE_BYTES_MAX - 8);
        let mut draft = blobs.draft(workspace, 100).await.unwrap();
        draft.push(b"abcde").await.unwrap();
        let other = blobs.take(name(1, 1), Full::<Bytes>::from("abcd"), 10).await;
        assert!(matches!(other, Err(BlobRefused::NoRoom)));
        blobs.take(name(2, 1), Full::<Bytes>::from("abcd"), 10).await.unwrap();
        drop(draft);
        blobs.take(name(1, 1), Full::<Bytes>::from("abcd"), 10).await.unwrap();
        assert_eq!(blobs.held()[&workspace], WORKSPACE_BYTES_MAX - 4);
    }

    #[tokio::test]
    async fn a_start_counts_what_is_there_and_removes_what_is_half_or_nobodys() {
        let (_directory, folder) = folder();
        let blobs = Blobs::open(&folder).unwrap();
        for number in [1, 2] {
            blobs.take(name(1, number), Full::<Bytes>::from("abcd"), 10).await.unwrap();
        }
        fs::write(folder.join("0123.new"), "half").unwrap();
        let blobs = Blobs::open(&folder).unwrap();
        assert_eq!(blobs.held()[&WorkspaceId::from_u128(1)], 8);
        blobs.keep_only(|found| Ok(*found == name(1, 2))).unwrap();
        assert_eq!(names(&folder), [name(1, 2).text()]);
        assert_eq!(blobs.held()[&WorkspaceId::from_u128(1)], 4);
    }

    #[test]
    fn a_folder_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(Blobs::open(directory.path()), Err(SandboxError::FolderMode { mode: 0o755, .. })));
    }
}
