//! Why a command did not do what it was asked, and which exit code that is.
//!
//! Each text is complete by itself: what was tried, why not, what to do. Causes are told behind it, once.
//!
//! Never here: the text of a key.

use std::path::PathBuf;

use super::admin_client::ClientError;
use super::exit::Exit;
use super::key_file::KeyFileError;
use super::mcp_client::McpError;
use super::output::{Output, plain};
use crate::app::{AuditUnreadable, StartError, StopError};
use crate::config::Problem;
use crate::domain::causes::Causes;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error("the configuration has {} problem(s)", .0.len())]
    Config(Vec<Problem>),
    #[error("the daemon did not start")]
    Start(#[from] StartError),
    #[error("the daemon did not stop cleanly")]
    Stop(#[from] StopError),
    #[error("stopped at once on a second signal; what was counted since the last checkpoint is lost")]
    StoppedAtOnce,
    #[error(
        "no admin key file was found (looked at {looked_at}): say --admin-key-file FILE, or --config FILE of the daemon"
    )]
    NoKeyFile { looked_at: String },
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{} could not be {action}", .path.display())]
    File { path: PathBuf, action: &'static str, source: std::io::Error },
    #[error("{} is there already; nothing was changed", .path.display())]
    Exists { path: PathBuf },
    #[error("{refused} of {all} records were refused; the report says why")]
    Import { refused: usize, all: usize },
    #[error("the operating system refused {0}")]
    System(&'static str, #[source] std::io::Error),
    #[error("the audit log could not be checked")]
    AuditUnreadable(#[from] AuditUnreadable),
    #[error("{0}")]
    Audit(String),
    #[error(transparent)]
    Mcp(#[from] McpError),
    #[error("{closed} of {all} tools are unmapped, and so closed")]
    Unmapped { closed: usize, all: usize },
    #[error("the demo cannot go on: {0}")]
    Demo(String),
    #[error("the result could not be written to stdout")]
    Output(#[source] std::io::Error),
}

impl CliError {
    /// How the command ends.
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Client(ClientError::NoDaemon { .. } | ClientError::Late { .. }) => Exit::NoDaemon,
            _ => Exit::Failed,
        }
    }

    /// Tells it on stderr.
    pub(super) fn tell(&self, output: &mut Output) {
        output.remark(format_args!("keyward: {}", plain(&Causes(self).to_string())));
        if let Self::Config(problems) = self {
            for problem in problems {
                output.remark(format_args!("  {}", plain(&problem.to_string())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::kept;
    use super::*;

    #[test]
    fn every_problem_of_a_configuration_is_told_on_a_line_of_its_own() {
        let problem = |line| Problem {
            origin: "k.toml".to_owned(),
            line,
            path: "a.b".to_owned(),
            message: "expected c".to_owned(),
        };
        let (mut output, _, err) = kept();
        CliError::Config(vec![problem(Some(1)), problem(None)]).tell(&mut output);
        let expected = "keyward: the configuration has 2 problem(s)\n  k.toml:1: a.b: expected c\n  k.toml: a.b: expected c\n";
        assert_eq!(err.text(), expected);
    }

    #[test]
    fn causes_are_told_behind_the_failure() {
        let (mut output, _, err) = kept();
        let source = std::io::Error::other("the disk is full");
        CliError::File { path: "a\nb".into(), action: "written", source }.tell(&mut output);
        assert_eq!(err.text(), "keyward: a\\nb could not be written: the disk is full\n");
    }
}
