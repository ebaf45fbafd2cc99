//! The operator's listener: workspaces, keys, the verify call, health and metrics.
//!
//! An admin key is a key like any other, of a profile of its own, and every admin call goes through the one
//! pipeline. `/livez`, `/readyz` and `/metrics` need none. A request whose `Host` names no place of ours is
//! refused, so that a web page cannot reach in by rebinding its name.
//!
//! Never here: a change computed (engine), a raw key kept or logged.

mod audit;
mod clock;
mod explain;
mod import;
mod install_secret;
mod intake;
mod jwks;
mod keys;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod rotation;
mod routes;
mod shown;
mod usage;
mod verify;
mod verify_mcp;
mod workspaces;

pub use audit::verdict as audit_verdict;
pub use import::{SHAPE_FIELDS, record_fields};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HeaderValue};
use hyper::http::request::Parts;
use serde_json::json;

use super::credential::credential;
use super::spoken::{json as json_answer, refuse, refuse_for_good, respond};
use super::{is_json, readable, signature};
use crate::dialect::{AdminRefusal, ProblemDialect, Spoken};
use crate::domain::audit::Actor;
use crate::domain::causes::Causes;
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Fault, Refusal};
use crate::domain::profile::{Found, Profile, Verb};
use crate::domain::usage::Place;
use crate::engine::{ChangeRefused, Door, Engine, Granted, InstallSecretError};
use crate::http::{Peer, Request, Response, answer, body, framing, tethered};
use metrics::Metrics;

/// The longest that an admin request may take to arrive whole.
const ADMIN_TIME_MAX: Duration = Duration::from_secs(30);

/// The admin listener's door.
pub struct AdminSurface {
    engine: Arc<Engine>,
    profile: Arc<Profile>,
    dialect: Arc<ProblemDialect>,
    hosts: Vec<String>,
    metrics: Metrics,
    #[cfg(feature = "mcp")]
    mcp: mcp::Server,
}

/// Why an admin call is not answered.
enum CallRefusal {
    Refused(Refusal),
    Admin(AdminRefusal),
}

impl CallRefusal {
    fn say(&self, dialect: &ProblemDialect) -> Spoken {
        match self {
            Self::Refused(refusal) => dialect.say(refusal),
            Self::Admin(refusal) => dialect.say_admin(refusal),
        }
    }
}

impl From<Refusal> for CallRefusal {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Denial> for CallRefusal {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial.into())
    }
}

impl From<AdminRefusal> for CallRefusal {
    fn from(refusal: AdminRefusal) -> Self {
        Self::Admin(refusal)
    }
}

impl From<ChangeRefused> for CallRefusal {
    fn from(refused: ChangeRefused) -> Self {
        match refused {
            ChangeRefused::NoSuchWorkspace | ChangeRefused::NoSuchKey => AdminRefusal::NoSuchThing.into(),
            ChangeRefused::KeyRevoked => {
                let detail = "The key is revoked; a revoked key stays as it is.".to_owned();
                AdminRefusal::Conflict { detail }.into()
            }
            ChangeRefused::WorkspaceDeleted => {
                let detail = "The workspace is deleted; it and its keys stay as they are.".to_owned();
                AdminRefusal::Conflict { detail }.into()
            }
            ChangeRefused::Rotation(refused) => rotation::conflict(refused).into(),
            ChangeRefused::InstallSecret(cause @ InstallSecretError::Full { .. }) => {
                AdminRefusal::Conflict { detail: cause.to_string() }.into()
            }
            ChangeRefused::InstallSecret(cause) => {
                tracing::error!(error = %Causes(&cause), "the install secret could not be replaced");
                Self::Refused(Fault::NotDurable.into())
            }
            ChangeRefused::Failed(fault) => Self::Refused(fault.into()),
            ChangeRefused::NotDurable(cause) => {
                tracing::error!(
                    error = %Causes(&cause),
                    "a change could not be made durable"
                );
                Self::Refused(Fault::NotDurable.into())
            }
            ChangeRefused::InForce(cause) => {
                tracing::error!(error = %Causes(&cause), "a change denies already and is not durable, trying again");
                AdminRefusal::InForce.into()
            }
        }
    }
}

/// One authorised admin call.
struct Call<'a> {
    engine: &'a Arc<Engine>,
    admin: Granted,
    /// What stands in the pattern's braces.
    id: Option<&'a str>,
    query: Option<&'a str>,
    body: &'a [u8],
}

impl Call<'_> {
    fn actor(&self) -> Actor {
        Actor::AdminKey(self.admin.key())
    }
}

type Answered = Result<Response, CallRefusal>;

/// What stands in a path where its pattern has its first name.
fn named<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let mut parts = path.split('/').zip(pattern.split('/'));
    parts.find(|(_, part)| part.starts_with('{')).map(|(named, _)| named)
}

impl AdminSurface {
    /// The door of an engine that serves `profile`, the system's own. `hosts` as at a data listener.
    pub fn new(engine: Arc<Engine>, profile: Arc<Profile>, hosts: Vec<String>) -> Self {
        let dialect = Arc::new(ProblemDialect::new(&profile.catalogue));
        let metrics = Metrics::new(Arc::clone(&engine));
        Self {
            #[cfg(feature = "mcp")]
            mcp: mcp::Server::new(&profile, Arc::clone(&dialect)),
            engine,
            profile,
            dialect,
            hosts,
            metrics,
        }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request, peer: Peer) -> Response {
        let readable =
            readable(&request, &self.hosts).and_then(|()| framing::check_origin(&request, &self.hosts));
        let readable = readable.and_then(|()| framing::check_readable(&request));
        let (parts, body) = request.into_parts();
        let mut body = Some(body);
        let expect = parts.headers.get(EXPECT).cloned();
        if let Err(invalid) = readable {
            return refuse_for_good(self.dialect.say(&Denial::Invalid(invalid).into()));
        }
        match self.decide(parts, &mut body, peer).await {
            Ok(response) => response,
            Err(refused) => refuse(refused.say(&self.dialect), expect, body).await,
        }
    }

    async fn decide(&self, parts: Parts, body: &mut Option<Incoming>, peer: Peer) -> Answered {
        let path = parts.uri.path();
        let verb = Verb::of_method(parts.method.as_str());
        if let Some(answer) = self.open(verb, path) {
            return Ok(answer);
        }
        let routes = self.profile.rest.as_ref().map(|door| &door.routes);
        let found = routes.map_or(Found::Nothing, |routes| routes.find(verb, path));
        let credential = credential(&parts.headers, &[]);
        // Proven before the body is read, and decided on by the facts of the moment after: a key that is
        // revoked meanwhile does nothing.
        let place = match found {
            Found::Route(route) => route.requirement.place,
            Found::OtherVerbs(_) | Found::Nothing => Place::Other,
        };
        let (engine, address) = (&self.engine, peer.address);
        let mut caller = engine.identify_at(place, Door::Admin, &self.profile, &credential, address).await?;
        let sent = signature::sent(&parts.headers, &self.profile);
        caller.announce_signature(&sent);
        if caller.lacks_signature() {
            return Err(self.engine.refuse(caller, Denial::Signature).refusal.into());
        }
        let route = match found {
            Found::Route(route) => route,
            Found::OtherVerbs(allow) => {
                return Err(self.engine.refuse(caller, Denial::Method { allow }).refusal.into());
            }
            Found::Nothing => return Err(self.engine.refuse(caller, Denial::NotFound).refusal.into()),
        };
        let max_bytes = route.max_body_bytes.unwrap_or(0);
        let body = match body.as_mut() {
            Some(body) => {
                let tether = self.engine.tether(&caller);
                let read = tethered(Some(&tether), body::read(body, max_bytes, ADMIN_TIME_MAX)).await;
                match read.and_then(|read| read.map_err(|error| Denial::from(&error))) {
                    Ok(read) => read,
                    Err(denial) => return Err(self.engine.refuse(caller, denial).refusal.into()),
                }
            }
            None => Bytes::new(),
        };
        caller.check_signature(&sent, &signature::signable(&parts, &body));
        let admin = self.engine.admit(caller, &Wanted::Known(route.requirement), 1).await;
        let admin = admin.map_err(|refused| refused.refusal)?;
        if !body.is_empty() && !is_json(&parts.headers) {
            return Err(Denial::ContentType.into());
        }
        let id = route.pattern.contains('{').then(|| named(&route.pattern, path)).flatten();
        let call = Call { engine: &self.engine, admin, id, query: parts.uri.query(), body: &body };
        #[cfg(feature = "mcp")]
        if route.pattern == mcp::PATH {
            // Larger than all the rest, which does not carry it along.
            return Ok(Box::pin(self.mcp.answer(call, &parts.headers)).await);
        }
        routes::answer(route, call).await
    }

    /// What needs no key.
    fn open(&self, verb: Option<Verb>, path: &str) -> Option<Response> {
        match (verb, path) {
            (Some(Verb::Get), "/livez") => Some(json_answer(StatusCode::OK, &json!({"status": "alive"}))),
            (Some(Verb::Get), "/readyz") if self.engine.is_ready() => {
                Some(json_answer(StatusCode::OK, &json!({"status": "ready"})))
            }
            (Some(Verb::Get), "/readyz") => Some(respond(self.dialect.say(&Fault::NotDurable.into()))),
            (Some(Verb::Get), jwks::PATH) => Some(jwks::answer(&self.engine.assertion_keys())),
            (Some(Verb::Get), "/metrics") => {
                let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE_TEXT);
                Some(answer::with_type(StatusCode::OK, content_type, self.metrics.text()))
            }
            _ => None,
        }
    }
}
