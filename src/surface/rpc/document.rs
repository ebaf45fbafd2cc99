//! Everything at this door that is not a message: a GET of something public, or of nothing.
//!
//! Never here: a body that is read.

use hyper::Method;

use super::{Refused, outgoing, rpc_credential};
use crate::domain::decision::Wanted;
use crate::domain::denial::Denial;
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
