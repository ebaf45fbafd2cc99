//! A form with a file in it, read as it comes: the file goes to the disk, memory stays flat.
//!
//! Two fields, `file` and `purpose`, each once and in any order. A body that is no such form is read on and
//! thrown away up to a bound, like any other, so that its sender sees why.
//!
//! Never here: a whole file in memory, a caller's file name in a path.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use multer::{Field, Multipart};

use super::blobs::{Blobs, WholeBlob};
use super::failure::Failure;
use super::intake::{self, Unread};
use super::members::shown;
use crate::domain::id::WorkspaceId;

/// Bytes of an uploaded file at most.
pub(super) const FILE_BYTES_MAX: u64 = 512 << 20;
/// Characters of a file's name at most.
const FILENAME_CHARS_MAX: usize = 255;
/// Bytes of `purpose` at most.
const PURPOSE_BYTES_MAX: usize = 64;
/// Bytes that the form's reader may hold before it has found something in them: the head of a part, or what
/// stands before the first.
const UNREAD_BYTES_MAX: u64 = 256 << 10;

/// A file that was uploaded and lies on the disk without a name yet.
pub(super) struct Upload {
    pub(super) blob: WholeBlob,
    pub(super) filename: String,
    pub(super) purpose: String,
}

/// Why there is no upload.
pub(super) enum NoUpload {
    /// The body is no form.
    Unread(Unread),
    /// What it says is wrong, or it could not be kept.
    Failed(Failure),
}

impl From<Failure> for NoUpload {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads a form and keeps its file.
pub(super) async fn upload(
    request: Request<Incoming>,
    blobs: &Blobs,
    workspace: WorkspaceId,
) -> Result<Upload, NoUpload> {
    let label = request.headers().get(CONTENT_TYPE).and_then(|label| label.to_str().ok());
    let boundary = label.and_then(|label| multer::parse_boundary(label).ok());
    let boundary = boundary.ok_or(NoUpload::Unread(Unread::NoForm))?;
    let mut body = request.into_body();
    let unread = Arc::new(AtomicU64::new(0));
    let turns = Turns { body: &mut body, unread: Arc::clone(&unread), rests: false };
    let form = Multipart::new(BodyDataStream::new(turns), boundary);
    let read = read(form, &unread, blobs, workspace).await;
    if read.is_err() {
        intake::discard(&mut body).await;
    }
    Ok(read?)
}

async fn read(
    mut form: Multipart<'_>,
    unread: &AtomicU64,
    blobs: &Blobs,
    workspace: WorkspaceId,
) -> Result<Upload, Failure> {
    let (mut file, mut purpose) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| no_form(&error))? {
        unread.store(0, Ordering::Relaxed);
        match field.name() {
            Some("file") if file.is_none() => {
                let filename = filename(field.file_name())?;
                file = Some((keep(field, unread, blobs, workspace).await?, filename));
            }
            Some("purpose") if purpose.is_none() => purpose = Some(read_purpose(field, unread).await?),
            Some(name @ ("file" | "purpose")) => {
                return Err(Failure::Invalid(format!("{name} is given twice.")));
            }
            name => {
                return Err(Failure::Invalid(format!(
                    "The field {} is not known here. Known: file, purpose.",
                    shown(name.unwrap_or_default())
                )));
            }
        }
    }
    let missing = |what: &str| Failure::Invalid(format!("{what} is missing from the form."));
    let (blob, filename) = file.ok_or_else(|| missing("file"))?;
    Ok(Upload { blob, filename, purpose: purpose.ok_or_else(|| missing("purpose"))? })
}

async fn keep(
    mut field: Field<'_>,
    unread: &AtomicU64,
    blobs: &Blobs,
    workspace: WorkspaceId,
) -> Result<WholeBlob, Failure> {
    let mut draft = blobs.draft(workspace, FILE_BYTES_MAX).await?;
    while let Some(data) = field.chunk().await.map_err(|error| no_form(&error))? {
        unread.store(0, Ordering::Relaxed);
        draft.push(&data).await?;
    }
    Ok(draft.finish().await?)
}

async fn read_purpose(mut field: Field<'_>, unread: &AtomicU64) -> Result<String, Failure> {
    let wrong = || {
        Failure::Invalid(format!(
            "purpose must be a text of 1 to {PURPOSE_BYTES_MAX} letters, digits, _ and -."
        ))
    };
    let mut text = Vec::new();
    while let Some(data) = field.chunk().await.map_err(|error| no_form(&error))? {
        unread.store(0, Ordering::Relaxed);
        text.extend_from_slice(&data);
        if text.len() > PURPOSE_BYTES_MAX {
            return Err(wrong());
        }
    }
    let text = String::from_utf8(text).map_err(|_| wrong())?;
    let fits = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits { Ok(text) } else { Err(wrong()) }
}

/// The last part of a name, which may come with the folders of a far machine.
fn filename(given: Option<&str>) -> Result<String, Failure> {
    let name = given.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let fits = (1..=FILENAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control);
    if fits {
        return Ok(name.to_owned());
    }
    Err(Failure::Invalid(format!("file must have a filename of 1 to {FILENAME_CHARS_MAX} characters.")))
}

fn no_form(error: &multer::Error) -> Failure {
    match error {
        multer::Error::StreamReadFailed(cause) if cause.downcast_ref::<TooMuchUnread>().is_none() => {
            Failure::Broken
        }
        multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteStream => Failure::Broken,
        _ => Failure::Invalid("The form cannot be read: expected parts named file and purpose.".to_owned()),
    }
}

/// The body for the form's reader, which takes whatever is there before it looks at it: it gets one piece a
/// turn, and no more than a bound that it made nothing of.
struct Turns<'b> {
    body: &'b mut Incoming,
    unread: Arc<AtomicU64>,
    rests: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {UNREAD_BYTES_MAX} bytes without a part of a form")]
struct TooMuchUnread;

impl Body for Turns<'_> {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.rests {
            this.rests = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = match ready!(Pin::new(&mut *this.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error).into()))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        if this.unread.fetch_add(bytes, Ordering::Relaxed) + bytes > UNREAD_BYTES_MAX {
            return Poll::Ready(Some(Err(TooMuchUnread.into())));
        }
        this.rests = true;
        Poll::Ready(Some(Ok(frame)))
    }
}
