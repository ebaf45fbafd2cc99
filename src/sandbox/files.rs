//! Files that callers upload: what is known of each, in OpenAI's shape, and its bytes on the disk.
//!
//! A file's record is made in the step that names its bytes, and goes before them: what a crash leaves between
//! the two are bytes that nobody sees, and the next start removes them.
//!
//! Never here: HTTP, the way bytes are kept.

use std::io;

use serde::{Deserialize, Serialize};

use super::Sandbox;
use super::answer::AnswerBody;
use super::blobs::{BlobName, BlobRefused};
use super::failure::{Failure, SandboxError};
use super::form::Upload;
use super::number::{id_of, new_number, number_behind};
use super::page::Page;
use super::records::file::Collection;
use crate::domain::id::WorkspaceId;

const ID_WORD: &str = "file-";

/// A file as callers see it and as the sandbox's own file holds it.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadedFile {
    pub(super) id: String,
    object: String,
    bytes: u64,
    /// Seconds since 1970.
    created_at: i64,
    pub(super) filename: String,
    purpose: String,
    status: String,
}

impl Sandbox {
    /// Keeps an upload.
    pub(super) async fn create_file(
        &self,
        workspace: WorkspaceId,
        upload: Upload,
    ) -> Result<UploadedFile, Failure> {
        let now = self.now();
        let proposed = new_number(now)?;
        let document = self.records.insert(files(workspace), proposed, move |number| {
            let document = written(&UploadedFile {
                id: id_of(ID_WORD, number),
                object: "file".to_owned(),
                bytes: upload.blob.size(),
                created_at: now.secs(),
                filename: upload.filename,
                purpose: upload.purpose,
                status: "processed".to_owned(),
            })?;
            let named = upload.blob.name(&BlobName { collection: files(workspace), number });
            named.map_err(|refused| match refused {
                BlobRefused::File(error) => error,
                _ => SandboxError::Blob(io::ErrorKind::AlreadyExists.into()),
            })?;
            Ok(document)
        });
        Ok(read(&document.await?.ok_or(Failure::Full)?)?)
    }

    /// A page of files, newest first: of all, or of those older than the file with the id `after`.
    pub(super) async fn list_files(
        &self,
        workspace: WorkspaceId,
        after: Option<&str>,
        page: Page,
    ) -> Result<Vec<UploadedFile>, Failure> {
        let documents = match after {
            Some(id) => {
                let unknown = |_| Failure::Invalid("after must be the id of a file.".to_owned());
                self.records.older(files(workspace), number(id).map_err(unknown)?, page.limit).await?
            }
            None => self.records.newest(files(workspace), page.offset, page.limit).await?,
        };
        Ok(documents.iter().map(|document| read(document)).collect::<Result<_, _>>()?)
    }

    /// What is known of a file.
    pub(super) async fn file(&self, workspace: WorkspaceId, id: &str) -> Result<UploadedFile, Failure> {
        let document = self.records.find(files(workspace), number(id)?).await?;
        Ok(read(&document.ok_or(Failure::NotFound("file"))?)?)
    }

    /// A file and its bytes.
    pub(super) async fn file_content(
        &self,
        workspace: WorkspaceId,
        id: &str,
    ) -> Result<(UploadedFile, AnswerBody), Failure> {
        let file = self.file(workspace, id).await?;
        let name = BlobName { collection: files(workspace), number: number(id)? };
        // One that was deleted in this moment is gone.
        let (_, body) = self.blobs.read(&name).await?.ok_or(Failure::NotFound("file"))?;
        Ok((file, body))
    }

    /// Deletes a file.
    pub(super) async fn delete_file(&self, workspace: WorkspaceId, id: &str) -> Result<(), Failure> {
        let number = number(id)?;
        if !self.records.remove(files(workspace), number).await? {
            return Err(Failure::NotFound("file"));
        }
        // Nobody sees the bytes any more; those that cannot be removed are removed at the next start.
        if let Err(error) = self.blobs.remove(BlobName { collection: files(workspace), number }).await {
            tracing::warn!(%error, "the bytes of a deleted upload are still there");
        }
        Ok(())
    }
}

fn files(workspace: WorkspaceId) -> Collection {
    Collection { workspace, name: "files".into() }
}

fn number(id: &str) -> Result<u128, Failure> {
    number_behind(ID_WORD, id).ok_or(Failure::NotFound("file"))
}

fn read(document: &[u8]) -> Result<UploadedFile, SandboxError> {
    serde_json::from_slice(document).map_err(SandboxError::Unreadable)
}

fn written(file: &UploadedFile) -> Result<Vec<u8>, SandboxError> {
    serde_json::to_vec(file).map_err(SandboxError::Unreadable)
}
