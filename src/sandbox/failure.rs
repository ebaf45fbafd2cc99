//! What can go wrong in the sandbox: `SandboxError` when its file fails, `Failure` when one request does.
//!
//! A refusal carries the sentence that its caller reads. A fault carries its cause for the log, which is
//! written once, where the answer is made; the caller reads a fixed sentence.
//!
//! Never here: a status code or an envelope (`rest` and `mcp` each have their own), a caller's text in a log.

use std::io;
use std::path::PathBuf;

use super::llm::{LlmError, LlmOptionsError};

/// The sandbox's file failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The file could not be opened or made.
    #[error("cannot open or make the sandbox file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can be read or written by others than its owner.
    #[error("the sandbox file {} has mode {mode:03o}; it must be 600 (chmod 600)", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder of uploads can be entered by others than its owner.
    #[error("the sandbox folder {} has mode {mode:03o}; it must be 700 (chmod 700)", path.display())]
    FolderMode {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of the folder of uploads failed.
    #[error("an upload in the sandbox folder cannot be read or written")]
    Blob(#[source] io::Error),
    /// What is there is a link, no regular file, or empty. It is never replaced by a fresh one.
    #[error("the sandbox file {} is {found}; put the right file back, or move it away to start empty", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Another process holds the file.
    #[error("the sandbox file {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is there but is no database that this version can use.
    #[error("cannot use the sandbox file {} as a database", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// A read failed.
    #[error("cannot read from the sandbox file")]
    Read(#[source] Box<redb::Error>),
    /// A write failed: it may or may not be in the file, and was not acknowledged.
    #[error("cannot write to the sandbox file")]
    Write(#[source] Box<redb::Error>),
    /// A stored document is not what this version writes.
    #[error("a document in the sandbox file is unreadable")]
    Unreadable(#[source] serde_json::Error),
    /// The file was closed, or failed and could not be opened again yet.
    #[error("the sandbox file is closed")]
    Closed,
    /// The operating system gave no random bytes.
    #[error("no random bytes for a secret")]
    Random(#[source] getrandom::Error),
    /// The secret of upload URLs is not what this version keeps.
    #[error("the secret of upload URLs in the sandbox file is unreadable")]
    Secret,
    /// The language model cannot be asked.
    #[error("the language model of the sandbox cannot be asked")]
    Llm(#[source] LlmOptionsError),
    /// The blocking call ended without an answer.
    #[error("a call to the sandbox file was cut short")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// Why a request got no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The caller's input is wrong; the sentence names the field.
    Invalid(String),
    /// This workspace has no such thing; the word says what was asked for.
    NotFound(&'static str),
    /// This workspace holds as many records of this kind as the sandbox keeps.
    Full,
    /// What was uploaded is longer than it may be.
    TooLarge {
        /// How long it may be.
        bytes_max: u64,
    },
    /// This workspace's uploads hold as many bytes as the sandbox keeps.
    NoRoom,
    /// What was uploaded broke off before its end.
    Broken,
    /// The caller's URL gives it no right to this; the sentence says why.
    Forbidden(String),
    /// What was uploaded must have this content type.
    MediaType(String),
    /// As much is under way as may be.
    Busy,
    /// The language model behind the sandbox gave no answer.
    Model(LlmError),
    /// Ours, not the caller's.
    Fault(Fault),
}

/// A failure of our own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The gateway named no workspace, or none that can be read.
    #[error("the gateway named no workspace for a route that needs one")]
    NoWorkspace,
    /// The operating system gave no random bytes.
    #[error("no random bytes for an id")]
    Random(#[source] getrandom::Error),
    /// The file failed.
    #[error(transparent)]
    File(#[from] SandboxError),
}

impl Failure {
    /// The sentence for the caller.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Invalid(message) | Self::Forbidden(message) => message.clone(),
            Self::MediaType(expected) => format!("Content-Type must be {expected}, as was announced."),
            Self::Busy => "As many uploads are under way as the sandbox takes. Retry later.".to_owned(),
            Self::NotFound(what) => format!("No {what} with this id."),
            Self::Full => format!(
                "The sandbox keeps at most {} of these per workspace, and {} kinds. Delete some first.",
                super::records::file::RECORDS_MAX,
                super::records::file::COLLECTIONS_MAX
            ),
            Self::TooLarge { bytes_max } => format!("The upload is larger than {bytes_max} bytes."),
            Self::NoRoom => format!(
                "The sandbox keeps at most {} bytes of uploads per workspace. Delete some first.",
                super::blobs::WORKSPACE_BYTES_MAX
            ),
            Self::Broken => "The body ended too early.".to_owned(),
            Self::Model(error) => error.message(),
            Self::Fault(fault) if fault.is_passing() => {
                "The sandbox cannot store this now. Try again.".to_owned()
            }
            Self::Fault(Fault::NoWorkspace) => {
                "The sandbox keeps everything by workspace: without a key there is nothing here.".to_owned()
            }
            Self::Fault(_) => "The sandbox failed to answer.".to_owned(),
        }
    }
}

impl Fault {
    /// Whether the same request may well succeed later: the disk is full or the file is being opened again.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::File(SandboxError::Write(_) | SandboxError::Blob(_) | SandboxError::Closed))
    }

    /// Writes the whole chain of causes to the log; called once, by the door that answers.
    pub(super) fn log(&self) {
        let mut causes = String::new();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!("the sandbox could not answer: {self}{causes}");
    }
}

impl From<LlmError> for Failure {
    fn from(error: LlmError) -> Self {
        Self::Model(error)
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        Self::Fault(Fault::File(error))
    }
}
