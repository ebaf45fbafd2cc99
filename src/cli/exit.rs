//! How a command ends, for scripts.
//!
//! The numbers are a promise: one is never given another meaning. `keyward --help` lists them.
//!
//! Never here: a reason in words; those go to stderr.

use std::process::ExitCode;

/// What a command tells the shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused or failed; stderr says why.
    Failed = 1,
    /// The command line cannot be read.
    Usage = 2,
    /// No daemon answered.
    NoDaemon = 3,
}

/// The list at the end of `--help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; stderr says why
  2  the command line cannot be read
  3  no daemon answered";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_listed_in_the_help() {
        for exit in [Exit::Done, Exit::Failed, Exit::Usage, Exit::NoDaemon] {
            assert!(
                EXIT_CODES.lines().any(|line| line.starts_with(&format!("  {}  ", exit as u8))),
                "{exit:?}"
            );
        }
    }
}
