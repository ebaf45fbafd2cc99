//! The ways to one upstream: connections that are kept and used by one request after the other, in HTTP/1.1 or
//! where HTTP/2 may be spoken, and others that serve a single exchange, for those that may become a tunnel.
//!
//! All go to the same place and keep the same bounds. A request is sent again only when none of it was sent,
//! on a kept connection that turned out to be closed.
//!
//! Never here: a header of ours.

use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::address::{Http2, ServerAddress, UpstreamServer};
use super::lanes::{LANE_EXCHANGES_MAX, Lanes, OnLane};
use super::link::{Connector, MemoryDialer, Versions};
use super::pool::Pool;
use super::upstream::{UpstreamError, UpstreamOptions};
use crate::http::Body;
use crate::http::tls::client_config;

/// The most bytes of an upstream's answer head, and of what one connection to it buffers.
pub(super) const BUFFER_BYTES_MAX: usize = 128 * 1024;
const HEAD_BYTES_MAX: u32 = 128 * 1024;
/// The most headers of an upstream's answer: as many as hyper has room for without asking for memory each time.
pub(super) const HEADERS_MAX: usize = 100;
/// What one answer over HTTP/2 may send ahead of its reader.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The largest window that HTTP/2 knows.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
/// After how long a connection of HTTP/2 with open exchanges is asked whether it still lives, and how long it
/// may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_MAX: Duration = Duration::from_secs(10);

/// A client and the connections that it keeps.
pub(super) type Connections = Client<Connector, Body>;

/// The ways to one upstream.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// For requests.
    shared: Shared,
    /// For requests that may become tunnels, in HTTP/1.1; none where that is not spoken.
    pub(super) single: Option<Connections>,
    /// The scheme that targets have.
    pub(super) scheme: Scheme,
}

#[derive(Clone, Debug)]
enum Shared {
    /// In HTTP/1.1, and nothing else.
    Pool(Pool),
    /// Where HTTP/2 may be spoken.
    Lanes(Lanes),
}

/// What carries one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carrier<'a> {
    /// Over a connection that the exchange runs itself.
    Pool(&'a Pool),
    /// Over one that runs by itself.
    Client(&'a Connections),
}

impl Clients {
    pub(super) fn of_server(server: &UpstreamServer) -> Result<Self, UpstreamError> {
        let over_tls = matches!(server.address, ServerAddress::Https(_));
        let versions = match server.http2 {
            Http2::Always => Versions::Two,
            Http2::IfOffered if over_tls => Versions::Either,
            Http2::IfOffered | Http2::Never => Versions::One,
        };
        let shared = connector(server, versions)?;
        let single = if versions == Versions::Two { None } else { Some(connector(server, Versions::One)?) };
        Ok(Self::over(&shared, single, &server.name(), versions, &server.options))
    }

    pub(super) fn of_memory(dialer: MemoryDialer, name: &Authority, options: &UpstreamOptions) -> Self {
        let connector = Connector::memory(dialer, options.connect_max);
        Self::over(&connector, Some(connector.clone()), name, Versions::One, options)
    }

    /// The carrier of the next exchange, which may become a tunnel or not, and its room there. None when all is
    /// taken.
    pub(super) fn take(&self, may_upgrade: bool) -> Option<(Carrier<'_>, OnLane)> {
        match (&self.single, &self.shared) {
            (Some(single), _) if may_upgrade => Some((Carrier::Client(single), OnLane::default())),
            (_, Shared::Pool(pool)) => Some((Carrier::Pool(pool), OnLane::default())),
            (_, Shared::Lanes(lanes)) => lanes.take().map(|(client, lane)| (Carrier::Client(client), lane)),
        }
    }

    fn over(
        shared: &Connector,
        single: Option<Connector>,
        name: &Authority,
        versions: Versions,
        options: &UpstreamOptions,
    ) -> Self {
        let scheme = shared.scheme();
        let pooling = |idle_connections_max| {
            let mut pooling = builder(options);
            pooling.pool_max_idle_per_host(idle_connections_max).http2_only(versions == Versions::Two);
            pooling.build(shared.clone())
        };
        let shared = match versions {
            Versions::One => Shared::Pool(Pool::new(
                shared.clone(),
                host(name, &scheme),
                options.idle_max,
                options.idle_connections_max,
            )),
            Versions::Two | Versions::Either => Shared::Lanes(Lanes::new(options.exchanges_max, |lane| {
                pooling(idle_of_lane(options.idle_connections_max, lane))
            })),
        };
        let mut unpooled = builder(options);
        unpooled.pool_max_idle_per_host(0);
        let single = single.map(|connector| unpooled.build(connector));
        Self { shared, single, scheme }
    }
}

/// A lane's share of the unused connections. One without any could not share a connection of HTTP/2.
fn idle_of_lane(all: usize, lane: usize) -> usize {
    let others = lane.saturating_mul(LANE_EXCHANGES_MAX);
    if all == 0 { 0 } else { all.saturating_sub(others).clamp(1, LANE_EXCHANGES_MAX) }
}

/// What an upstream is called in `Host`: without the port that its scheme has anyway.
fn host(name: &Authority, scheme: &Scheme) -> HeaderValue {
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let said = if name.port_u16() == Some(default) { name.host() } else { name.as_str() };
    // An authority has visible characters alone.
    HeaderValue::from_str(said).unwrap_or(HeaderValue::from_static(""))
}

fn connector(server: &UpstreamServer, versions: Versions) -> Result<Connector, UpstreamError> {
    let time_max = server.options.connect_max;
    Ok(match &server.address {
        ServerAddress::Http(authority) => Connector::tcp(authority.clone(), time_max),
        ServerAddress::Unix(path) => Connector::unix(path.clone(), time_max),
        ServerAddress::Https(authority) => {
            let config = client_config(server.authorities.as_deref())?;
            Connector::tls(authority.clone(), &server.name(), config, versions, time_max)
                .ok_or(UpstreamError::Name)?
        }
    })
}

fn builder(options: &UpstreamOptions) -> Builder {
    // Every open exchange has a window of its own, or one reader that stands still would stop the others on
    // its connection.
    let exchanges = u32::try_from(options.exchanges_max.min(LANE_EXCHANGES_MAX)).unwrap_or(u32::MAX);
    let window = STREAM_WINDOW_BYTES.saturating_mul(exchanges).clamp(STREAM_WINDOW_BYTES, WINDOW_BYTES_MAX);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_max)
        .http1_max_buf_size(BUFFER_BYTES_MAX)
        .http1_max_headers(HEADERS_MAX)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(window)
        .http2_max_header_list_size(HEAD_BYTES_MAX)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PONG_MAX)
        // Only where the version has a header for it: in HTTP/2 the target says it.
        .set_host(true);
    builder
}
