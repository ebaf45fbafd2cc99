//! How outcomes are spoken: three dialects, each with one exhaustive match from a refusal to status, header
//! and body.
//!
//! A dialect is built whole or not at all: every [`Words`] field is a refusal that it can say, and a profile
//! that leaves one out does not load. What can be built when the profile loads is built then, so that
//! refusing costs a copied handle. What is said of a credential tells nothing but that it was missing, is not
//! valid, or (where the page says so) has expired.
//!
//! Never here: a look-up, an outcome of our own invention, a wildcard over `Denial`, `Fault` or `Invalid`.

mod expected;
mod problem;
mod rate_headers;
mod rest;
mod rpc;
mod text;
mod words;

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::domain::profile::VerbSet;

pub use crate::domain::mcp::Era;
pub use problem::{AdminRefusal, ProblemDialect};
pub use rate_headers::{RateHeaders, reset_secs};
pub use rest::{Envelope, RestDialect};
pub use rpc::{RpcDialect, RpcTerms};
pub use words::{
    MESSAGE_CHARS_MAX, MessageFlaw, RestWord, RpcWord, ScopeWords, WordKind, Words, message_flaw,
};

/// The content type of REST and JSON-RPC answers.
pub const JSON: &str = "application/json";
/// The content type of RFC 9457 answers.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Whole seconds after which a change that could not be made durable is worth another try: a failing disk is
/// probed about this often.
const NOT_DURABLE_RETRY_SECS: u64 = 5;

/// A refusal, ready to be sent.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// The HTTP status.
    pub status: StatusCode,
    /// The one header that this refusal needs beside the content type: `WWW-Authenticate`, `Retry-After` or
    /// `Allow`.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Spoken {
    /// The same for whoever asks and forwards by itself: to those any 2xx is a pass, so what is refused under
    /// one is 403.
    #[must_use]
    pub fn unmistakable(self) -> Self {
        let status = if self.status.is_success() { StatusCode::FORBIDDEN } else { self.status };
        Self { status, ..self }
    }

    /// A refusal with this body. Every 401 carries the challenge (RFC 9110, section 11.6.1), whatever was
    /// refused.
    fn new(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        let challenge = || (WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="keyward""#));
        let header = (status == StatusCode::UNAUTHORIZED).then(challenge);
        Self { status, header, content_type, body }
    }

    /// The same with `Retry-After`, when there is a time to tell.
    fn retry_after(mut self, secs: Option<u64>) -> Self {
        if let Some(secs) = secs {
            self.header = Some((RETRY_AFTER, HeaderValue::from(secs)));
        }
        self
    }

    /// The same with `Allow`.
    fn allow(mut self, verbs: VerbSet) -> Self {
        // Method names are plain ASCII, so this value is always one.
        self.header = HeaderValue::try_from(verbs.to_allow()).ok().map(|value| (ALLOW, value));
        self
    }
}

/// Whole seconds until a retry would be admitted, rounded up and at least 1.
fn whole_secs(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_announced_in_whole_seconds_never_too_early() {
        for (nanos, secs) in [(0, 1), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2), (59_900_000_000, 60)] {
            assert_eq!(whole_secs(nanos), secs, "{nanos}");
        }
    }
}
