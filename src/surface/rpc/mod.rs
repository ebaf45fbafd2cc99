//! A product's JSON-RPC door: one endpoint for messages, streams and sessions, a few public paths.
//!
//! A tool is listed exactly when it may be called. What is forwarded is what was read and decided on.
//!
//! Never here: a message that is forwarded in another form than the one that was read.

mod asked;
mod document;
mod filter;
mod headers;
mod listed_tool;
pub mod message;
mod post;
mod session;
mod sse;
mod stream;
mod tool_list;
mod tool_question;

use hyper::Method;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use super::credential::credential;
use super::data::{Exchange, Product};
use super::signature;
use crate::dialect::{RpcDialect, Spoken};
use crate::domain::denial::{Denial, Refusal};
use crate::domain::profile::RpcDoor;
use crate::gateway::{Arrival, Encodings, Outgoing, Stay, Upgrades};
use crate::http::{Body, Response};

pub use listed_tool::{ListedTool, each_tool};

use document::document;
pub(super) use headers::named;
use headers::{accepts_events, era};
use post::message;
use session::Course;
pub(super) use sse::OlderStreams;
use stream::without_message;

/// A refusal and the id to say it with.
struct Refused {
    refusal: Refusal,
    id: Option<String>,
}

impl<T: Into<Refusal>> From<T> for Refused {
    fn from(refusal: T) -> Self {
        Self { refusal: refusal.into(), id: None }
    }
}

/// Answers one request, or says why not.
pub(super) async fn answer(
    exchange: Exchange<'_>,
    door: &RpcDoor,
    dialect: &RpcDialect,
) -> Result<Response, Spoken> {
    let era = era(&exchange.parts.headers);
    let is_at_endpoint = exchange.parts.uri.path() == door.endpoint;
    // What is not a message is rare, and in a room of its own: messages do not carry it along.
    let answered = match exchange.parts.method {
        Method::POST if is_at_endpoint => message(exchange, door, None).await,
        Method::DELETE if is_at_endpoint => Box::pin(without_message(exchange, Course::Ends)).await,
        Method::GET if is_at_endpoint && accepts_events(&exchange.parts.headers) => {
            Box::pin(without_message(exchange, Course::GoesOn)).await
        }
        _ if is_older_stream(&exchange, door) => Box::pin(sse::at_stream(exchange, door, dialect)).await,
        _ => Box::pin(document(exchange, door)).await,
    };
    answered.map_err(|refused| dialect.say(&refused.refusal, refused.id.as_deref(), era))
}

/// Whether it is at the stream of the older transport. Where it is opened elsewhere, it is not here: its first
/// event would name an address that nobody here knows.
fn is_older_stream(exchange: &Exchange<'_>, door: &RpcDoor) -> bool {
    door.sse.as_deref() == Some(exchange.parts.uri.path()) && !exchange.product.upstream.is_nobody()
}

/// The bearer, which is this door's only credential. Another door's key header beside it is a second one.
fn rpc_credential<'a>(parts: &'a Parts, product: &Product) -> Result<&'a [u8], Denial> {
    match credential(&parts.headers, product.profile.key_headers()) {
        Ok(_) if !parts.headers.contains_key(AUTHORIZATION) => Err(Denial::Missing),
        credential => credential,
    }
}

fn outgoing(product: &Product, mut head: Parts, body: Body, arrival: Arrival) -> Outgoing<'_> {
    signature::strip(&mut head.headers, &product.profile);
    let key_headers = product.profile.key_headers();
    let (encodings, upgrades) = (Encodings::Plain, Upgrades::Dropped);
    Outgoing { head, body, arrival, key_headers, encodings, upgrades, stay: Stay::Exchange }
}
