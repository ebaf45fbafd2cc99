//! What is wrong with a configuration, told all at once.
//!
//! A problem says where (file, line, name), and what was expected. It never repeats a value: a value may be a
//! secret that was put in the wrong place.
//!
//! Never here: an end after the first problem.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// The file, variable or flag.
    pub origin: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The dotted name of the setting; empty for the file as a whole.
    pub path: String,
    /// What was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}
