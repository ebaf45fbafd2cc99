//! The doors: what arrives on a socket becomes an attempt, and the engine's decision becomes an answer.
//!
//! Two listeners' worth of them. [`data`] is what customers' callers reach: a product's REST and JSON-RPC
//! doors. [`admin`] is the operator's: workspaces, keys, the verify call, health and metrics. A door reads
//! the request strictly, asks the engine once, and lets a dialect say every refusal.
//!
//! Never here: the store, a status chosen for a refusal, a task that outlives its request.

pub mod admin;
mod buffers;
pub mod credential;
pub mod data;
mod discovery;
mod json_text;
mod members;
mod request_id;
mod rest;
pub mod rpc;
mod signature;
mod spoken;

pub use rpc::{ListedTool, each_tool};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};

use crate::domain::denial::{Invalid, Refusal};
use crate::domain::profile::Profile;
use crate::domain::signature::Sent;
use crate::engine::AwaitedAnswer;
use crate::http::target::Target;
use crate::http::{Request, Response, framing};

/// Whether a request can be read in one way only and is meant for this listener.
fn readable(request: &Request, hosts: &[String]) -> Result<(), Invalid> {
    framing::check(request)?;
    framing::check_served(request, hosts)?;
    Target::parse(request.uri()).map(drop)
}

/// Whether nothing that could be a key was sent, nor a key's signature. What a profile opens is for the
/// anonymous: a key in the wrong header is none.
fn is_anonymous(headers: &HeaderMap, profile: &Profile) -> bool {
    let key_headers = profile.key_headers();
    let holds_key =
        |name: &HeaderName| *name == AUTHORIZATION || key_headers.iter().any(|known| known == name.as_str());
    !headers.keys().any(holds_key) && matches!(signature::sent(headers, profile), Sent::Nothing)
}

/// Notes how a granted request was answered.
fn answered(awaited: AwaitedAnswer<'_>, answer: &Result<Response, Refusal>) {
    match answer {
        Ok(response) => awaited.came(response.status().as_u16()),
        Err(refusal) => awaited.failed(refusal),
    }
}

/// `application/json`, with no charset but UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(only)), None) = (types.next().map(|value| value.to_str()), types.next()) else {
        return false;
    };
    let (essence, parameters) = only.split_once(';').unwrap_or((only, ""));
    let parameter = parameters.trim();
    essence.trim().eq_ignore_ascii_case("application/json")
        && (parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8"))
}
