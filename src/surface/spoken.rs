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
    let mut response = respond(spoken);
    answer::close_unless_read(&mut response, left_of(expect, unread).await);
    response
}

/// What is left of a request's body behind an early answer, when a small rest was read and dropped.
pub(super) async fn left_of(expect: Option<HeaderValue>, unread: Option<Incoming>) -> Rest {
    match unread {
        Some(unread) => drain(expect.as_ref(), unread).await,
        // It was being passed on when the refusal came.
        None => Rest::More,
    }
}

/// Sends a refusal of a request whose framing is in doubt: nothing behind it is read as another request.
pub(super) fn refuse_for_good(spoken: Spoken) -> Response {
    let mut response = respond(spoken);
    answer::close(&mut response);
    response
}

/// What most of these answers fit in.
const JSON_BYTES: usize = 512;

/// An answer of our own in JSON. It is never to be kept: it may show a key.
pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let mut text = Vec::with_capacity(JSON_BYTES);
    // Our own answer types always serialise: maps have text keys, numbers are finite.
    if serde_json::to_writer(&mut text, body).is_err() {
        text.clear();
    }
    let mut response = answer::json(status, text);
    answer::forbid_storing(&mut response);
    response
}
