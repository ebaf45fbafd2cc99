//! A value that is read all the time and hardly ever replaced.
//!
//! The first one lies inline, so that reading it costs one look at a flag and follows no pointer. Once it is
//! replaced, the newest lies behind one. A replacement that has returned is seen by every read that begins after it.
//!
//! Never here: a value that changes in place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwapOption, Guard};

/// The value. In this order, so that the flag lies beside what comes first in the value.
#[repr(C)]
pub(super) struct Seldom<T> {
    is_replaced: AtomicBool,
    newest: ArcSwapOption<T>,
    first: T,
}

/// The value as it was when it was asked for.
pub(super) struct Present<'a, T> {
    first: &'a T,
    newest: Option<Guard<Option<Arc<T>>>>,
}

impl<T> Seldom<T> {
    /// The first value.
    pub(super) const fn new(first: T) -> Self {
        Self { is_replaced: AtomicBool::new(false), newest: ArcSwapOption::const_empty(), first }
    }

    /// The first value, whatever came after it.
    #[inline]
    pub(super) const fn first(&self) -> &T {
        &self.first
    }

    /// The first value, before anybody else knows of it.
    pub(super) const fn first_mut(&mut self) -> &mut T {
        &mut self.first
    }

    /// The present value.
    #[inline]
    pub(super) fn load(&self) -> Present<'_, T> {
        Present { first: &self.first, newest: self.is_replaced().then(|| self.newest.load()) }
    }

    /// Whether another one took the place of the first.
    #[inline]
    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::SeqCst)
    }

    /// Puts `newer` in the place of the present value, if `replaces` says so of that one.
    pub(super) fn replace(&self, newer: &Arc<T>, replaces: impl Fn(&T) -> bool) {
        self.newest.rcu(|present| {
            let goes = replaces(present.as_deref().unwrap_or(&self.first));
            if goes { Some(Arc::clone(newer)) } else { present.clone() }
        });
        // Only after it is there: whoever sees the flag finds it.
        self.is_replaced.store(true, Ordering::SeqCst);
    }
}

impl<T> Deref for Present<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let newest = self.newest.as_ref().and_then(|newest| newest.as_deref());
        newest.unwrap_or(self.first)
    }
}

impl<T: fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.load(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_by_what_goes_before_it_alone() {
        let seldom = Seldom::new(3);
        let newer_than = |newer: i32| move |present: &i32| *present < newer;
        assert_eq!(*seldom.load(), 3);
        for (offered, present) in [(2, 3), (5, 5), (4, 5), (6, 6)] {
            seldom.replace(&Arc::new(offered), newer_than(offered));
            assert_eq!(*seldom.load(), present, "{offered}");
        }
    }

    #[test]
    fn a_value_that_is_held_stays_what_it_was() {
        let seldom = Seldom::new("first");
        let held = seldom.load();
        seldom.replace(&Arc::new("newer"), |_| true);
        assert_eq!((*held, *seldom.load()), ("first", "newer"));
    }

    #[test]
    fn a_read_never_goes_behind_a_replacement_that_has_returned() {
        use std::sync::atomic::AtomicU32;
        let (seldom, returned) = (Seldom::new(0_u32), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..20_000 {
                    seldom.replace(&Arc::new(number), |present| *present < number);
                    returned.store(number, Ordering::SeqCst);
                }
            });
            while returned.load(Ordering::SeqCst) < 19_999 {
                let before = returned.load(Ordering::SeqCst);
                assert!(*seldom.load() >= before);
            }
        });
    }
}
