//! The older transport of MCP, HTTP+SSE (2024-11-05): a GET opens a stream whose first event names where messages
//! are posted; their answers come on the stream.
//!
//! The address that the upstream names never reaches the caller. It is told one of ours, whose random session
//! stands for the key that opened the stream and for the upstream's address. The session is in the URL because the
//! protocol has it there: it is a capability beside the key, never in its place, and unknown with another key.
//! What is posted is read and decided on like a message to the endpoint. Clients of this transport read nothing
//! but the stream, so a refusal that carries an id is told there, and one of a credential by its status. A stream
//! holds a place of its upstream as long as it lasts, which bounds streams for a workspace and in all.
//!
//! Never here: a session in a log, a connection to an address that an upstream named.

mod address;
mod streams;

use std::time::Duration;

use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::mpsc;

use super::filter::Sight;
use super::headers::{era, is_event_stream, strip_session};
use super::post::message;
use super::{Refused, outgoing, rpc_credential};
use crate::dialect::RpcDialect;
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::profile::{Requirement, RpcDoor, Verb, VerbSet};
use crate::domain::signature::Sent;
use crate::domain::usage::Place;
use crate::engine::{Attempt, Door, Granted};
use crate::gateway::{Outgoing, Stay, Upstream};
use crate::http::events::{Event, Events, Rewriter, Verdict};
use crate::http::{Body, Response, answer, body};
use crate::surface::data::{Exchange, noted};
use crate::surface::{answered, signature};

pub(in crate::surface) use streams::OlderStreams;
pub(super) use streams::Posted;
use streams::{Draft, SESSION_PARAMETER};

/// The most events of ours that wait in a stream for their reader.
const EVENTS_WAITING_MAX: usize = 16;
/// The most bytes of what an upstream says beside its 202. Nobody is shown them: a client reads its stream.
const ACCEPTED_BYTES_MAX: u64 = 64 * 1024;
/// The longest that they are waited for.
const ACCEPTED_TIME_MAX: Duration = Duration::from_secs(1);

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// A request at the path of the stream.
pub(super) async fn at_stream(
    exchange: Exchange<'_>,
    door: &RpcDoor,
    dialect: &RpcDialect,
) -> Result<Response, Refused> {
    let query = exchange.parts.uri.query();
    match (&exchange.parts.method, query) {
        (&Method::GET | &Method::HEAD, None) => open(exchange).await,
        (&Method::POST, Some(query)) => {
            let session = query.strip_prefix(SESSION_PARAMETER).unwrap_or_default();
            match exchange.older_streams.find(session) {
                Some(posted) => post(exchange, door, dialect, posted).await,
                None => refused(exchange, Denial::NotFound).await,
            }
        }
        (_, Some(_)) => refused(exchange, Denial::NotFound).await,
        // Clients try the newer transport first, and come back with a GET.
        (_, None) => refused(exchange, Denial::Method { allow: VerbSet::default().with(Verb::Get) }).await,
    }
}

async fn open(mut exchange: Exchange<'_>) -> Result<Response, Refused> {
    let wanted = Wanted::Known(Requirement::default().at(Place::Standing));
    let granted = granted(&mut exchange, wanted.clone()).await?;
    let Exchange { engine, product, parts, older_streams, buffers, arrival, .. } = exchange;
    if parts.method == Method::HEAD {
        let mut head = answer::empty(StatusCode::OK);
        head.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
        return Ok(head);
    }
    let (inlet, ours) = mpsc::channel(EVENTS_WAITING_MAX);
    let draft = Draft::new(older_streams, granted.key(), inlet).ok_or(Fault::Internal)?;
    let stream_path = parts.uri.path().to_owned();
    let sight = Sight::of(engine, &product.profile, granted.reach(), era(&parts.headers));
    let awaited = engine.await_answer(&granted, wanted.place());
    let pass = product.pass(engine, granted)?;
    let mut outgoing = Outgoing { stay: Stay::Stream, ..outgoing(product, parts, Body::Empty, arrival) };
    strip_session(&mut outgoing.head.headers);
    let forwarded = product.upstream.forward(pass, outgoing).await;
    answered(awaited, &forwarded);
    let forwarded = forwarded?;
    if !forwarded.status().is_success() {
        return Ok(forwarded);
    }
    let (mut head, body) = forwarded.into_parts();
    // An encoded one cannot be looked at, and was not asked for.
    let is_readable = is_event_stream(&head.headers) && !head.headers.contains_key(CONTENT_ENCODING);
    let (true, Body::Relayed(source)) = (is_readable, body) else {
        tracing::warn!("the upstream opened no stream of events");
        return Err(Fault::UpstreamBroken.into());
    };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(ETAG);
    let rewriter = rewriter(draft, stream_path, product.upstream.clone(), sight.rewriter());
    let events = Events::new(source).rewritten(rewriter, buffers.events.clone()).with_inlet(ours);
    Ok(Response::from_parts(head, Body::Events(Box::new(events))))
}

/// Tells the caller an address of ours in the place of the upstream's, and of lists what its key may call.
fn rewriter(draft: Draft, stream_path: String, upstream: Upstream, mut look: Rewriter) -> Rewriter {
    // What is registered here goes with the stream.
    let (mut draft, mut registered) = (Some(draft), None);
    Box::new(move |event: &Event<'_>| {
        if event.name == b"endpoint" {
            let Some(draft) = draft.take() else { return Verdict::Cut("it names a second address") };
            return match address::resolve(event.data, &stream_path, &upstream) {
                Ok(address) => {
                    let stream = registered.insert(draft.register(address));
                    Verdict::Replace(format!("{stream_path}?{}", stream.query()).into())
                }
                Err(reason) => Verdict::Cut(reason),
            };
        }
        look(event)
    })
}

/// A message posted to an address of ours.
async fn post(
    exchange: Exchange<'_>,
    door: &RpcDoor,
    dialect: &RpcDialect,
    posted: Posted,
) -> Result<Response, Refused> {
    let era = era(&exchange.parts.headers);
    match message(exchange, door, Some(&posted)).await {
        Ok(response) if response.status().is_success() => {
            // Read, so that the upstream's connection can be used again.
            let _ = body::read(response.into_body(), ACCEPTED_BYTES_MAX, ACCEPTED_TIME_MAX).await;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        Ok(response) => Ok(response),
        Err(Refused { refusal, id: Some(id) }) if is_told_on_stream(&refusal) => {
            let spoken = dialect.say(&refusal, Some(&id), era);
            if !Posted::fits(&spoken.body) {
                return Err(Refused { refusal, id: Some(id) });
            }
            match posted.tell(&spoken.body) {
                Ok(()) => Ok(answer::empty(StatusCode::ACCEPTED)),
                Err(full) => Err(Refused { refusal: full, id: Some(id) }),
            }
        }
        Err(refused) => Err(refused),
    }
}

/// Whether a refusal is of the message. Those of its sender, or of the address, are told where it was posted.
const fn is_told_on_stream(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Denied(denial) => match denial {
            Denial::TwoCredentials
            | Denial::Missing
            | Denial::Malformed
            | Denial::Unknown
            | Denial::Revoked
            | Denial::Suspended
            | Denial::Expired
            | Denial::Address
            | Denial::Signature
            | Denial::NotFound
            | Denial::Invalid(Invalid::Session) => false,
            Denial::Invalid(_)
            | Denial::TooLarge { .. }
            | Denial::ContentType
            | Denial::Rate { .. }
            | Denial::Method { .. }
            | Denial::UnknownMethod
            | Denial::Permission { .. }
            | Denial::Plan
            | Denial::Quota { .. } => true,
        },
        Refusal::Failed(Fault::Credential) => false,
        Refusal::Failed(_) => true,
    }
}

async fn refused(mut exchange: Exchange<'_>, denial: Denial) -> Result<Response, Refused> {
    granted(&mut exchange, Wanted::Refused(denial)).await?;
    // What is refused whatever the key is never granted.
    Err(Fault::Internal.into())
}

/// Decides on a request whose body nobody reads.
async fn granted(exchange: &mut Exchange<'_>, wanted: Wanted) -> Result<Granted, Refused> {
    let Exchange { engine, product, parts, arrival, limit_states, .. } = exchange;
    let (profile, address) = (&product.profile, arrival.address);
    let credential = rpc_credential(parts, product);
    let sent = signature::sent(&parts.headers, profile);
    if matches!(sent, Sent::Nothing) {
        let attempt = Attempt { door: Door::Rpc, profile, credential, wanted, address, cost: 1 };
        return Ok(noted(limit_states, engine.verify(attempt).await)?);
    }
    let mut caller = engine.identify(Door::Rpc, profile, &credential, address).await?;
    caller.check_signature(&sent, &signature::signable(parts, &[]));
    Ok(noted(limit_states, engine.admit(caller, &wanted, 1).await)?)
}
