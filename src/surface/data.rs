//! The listener that a product's callers reach: finds the door, answers what it decides.
//!
//! A path belongs to one door. What belongs to none is answered by the first product's, so that a caller
//! without a key learns nothing about what exists. Whatever is refused before its body was read is drained a
//! little or closed in a way that the client still sees the answer.
//!
//! Never here: a decision about a key.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{EXPECT, HeaderValue};
use hyper::http::request::Parts;

pub use super::buffers::Buffers;
use super::request_id::RequestIds;
use super::spoken::{left_of, respond};
use super::{discovery, readable, rest, rpc};
use crate::dialect::{Era, RateHeaders, RestDialect, RpcDialect};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::profile::{Profile, RestDoor, RpcDoor};
use crate::domain::rate::state::LimitStates;
use crate::engine::{Engine, Granted, Refused};
use crate::gateway::{Arrival, Pass, Upstream};
use crate::http::cors::{self, Cors};
use crate::http::forwarded::{TrustedProxies, caller_address, caller_is_secure};
use crate::http::{Peer, Request, Response, answer, framing};

/// One product behind a listener.
#[derive(Debug)]
pub struct Product {
    /// What it is.
    pub profile: Arc<Profile>,
    /// How its REST door refuses; there is a door exactly when the profile has one.
    pub rest: Option<RestDialect>,
    /// How its JSON-RPC door refuses.
    pub rpc: Option<RpcDialect>,
    /// Which headers tell callers where their rates stand.
    pub rate_headers: RateHeaders,
    /// What browsers are told at its REST door, where pages may call it.
    pub cors: Option<Cors>,
    /// What stands behind it.
    pub upstream: Upstream,
    /// Whether that is told of callers in a form that it can check.
    pub asserts: bool,
}

impl Product {
    /// What lets a granted request through to the upstream, with all that it is told of the caller.
    pub(super) fn pass(&self, engine: &Engine, granted: Granted) -> Result<Pass, Fault> {
        let identity = engine.identity(&granted, self.asserts).ok_or(Fault::Internal)?;
        let (grant, tether) = granted.into_parts();
        Ok(Pass::Granted(grant, identity, tether))
    }
}

/// The doors of one data listener.
pub struct DataSurface {
    engine: Arc<Engine>,
    hosts: Vec<String>,
    products: Vec<Arc<Product>>,
    trusted: Arc<TrustedProxies>,
    request_ids: RequestIds,
    buffers: Arc<Buffers>,
    older_streams: rpc::OlderStreams,
}

/// One request at one door, its body still to be read.
pub(super) struct Exchange<'a> {
    pub(super) engine: &'a Engine,
    pub(super) product: &'a Product,
    pub(super) parts: Parts,
    /// Whoever passes the body on takes it; what is left is drained.
    pub(super) body: &'a mut Option<Incoming>,
    pub(super) buffers: &'a Buffers,
    /// The open streams of MCP's older transport.
    pub(super) older_streams: &'a rpc::OlderStreams,
    pub(super) arrival: Arrival,
    /// Where the caller's rates stand, once that was looked at: what any answer tells it.
    pub(super) limit_states: &'a mut LimitStates,
}

/// Notes where a caller's rates stand, whatever was decided about it.
pub(super) fn noted(
    limit_states: &mut LimitStates,
    decided: Result<Granted, Refused>,
) -> Result<Granted, Refusal> {
    *limit_states = decided.as_ref().map_or_else(Refused::limit_states, Granted::limit_states);
    decided.map_err(|refused| refused.refusal)
}

enum DoorFound<'a> {
    Rest(&'a Product, &'a RestDoor, &'a RestDialect),
    Rpc(&'a Product, &'a RpcDoor, &'a RpcDialect),
    Described(discovery::Asked<'a>),
}

impl DataSurface {
    /// The doors of `products`. `hosts` are the names that the listener answers to, none meaning any;
    /// `trusted` are the proxies whose word on a caller's address is taken.
    pub fn new(
        engine: Arc<Engine>,
        hosts: Vec<String>,
        products: Vec<Arc<Product>>,
        trusted: Arc<TrustedProxies>,
    ) -> Self {
        Self {
            engine,
            hosts,
            products,
            trusted,
            request_ids: RequestIds::default(),
            buffers: Arc::default(),
            older_streams: rpc::OlderStreams::default(),
        }
    }

    /// The same doors, whose bodies are read in rooms that others share.
    #[must_use]
    pub fn reading_in(self, buffers: Arc<Buffers>) -> Self {
        Self { buffers, ..self }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request, peer: Peer) -> Response {
        // A listener serves at least one product, and a product has a door.
        let Some(door) = self.door(request.uri().path()) else { return Response::default() };
        let readable = readable(&request, &self.hosts)
            .and_then(|()| match door {
                // Browsers may call a REST API from any page; at an MCP endpoint a foreign page is a
                // rebinding attack.
                DoorFound::Rest(..) | DoorFound::Described(_) => Ok(()),
                DoorFound::Rpc(..) => framing::check_origin(&request, &self.hosts)
                    .and_then(|()| framing::check_readable(&request)),
            })
            .map_err(|invalid| Denial::Invalid(invalid).into());
        let cors = door.cors();
        let origin = cors.and_then(|_| cors::origin(request.headers()));
        let is_preflight = cors.is_some() && cors::is_preflight(request.method(), request.headers());
        let (parts, body) = request.into_parts();
        // It says how a body is to be sent.
        let has_body = !body.is_end_stream();
        let expect = if has_body { parts.headers.get(EXPECT).cloned() } else { None };
        let mut body = Some(body);
        let (product, mut limit_states) = (door.product(), LimitStates::default());
        let mut exchange = Exchange {
            engine: &self.engine,
            product,
            buffers: &self.buffers,
            older_streams: &self.older_streams,
            arrival: Arrival {
                address: caller_address(peer.address, &parts.headers, &self.trusted),
                is_secure: caller_is_secure(peer, &parts.headers, &self.trusted),
                request_id: self.request_ids.next(),
            },
            parts,
            body: &mut body,
            limit_states: &mut limit_states,
        };
        let said = match (&door, &readable) {
            // A browser's question, and never a way around: no route is looked up, and none is told of.
            (DoorFound::Rest(_, _, dialect), Ok(())) if is_preflight => {
                preflight(cors, origin.as_ref()).map_err(|denial| dialect.say(&denial.into()))
            }
            (DoorFound::Rest(_, door, dialect), Ok(())) => {
                rest::answer(&mut exchange, door).await.map_err(|refusal| dialect.say(&refusal))
            }
            (DoorFound::Rpc(_, door, dialect), Ok(())) => {
                // Far larger than what REST asks for, which would carry its size along.
                Box::pin(rpc::answer(exchange, door, dialect)).await
            }
            (DoorFound::Described(asked), Ok(())) => asked
                .answer(&self.engine, self.products(), &exchange.parts, &exchange.arrival)
                .map_err(|denial| asked.dialect.say(&denial.into(), None, Era::Legacy)),
            (DoorFound::Rest(_, _, dialect), Err(refusal)) => Err(dialect.say(refusal)),
            (
                DoorFound::Rpc(_, _, dialect) | DoorFound::Described(discovery::Asked { dialect, .. }),
                Err(refusal),
            ) => Err(dialect.say(refusal, None, Era::Legacy)),
        };
        let is_nobody = product.upstream.is_nobody();
        let is_upstreams = said.is_ok() && !is_nobody;
        let mut response = match said {
            Ok(response) => response,
            Err(spoken) if is_nobody => respond(spoken.unmistakable()),
            Err(spoken) => respond(spoken),
        };
        if readable.is_err() {
            // Its framing may be in doubt: nothing behind it is read as another request.
            answer::close(&mut response);
        } else if has_body && (!is_upstreams || is_preflight) {
            // What nobody takes further is left, so that the client sees its answer whatever it still sends.
            answer::close_unless_read(&mut response, left_of(expect, body).await);
        }
        if is_upstreams {
            product.rate_headers.write(&limit_states, response.headers_mut());
        } else {
            product.rate_headers.write_first(&limit_states, response.headers_mut());
        }
        if let Some(cors) = cors {
            cors.write(origin.as_ref(), response.headers_mut());
            if is_preflight && response.status().is_success() {
                cors.write_preflight(response.headers_mut());
            }
        }
        response
    }

    fn door(&self, path: &str) -> Option<DoorFound<'_>> {
        let rpc = self.products().filter_map(rpc_door).find(|found| found.is_at(path));
        rpc.or_else(|| discovery::Asked::find(self.products(), path).map(DoorFound::Described))
            .or_else(|| self.products().filter_map(rest_door).find(|found| found.is_at(path)))
            .or_else(|| self.products().find_map(rest_door))
            .or_else(|| self.products().find_map(rpc_door))
    }

    fn products(&self) -> impl Iterator<Item = &Product> {
        self.products.iter().map(|product| &**product)
    }
}

impl<'a> DoorFound<'a> {
    const fn product(&self) -> &'a Product {
        match self {
            Self::Rest(product, ..) | Self::Rpc(product, ..) => product,
            Self::Described(asked) => asked.product,
        }
    }

    /// What browsers are told here.
    fn cors(&self) -> Option<&'a Cors> {
        match self {
            Self::Rest(product, ..) => product.cors.as_ref(),
            Self::Rpc(..) | Self::Described(_) => None,
        }
    }

    fn is_at(&self, path: &str) -> bool {
        match self {
            Self::Rest(_, door, _) => door.is_at(path),
            Self::Rpc(_, door, _) => door.is_at(path),
            Self::Described(asked) => asked.door.describes(path).is_some(),
        }
    }
}

/// The answer to a browser that asks what it may ask.
fn preflight(cors: Option<&Cors>, origin: Option<&HeaderValue>) -> Result<Response, Denial> {
    let is_permitted = cors.is_some_and(|cors| cors.permits(origin));
    is_permitted.then(|| answer::empty(StatusCode::NO_CONTENT)).ok_or(Denial::Invalid(Invalid::ForeignHost))
}

fn rest_door(product: &Product) -> Option<DoorFound<'_>> {
    Some(DoorFound::Rest(product, product.profile.rest.as_ref()?, product.rest.as_ref()?))
}

fn rpc_door(product: &Product) -> Option<DoorFound<'_>> {
    Some(DoorFound::Rpc(product, product.profile.rpc.as_ref()?, product.rpc.as_ref()?))
}
