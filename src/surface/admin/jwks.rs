//! The keys that check what upstreams are told of callers, as a set of JSON Web Keys (RFC 7517, RFC 8037).
//!
//! They are public: whoever asks may have them, and keep them for a while.
//!
//! Never here: the half of a key that signs.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use serde::Serialize;

use crate::domain::assertion::AssertionKey;
use crate::http::{Response, answer};

/// Where they are published.
pub(super) const PATH: &str = "/.well-known/jwks.json";

/// How long they may be kept: a reader that meets a name that it does not know asks anyway.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=300");

#[derive(Serialize)]
struct KeySet<'a> {
    keys: Vec<Key<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    kty: &'static str,
    crv: &'static str,
    x: &'a str,
    kid: &'a str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
}

pub(super) fn answer(keys: &[AssertionKey]) -> Response {
    let keys = keys.iter().map(|AssertionKey { id, x }| Key {
        kty: "OKP",
        crv: "Ed25519",
        x,
        kid: id,
        usage: "sig",
        alg: "EdDSA",
    });
    let set = KeySet { keys: keys.collect() };
    // Texts alone: it always serialises.
    let mut response = answer::json(StatusCode::OK, serde_json::to_vec(&set).unwrap_or_default());
    response.headers_mut().insert(CACHE_CONTROL, KEPT);
    response
}
