//! `media`: a URL to upload to, the upload itself, and its confirmation.
//!
//! The upload comes without a key: the URL says whose it is, and no header is asked.
//!
//! Never here: a rule about uploads.

use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::{Answer, Data, Sandbox, Trouble, body, check_method, no_body, workspace};
use crate::sandbox::answer::json;
use crate::sandbox::discovery::origin;
use crate::sandbox::failure::Failure;
use crate::sandbox::intake;
use crate::sandbox::media::{Announced, Media};

/// Answers a request for what stands behind `media`, under this base.
pub(super) async fn answer(
    sandbox: &Sandbox,
    base: &str,
    request: Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    match segments {
        ["upload-url"] => {
            check_method(&request, "POST")?;
            let workspace = workspace(request.headers())?;
            let place = format!("{}{base}", origin(request.headers()));
            let announced = Announced::from_members(body(request).await?)?;
            let data = sandbox.invite_media(workspace, announced).await?.at(&place);
            Ok(json(StatusCode::CREATED, &Data { data }))
        }
        [id, "content"] if !id.is_empty() => {
            check_method(&request, "PUT")?;
            Ok(json(StatusCode::OK, &Data { data: upload(sandbox, request, id).await? }))
        }
        [id, "confirm"] if !id.is_empty() => {
            check_method(&request, "POST")?;
            let workspace = workspace(request.headers())?;
            no_body(request).await?;
            Ok(json(StatusCode::OK, &Data { data: sandbox.confirm_media(workspace, id).await? }))
        }
        _ => Err(Trouble::NotBuilt),
    }
}

async fn upload(sandbox: &Sandbox, request: Request<Incoming>, id: &str) -> Result<Media, Failure> {
    let (head, mut body) = request.into_parts();
    let mut labels = head.headers.get_all(CONTENT_TYPE).iter();
    let label = match (labels.next(), labels.next()) {
        (Some(label), None) => label.to_str().ok(),
        _ => None,
    };
    let taken = match sandbox.claimed(id, head.uri.query()) {
        Ok(claim) => sandbox.take_media(claim, label, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    if taken.is_err() {
        intake::discard(&mut body).await;
    }
    taken
}
