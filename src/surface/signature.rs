//! What a request's headers say of its signature, in either form; and taking them out again.
//!
//! Exactly one signature, in one form, each of its headers once; anything else that was sent is no signature,
//! and the request is refused as for a wrong one. A signed REST request is read whole, so that the bytes that
//! were checked are the bytes that are forwarded.
//!
//! Never here: whether a signature is right.

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderName;
use hyper::http::request::Parts;

use super::buffers::{Buffers, Held, Holder};
use crate::domain::denial::Denial;
use crate::domain::profile::Profile;
use crate::domain::signature::{Sent, SentSignature, Signable, V1_HEADER};
use crate::engine::{Caller, Engine, Refused};
use crate::http::{body, tethered};

/// The most bytes of a body that is signed.
const SIGNED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The longest that it may take to arrive whole.
const SIGNED_TIME_MAX: Duration = Duration::from_secs(30);

/// What was sent.
pub(super) fn sent(headers: &HeaderMap, profile: &Profile) -> Sent {
    let named = profile.signing.as_ref();
    let is_one = |name: &HeaderName| {
        let name = name.as_str();
        name == V1_HEADER || named.is_some_and(|names| name == names.timestamp || name == names.signature)
    };
    // Nearly no request has any.
    if !headers.keys().any(is_one) {
        return Sent::Nothing;
    }
    let given = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Given::Nothing,
            (Some(only), None) => only.to_str().map_or(Given::Unreadable, Given::Once),
            (Some(_), Some(_)) => Given::Unreadable,
        }
    };
    let (timestamp, signature) = named
        .map_or((Given::Nothing, Given::Nothing), |names| (given(&names.timestamp), given(&names.signature)));
    let read = match (timestamp, signature, given(V1_HEADER)) {
        (Given::Nothing, Given::Nothing, Given::Nothing) => return Sent::Nothing,
        (Given::Once(timestamp), Given::Once(signature), Given::Nothing) => {
            SentSignature::of_body(timestamp, signature)
        }
        (Given::Nothing, Given::Nothing, Given::Once(text)) => SentSignature::v1(text),
        _ => None,
    };
    read.map_or(Sent::Unreadable, Sent::Signature)
}

/// One header of a request.
enum Given<'a> {
    Nothing,
    Once(&'a str),
    /// Twice, or not as text.
    Unreadable,
}

/// What of a request is signed.
pub(super) fn signable<'a>(parts: &'a Parts, body: &'a [u8]) -> Signable<'a> {
    Signable { method: parts.method.as_str(), path: parts.uri.path(), query: parts.uri.query(), body }
}

/// Reads the body of a signed request and has its signature checked. What is given back beside the caller are
/// its bytes and the room that they take; or what the caller is told.
pub(super) async fn read_signed<'a>(
    engine: &Engine,
    mut caller: Caller,
    sent: &Sent,
    parts: &Parts,
    body: Option<&mut Incoming>,
    max_bytes: Option<u64>,
    buffers: &'a Buffers,
) -> Result<(Caller, Bytes, Held<'a>), Refused> {
    caller.announce_signature(sent);
    let max_bytes = max_bytes.map_or(SIGNED_BYTES_MAX, |max_bytes| max_bytes.min(SIGNED_BYTES_MAX));
    let declared = body.as_ref().map_or(Some(0), |body| body.size_hint().upper());
    let room = declared.map_or(max_bytes, |declared| declared.min(max_bytes));
    let mut held = match buffers.hold(Holder::Workspace(caller.workspace()), room) {
        Ok(held) => held,
        Err(fault) => return Err(engine.refuse(caller, fault)),
    };
    let read = match body {
        Some(body) => {
            let tether = engine.tether(&caller);
            let read = tethered(Some(&tether), body::read(body, max_bytes, SIGNED_TIME_MAX)).await;
            read.and_then(|read| read.map_err(|error| Denial::from(&error)))
        }
        None => Ok(Bytes::new()),
    };
    let read = match read {
        Ok(read) => read,
        Err(denial) => return Err(engine.refuse(caller, denial)),
    };
    held.shrink_to(read.len());
    caller.check_signature(sent, &signable(parts, &read));
    Ok((caller, read, held))
}

/// Takes the headers of signatures out of a request: like the key, they are for the gate alone. Spellings with
/// `_` go as well, which some servers take for `-`.
pub(super) fn strip(headers: &mut HeaderMap, profile: &Profile) {
    let named = profile.signing.iter().flat_map(|names| [&*names.timestamp, &*names.signature]);
    let ends_here = |name: &str| named.clone().any(|known| known == name) || name == V1_HEADER;
    let is_one = |name: &HeaderName| {
        let name = name.as_str();
        ends_here(name) || (name.contains('_') && ends_here(&name.replace('_', "-")))
    };
    let dropped: Vec<_> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}
