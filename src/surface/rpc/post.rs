//! A message that is posted: read, decided on, forwarded as the bytes that were read.
//!
//! With a credential, the caller is proven and pays its token before its body is read, and the message
//! decides what is wanted. Without one, only what the profile opens is let through, after at most 64 KiB of
//! body, paced by address. A credential that is presented and wrong is refused even there.
//!
//! Never here: a message that is forwarded in another form than the one that was read.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::Incoming;

use super::asked::Asked;
use super::filter::filtered;
use super::message::RpcMessage;
use super::{Refused, outgoing, rpc_credential};
use crate::domain::denial::{Denial, Refusal};
use crate::domain::profile::{RefusedKeyId, RpcDoor};
use crate::engine::Door;
use crate::gateway::Pass;
use crate::http::{Body, Response, body, tethered};
use crate::surface::buffers::{Buffers, Holder};
use crate::surface::data::{Exchange, noted};
use crate::surface::{answered, is_anonymous, is_json, signature};

/// The most bytes of one message.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// The most bytes of one message without a key, or without a token.
const KEYLESS_BYTES_MAX: u64 = 64 * 1024;
/// The longest that a message may take to arrive whole.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);

/// A POST of one message.
pub(super) async fn message(exchange: Exchange<'_>, door: &RpcDoor) -> Result<Response, Refused> {
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
