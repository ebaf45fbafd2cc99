//! A product's REST door: route, verify, forward.
//!
//! An unknown route, a wrong method and a body that is too long are told only to a proven caller, after its
//! rate token: before proof every path looks the same, but for the routes that the profile opens to everyone.
//! A key that is sent to one of those is checked like any other.
//!
//! Never here: a body that is read, unless it is signed (others stream through); a status.

use std::time::Duration;

use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_LENGTH;

use super::credential::credential;
use super::data::{Exchange, noted};
use super::{answered, is_anonymous, signature};
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Refusal};
use crate::domain::profile::{Found, Public, RestDoor, Route, Verb};
use crate::domain::signature::Sent;
use crate::engine::{Attempt, Door};
use crate::gateway::{Encodings, Outgoing, Pass, Stay, Upgrades, passed};
use crate::http::body::Relayed;
use crate::http::{Body, Response};

/// The longest pause inside a request's body.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Answers one request, or says why not.
pub(super) async fn answer(exchange: &mut Exchange<'_>, door: &RestDoor) -> Result<Response, Refusal> {
    let found = door.routes.find(Verb::of_method(exchange.parts.method.as_str()), exchange.parts.uri.path());
    let public = match found {
        Found::Route(route) => route.public().map(|public| (route, public)),
        Found::OtherVerbs(_) | Found::Nothing => None,
    };
    if let Some((route, public)) = public
        && is_anonymous(&exchange.parts.headers, &exchange.product.profile)
    {
        return Box::pin(open(exchange, route, public)).await;
    }
    let Exchange { engine, product, parts, body, buffers, arrival, limit_states, .. } = exchange;
    let (engine, product, address) = (*engine, *product, arrival.address);
    let (max_body_bytes, upgrades) = match found {
        Found::Route(route) if route.websocket => (route.max_body_bytes, Upgrades::WebSocket),
        Found::Route(route) => (route.max_body_bytes, Upgrades::Dropped),
        Found::OtherVerbs(_) | Found::Nothing => (None, Upgrades::Dropped),
    };
    let (profile, wanted) = (&product.profile, wanted(found, &parts.headers));
    let place = wanted.place();
    let credential = credential(&parts.headers, &door.key_headers);
    let sent = signature::sent(&parts.headers, profile);
    let (granted, signed_body) = if matches!(sent, Sent::Nothing) {
        let cost = wanted.cost();
        let attempt = Attempt { door: Door::Rest, profile, credential, wanted, address, cost };
        (noted(limit_states, engine.verify(attempt).await)?, None)
    } else {
        // In a room of its own, as all that few requests need: the others do not carry it along.
        let signed = async {
            let caller = engine.identify_at(place, Door::Rest, profile, &credential, address).await?;
            let (caller, read, held) =
                signature::read_signed(engine, caller, &sent, parts, body.as_mut(), max_body_bytes, buffers)
                    .await
                    .map_err(|refused| {
                        **limit_states = refused.limit_states();
                        refused.refusal
                    })?;
            let granted = noted(limit_states, engine.admit(caller, &wanted, wanted.cost()).await)?;
            Ok::<_, Refusal>((granted, Some((read, held))))
        };
        Box::pin(signed).await?
    };
    // Its room is taken until the upstream has answered.
    let (signed_body, _held) = signed_body.unzip();
    let awaited = engine.await_answer(&granted, place);
    let pass = product.pass(engine, granted)?;
    let answer = if product.upstream.is_nobody() {
        passed(pass, arrival.request_id.clone())
    } else {
        let body = signed_body.map_or_else(|| relayed(body, max_body_bytes), Body::from);
        let outgoing = Outgoing { upgrades, ..outgoing(exchange, body) };
        product.upstream.forward(pass, outgoing).await
    };
    answered(awaited, &answer);
    answer
}

/// Answers a caller without a key at a route that the profile opens to everyone.
async fn open(exchange: &mut Exchange<'_>, route: &Route, public: Public) -> Result<Response, Refusal> {
    let (product, arrival) = (exchange.product, &exchange.arrival);
    let pass = Pass::Open(exchange.engine.open_pass(&product.profile, public, arrival.address)?);
    if let Some(max_bytes) = announced_too_long(route, &exchange.parts.headers) {
        return Err(Denial::TooLarge { max_bytes }.into());
    }
    if product.upstream.is_nobody() {
        return passed(pass, arrival.request_id.clone());
    }
    let body = relayed(exchange.body, route.max_body_bytes);
    product.upstream.forward(pass, outgoing(exchange, body)).await
}

/// What goes to the upstream, of which nothing is left in the exchange.
fn outgoing<'a>(exchange: &mut Exchange<'a>, body: Body) -> Outgoing<'a> {
    let Exchange { product, parts, arrival, .. } = exchange;
    let mut head = std::mem::replace(parts, Request::new(()).into_parts().0);
    signature::strip(&mut head.headers, &product.profile);
    let key_headers = product.profile.key_headers();
    let (encodings, upgrades) = (Encodings::AsAsked, Upgrades::Dropped);
    Outgoing { head, body, arrival: arrival.clone(), key_headers, encodings, upgrades, stay: Stay::Exchange }
}

/// The request's body, as far as there is one.
fn relayed(body: &mut Option<Incoming>, max_bytes: Option<u64>) -> Body {
    let there_is = body.take_if(|body| !body.is_end_stream());
    there_is.map_or(Body::Empty, |body| {
        Body::Relayed(Relayed::new(body, max_bytes.unwrap_or(u64::MAX), BODY_PAUSE_MAX))
    })
}

fn wanted(found: Found<'_>, headers: &hyper::HeaderMap) -> Wanted {
    match found {
        Found::Route(route) => match announced_too_long(route, headers) {
            Some(max_bytes) => Wanted::RefusedAt(route.requirement.place, Denial::TooLarge { max_bytes }),
            None => Wanted::Known(route.requirement),
        },
        Found::OtherVerbs(allow) => Wanted::Refused(Denial::Method { allow }),
        Found::Nothing => Wanted::Refused(Denial::NotFound),
    }
}

/// The route's bound, when the request announces a longer body.
fn announced_too_long(route: &Route, headers: &hyper::HeaderMap) -> Option<u64> {
    let max_bytes = route.max_body_bytes?;
    let announced: u64 = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (announced > max_bytes).then_some(max_bytes)
}
