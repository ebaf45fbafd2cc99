//! The discovery document: what a client needs to know before it has a key.
//!
//! It names the public address as the gateway saw it, never the in-memory one. A host that could not stand in
//! a URL is left out of it.
//!
//! Never here: anything that depends on a workspace.

use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::answer::Answer;
use super::{answer, mcp};
use crate::domain::mcp::{LEGACY_VERSIONS, MODERN_VERSION};

/// Where the document is found besides a GET of the endpoint.
pub(super) const PATH: &str = "/mcp.json";

/// What the server calls itself.
pub(super) const NAME: &str = "socialcrm-sandbox";
/// The same for people.
pub(super) const TITLE: &str = "SocialCRM (Keyward sandbox)";
/// The version that this build has.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers a request for [`PATH`].
pub(super) fn answer(request: &Request<Incoming>) -> Answer {
    if request.method() == Method::GET { document(request.headers()) } else { mcp::method_not_allowed("GET") }
}

/// The document itself.
pub(super) fn document(headers: &HeaderMap) -> Answer {
    #[derive(Serialize)]
    struct Document {
        name: &'static str,
        title: &'static str,
        version: &'static str,
        transport: &'static str,
        endpoint: String,
        authentication: Authentication,
        #[serde(rename = "protocolVersions")]
        protocol_versions: Vec<&'static str>,
    }
    #[derive(Serialize)]
    struct Authentication {
        #[serde(rename = "type")]
        kind: &'static str,
        header: &'static str,
        format: &'static str,
    }
    let document = Document {
        name: NAME,
        title: TITLE,
        version: VERSION,
        transport: "streamable-http",
        endpoint: format!("{}{}", origin(headers), mcp::ENDPOINT),
        authentication: Authentication {
            kind: "bearer",
            header: "Authorization",
            format: "Bearer sk_live_…",
        },
        protocol_versions: LEGACY_VERSIONS.into_iter().chain([MODERN_VERSION]).collect(),
    };
    answer::json(StatusCode::OK, &document)
}

/// The public address as the gateway saw it, such as `https://api.example.com`.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match text("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = text("x-forwarded-host").or_else(|| text(HOST.as_str())).filter(|host| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
            })
    });
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}
