//! Answers as bytes: a status, a content type, a body. Both doors build theirs here.
//!
//! A body is bytes in hand, or comes as it is made; whoever streams one bounds it.
//!
//! Never here: which status an outcome has.

use std::io;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;

/// What a request gets.
pub(super) type Answer = Response<AnswerBody>;

/// Its body. An error in the middle breaks the connection off, so that nobody takes half for the whole.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// How long a caller should wait before it tries a write again that found no room on the disk.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Only a map with keys that are no texts could fail, and no answer of ours has one.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A body in hand.
pub(super) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// The methods that would have been allowed, on a 405.
pub(super) fn with_allow(mut answer: Answer, allow: &'static str) -> Answer {
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// A hint to try again, on a 503.
pub(super) fn with_retry(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    answer
}
