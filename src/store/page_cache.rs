//! Reads of a file that know whether the system has what they ask for in memory.
//!
//! A first use of a key reads a few pages, which mostly are in memory: that takes a microsecond each, far less than
//! to hand the read to another thread. So it is made where the request runs, and only a read that must wait for the
//! disk lets the other tasks of its thread go on elsewhere. Where a system or a file cannot be asked, all reads are
//! such.
//!
//! Never here: what is read, or an error of a read at once; the read that waits meets it again and tells.

use std::fs::File;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Fills `out` from `offset` on, if that needs no wait; whether it did.
#[cfg(target_os = "linux")]
pub(super) fn read_at_once(file: &File, offset: u64, out: &mut [u8]) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    use std::io::IoSliceMut;

    let wanted = out.len();
    let read = preadv2(file, &mut [IoSliceMut::new(out)], offset, ReadWriteFlags::NOWAIT);
    // A part is in memory: then the rest is not.
    read.is_ok_and(|read| read == wanted)
}

#[cfg(not(target_os = "linux"))]
pub(super) const fn read_at_once(_file: &File, _offset: u64, _out: &mut [u8]) -> bool {
    false
}

/// Does something that may wait for the disk.
pub(super) fn wait<T>(work: impl FnOnce() -> T) -> T {
    let has_others =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_others { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_was_just_written_is_read_at_once_and_what_is_not_there_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let mut page = [0; 4096];
        // A file system may refuse to be asked; then nothing is ever read at once.
        if read_at_once(&file, 4096, &mut page) {
            assert_eq!(page, [7; 4096]);
            assert!(!read_at_once(&file, 6000, &mut page));
            assert!(!read_at_once(&file, 8192, &mut page));
        }
    }

    #[test]
    fn a_wait_beside_other_tasks_lets_them_go_on() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (sent, received) = std::sync::mpsc::channel();
        let waits = runtime.spawn(async move {
            tokio::spawn(async move { sent.send(7) });
            // The one worker is here, and the task above needs it.
            wait(|| received.recv().unwrap())
        });
        assert_eq!(runtime.block_on(waits).unwrap(), 7);
    }

    #[tokio::test]
    async fn a_wait_without_other_threads_is_just_a_wait() {
        assert_eq!(wait(|| 7), 7);
    }
}
