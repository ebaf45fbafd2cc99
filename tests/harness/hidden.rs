//! A text that no failure of a test shows.
//!
//! It is printed as a word that says so.
//!
//! Never here: a way to show it.

use std::fmt;
use std::ops::Deref;

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) String);

impl Deref for Hidden {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
