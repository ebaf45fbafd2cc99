//! Media: a URL to upload to, the bytes that come there, and the word that they are wanted.
//!
//! A record is waiting, then uploaded, then ready, and never goes back. A URL serves one upload: a broken one
//! leaves nothing and may be tried again until the URL expires, a whole one ends it. What nobody uploaded or
//! confirmed goes by itself, its bytes with it. Bytes never lie in memory but piece by piece.
//!
//! Never here: HTTP's words, a caller's text in a path of a file.

mod signing;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Sandbox;
use super::blobs::{BlobName, BlobRefused, Blobs, WholeBlob};
use super::failure::{Failure, SandboxError};
use super::members::Members;
use super::number::{id_of, new_number, number_behind};
use super::records::due::{Alteration, Due};
use super::records::file::{Collection, RecordFile};
use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;

pub(super) use signing::Claim;
use signing::Signer;

/// The collection.
pub(super) const COLLECTION: &str = "media";

/// Bytes of one upload at most.
pub(super) const UPLOAD_BYTES_MAX: u64 = 50 << 20;
/// How long a URL serves.
const URL_LIFE_S: i64 = 15 * 60;
/// How long a record without an upload stays behind its URL: an upload may begin in the last moment.
const LATE_UPLOAD_S: i64 = 60 * 60;
/// How long an upload waits for its confirmation.
const UNCONFIRMED_LIFE_S: i64 = 24 * 60 * 60;
/// Uploads under way at most.
const UPLOADS_MAX: usize = 16;
/// Characters of a file's name at most.
pub(super) const FILENAME_CHARS_MAX: usize = 255;
/// Characters of a content type at most.
pub(super) const CONTENT_TYPE_CHARS_MAX: usize = 127;

const ID_WORD: &str = "media_";

/// What is to be uploaded.
pub(super) struct Announced {
    filename: String,
    content_type: String,
}

impl Announced {
    /// Reads `{filename, content_type}`; both are required.
    pub(super) fn from_members(mut members: Members) -> Result<Self, Failure> {
        members.only(&["filename", "content_type"])?;
        let filename = match members.take("filename") {
            Some(Value::String(name)) if is_filename(&name) => name,
            _ => {
                return Err(Failure::Invalid(format!(
                    "filename must be a text of 1 to {FILENAME_CHARS_MAX} characters without slashes and control characters."
                )));
            }
        };
        let content_type = match members.take("content_type") {
            Some(Value::String(kind)) if is_media_type(&kind) => kind,
            _ => {
                return Err(Failure::Invalid(
                    "content_type must be a media type without parameters, such as image/png.".to_owned(),
                ));
            }
        };
        Ok(Self { filename, content_type })
    }
}

/// Where an upload goes. The URL's part behind the origin and the base is `path_and_query`.
#[derive(Debug)]
pub(super) struct Invitation {
    id: String,
    path_and_query: String,
    expires_at: String,
}

/// The same as callers see it.
#[derive(Serialize)]
pub(super) struct UploadPlace {
    id: String,
    upload_url: String,
    expires_at: String,
}

impl Invitation {
    /// Where it leads to under an origin and a base.
    pub(super) fn at(self, origin_and_base: &str) -> UploadPlace {
        let upload_url = format!("{origin_and_base}{}", self.path_and_query);
        UploadPlace { id: self.id, upload_url, expires_at: self.expires_at }
    }
}

/// An upload as callers see it.
#[derive(Serialize, Debug)]
pub(super) struct Media {
    id: String,
    status: State,
    size: u64,
}

/// An upload as the file holds it.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct KeptMedia {
    id: String,
    filename: String,
    content_type: String,
    status: State,
    size: u64,
    created_at: String,
    /// When it goes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
}

/// How far an upload has come.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum State {
    Waiting,
    Uploaded,
    Ready,
}

impl KeptMedia {
    fn read(document: &[u8]) -> Result<Self, SandboxError> {
        serde_json::from_slice(document).map_err(SandboxError::Unreadable)
    }

    fn due(&self) -> Option<Wall> {
        self.due_at.as_deref().and_then(Wall::parse)
    }

    /// This upload one step on.
    fn become_as(
        mut self,
        status: State,
        size: u64,
        due: Option<Wall>,
    ) -> Result<(Alteration, Media), SandboxError> {
        let was_due = self.due();
        (self.status, self.size, self.due_at) = (status, size, due.map(Wall::to_rfc3339));
        let document = serde_json::to_vec(&self).map_err(SandboxError::Unreadable)?;
        Ok((Alteration::Replaced { document, was_due, due: self.due() }, self.shown()))
    }

    fn shown(self) -> Media {
        Media { id: self.id, status: self.status, size: self.size }
    }
}

/// What the uploads of all workspaces share.
pub(super) struct Uploads {
    signer: Signer,
    under_way: Mutex<HashSet<(WorkspaceId, u128)>>,
    places: Arc<Semaphore>,
}

impl Uploads {
    /// Reads the secret that URLs are signed under, or draws it. Blocks.
    pub(super) fn open(file: &RecordFile) -> Result<Self, SandboxError> {
        let signer = Signer::open(file)?;
        Ok(Self { signer, under_way: Mutex::default(), places: Arc::new(Semaphore::new(UPLOADS_MAX)) })
    }

    /// A place for one upload, if it is the only one of its record.
    fn begin(self: &Arc<Self>, claim: Claim) -> Result<UnderWay, Failure> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Failure::Busy)?;
        let record = (claim.workspace, claim.number);
        if !self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(record) {
            return Err(Failure::Invalid("An upload to this URL is under way.".to_owned()));
        }
        Ok(UnderWay { uploads: Arc::clone(self), record, _place: place })
    }
}

/// One upload that is under way, until it is dropped.
struct UnderWay {
    uploads: Arc<Uploads>,
    record: (WorkspaceId, u128),
    _place: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.uploads.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.record);
    }
}

impl Sandbox {
    /// Makes a record and a URL to upload its bytes to.
    pub(super) async fn invite_media(
        &self,
        workspace: WorkspaceId,
        announced: Announced,
    ) -> Result<Invitation, Failure> {
        let now = self.now();
        let expires = Wall::from_secs(now.secs().saturating_add(URL_LIFE_S));
        let due = Wall::from_secs(expires.secs().saturating_add(LATE_UPLOAD_S));
        let number = new_number(now)?;
        let inserted = self.records.insert_due(media(workspace), number, due, move |number| {
            let kept = KeptMedia {
                id: id_of(ID_WORD, number),
                filename: announced.filename,
                content_type: announced.content_type,
                status: State::Waiting,
                size: 0,
                created_at: now.to_rfc3339(),
                due_at: Some(due.to_rfc3339()),
            };
            serde_json::to_vec(&kept).map_err(SandboxError::Unreadable)
        });
        let kept = KeptMedia::read(&inserted.await?.ok_or(Failure::Full)?)?;
        let number = number_behind(ID_WORD, &kept.id).unwrap_or(number);
        let claim = Claim { workspace, number, expires };
        let query = self.uploads.signer.query(&claim);
        let path_and_query = format!("/media/{}/content?{query}", kept.id);
        Ok(Invitation { id: kept.id, path_and_query, expires_at: expires.to_rfc3339() })
    }

    /// What a URL's id and query claim, if we signed it and it did not expire.
    pub(super) fn claimed(&self, id: &str, query: Option<&str>) -> Result<Claim, Failure> {
        let not_ours = || Failure::Forbidden("This is no upload URL of ours. Ask for a new one.".to_owned());
        let number = number_behind(ID_WORD, id).ok_or_else(not_ours)?;
        let claim = self.uploads.signer.claim(number, query.unwrap_or_default()).ok_or_else(not_ours)?;
        if claim.expires <= self.now() {
            return Err(Failure::Forbidden(format!(
                "This upload URL expired at {}. Ask for a new one.",
                claim.expires.to_rfc3339()
            )));
        }
        Ok(claim)
    }

    /// Takes the bytes of an upload. Whatever goes wrong leaves nothing of it.
    pub(super) async fn take_media(
        &self,
        claim: Claim,
        content_type: Option<&str>,
        body: &mut Incoming,
    ) -> Result<Media, Failure> {
        let under_way = self.uploads.begin(claim)?;
        let name = BlobName { collection: media(claim.workspace), number: claim.number };
        let kept = self.records.find(media(claim.workspace), claim.number).await?;
        let kept = KeptMedia::read(&kept.ok_or_else(gone)?)?;
        if kept.status != State::Waiting {
            return Err(used());
        }
        if !content_type.is_some_and(|sent| sent.trim().eq_ignore_ascii_case(&kept.content_type)) {
            return Err(Failure::MediaType(kept.content_type));
        }
        // A crash between the naming of a blob and the record's commit leaves one that nobody was told of.
        self.blobs.remove(name.clone()).await?;
        let whole = received(&self.blobs, claim.workspace, body).await?;
        let due = Wall::from_secs(self.now().secs().saturating_add(UNCONFIRMED_LIFE_S));
        let collection = media(claim.workspace);
        // On a thread of its own to the end, also when the caller leaves: the record keeps its place so long.
        self.records
            .write(move |file| {
                let taken =
                    file.alter(&collection, claim.number, |document| taken(document, whole, &name, due));
                drop(under_way);
                taken
            })
            .await?
            .ok_or_else(gone)?
    }

    /// Takes the caller's word that an upload is wanted.
    pub(super) async fn confirm_media(&self, workspace: WorkspaceId, id: &str) -> Result<Media, Failure> {
        let number = number_behind(ID_WORD, id).ok_or(Failure::NotFound("media"))?;
        let confirmed = self.records.alter(media(workspace), number, |document| {
            let kept = KeptMedia::read(document)?;
            let size = kept.size;
            Ok(match kept.status {
                State::Waiting => {
                    let message = "Nothing was uploaded for this id: PUT the bytes to its upload_url first.";
                    (Alteration::Nothing, Err(Failure::Invalid(message.to_owned())))
                }
                State::Uploaded => {
                    let (alteration, media) = kept.become_as(State::Ready, size, None)?;
                    (alteration, Ok(media))
                }
                State::Ready => (Alteration::Nothing, Ok(kept.shown())),
            })
        });
        confirmed.await?.ok_or(Failure::NotFound("media"))?
    }
}

/// What becomes of a record that is due: what nobody confirmed goes, the bytes first, so that a crash between
/// the two leaves a record that is due again.
pub(super) fn settled(
    due: &Due,
    document: &[u8],
    now: Wall,
    blobs: &Blobs,
) -> Result<Alteration, SandboxError> {
    let kept = KeptMedia::read(document)?;
    if kept.status == State::Ready || kept.due().is_none_or(|at| at > now) {
        return Ok(Alteration::Nothing);
    }
    blobs.remove_now(&BlobName { collection: due.collection.clone(), number: due.id })?;
    Ok(Alteration::Removed { was_due: kept.due() })
}

fn taken(
    document: &[u8],
    whole: WholeBlob,
    name: &BlobName,
    due: Wall,
) -> Result<(Alteration, Result<Media, Failure>), SandboxError> {
    let kept = KeptMedia::read(document)?;
    if kept.status != State::Waiting {
        return Ok((Alteration::Nothing, Err(used())));
    }
    let size = whole.size();
    if let Err(refused) = whole.name(name) {
        return Ok((Alteration::Nothing, Err(refused.into())));
    }
    let (alteration, media) = kept.become_as(State::Uploaded, size, Some(due))?;
    Ok((alteration, Ok(media)))
}

async fn received(blobs: &Blobs, workspace: WorkspaceId, body: &mut Incoming) -> Result<WholeBlob, Failure> {
    let mut draft = blobs.draft(workspace, UPLOAD_BYTES_MAX).await?;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| BlobRefused::Broken)?.into_data() {
            draft.push(&data).await?;
        }
    }
    let whole = draft.finish().await?;
    if whole.size() == 0 {
        return Err(Failure::Invalid("The body must hold at least one byte.".to_owned()));
    }
    Ok(whole)
}

fn media(workspace: WorkspaceId) -> Collection {
    Collection { workspace, name: COLLECTION.into() }
}

fn gone() -> Failure {
    Failure::Forbidden("What this URL was for is not there any more. Ask for a new one.".to_owned())
}

fn used() -> Failure {
    Failure::Forbidden("This upload URL was used. Ask for a new one.".to_owned())
}

fn is_filename(name: &str) -> bool {
    (1..=FILENAME_CHARS_MAX).contains(&name.chars().count())
        && !name.trim().is_empty()
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

/// `type/subtype`, both of them restricted names (RFC 6838, section 4.2).
fn is_media_type(kind: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    kind.len() <= CONTENT_TYPE_CHARS_MAX
        && kind.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_has_two_names_and_no_parameters() {
        for good in ["image/png", "IMAGE/PNG", "image/svg+xml", "application/vnd.ms-excel"] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in ["", "image", "image/", "/png", "image/png; a=b", "image/p ng", "a/b/c", "*/*", "image/\r"]
        {
            assert!(!is_media_type(bad), "{bad}");
        }
        assert!(!is_media_type(&format!("image/{}", "x".repeat(130))));
    }
}
