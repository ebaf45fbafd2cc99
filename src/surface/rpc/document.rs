//! Everything at this door that is neither a message nor a stream: a GET of something public, or of nothing.
//!
//! What is public is part of no session and no stream, whatever a caller says.
//!
//! Never here: a body that is read.

use hyper::Method;

use super::headers::{is_event_stream, strip_session};
use super::{Refused, outgoing, rpc_credential};
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Fault};
use crate::domain::profile::{Requirement, RpcDoor, Verb, VerbSet};
use crate::domain::signature::Sent;
use crate::engine::{Attempt, Door};
use crate::gateway::Pass;
use crate::http::{Body, Response};
use crate::surface::data::{Exchange, noted};
use crate::surface::{answered, is_anonymous, signature};

/// A GET of something public, or of nothing.
pub(super) async fn document(exchange: Exchange<'_>, door: &RpcDoor) -> Result<Response, Refused> {
    let Exchange { engine, product, parts, arrival, limit_states, .. } = exchange;
    let address = arrival.address;
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    let public = door.public_path(parts.uri.path()).filter(|_| reads);
    let anonymous = is_anonymous(&parts.headers, &product.profile);
    let credential = rpc_credential(&parts, product);
    let is_missing_stream = door.sse.as_deref() == Some(parts.uri.path()) && product.upstream.is_nobody();
    let (pass, answer) = if let Some(public) = public.filter(|_| anonymous) {
        (Pass::Open(engine.open_pass(&product.profile, public, address)?), None)
    } else {
        let place = door.place_of_public_path(parts.uri.path()).unwrap_or_default();
        let wanted = match public {
            Some(_) => Wanted::Known(Requirement::default().at(place)),
            // Where this is the only door, paths that are nobody's come here too.
            None if !door.is_at(parts.uri.path()) || is_missing_stream => Wanted::Refused(Denial::NotFound),
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
    let mut outgoing = outgoing(product, parts, Body::Empty, arrival);
    strip_session(&mut outgoing.head.headers);
    let forwarded = product.upstream.forward(pass, outgoing).await;
    // A stream needs a key, however the upstream reads what its caller accepts.
    let forwarded = forwarded.and_then(|answer| {
        if is_event_stream(answer.headers()) { Err(Fault::UpstreamBroken.into()) } else { Ok(answer) }
    });
    if let Some(answer) = answer {
        answered(answer, &forwarded);
    }
    Ok(forwarded?)
}

fn allowed(door: &RpcDoor, path: &str) -> VerbSet {
    let none = VerbSet::default();
    if path == door.endpoint {
        // A GET opens a stream, where the upstream has any.
        none.with(Verb::Get).with(Verb::Post).with(Verb::Delete)
    } else if door.public_path(path).is_some() {
        none.with(Verb::Get)
    } else {
        none
    }
}
