//! A file seen through memory: reads come from the file, writes stay here.
//!
//! It lets redb open and repair a file while the file itself stays as it is: one of unknown schema, or one that
//! takes no writes. It takes the file's own locks, so a file that another process holds is seen as such.
//!
//! Never here: a write to the file. What was written is lost when this is dropped, and that is its purpose.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// Bytes that are remembered as one.
const BLOCK_BYTES: usize = 4096;
const BLOCK_BYTES_U64: u64 = BLOCK_BYTES as u64;
/// The most blocks that are remembered: 64 MiB, far more than a repair of a file takes whose commits all
/// saved the allocator's state.
const BLOCKS_MAX: usize = 16 * 1024;

/// A file and what was written over it.
#[derive(Debug)]
pub(super) struct Overlay<File> {
    file: File,
    written: Mutex<Written>,
    full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Written {
    /// The length as it seems.
    len: u64,
    /// How far the file still shows through.
    file_len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl<File: StorageBackend> Overlay<File> {
    /// Lays an overlay over the file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.len()?;
        let written = Mutex::new(Written { len, file_len: len, blocks: BTreeMap::new() });
        Ok(Self { file, written, full: Arc::default() })
    }

    /// Set once a write was refused because too much was written.
    pub(super) fn full(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.full)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it seems.
    fn block(&self, written: &Written, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(block) = written.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
        let start = number * BLOCK_BYTES_U64;
        let shows = written.file_len.saturating_sub(start).min(BLOCK_BYTES_U64);
        if let Some(part) = usize::try_from(shows).ok().and_then(|shows| block.get_mut(..shows)) {
            self.file.read(start, part)?;
        }
        Ok(block)
    }
}

/// The blocks that `length` bytes from `offset` on lie in: number, first byte inside the block, bytes inside
/// it.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let mut left = length;
    std::iter::from_fn(move || {
        let inside = usize::try_from(at % BLOCK_BYTES_U64).ok()?;
        let bytes = left.min(BLOCK_BYTES - inside);
        let number = at / BLOCK_BYTES_U64;
        at += bytes as u64;
        left -= bytes;
        (bytes > 0).then_some((number, inside, bytes))
    })
}

/// For pieces that do not fit their block, which `pieces` never yields.
fn out_of_range() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl<File: StorageBackend> StorageBackend for Overlay<File> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, inside, bytes) in pieces(offset, out.len()) {
            let block = self.block(&written, number)?;
            let (now, later) = out.split_at_mut_checked(bytes).ok_or_else(out_of_range)?;
            now.copy_from_slice(block.get(inside..inside + bytes).ok_or_else(out_of_range)?);
            out = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        if len < written.len {
            // What is cut off must come back as zeros if the file grows again.
            written.file_len = written.file_len.min(len);
            written.blocks.retain(|number, _| number * BLOCK_BYTES_U64 < len);
            let (last, inside) = (len / BLOCK_BYTES_U64, len % BLOCK_BYTES_U64);
            let tail = written.blocks.get_mut(&last).zip(usize::try_from(inside).ok());
            if let Some(tail) = tail.and_then(|(block, inside)| block.get_mut(inside..)) {
                tail.fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (number, inside, bytes) in pieces(offset, data.len()) {
            if written.blocks.len() >= BLOCKS_MAX && !written.blocks.contains_key(&number) {
                self.full.store(true, Ordering::Relaxed);
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let mut block = self.block(&written, number)?;
            let (now, later) = data.split_at_checked(bytes).ok_or_else(out_of_range)?;
            block.get_mut(inside..inside + bytes).ok_or_else(out_of_range)?.copy_from_slice(now);
            written.blocks.insert(number, block);
            data = later;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redb::backends::FileBackend;
    use std::io::Write;

    const BYTES_MAX: usize = 3 * BLOCK_BYTES;

    #[derive(Clone, Debug)]
    enum Step {
        Write { offset: usize, data: Vec<u8> },
        SetLen(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0..BYTES_MAX, proptest::collection::vec(any::<u8>(), 0..5_000))
            .prop_map(|(offset, data)| Step::Write { offset, data });
        proptest::collection::vec(prop_oneof![write, (0..BYTES_MAX).prop_map(Step::SetLen)], 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_reads_like_the_file_that_would_have_been_written(steps in steps(), start in 0..BYTES_MAX) {
            let mut file = tempfile::tempfile().unwrap();
            let mut model: Vec<u8> = (0..=250u8).cycle().take(start).collect();
            file.write_all(&model).unwrap();
            let overlay = Overlay::new(FileBackend::new(file.try_clone().unwrap()).unwrap()).unwrap();
            for step in steps {
                match step {
                    Step::SetLen(len) => {
                        overlay.set_len(len as u64).unwrap();
                        model.resize(len, 0);
                    }
                    Step::Write { offset, data } => {
                        // redb writes inside the length alone.
                        let offset = offset.min(model.len());
                        let data = &data[..data.len().min(model.len() - offset)];
                        overlay.write(offset as u64, data).unwrap();
                        model[offset..offset + data.len()].copy_from_slice(data);
                    }
                }
                let mut seen = vec![0; model.len()];
                overlay.read(0, &mut seen).unwrap();
                prop_assert!(seen == model);
                prop_assert!(overlay.read(1, &mut seen).is_err() || model.is_empty());
            }
            prop_assert_eq!(file.metadata().unwrap().len(), start as u64);
        }
    }
}
