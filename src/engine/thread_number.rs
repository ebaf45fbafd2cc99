//! A number for each thread, so that threads can count apart.
//!
//! No two threads ever have the same one.
//!
//! Never here: what is counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of this thread, from 0 in the order in which threads first asked.
pub(super) fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // A thread that is ending counts where the crowd does.
    let number = NUMBER.try_with(|number| {
        number.get().unwrap_or_else(|| {
            let fresh = THREADS.fetch_add(1, Ordering::Relaxed);
            number.set(Some(fresh));
            fresh
        })
    });
    number.unwrap_or(usize::MAX)
}
