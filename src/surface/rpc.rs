//! A product's JSON-RPC door: one endpoint for messages, a few public paths.
//!
//! With a credential, the caller is proven and pays its token before its body is read, and the message
//! decides what is wanted. Without one, only what the profile opens is let through, after at most 64 KiB of
//! body, paced by address. A credential that is presented and wrong is refused even there. A tool is listed
//! exactly when it may be called.
//!
//! Never here: a message that is forwarded in another form than the one that was read.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::buffers::{Buffers, Holder};
use super::credential::credential;
use super::data::{Exchange, Product, noted};
use super::rpc_message::RpcMessage;
use super::tool_list::filter_tools;
use super::{answered, is_anonymous, is_json, signature};
use crate::dialect::{Era, RpcDialect, Spoken};
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::profile::{Public, RefusedKeyId, Requirement, RpcDoor, Verb, VerbSet};
use crate::domain::signature::Sent;
use crate::engine::{Attempt, Door, Reach};
use crate::gateway::{Arrival, Encodings, Outgoing, Pass, Upgrades};
use crate::http::body::BodyError;
use crate::http::{Body, Response, body, tethered};

/// The most bytes of one message.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// The most bytes of one message without a key, or without a token.
const KEYLESS_BYTES_MAX: u64 = 64 * 1024;
/// The most bytes of a `tools/list` answer that is filtered.
const TOOL_LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The longest that a message, or the answer to `tools/list`, may take to arrive whole.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);

/// From this protocol version on, an unknown method has HTTP status 404.
const MODERN_VERSION: &str = "2026-07-28";

/// A refusal and the id to say it with.
struct Refused {
    refusal: Refusal,
    id: Option<String>,
}

impl<T: Into<Refusal>> From<T> for Refused {
    fn from(refusal: T) -> Self {
        Self { refusal: refusal.into(), id: None }
    }
}

/// Answers one request, or says why not.
pub(super) async fn answer(
    exchange: Exchange<'_>,
    door: &RpcDoor,
    dialect: &RpcDialect,
) -> Result<Response, Spoken> {
    let era = era(&exchange.parts.headers);
    let posted = exchange.parts.method == Method::POST && exchange.parts.uri.path() == door.endpoint;
    let answered = if posted { message(exchange, door).await } else { document(exchange, door).await };
    answered.map_err(|refused| dialect.say(&refused.refusal, refused.id.as_deref(), era))
}

/// A GET of something public, or of nothing.
async fn document(exchange: Exchange<'_>, door: &RpcDoor) -> Result<Response, Refused> {
    let Exchange { engine, product, parts, arrival, limit_states, .. } = exchange;
    let address = arrival.address;
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    let public = door.public_path(parts.uri.path()).filter(|_| reads);
    let anonymous = is_anonymous(&parts.headers, &product.profile);
    let credential = rpc_credential(&parts, product);
    let (pass, answer) = if let Some(public) = public.filter(|_| anonymous) {
        (Pass::Open(engine.open_pass(&product.profile, public, address)?), None)
    } else {
        let place = door.place_of_public_path(parts.uri.path()).unwrap_or_default();
        let wanted = match public {
            Some(_) => Wanted::Known(Requirement::default().at(place)),
            // Where this is the only door, paths that are nobody's come here too.
            None if !door.is_at(parts.uri.path()) => Wanted::Refused(Denial::NotFound),
            None => Wanted::Refused(Denial::Method { allow: allowed(door, parts.uri.path()) }),
        };
        let profile = &product.profile;
        let sent = signature::sent(&parts.headers, profile);
        let granted = if matches!(sent, Sent::Nothing) {
            let attempt = Attempt { door: Door::Rpc, profile, credential, wanted, address, cost: 1 };
            noted(limit_states, engine.verify(attempt).await)?
        } else {
            let mut caller = engine.identify(Door::Rpc, profile, &credential, address).await?;
            // No body goes on, so none is signed.
            caller.check_signature(&sent, &signature::signable(&parts, &[]));
            noted(limit_states, engine.admit(caller, &wanted, 1).await)?
        };
        let answer = engine.await_answer(&granted, place);
        (product.pass(engine, granted)?, Some(answer))
    };
    let outgoing = outgoing(product, parts, Body::Empty, arrival);
    let forwarded = product.upstream.forward(pass, outgoing).await;
    Ok(match answer {
        Some(answer) => answered(answer, forwarded)?,
        None => forwarded?,
    })
}

fn allowed(door: &RpcDoor, path: &str) -> VerbSet {
    let posts = if path == door.endpoint { VerbSet::default().with(Verb::Post) } else { VerbSet::default() };
    if door.public_path(path).is_some() { posts.with(Verb::Get) } else { posts }
}

/// A POST of one message.
async fn message(exchange: Exchange<'_>, door: &RpcDoor) -> Result<Response, Refused> {
    let Exchange { engine, product, parts, body, buffers, arrival, limit_states } = exchange;
    let address = arrival.address;
    let mut refuse = |caller, refusal: Refusal| {
        let refused = engine.refuse(caller, refusal);
        *limit_states = refused.limit_states();
        Refused::from(refused.refusal)
    };
    let credential = rpc_credential(&parts, product);
    let sent = signature::sent(&parts.headers, &product.profile);
    let caller = match &credential {
        Err(Denial::Missing) => None,
        presented => {
            let identified = engine.identify(Door::Rpc, &product.profile, presented, address).await;
            let stands = identified.and_then(|mut caller| {
                caller.announce_signature(&sent);
                if caller.lacks_signature() {
                    Err(refuse(caller, Denial::Signature.into()).refusal)
                } else {
                    Ok(caller)
                }
            });
            let mut caller = match stands {
                Ok(caller) => caller,
                Err(refusal) => {
                    let id = id_for(&refusal, door, &parts.headers, body.as_mut(), buffers, address).await;
                    return Err(Refused { refusal, id });
                }
            };
            // Paid before anything is read and held for it; that there was no token is told with the
            // message's id.
            engine.pace(&mut caller);
            Some(caller)
        }
    };
    let is_paid = caller.as_ref().is_some_and(|caller| !caller.is_too_fast());
    let max_bytes = if is_paid { MESSAGE_BYTES_MAX } else { KEYLESS_BYTES_MAX };
    let holder = match &caller {
        Some(caller) if is_paid => Holder::Workspace(caller.workspace()),
        _ => Holder::Address(address),
    };
    let (mut held, caller) = match (buffers.hold(holder, max_bytes), caller) {
        (Ok(held), caller) => (held, caller),
        (Err(fault), Some(caller)) => return Err(refuse(caller, fault.into())),
        (Err(fault), None) => return Err(fault.into()),
    };
    let read = match body.as_mut() {
        _ if !is_json(&parts.headers) => Err(Denial::ContentType),
        Some(body) => {
            let tether = caller.as_ref().map(|caller| engine.tether(caller));
            let read = body::read(body, max_bytes, MESSAGE_TIME_MAX);
            // One who stops standing is told so at once, and again by the decision below.
            let read = tethered(tether.as_ref(), read).await;
            read.and_then(|read| read.map_err(|error| Denial::from(&error)))
        }
        None => Ok(Bytes::new()),
    };
    let (read, caller) = match (read, caller) {
        (Ok(read), caller) => (read, caller),
        // What cannot be read is told to a proven caller as any other refusal: after its standing and its
        // token.
        (Err(denial), Some(caller)) => {
            return Err(refuse(caller, denial.into()));
        }
        (Err(denial), None) => return Err(denial.into()),
    };
    held.shrink_to(read.len());
    let (asked, id) = Asked::read(&read, door, &parts.headers);
    let refused = |refusal: Refusal| Refused { refusal, id: id.clone() };
    let (pass, reach, answer) = if let Some(mut caller) = caller {
        caller.check_signature(&sent, &signature::signable(&parts, &read));
        let cost = asked.wanted.cost();
        let granted =
            noted(limit_states, engine.admit(caller, &asked.wanted, cost).await).map_err(refused)?;
        let reach = asked.lists_tools.then(|| granted.reach());
        let answer = engine.await_answer(&granted, asked.wanted.place());
        let pass = product.pass(engine, granted).map_err(|fault| refused(fault.into()))?;
        (pass, reach, Some(answer))
    } else {
        let public = asked
            .open_to(is_anonymous(&parts.headers, &product.profile))
            .map_err(|denial| refused(denial.into()))?;
        let pass = engine.open_pass(&product.profile, public, address);
        let pass = pass.map_err(|denial| refused(denial.into()))?;
        (Pass::Open(pass), None, None)
    };
    let outgoing = outgoing(product, parts, Body::Whole(read), arrival);
    let forwarded = product.upstream.forward(pass, outgoing).await;
    let shown = match (forwarded, reach) {
        (Ok(forwarded), Some(reach)) => filtered(forwarded, door, &reach, buffers, holder).await,
        (forwarded, _) => forwarded,
    };
    let shown = match answer {
        Some(answer) => answered(answer, shown),
        None => shown,
    };
    shown.map_err(refused)
}

/// The id of a message whose key was refused before it was read, where the profile has it told. What is read
/// for it is as small as what anybody may send without a key.
async fn id_for(
    refusal: &Refusal,
    door: &RpcDoor,
    headers: &HeaderMap,
    body: Option<&mut Incoming>,
    buffers: &Buffers,
    address: Option<IpAddr>,
) -> Option<String> {
    let is_told = door.refused_key_id == RefusedKeyId::Echo
        && matches!(refusal, Refusal::Denied(denial) if *denial != Denial::TwoCredentials);
    let body = body.filter(|_| is_told && is_json(headers))?;
    let _held = buffers.hold(Holder::Address(address), KEYLESS_BYTES_MAX).ok()?;
    let read = body::read(body, KEYLESS_BYTES_MAX, MESSAGE_TIME_MAX).await.ok()?;
    let id = match RpcMessage::parse(&read) {
        Ok(message) => message.id,
        Err(unreadable) => unreadable.id,
    };
    id.map(str::to_owned)
}

/// The bearer, which is this door's only credential. Another door's key header beside it is a second one.
fn rpc_credential<'a>(parts: &'a Parts, product: &Product) -> Result<&'a [u8], Denial> {
    match credential(&parts.headers, product.profile.key_headers()) {
        Ok(_) if !parts.headers.contains_key(AUTHORIZATION) => Err(Denial::Missing),
        credential => credential,
    }
}

/// What a message asks for.
struct Asked {
    wanted: Wanted,
    lists_tools: bool,
    public: Option<Public>,
}

impl Asked {
    /// Reads a message, and its id where there is one.
    fn read(body: &[u8], door: &RpcDoor, headers: &HeaderMap) -> (Self, Option<String>) {
        match RpcMessage::parse(body) {
            Ok(message) => {
                let asked = Self {
                    wanted: wanted(&message, door, headers),
                    lists_tools: message.method == "tools/list",
                    public: door.keyless_method(&message.method),
                };
                (asked, message.id.map(str::to_owned))
            }
            Err(unreadable) => {
                let wanted = Wanted::Refused(Denial::Invalid(unreadable.invalid));
                (Self { wanted, lists_tools: false, public: None }, unreadable.id.map(str::to_owned))
            }
        }
    }

    /// For a caller without a key. Nothing is told of a message that only a key could send, but what is wrong
    /// with its form.
    fn open_to(self, anonymous: bool) -> Result<Public, Denial> {
        match (self.wanted, self.public) {
            (Wanted::Refused(denial @ Denial::Invalid(_)), _) => Err(denial),
            (_, public) => public.filter(|_| anonymous).ok_or(Denial::Missing),
        }
    }
}

fn outgoing(product: &Product, mut head: Parts, body: Body, arrival: Arrival) -> Outgoing<'_> {
    signature::strip(&mut head.headers, &product.profile);
    let key_headers = product.profile.key_headers();
    let (encodings, upgrades) = (Encodings::Plain, Upgrades::Dropped);
    Outgoing { head, body, arrival, key_headers, encodings, upgrades }
}

/// What a message asks for. The headers that the modern era adds must agree with it.
fn wanted(message: &RpcMessage<'_>, door: &RpcDoor, headers: &HeaderMap) -> Wanted {
    let refused = |invalid| Wanted::Refused(Denial::Invalid(invalid));
    if !agrees(headers, "mcp-method", &message.method) {
        return refused(Invalid::HeaderMismatch);
    }
    if message.method == "tools/call" {
        let name = match message.tool_name() {
            Ok(name) => name,
            Err(invalid) => return refused(invalid),
        };
        if !agrees(headers, "mcp-name", &name) {
            return refused(Invalid::HeaderMismatch);
        }
        // A tool that the profile does not map is closed.
        return match door.tools.get(name.as_ref()) {
            Some(requirement) => Wanted::Known(*requirement),
            None => Wanted::Refused(Denial::Permission { needed: None }),
        };
    }
    match door.place_of_method(&message.method) {
        Some(place) => Wanted::Known(Requirement::default().at(place)),
        None => Wanted::Refused(Denial::UnknownMethod),
    }
}

fn agrees(headers: &HeaderMap, name: &str, said: &str) -> bool {
    headers.get_all(name).iter().all(|value| value.as_bytes() == said.as_bytes())
}

fn era(headers: &HeaderMap) -> Era {
    let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
    if version.is_some_and(|version| version >= MODERN_VERSION) { Era::Modern } else { Era::Legacy }
}

/// The upstream's list without the tools that this key may not call.
async fn filtered(
    response: Response,
    door: &RpcDoor,
    reach: &Reach,
    buffers: &Buffers,
    holder: Holder,
) -> Result<Response, Refusal> {
    if !response.status().is_success() {
        return Ok(response);
    }
    if !is_json(response.headers()) {
        // Lists in event streams cannot be filtered yet, and an unfiltered one is never shown.
        return Err(Fault::UpstreamBroken.into());
    }
    let _held = buffers.hold(holder, TOOL_LIST_BYTES_MAX)?;
    let (mut parts, body) = response.into_parts();
    let whole = body::read(body, TOOL_LIST_BYTES_MAX, MESSAGE_TIME_MAX).await;
    let whole = whole.map_err(|error| match error {
        BodyError::Untethered(denial) => Refusal::Denied(denial),
        BodyError::TooLarge { .. } | BodyError::Late | BodyError::Broken(_) => Fault::UpstreamBroken.into(),
    })?;
    let may_call = |name: &str| door.tools.get(name).is_some_and(|requirement| reach.covers(requirement));
    let shown = filter_tools(&whole, may_call).ok_or(Fault::UpstreamBroken)?;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ETAG);
    Ok(Response::from_parts(parts, Body::from(shown)))
}
