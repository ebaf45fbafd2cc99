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
use hyper::body::{Body as _, Incoming};

use super::asked::Asked;
use super::filter::{Sight, shown};
use super::headers::era;
use super::message::RpcMessage;
use super::session::{Course, InSession};
use super::sse::Posted;
use super::tool_question::{ToolQuestion, Unanswered};
use super::{Refused, outgoing, rpc_credential};
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::domain::profile::{RefusedKeyId, RpcDoor};
use crate::domain::signature::Sent;
use crate::engine::{AwaitedAnswer, Caller, Door, SessionUser};
use crate::gateway::Pass;
use crate::http::{Body, Response, body, tethered};
use crate::surface::buffers::{Buffers, Held, Holder};
use crate::surface::data::{Exchange, noted};
use crate::surface::{answered, is_anonymous, is_json, signature};

/// The most bytes of one message.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// The most bytes of one message without a key, or without a token.
const KEYLESS_BYTES_MAX: u64 = 64 * 1024;
/// The longest that a message may take to arrive whole.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);

/// A POST of one message: to the endpoint, or to an address of the older transport.
pub(super) async fn message(
    mut exchange: Exchange<'_>,
    door: &RpcDoor,
    posted: Option<&Posted>,
) -> Result<Response, Refused> {
    let sent = signature::sent(&exchange.parts.headers, &exchange.product.profile);
    let caller = arrived(&mut exchange, door, &sent).await?;
    let caller = at_own_stream(&mut exchange, caller, posted)?;
    let Read { bytes, caller, _held } = read(&mut exchange, caller).await?;
    let (mut asked, id) = Asked::read(&bytes, door, &exchange.parts.headers);
    let let_through = match caller {
        Some(mut caller) => {
            caller.check_signature(&sent, &signature::signable(&exchange.parts, &bytes));
            let is_older = posted.is_some();
            let question = tool_question(&exchange, door, id.as_deref(), is_older);
            match asked.learn_class(&question, &caller).await {
                Ok(()) => granted(&mut exchange, caller, asked).await,
                Err(Unanswered::Refused(refusal)) => Err(refused(&mut exchange, caller, refusal)),
                Err(Unanswered::ByUpstream(answer)) => {
                    // It stands for the answer to a call that nobody decided on.
                    refused(&mut exchange, caller, Fault::UpstreamBroken);
                    return Ok(*answer);
                }
            }
        }
        None => opened(&exchange, asked),
    };
    let shown = match let_through {
        Ok(mut let_through) => {
            if let Some(posted) = posted {
                exchange.parts.uri = posted.address().clone();
                // Its answer comes on the stream, and is filtered there.
                let_through.sight = None;
            }
            forwarded(exchange, let_through, bytes).await
        }
        Err(refusal) => Err(refusal),
    };
    shown.map_err(|refusal| Refused { refusal, id })
}

/// Who sends it, its token paid; nobody when there is no credential.
async fn arrived(
    exchange: &mut Exchange<'_>,
    door: &RpcDoor,
    sent: &Sent,
) -> Result<Option<Caller>, Refused> {
    let Exchange { engine, product, parts, arrival, .. } = exchange;
    let credential = rpc_credential(parts, product);
    if credential == Err(Denial::Missing) {
        return Ok(None);
    }
    let identified = engine.identify(Door::Rpc, &product.profile, &credential, arrival.address).await;
    let stands = identified.and_then(|mut caller| {
        caller.announce_signature(sent);
        let lacks_signature = caller.lacks_signature();
        if lacks_signature { Err(refused(exchange, caller, Denial::Signature)) } else { Ok(caller) }
    });
    match stands {
        Ok(mut caller) => {
            // Paid before anything is read and held for it; that there was no token is told with the
            // message's id.
            exchange.engine.pace(&mut caller);
            Ok(Some(caller))
        }
        Err(refusal) => {
            let Exchange { parts, body, buffers, arrival, .. } = exchange;
            let id = id_for(&refusal, door, &parts.headers, body.as_mut(), buffers, arrival.address);
            let id = Box::pin(id).await;
            Err(Refused { refusal, id })
        }
    }
}

/// The caller, if it may post where it does: what is posted to a stream is its own key's, and nothing is free of a
/// key where a stream was opened with one.
fn at_own_stream(
    exchange: &mut Exchange<'_>,
    caller: Option<Caller>,
    posted: Option<&Posted>,
) -> Result<Option<Caller>, Refusal> {
    match (caller, posted) {
        (None, Some(_)) => Err(Denial::Missing.into()),
        (Some(caller), Some(posted)) if !posted.is_of(caller.key()) => {
            Err(refused(exchange, caller, Denial::NotFound))
        }
        (caller, _) => Ok(caller),
    }
}

/// What would be asked of the upstream, if what is wanted hangs on what a tool does.
const fn tool_question<'a>(
    exchange: &'a Exchange<'_>,
    door: &'a RpcDoor,
    id: Option<&'a str>,
    is_older: bool,
) -> ToolQuestion<'a> {
    let Exchange { engine, product, buffers, parts, arrival, .. } = exchange;
    ToolQuestion { engine, product, door, buffers, parts, arrival, id, is_older }
}

/// A message that was read, whoever sent it, and the room that it takes.
struct Read<'a> {
    bytes: Bytes,
    caller: Option<Caller>,
    _held: Held<'a>,
}

/// Reads the body. What cannot be read is told to a proven caller as any other refusal: after its standing and its
/// token.
async fn read<'a>(exchange: &mut Exchange<'a>, caller: Option<Caller>) -> Result<Read<'a>, Refused> {
    let is_paid = caller.as_ref().is_some_and(|caller| !caller.is_too_fast());
    let max_bytes = if is_paid { MESSAGE_BYTES_MAX } else { KEYLESS_BYTES_MAX };
    let holder = match &caller {
        Some(caller) if is_paid => Holder::Workspace(caller.workspace()),
        _ => Holder::Address(exchange.arrival.address),
    };
    // No more comes than was announced.
    let announced = exchange.body.as_ref().and_then(|body| body.size_hint().upper());
    let room = announced.map_or(max_bytes, |bytes| bytes.min(max_bytes));
    let mut held = match exchange.buffers.hold(holder, room) {
        Ok(held) => held,
        Err(fault) => return Err(unread(exchange, caller, fault.into())),
    };
    let read = match exchange.body.as_mut() {
        _ if !is_json(&exchange.parts.headers) => Err(Denial::ContentType),
        Some(body) => {
            let tether = caller.as_ref().map(|caller| exchange.engine.tether(caller));
            let read = body::read(body, max_bytes, MESSAGE_TIME_MAX);
            // One who stops standing is told so at once, and again by the decision below.
            let read = tethered(tether.as_ref(), read).await;
            read.and_then(|read| read.map_err(|error| Denial::from(&error)))
        }
        None => Ok(Bytes::new()),
    };
    match read {
        Ok(bytes) => {
            held.shrink_to(bytes.len());
            Ok(Read { bytes, caller, _held: held })
        }
        Err(denial) => Err(unread(exchange, caller, denial.into())),
    }
}

fn unread(exchange: &mut Exchange<'_>, caller: Option<Caller>, refusal: Refusal) -> Refused {
    match caller {
        Some(caller) => refused(exchange, caller, refusal),
        None => refusal,
    }
    .into()
}

/// What is refused of a proven caller before its wish is known.
fn refused(exchange: &mut Exchange<'_>, caller: Caller, refusal: impl Into<Refusal>) -> Refusal {
    let refused = exchange.engine.refuse(caller, refusal.into());
    *exchange.limit_states = refused.limit_states();
    refused.refusal
}

/// A message that may go on, and what comes back is for.
struct LetThrough<'a> {
    pass: Pass,
    answer: Option<AwaitedAnswer<'a>>,
    session: InSession,
    sight: Option<Sight>,
    holder: Holder,
}

/// Decides what a proven caller asks for.
async fn granted<'a>(
    exchange: &mut Exchange<'a>,
    caller: Caller,
    mut asked: Asked,
) -> Result<LetThrough<'a>, Refusal> {
    let (engine, profile) = (exchange.engine, &exchange.product.profile);
    let headers = &exchange.parts.headers;
    let user = SessionUser::from(&caller);
    let found = InSession::of(engine, exchange.product, headers, user);
    let session = InSession::or_refused(found, &mut asked.wanted, user);
    let cost = asked.wanted.cost();
    let granted = noted(exchange.limit_states, engine.admit(caller, &asked.wanted, cost).await)?;
    let (reach, era) = (granted.reach(), era(headers));
    let sight = Some(if asked.lists_tools {
        Sight::of(engine, profile, reach, era)
    } else {
        Sight::of_else(profile, Some(reach), era, session.is_named())
    });
    let answer = Some(engine.await_answer(&granted, asked.wanted.place()));
    let holder = Holder::Workspace(granted.workspace());
    let pass = exchange.product.pass(engine, granted)?;
    Ok(LetThrough { pass, answer, session, sight, holder })
}

/// Lets through what the profile opens to everyone.
fn opened<'a>(exchange: &Exchange<'a>, asked: Asked) -> Result<LetThrough<'a>, Refusal> {
    let (engine, profile) = (exchange.engine, &exchange.product.profile);
    let (headers, address) = (&exchange.parts.headers, exchange.arrival.address);
    let public = asked.open_to(is_anonymous(headers, profile))?;
    let pass = Pass::Open(engine.open_pass(profile, public, address)?);
    let session = InSession::of(engine, exchange.product, headers, SessionUser::Nobody(address));
    let session = session.map_err(Denial::Invalid)?;
    let sight = Some(Sight::of_else(profile, None, era(headers), session.is_named()));
    Ok(LetThrough { pass, answer: None, session, sight, holder: Holder::Address(address) })
}

/// Sends it on and brings back what the caller may see of the answer.
async fn forwarded(
    exchange: Exchange<'_>,
    let_through: LetThrough<'_>,
    message: Bytes,
) -> Result<Response, Refusal> {
    let Exchange { engine, product, parts, buffers, arrival, .. } = exchange;
    let LetThrough { pass, answer, session, sight, holder } = let_through;
    let outgoing = outgoing(product, parts, Body::Whole(message), arrival);
    let forwarded = product.upstream.forward(pass, outgoing).await;
    let shown = match forwarded {
        Ok(forwarded) => {
            session.came_to(engine, &product.profile, Course::GoesOn, &forwarded);
            shown(forwarded, sight, buffers, holder).await
        }
        Err(refusal) => Err(refusal),
    };
    if let Some(answer) = answer {
        answered(answer, &shown);
    }
    shown
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
        Ok(message) => message.id(),
        Err(unreadable) => unreadable.id,
    };
    id.map(str::to_owned)
}
