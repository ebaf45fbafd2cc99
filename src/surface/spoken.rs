//! From what a dialect said to what is sent.
//!
//! Never here: words or a status of its own for a refusal.

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderValue;

use crate::dialect::Spoken;
use crate::http::body::{Rest, drain};
use crate::http::{Response, answer};

/// The answer that a dialect spoke.
pub(super) fn respond(spoken: Spoken) -> Response {
    let content_type = HeaderValue::from_static(spoken.content_type);
    let mut response = answer::with_type(spoken.status, content_type, spoken.body);
    if let Some((name, value)) = spoken.header {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Sends a refusal so that the client sees it, whatever it is still sending. `expect` is the request's header
/// of that name.
pub(super) async fn refuse(
    spoken: Spoken,
    expect: Option<HeaderValue>,
    unread: Option<Incoming>,
) -> Response {
    settle(respond(spoken), expect, unread).await
}

/// Sends an answer before the request's body was read.
pub(super) async fn settle(
    mut response: Response,
    expect: Option<HeaderValue>,
    unread: Option<Incoming>,
) -> Response {
    let rest = match unread {
        Some(unread) => drain(expect.as_ref(), unread).await,
        // It was being passed on when the refusal came.
        None => Rest::More,
    };
    answer::close_unless_read(&mut response, rest);
    response
}

/// Sends a refusal of a request whose framing is in doubt: nothing behind it is read as another request.
pub(super) fn refuse_for_good(spoken: Spoken) -> Response {
    let mut response = respond(spoken);
    answer::close(&mut response);
    response
}

/// An answer of our own in JSON. It is never to be kept: it may show a key.
pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    // Our own answer types always serialise: maps have text keys, numbers are finite.
    let mut response = answer::json(status, serde_json::to_vec(body).unwrap_or_default());
    answer::forbid_storing(&mut response);
    response
}
