//! Requests that become tunnels: WebSocket, over HTTP/1.1, on routes that say so.
//!
//! A tunnel exists once the upstream has agreed to this very upgrade with a 101; every other answer is an
//! ordinary one. Such a request has a connection to the upstream of its own, with nothing before it and
//! nothing behind it, so bytes that a caller sends too early never become a request there.
//!
//! Never here: a look into a tunnel, `h2c`, or `CONNECT`.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Version, request};
use hyper::body::Incoming;

use super::headers::strip_answer;
use super::places::Place;
use crate::domain::causes::Causes;
use crate::domain::denial::Fault;
use crate::domain::tether::Tether;
use crate::http::tunnel::Tunnel;
use crate::http::{Body, Response};

const WEBSOCKET: &str = "websocket";

/// Which upgrades a route lets its callers ask the upstream for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrades {
    /// None: the request goes on without its wish.
    Dropped,
    /// To WebSocket.
    WebSocket,
}

/// Whether this is a request for a WebSocket.
pub(super) fn is_asked(head: &request::Parts, body: &Body) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && http_body::Body::is_end_stream(body)
        && is_to_websocket(&head.headers)
}

/// Asks for one, or agrees to it.
pub(super) fn write(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// The answer to a caller whose upgrade the upstream has agreed to, with the tunnel in it.
pub(super) async fn agreed(
    mut response: http::Response<Incoming>,
    quiet_max: Duration,
    tether: Option<Tether>,
    place: Place,
) -> Result<Response, Fault> {
    if !is_to_websocket(response.headers()) {
        tracing::warn!("the upstream switched to a protocol that was not asked for");
        return Err(Fault::UpstreamBroken);
    }
    let far = hyper::upgrade::on(&mut response).await.map_err(|error| {
        tracing::warn!(error = %Causes(&error), "the upstream broke off while it switched protocols");
        Fault::UpstreamBroken
    })?;
    let (mut head, _) = response.into_parts();
    strip_answer(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    write(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    head.extensions.insert(Tunnel::new(far, quiet_max, tether, Box::new(place)));
    Ok(http::Response::from_parts(head, Body::Empty))
}

fn is_to_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let only = protocols.next().filter(|_| protocols.next().is_none());
    let named = only.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = options.flat_map(|value| value.split(',')).map(str::trim);
    named && options.any(|option| option.eq_ignore_ascii_case("upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn only_a_get_of_nothing_but_websocket_asks_for_an_upgrade() {
        let asked = |method: &str, lines: &[(&str, &str)], body: Body| {
            let mut request = http::Request::builder().method(method).uri("/a");
            for (name, value) in lines {
                request = request.header(*name, *value);
            }
            is_asked(&request.body(()).unwrap().into_parts().0, &body)
        };
        let right = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(asked("GET", &right, Body::Empty));
        assert!(!asked("POST", &right, Body::Empty));
        assert!(!asked("GET", &right, Body::from(Bytes::from_static(b"a"))));
        for lines in [
            &[("connection", "upgrade")][..],
            &[("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "websocket")],
            &[("connection", "upgraded"), ("upgrade", "websocket")],
        ] {
            assert!(!asked("GET", lines, Body::Empty), "{lines:?}");
        }
    }
}
