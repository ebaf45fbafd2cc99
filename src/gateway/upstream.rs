//! The way to one upstream: forwards a request that holds a pass, within bounds, once.
//!
//! Path and query go on as they came. The wait for an answer starts when the request's body has gone;
//! connecting, waiting and pausing have their own limits, and so has the number of exchanges open at once,
//! with fewer places for one workspace and for what needs no key. A caller that leaves takes its upstream
//! request along, and so does a key that no longer stands: it is asked right before the first byte, while
//! anything is waited for, and before each piece of a body.
//!
//! Never here: a second try of what was sent, or a connection to an address that a request named.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, StatusCode, Uri, Version, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::address::UpstreamServer;
use super::clients::{Carrier, Clients, Connections};
use super::headers::{self, Encodings, Introduction};
use super::interim::Interim;
use super::lanes::OnLane;
use super::link::MemoryDialer;
use super::patience::Patience;
use super::places::{Holder, Place, PlaceLimits, Places};
use super::pool::Pool;
use super::sending::Sending;
use super::upgrade::{self, Upgrades};
use crate::domain::causes::Causes;
use crate::domain::decision::{Grant, OpenPass};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::errand::Errand;
use crate::domain::identity::Identity;
use crate::domain::tether::Tether;
use crate::http::body::{Body, BodyError, Held, Relayed, Source};
use crate::http::tls::ClientTlsError;
use crate::http::{Response, tethered};

/// The most headers that the gate adds: five of identity, four of the arrival, two of framing or upgrade, the host.
const HEADERS_ADDED_MAX: usize = 12;
/// When a caller may come back that found every place taken, in seconds.
const BUSY_RETRY_SECS: u32 = 1;

/// The bounds of an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamOptions {
    /// The longest that a connection may take to stand.
    pub connect_max: Duration,
    /// The longest from the end of the request to the head of the answer.
    pub answer_max: Duration,
    /// The longest that the request's body may take to be sent.
    pub send_max: Duration,
    /// The longest pause inside an answer's body.
    pub pause_max: Duration,
    /// The longest silence of both sides of an upgraded connection.
    pub quiet_max: Duration,
    /// The longest that an unused connection is kept. Below the keep-alive of common servers (5 s for some),
    /// or requests would meet their close.
    pub idle_max: Duration,
    /// The most unused connections kept.
    pub idle_connections_max: usize,
    /// The most exchanges open at once.
    pub exchanges_max: usize,
    /// How many of those may be open for one workspace: the keys of one customer must leave the others
    /// places, however slow they are.
    pub workspace_exchanges_max: usize,
    /// How many of those may be open without a key.
    pub open_exchanges_max: usize,
    /// The most standing streams open at once, apart from the exchanges: they last for days, and must not take
    /// the places of messages.
    pub streams_max: usize,
    /// How many of those may be open for one workspace.
    pub workspace_streams_max: usize,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(5),
            answer_max: Duration::from_mins(1),
            send_max: Duration::from_mins(5),
            pause_max: Duration::from_mins(1),
            quiet_max: Duration::from_mins(5),
            idle_max: Duration::from_secs(4),
            idle_connections_max: 256,
            exchanges_max: 1024,
            // A quarter.
            workspace_exchanges_max: 256,
            open_exchanges_max: 128,
            streams_max: 1024,
            workspace_streams_max: 256,
        }
    }
}

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody could say who its certificate may come from.
    #[error("whom to believe about its certificate is not known")]
    Tls(#[from] ClientTlsError),
    /// It is called something that no certificate can be for.
    #[error("expected a host that a certificate can be for")]
    Name,
}

/// What entitles a request to be forwarded.
#[derive(Debug)]
pub enum Pass {
    /// A key passed the order of checks; what it opens lasts as long as it stands.
    Granted(Grant, Box<Identity>, Tether),
    /// The gate asks something for a caller that is proven and stands, before it decides what that wants.
    Errand(Errand, Box<Identity>, Tether),
    /// The profile opens this to everyone.
    Open(OpenPass),
}

/// A request to forward.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Its head, as it came.
    pub head: request::Parts,
    /// Its body: read already, or relayed as it comes.
    pub body: Body,
    /// How it came.
    pub arrival: Arrival,
    /// Headers beside `Authorization` that may carry a key, in lower case.
    pub key_headers: &'a [String],
    /// Whether the answer may be encoded.
    pub encodings: Encodings,
    /// Whether it may become a tunnel.
    pub upgrades: Upgrades,
    /// How long its answer is expected to last.
    pub stay: Stay,
}

/// How long an exchange is expected to last: which of the upstream's places it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stay {
    /// Until the answer has come.
    #[default]
    Exchange,
    /// Until its client leaves or its key ends: a stream that was asked for as such.
    Stream,
}

/// How a request came to the gate: what the upstream is told of it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The caller's address, when it is known.
    pub address: Option<IpAddr>,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// This request's id.
    pub request_id: HeaderValue,
}

impl Pass {
    fn tether(&self) -> Option<Tether> {
        match self {
            Self::Granted(_, _, tether) | Self::Errand(_, _, tether) => Some(tether.clone()),
            Self::Open(_) => None,
        }
    }
}

/// A request without what must not reach the upstream, and what that is told instead.
struct Prepared {
    head: request::Parts,
    introduction: Introduction,
    body: Body,
    /// Word of when a relayed body has gone.
    sent: Option<oneshot::Receiver<()>>,
    /// Whether the upstream may turn it into a tunnel.
    may_upgrade: bool,
}

/// A request as the upstream shall see it, and what carries it there.
#[expect(clippy::large_enum_variant, reason = "nearly every one is the large one")]
enum Carried<'a> {
    Pool(&'a Pool, Sending),
    Client(&'a Connections, Box<http::Request<Body>>),
}

/// An exchange that may begin.
struct Ready<'a> {
    request: Carried<'a>,
    sent: Option<oneshot::Receiver<()>>,
    may_upgrade: bool,
    lane: OnLane,
    place: Place,
    tether: Option<Tether>,
}

/// The way to one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Way(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clients: Clients,
    name: Authority,
    options: UpstreamOptions,
    places: Places,
    stream_places: Places,
}

impl Way {
    /// The way to this server. No connection is made before the first request; who its certificate
    /// may come from is read now.
    pub(super) fn to_server(server: &UpstreamServer) -> Result<Self, UpstreamError> {
        Ok(Self::new(Clients::of_server(server)?, server.name(), server.options.clone()))
    }

    /// The way to the other end of `dialer`.
    pub(super) fn to_memory(dialer: MemoryDialer, options: UpstreamOptions) -> Self {
        let name = Authority::from_static("sandbox");
        Self::new(Clients::of_memory(dialer, &name, &options), name, options)
    }

    fn new(clients: Clients, name: Authority, options: UpstreamOptions) -> Self {
        let places = Places::new(PlaceLimits {
            all: options.exchanges_max,
            workspace: options.workspace_exchanges_max,
            keyless: options.open_exchanges_max,
        });
        // No standing stream is without a key; should one be, it is one of a few.
        let stream_places = Places::new(PlaceLimits {
            all: options.streams_max,
            workspace: options.workspace_streams_max,
            keyless: options.open_exchanges_max.min(options.streams_max),
        });
        Self(Arc::new(Inner { clients, name, options, places, stream_places }))
    }

    /// Whether an absolute address is of this upstream's origin: its scheme, host and port.
    pub(super) fn is_origin_of(&self, address: &Uri) -> bool {
        let scheme = &self.0.clients.scheme;
        let port = |authority: &Authority| {
            authority.port_u16().or(if *scheme == Scheme::HTTPS { Some(443) } else { Some(80) })
        };
        address.scheme() == Some(scheme)
            && address.authority().is_some_and(|authority| {
                !authority.as_str().contains('@')
                    && authority.host().eq_ignore_ascii_case(self.0.name.host())
                    && port(authority) == port(&self.0.name)
            })
    }

    /// Forwards a request and brings the answer back, its body still coming. Denied are a body that is too
    /// large or does not come, and a key that stops standing before the answer is there; the rest are faults.
    pub(super) fn forward<'a>(
        &'a self,
        pass: Pass,
        outgoing: Outgoing<'_>,
    ) -> impl Future<Output = Result<Response, Refusal>> + use<'a> {
        // What is moved with every request is small: what it was made of is gone before it waits.
        let ready = self.ready(pass, outgoing);
        async move { self.exchange(ready?).await }
    }

    fn ready(&self, pass: Pass, outgoing: Outgoing<'_>) -> Result<Ready<'_>, Refusal> {
        let place = self.take_place(&pass, outgoing.stay)?;
        let tether = pass.tether();
        let Prepared { head, introduction, body, sent, may_upgrade } = self.prepare(pass, outgoing)?;
        let (carrier, lane) = self.0.clients.take(may_upgrade).ok_or_else(busy)?;
        let request = match carrier {
            Carrier::Pool(pool) => Carried::Pool(pool, Sending::new(&head, &pool.host, &introduction, body)),
            Carrier::Client(client) => {
                Carried::Client(client, Box::new(self.request(head, &introduction, body, may_upgrade)?))
            }
        };
        Ok(Ready { request, sent, may_upgrade, lane, place, tether })
    }

    async fn exchange(&self, ready: Ready<'_>) -> Result<Response, Refusal> {
        let Ready { request, mut sent, may_upgrade, lane, place, tether } = ready;
        let UpstreamOptions { send_max, answer_max, quiet_max, .. } = self.0.options;
        let mut patience = Patience { tether: tether.as_ref(), sent: &mut sent, send_max, answer_max };
        // The request is handed to its connection in one of these steps, right behind the question.
        let answer = match request {
            Carried::Pool(pool, sending) => patience.wait(pool.ask(sending, send_max)).await??,
            Carried::Client(client, request) => {
                let answer = patience.wait(Box::pin(answer(client, *request))).await??;
                if may_upgrade && answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let agreed = upgrade::agreed(answer, quiet_max, tether.clone(), place);
                    let agreed = Box::pin(timeout(answer_max, tethered(tether.as_ref(), agreed))).await;
                    return Ok(agreed.map_err(|_| Fault::UpstreamLate)???);
                }
                answer.map(Source::Incoming)
            }
        };
        self.received(answer, Box::new((lane, place)), tether)
    }

    fn take_place(&self, pass: &Pass, stay: Stay) -> Result<Place, Fault> {
        let holder = match pass {
            Pass::Granted(grant, ..) => Holder::Workspace(grant.workspace()),
            Pass::Errand(errand, ..) => Holder::Workspace(errand.workspace()),
            Pass::Open(_) => Holder::Keyless,
        };
        let places = match stay {
            Stay::Exchange => &self.0.places,
            Stay::Stream => &self.0.stream_places,
        };
        places.take(holder).ok_or_else(busy)
    }

    fn prepare(&self, pass: Pass, outgoing: Outgoing<'_>) -> Result<Prepared, Refusal> {
        let Outgoing { mut head, body, arrival, key_headers, encodings, upgrades, stay: _ } = outgoing;
        let tether = pass.tether();
        let (body, sent) = match body {
            Body::Relayed(relayed) if !relayed.is_end() => {
                relayed.check_declared().map_err(|error| Denial::from(&error))?;
                let (notice, sent) = oneshot::channel();
                (Body::Relayed(relayed.tethered(tether).holding(Held::Notice(notice))), Some(sent))
            }
            // Event streams are answers alone.
            Body::Relayed(_) | Body::Events(_) | Body::Empty => (Body::Empty, None),
            Body::Whole(bytes) => (Body::from(bytes), None),
        };
        let may_upgrade = upgrades == Upgrades::WebSocket
            && self.0.clients.single.is_some()
            && upgrade::is_asked(&head, &body);
        let asked_host = head.headers.get(HOST).cloned();
        headers::strip_request(&mut head.headers, key_headers, encodings);
        let identity = match pass {
            Pass::Granted(_, identity, _) | Pass::Errand(_, identity, _) => Some(identity),
            Pass::Open(_) => None,
        };
        let introduction = Introduction::new(identity, arrival, asked_host).ok_or(Fault::Internal)?;
        frame(&mut head, &body);
        Ok(Prepared { head, introduction, body, sent, may_upgrade })
    }

    /// The request to the same path and query at this upstream, for a client that writes it.
    fn request(
        &self,
        mut head: request::Parts,
        introduction: &Introduction,
        body: Body,
        may_upgrade: bool,
    ) -> Result<http::Request<Body>, Refusal> {
        // At once, or the map grows twice on its way.
        head.headers.reserve(HEADERS_ADDED_MAX);
        introduction.each(|name, value| drop(head.headers.insert(name, value.clone())));
        if may_upgrade {
            upgrade::write(&mut head.headers);
        }
        // The client writes the host itself.
        let mut parts = head.uri.into_parts();
        parts.scheme = Some(self.0.clients.scheme.clone());
        parts.authority = Some(self.0.name.clone());
        head.uri = Uri::from_parts(parts).map_err(|_| Denial::Invalid(Invalid::Target))?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        Ok(http::Request::from_parts(head, body))
    }

    fn received(
        &self,
        answer: http::Response<Source>,
        lane_and_place: Box<(OnLane, Place)>,
        tether: Option<Tether>,
    ) -> Result<Response, Refusal> {
        let (mut head, body) = answer.into_parts();
        if head.status.is_informational() {
            tracing::warn!(
                status = head.status.as_u16(),
                "the upstream answered with a status that ends nothing"
            );
            return Err(Fault::UpstreamBroken.into());
        }
        headers::strip_answer(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let body = if body.is_end_stream() {
            Body::Empty
        } else {
            let relayed = Relayed::new(body, u64::MAX, self.0.options.pause_max);
            Body::Relayed(relayed.tethered(tether).holding(Held::Place(lane_and_place)))
        };
        Ok(http::Response::from_parts(head, body))
    }
}

/// The upstream's answer to a request, or why there is none.
async fn answer(
    client: &Connections,
    mut request: http::Request<Body>,
) -> Result<http::Response<Incoming>, Refusal> {
    let interim = Interim::counting(&mut request);
    let answered = tokio::select! {
        biased;
        answered = client.request(request) => Some(answered),
        () = interim.too_many() => None,
    };
    // Many of them may have come at once with the answer.
    if let Some(answered) = answered.filter(|_| !interim.are_too_many()) {
        return answered.map_err(|error| refusal(&error));
    }
    tracing::warn!("the upstream sends interim answers without an end");
    Err(Fault::UpstreamBroken.into())
}

const fn busy() -> Fault {
    Fault::Busy { retry_after_secs: BUSY_RETRY_SECS }
}

/// How the body is framed is ours to say: the caller's own words about it were dropped.
fn frame(head: &mut request::Parts, body: &Body) {
    if body.is_end_stream() {
        if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
    } else if body.size_hint().exact().is_none() {
        // hyper would take a GET of unknown length for one without a body. In HTTP/2, which has no such
        // header, it drops it.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn refusal(error: &legacy::Error) -> Refusal {
    let mut cause = error.source();
    while let Some(inner) = cause {
        // It was the caller's body that failed, not the upstream.
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return Denial::from(body).into();
        }
        cause = inner.source();
    }
    let fault = if error.is_connect() { Fault::UpstreamUnreachable } else { Fault::UpstreamBroken };
    tracing::warn!(error = %Causes(error), fault = fault.name(), "the upstream did not answer");
    fault.into()
}
