//! The REST door: finds what is built by its path behind the product's base.
//!
//! Path before method, so a known path with another method is 405 with `Allow`; then the query, then the
//! body. What is not built says 501. Errors have the shape that the product's door gives them.
//!
//! Never here: a rule about anything that is kept.

mod ai;
mod chat;
mod collections;
mod files;
mod insights;

mod media;
mod posts;

use http::{Request, StatusCode};
use hyper::body::Body as _;
use hyper::body::Incoming;
use serde::Serialize;

use super::answer::{self, Answer};
use super::failure::{Failure, Fault};
use super::intake::{self, Unread};
use super::llm::LlmError;
use super::members::Members;
use super::{Sandbox, workspace};
use crate::dialect::Envelope;

/// Answers one request.
pub(super) async fn answer(sandbox: &Sandbox, request: Request<Incoming>) -> Answer {
    let Some(shape) = &sandbox.product.rest else {
        return error(Envelope::Error, StatusCode::NOT_FOUND, "not_found", "No such route.");
    };
    // Owned, since the body takes the request with it.
    let path = request.uri().path().to_owned();
    // The root is a base too.
    let base = shape.base.trim_end_matches('/');
    let Some(behind) = path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')) else {
        return error(shape.envelope, StatusCode::NOT_FOUND, "not_found", "No such route.");
    };
    let segments: Vec<_> = behind.split('/').collect();
    let answered = match segments.as_slice() {
        ["posts", rest @ ..] => posts::answer(sandbox, request, rest).await,
        ["chat", "completions"] => chat::chat(sandbox, request).await,
        ["completions"] => chat::completion(sandbox, request).await,
        ["models"] => chat::models(sandbox, &request, None),
        ["models", id] => chat::models(sandbox, &request, Some(id)),
        ["files", rest @ ..] => files::answer(sandbox, request, rest).await,
        ["ai", rest @ ..] => ai::answer(sandbox, request, rest).await,
        ["media", rest @ ..] => media::answer(sandbox, base, request, rest).await,
        ["accounts" | "persona" | "trending", ..] => insights::answer(sandbox, &request, &segments).await,
        // What nothing above has rules for is anyone's to fill.
        _ => collections::answer(sandbox, request, &segments).await,
    };
    answered.unwrap_or_else(|trouble| trouble.answer(shape.envelope))
}

/// Refuses a method that is not among those that `allow` lists.
fn check_method(request: &Request<Incoming>, allow: &'static str) -> Result<(), Trouble> {
    let fits = allow.split(", ").any(|method| method == request.method().as_str());
    if fits { Ok(()) } else { Err(Trouble::Method(allow)) }
}

async fn long_body(request: Request<Incoming>) -> Result<Members, Trouble> {
    no_query(&request)?;
    let bytes = intake::long_json(request).await.map_err(Trouble::Unread)?;
    Ok(Members::parse(&bytes, "The body")?)
}

async fn body(request: Request<Incoming>) -> Result<Members, Trouble> {
    no_query(&request)?;
    let bytes = intake::json(request).await.map_err(Trouble::Unread)?;
    Ok(Members::parse(&bytes, "The body")?)
}

/// Reads the body of a route that takes none: nothing, or an object without members.
async fn no_body(request: Request<Incoming>) -> Result<(), Trouble> {
    no_query(&request)?;
    if request.body().is_end_stream() {
        return Ok(());
    }
    let bytes = intake::any(request).await.map_err(Trouble::Unread)?;
    if bytes.is_empty() {
        return Ok(());
    }
    Ok(Members::parse(&bytes, "The body")?.only(&[])?)
}

fn no_query(request: &Request<Incoming>) -> Result<(), Failure> {
    match request.uri().query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Failure::Invalid("This route takes no query parameters.".to_owned())),
    }
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

/// Why a route has no good answer.
enum Trouble {
    /// Nothing is built at this path.
    NotBuilt,
    /// What is built takes these methods, as `Allow` lists them.
    Method(&'static str),
    /// The body could not be read.
    Unread(Unread),
    /// What was asked could not be done.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Trouble {
    fn answer(&self, envelope: Envelope) -> Answer {
        let error = |status, code, message: &str| error(envelope, status, code, message);
        match self {
            Self::NotBuilt => {
                let message = "The sandbox does not have this route yet.";
                error(StatusCode::NOT_IMPLEMENTED, "not_implemented", message)
            }
            Self::Method(allow) => {
                let message = format!("This route allows {allow}.");
                let refused = error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &message);
                answer::with_allow(refused, allow)
            }
            Self::Unread(unread) => {
                let status = match unread {
                    Unread::MediaType | Unread::NoForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Unread::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    Unread::Broken => StatusCode::BAD_REQUEST,
                };
                error(status, "invalid_request", &unread.message())
            }
            Self::Failed(failure) => {
                if let Failure::Fault(fault) = failure
                    && !matches!(fault, Fault::NoWorkspace)
                {
                    fault.log();
                }
                let (status, code) = told(failure);
                let refused = error(status, code, &failure.message());
                // What is told to be out of service is so for a moment.
                if status == StatusCode::SERVICE_UNAVAILABLE { answer::with_retry(refused) } else { refused }
            }
        }
    }
}

/// The status and the code of what could not be done.
fn told(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Invalid(_)
        | Failure::Full
        | Failure::NoRoom
        | Failure::Broken
        | Failure::Model(LlmError::Invalid(_)) => (StatusCode::BAD_REQUEST, "invalid_request"),
        Failure::Forbidden(_) => (StatusCode::FORBIDDEN, "invalid_request"),
        Failure::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request"),
        Failure::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"),
        Failure::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
        Failure::Model(LlmError::Late) => (StatusCode::GATEWAY_TIMEOUT, "upstream_error"),
        Failure::Model(LlmError::Unreachable | LlmError::Refused(_) | LlmError::Broken) => {
            (StatusCode::BAD_GATEWAY, "upstream_error")
        }
        Failure::Busy | Failure::Model(LlmError::Busy) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        // A profile may open any route to callers without a key, who have no workspace.
        Failure::Fault(Fault::NoWorkspace) => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
        Failure::Fault(fault) if fault.is_passing() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Failure::Fault(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

fn error(envelope: Envelope, status: StatusCode, code: &str, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<&'a str>,
    }
    let kind = match envelope {
        Envelope::Error => None,
        Envelope::ErrorType if status.is_server_error() => Some("api_error"),
        Envelope::ErrorType => Some("invalid_request_error"),
    };
    answer::json(status, &Body { error: Inner { code, message, kind } })
}
