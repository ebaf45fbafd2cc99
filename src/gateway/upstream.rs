//! One upstream and the way to it: forwards a request that holds a pass, within bounds, once.
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
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Uri, Version, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::headers::{self, Encodings};
use super::link::{Connector, MemoryDialer};
use super::places::{Holder, Place, PlaceLimits, Places};
use crate::domain::causes::Causes;
use crate::domain::decision::{Grant, Identity, OpenPass};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::tether::Tether;
use crate::http::body::{Body, BodyError, Held, Relayed};
use crate::http::{Response, tethered};

/// The most bytes of an upstream's answer head, and of what one connection to it buffers.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// The most headers of an upstream's answer.
const HEADERS_MAX: usize = 128;
/// When a caller may come back that found every place taken, in seconds.
const BUSY_RETRY_SECS: u32 = 1;

/// The bounds of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// The longest that a connection may take to stand.
    pub connect_max: Duration,
    /// The longest from the end of the request to the head of the answer.
    pub answer_max: Duration,
    /// The longest that the request's body may take to be sent.
    pub send_max: Duration,
    /// The longest pause inside an answer's body.
    pub pause_max: Duration,
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
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(5),
            answer_max: Duration::from_mins(1),
            send_max: Duration::from_mins(5),
            pause_max: Duration::from_mins(1),
            idle_max: Duration::from_secs(4),
            idle_connections_max: 256,
            exchanges_max: 1024,
            // A quarter.
            workspace_exchanges_max: 256,
            open_exchanges_max: 128,
        }
    }
}

/// Why an upstream's address was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It is no URL of a scheme that is known.
    #[error("an upstream is expected as http://HOST or http://HOST:PORT")]
    Unreadable,
    /// TLS is not spoken yet.
    #[error("https:// upstreams are not supported yet; expected http://HOST or http://HOST:PORT")]
    Tls,
    /// More than an address. A path in front would make what is forwarded differ from what was decided.
    #[error("an upstream has no path, query or user name; expected http://HOST or http://HOST:PORT")]
    NotAnAddress,
}

/// What entitles a request to be forwarded.
#[derive(Debug)]
pub enum Pass {
    /// A key passed the order of checks; what it opens lasts as long as it stands.
    Granted(Grant, Identity, Tether),
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
}

/// How a request came to the gate: what the upstream is told of it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The caller's address, when it is known.
    pub address: Option<IpAddr>,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// This request's id.
    pub request_id: String,
}

impl Pass {
    fn tether(&self) -> Option<Tether> {
        match self {
            Self::Granted(_, _, tether) => Some(tether.clone()),
            Self::Open(_) => None,
        }
    }
}

type Prepared = (http::Request<Body>, Option<oneshot::Receiver<()>>);

/// One upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client<Connector, Body>,
    authority: Authority,
    host: HeaderValue,
    options: UpstreamOptions,
    places: Places,
}

impl Upstream {
    /// The upstream at an `http://` address. No connection is made before the first request.
    pub fn http(address: &str, options: UpstreamOptions) -> Result<Self, UpstreamError> {
        let uri: Uri = address.parse().map_err(|_| UpstreamError::Unreadable)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => return Err(UpstreamError::Tls),
            _ => return Err(UpstreamError::Unreadable),
        }
        let authority = uri.authority().ok_or(UpstreamError::Unreadable)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(UpstreamError::NotAnAddress);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| UpstreamError::Unreadable)?;
        let connector = Connector::tcp(options.connect_max);
        Ok(Self::new(connector, authority.clone(), host, options))
    }

    /// The upstream at the other end of `dialer`.
    pub fn memory(dialer: MemoryDialer, options: UpstreamOptions) -> Self {
        const NAME: &str = "sandbox";
        let connector = Connector::memory(dialer, options.connect_max);
        Self::new(connector, Authority::from_static(NAME), HeaderValue::from_static(NAME), options)
    }

    fn new(connector: Connector, authority: Authority, host: HeaderValue, options: UpstreamOptions) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_max)
            .pool_max_idle_per_host(options.idle_connections_max)
            .http1_max_buf_size(BUFFER_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .set_host(false)
            .build(connector);
        let places = Places::new(PlaceLimits {
            all: options.exchanges_max,
            workspace: options.workspace_exchanges_max,
            keyless: options.open_exchanges_max,
        });
        Self(Arc::new(Inner { client, authority, host, options, places }))
    }

    /// Forwards a request and brings the answer back, its body still coming. Denied are a body that is too
    /// large or does not come, and a key that stops standing before the answer is there; the rest are faults.
    pub async fn forward(&self, pass: Pass, outgoing: Outgoing<'_>) -> Result<Response, Refusal> {
        let place = self.take_place(&pass)?;
        let tether = pass.tether();
        let (request, sent) = self.prepare(pass, outgoing)?;
        // The request is handed to its connection in one of these steps, right behind the question.
        let mut answering = pin!(tethered(tether.as_ref(), self.0.client.request(request)));
        let answered = if let Some(sent) = sent {
            tokio::select! {
                biased;
                answered = &mut answering => Some(answered),
                _ = sent => None,
                () = sleep(self.0.options.send_max) => return Err(Fault::UpstreamLate.into()),
            }
        } else {
            None
        };
        let answered = match answered {
            Some(answered) => answered,
            None => timeout(self.0.options.answer_max, answering).await.map_err(|_| Fault::UpstreamLate)?,
        };
        self.received(answered?, place, tether.clone())
    }

    fn take_place(&self, pass: &Pass) -> Result<Place, Fault> {
        let holder = match pass {
            Pass::Granted(grant, ..) => Holder::Workspace(grant.workspace()),
            Pass::Open(_) => Holder::Keyless,
        };
        self.0.places.take(holder).ok_or(Fault::Busy { retry_after_secs: BUSY_RETRY_SECS })
    }

    /// The request as the upstream shall see it, and word of when a relayed body has gone.
    fn prepare(&self, pass: Pass, outgoing: Outgoing<'_>) -> Result<Prepared, Refusal> {
        let Outgoing { mut head, body, arrival, key_headers, encodings } = outgoing;
        let tether = pass.tether();
        let (body, sent) = match body {
            Body::Relayed(relayed) if !relayed.is_end() => {
                relayed.check_declared().map_err(|error| Denial::from(&error))?;
                let (notice, sent) = oneshot::channel();
                (Body::Relayed(relayed.tethered(tether).holding(Held::Notice(notice))), Some(sent))
            }
            Body::Relayed(_) | Body::Empty => (Body::Empty, None),
            Body::Whole(bytes) => (Body::from(bytes), None),
        };
        let asked_host = head.headers.get(HOST).cloned();
        headers::strip_request(&mut head.headers, key_headers, encodings);
        if let Pass::Granted(_, identity, _) = pass {
            headers::identify(&mut head.headers, identity).ok_or(Fault::Internal)?;
        }
        headers::describe(&mut head.headers, arrival, asked_host).ok_or(Fault::Internal)?;
        head.headers.insert(HOST, self.0.host.clone());
        frame(&mut head, &body);
        head.uri = self.target(head.uri)?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        Ok((http::Request::from_parts(head, body), sent))
    }

    /// The same path and query at this upstream.
    fn target(&self, uri: Uri) -> Result<Uri, Refusal> {
        let mut parts = uri.into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.0.authority.clone());
        Uri::from_parts(parts).map_err(|_| Denial::Invalid(Invalid::Target).into())
    }

    fn received(
        &self,
        answered: Result<http::Response<Incoming>, legacy::Error>,
        place: Place,
        tether: Option<Tether>,
    ) -> Result<Response, Refusal> {
        let (mut head, body) = answered.map_err(|error| refusal(&error))?.into_parts();
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
            Body::Relayed(relayed.tethered(tether).holding(Held::Place(Box::new(place))))
        };
        Ok(http::Response::from_parts(head, body))
    }
}

/// How the body is framed is ours to say: the caller's own words about it were dropped.
fn frame(head: &mut request::Parts, body: &Body) {
    if body.is_end_stream() {
        if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
    } else if body.size_hint().exact().is_none() {
        // hyper would take a GET of unknown length for one without a body.
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
