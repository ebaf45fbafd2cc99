//! The stream that a GET of the endpoint opens, and the DELETE that ends a session.
//!
//! Both need a key and cost its token. The stream lasts as long as the key stands; lists of tools are filtered in it as
//! anywhere, since what was missed of an earlier answer comes again here. An upstream without streams or sessions
//! says so itself, with 405.
//!
//! Never here: something that needs no key.

use super::filter::{Sight, shown};
use super::headers::era;
use super::session::{Course, InSession};
use super::{Refused, outgoing, rpc_credential};
use crate::domain::decision::Wanted;
use crate::domain::profile::Requirement;
use crate::domain::usage::Place;
use crate::engine::{Door, SessionUser};
use crate::gateway::{Outgoing, Stay};
use crate::http::{Body, Response};
use crate::surface::buffers::Holder;
use crate::surface::data::{Exchange, noted};
use crate::surface::{answered, signature};

/// A request of the endpoint that carries no message.
pub(super) async fn without_message(exchange: Exchange<'_>, course: Course) -> Result<Response, Refused> {
    let Exchange { engine, product, parts, arrival, limit_states, buffers, .. } = exchange;
    let profile = &product.profile;
    let credential = rpc_credential(&parts, product);
    let sent = signature::sent(&parts.headers, profile);
    let mut caller = engine.identify(Door::Rpc, profile, &credential, arrival.address).await?;
    // No body goes on, so none is signed.
    caller.check_signature(&sent, &signature::signable(&parts, &[]));
    let user = SessionUser::from(&caller);
    let mut wanted = Wanted::Known(Requirement::default().at(Place::Standing));
    let found = InSession::of(engine, product, &parts.headers, user);
    let session = InSession::or_refused(found, &mut wanted, user);
    let granted = noted(limit_states, engine.admit(caller, &wanted, 1).await)?;
    let answer = engine.await_answer(&granted, Place::Standing);
    let sight = match course {
        Course::GoesOn => {
            let era = era(&parts.headers);
            Some(Sight::of(engine, profile, granted.reach(), era))
        }
        Course::Ends => None,
    };
    let holder = Holder::Workspace(granted.workspace());
    let pass = product.pass(engine, granted)?;
    let stay = if course == Course::GoesOn { Stay::Stream } else { Stay::Exchange };
    let outgoing = Outgoing { stay, ..outgoing(product, parts, Body::Empty, arrival) };
    let forwarded = product.upstream.forward(pass, outgoing).await;
    let shown = match forwarded {
        Ok(forwarded) => {
            session.came_to(engine, profile, course, &forwarded);
            shown(forwarded, sight, buffers, holder).await
        }
        Err(refusal) => Err(refusal),
    };
    answered(answer, &shown);
    Ok(shown?)
}
