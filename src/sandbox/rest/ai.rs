//! `ai`: texts that are written for a caller.
//!
//! Never here: how they are written.

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::{Answer, Sandbox, Trouble, body, check_method, workspace};
use crate::sandbox::answer::json;
use crate::sandbox::writing::{KINDS, Wish};

/// Answers a request for what stands behind `ai`.
pub(super) async fn answer(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    let kind = match segments {
        [kind] if KINDS.contains(kind) => *kind,
        _ => return Err(Trouble::NotBuilt),
    };
    check_method(&request, "POST")?;
    workspace(request.headers())?;
    let wish = Wish::from_members(kind, body(request).await?)?;
    Ok(json(StatusCode::OK, &sandbox.write(&wish).await?))
}
