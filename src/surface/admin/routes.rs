//! Which handler stands behind an admin route.
//!
//! Never here: a path that the system profile does not have.

use super::{
    Answered, Call, audit, clock, explain, import, install_secret, keys, rotation, usage, verify, workspaces,
};
use crate::domain::denial::{Fault, Refusal};
use crate::domain::profile::{Route, Verb};

/// Answers a call that the route's permission allows.
pub(super) async fn answer(route: &Route, call: Call<'_>) -> Answered {
    // The one that is asked for each request of somebody else's does not carry the others along.
    match (route.verb, route.pattern.as_str()) {
        (Verb::Post, "/api/v1/verify") => verify::verify(call).await,
        (verb, pattern) => Box::pin(managed(verb, pattern, call)).await,
    }
}

/// What operators and their programs ask.
async fn managed(verb: Verb, pattern: &str, call: Call<'_>) -> Answered {
    match (verb, pattern) {
        (Verb::Post, "/api/v1/workspaces") => workspaces::create(call).await,
        (Verb::Get, "/api/v1/workspaces") => workspaces::list(call).await,
        (Verb::Get, "/api/v1/workspaces/{id}") => workspaces::show(call).await,
        (Verb::Patch, "/api/v1/workspaces/{id}") => workspaces::update(call).await,
        (Verb::Delete, "/api/v1/workspaces/{id}") => workspaces::delete(call).await,
        (Verb::Get, "/api/v1/workspaces/{id}/meters") => workspaces::meters(call).await,
        (Verb::Post, "/api/v1/keys") => keys::create(call).await,
        (Verb::Get, "/api/v1/keys") => keys::list(call).await,
        (Verb::Post, "/api/v1/keys/import") => import::import(call).await,
        (Verb::Get, "/api/v1/keys/{id}") => keys::show(call).await,
        (Verb::Get, "/api/v1/keys/{id}/usage") => usage::of_key(call).await,
        (Verb::Patch, "/api/v1/keys/{id}") => keys::update(call).await,
        (Verb::Post, "/api/v1/keys/{id}/revoke") => keys::revoke(call).await,
        (Verb::Post, "/api/v1/keys/{id}/rotate") => rotation::rotate(call).await,
        (Verb::Post, "/api/v1/keys/{id}/explain") => explain::explain(call).await,
        (Verb::Post, "/api/v1/install-secret/rotate") => install_secret::rotate(call).await,
        (Verb::Get, "/api/v1/audit") => audit::list(call).await,
        (Verb::Get, "/api/v1/audit/verify") => audit::verify(call).await,
        (Verb::Get, "/api/v1/clock") => clock::show(&call),
        (Verb::Post, "/api/v1/clock/confirm") => clock::confirm(call).await,
        // A route of the system profile that has no handler is a defect of ours; a test visits them all.
        _ => Err(Refusal::from(Fault::Internal).into()),
    }
}
