//! Answers as bytes: a status, a content type, a body. Both doors build theirs here.
//!
//! Every body is complete and has a known length; nothing streams yet.
//!
//! Never here: which status an outcome has.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// What a request gets.
pub(super) type Answer = Response<Full<Bytes>>;

/// How long a caller should wait before it tries a write again that found no room on the disk.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Only a map with keys that are no texts could fail, and no answer of ours has one.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
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
