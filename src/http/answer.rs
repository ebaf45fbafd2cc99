//! Small builders of answers, and what an answer may have to say about its connection.
//!
//! An answer built here carries exactly the bytes it was given; its length is set by the server.
//!
//! Never here: the words of a refusal, or a status that the caller did not choose.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::body::Rest;
use super::{Body, Response};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// An answer of this content type.
pub fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An answer of `application/json`.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    with_type(status, JSON, body)
}

/// Asks everyone on the way not to keep the answer.
pub fn forbid_storing(response: &mut Response) {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// To a request that another connection is for. A client may send it again on one of its own, since nothing
/// was decided about it.
pub fn misdirected() -> Response {
    let mut response = empty(StatusCode::MISDIRECTED_REQUEST);
    close(&mut response);
    response
}

/// Ends the connection behind this answer.
pub fn close(response: &mut Response) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Ends the connection behind this answer if some of the request's body was left unread.
pub fn close_unless_read(response: &mut Response, rest: Rest) {
    if rest == Rest::More {
        close(response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_closes_only_when_a_rest_is_left() {
        let mut response = json(StatusCode::OK, "{}");
        close_unless_read(&mut response, Rest::Nothing);
        assert!(!response.headers().contains_key(CONNECTION));
        close_unless_read(&mut response, Rest::More);
        assert_eq!(response.headers()[CONNECTION], "close");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }
}
