//! What a listener with a JSON-RPC door tells everyone: a catalogue of its MCP servers, a card of each, and that
//! there is no OAuth here.
//!
//! They are made of profiles and of the host that was asked, which the listener serves. Nothing is looked up and no
//! credential is looked at, so they tell nobody anything about a key; they are paced by address like all that needs
//! none. A client that was refused asks for OAuth's documents and signs in where they are, so those are 404, and
//! never 401. A path that a profile opens as a public one is its upstream's.
//!
//! Never here: a tool's name, a header of the caller beside `Host`.

use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::data::Product;
use crate::dialect::RpcDialect;
use crate::domain::denial::Denial;
use crate::domain::mcp::{LEGACY_VERSIONS, MODERN_VERSION};
use crate::domain::profile::{Described, RpcDoor, Verb, VerbSet};
use crate::engine::Engine;
use crate::gateway::Arrival;
use crate::http::{Response, answer};

/// The schema that a card says it has (SEP-2127).
const CARD_SCHEMA: &str = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json";
/// The content type of a card.
const CARD_TYPE: &str = "application/mcp-server-card+json";
/// The content type of a catalogue.
const CATALOGUE_TYPE: &str = "application/ai-catalog+json";
/// The version of a catalogue's form.
const CATALOGUE_VERSION: &str = "1.0";
/// How long a document may be kept.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// One of these documents, asked for at a listener.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    what: Described,
    /// Whose card, or the first that the listener serves.
    pub(super) product: &'a Product,
    pub(super) door: &'a RpcDoor,
    pub(super) dialect: &'a RpcDialect,
}

impl<'a> Asked<'a> {
    /// What a path is of these, at a listener of `products`.
    pub(super) fn find(products: impl Iterator<Item = &'a Product>, path: &str) -> Option<Self> {
        let mut doors = products
            .filter_map(|product| Some((product, product.profile.rpc.as_ref()?, product.rpc.as_ref()?)));
        doors.find_map(|(product, door, dialect)| {
            door.describes(path).map(|what| Self { what, product, door, dialect })
        })
    }

    /// Answers a request for it. `products` are those that the listener serves.
    pub(super) fn answer<'p>(
        self,
        engine: &Engine,
        products: impl Iterator<Item = &'p Product>,
        parts: &Parts,
        arrival: &Arrival,
    ) -> Result<Response, Denial> {
        let public = self.door.description();
        engine.open_pass(&self.product.profile, public, arrival.address)?;
        if matches!(self.what, Described::NoOauth) {
            return Err(Denial::NotFound);
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return Err(Denial::Method { allow: VerbSet::default().with(Verb::Get) });
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let origin = Origin { scheme: if arrival.is_secure { "https" } else { "http" }, host };
        Ok(match self.what {
            Described::Card => document(CARD_TYPE, &card(self.product, self.door, origin)),
            Described::Catalogue | Described::NoOauth => {
                document(CATALOGUE_TYPE, &catalogue(products, origin))
            }
        })
    }
}

/// Where the caller found the listener.
#[derive(Clone, Copy)]
struct Origin<'a> {
    scheme: &'static str,
    host: &'a str,
}

impl Origin<'_> {
    fn url(self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.host)
    }

    /// The host without its port, of letters, digits, dots and hyphens alone.
    fn name(self) -> String {
        let name = match self.host.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        let plain =
            |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
        name.trim_end_matches('.').chars().map(plain).collect()
    }

    /// The same with its labels the other way round, as names of servers have it. An address stays as it is.
    fn reversed(self) -> String {
        let name = self.name();
        if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return name;
        }
        name.rsplit('.').collect::<Vec<_>>().join(".")
    }
}

#[derive(Serialize)]
struct Card<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    title: &'a str,
    version: &'static str,
    description: &'static str,
    remotes: Vec<Remote>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Remote {
    #[serde(rename = "type")]
    transport: &'static str,
    url: String,
    headers: [Header; 1],
    supported_protocol_versions: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    name: &'static str,
    description: &'static str,
    is_required: bool,
    is_secret: bool,
}

fn card<'a>(product: &'a Product, door: &RpcDoor, origin: Origin<'_>) -> Card<'a> {
    let remote = |transport, path: &str, versions| Remote {
        transport,
        url: origin.url(path),
        headers: [Header {
            name: "Authorization",
            description: "An API key, as \"Bearer KEY\".",
            is_required: true,
            is_secret: true,
        }],
        supported_protocol_versions: versions,
    };
    let both_eras = LEGACY_VERSIONS.into_iter().chain([MODERN_VERSION]).collect();
    let mut remotes = vec![remote("streamable-http", &door.endpoint, both_eras)];
    remotes.extend(door.sse.as_deref().map(|path| remote("sse", path, LEGACY_VERSIONS.to_vec())));
    Card {
        schema: CARD_SCHEMA,
        name: format!("{}/{}", origin.reversed(), product.profile.name),
        title: &product.profile.name,
        version: env!("CARGO_PKG_VERSION"),
        description: "An MCP server whose callers each have an API key.",
        remotes,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Catalogue<'a> {
    spec_version: &'static str,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    identifier: String,
    display_name: &'a str,
    #[serde(rename = "type")]
    artifact: &'static str,
    url: String,
}

fn catalogue<'p>(products: impl Iterator<Item = &'p Product>, origin: Origin<'_>) -> Catalogue<'p> {
    let entries = products.filter_map(|product| {
        let door = product.profile.rpc.as_ref()?;
        let name = product.profile.name.as_str();
        Some(Entry {
            identifier: format!("urn:air:{}:mcp:{name}", origin.name()),
            display_name: name,
            artifact: CARD_TYPE,
            url: origin.url(&door.card_path()),
        })
    });
    Catalogue { spec_version: CATALOGUE_VERSION, entries: entries.collect() }
}

/// Public, so a page of any origin may read it.
fn document(content_type: &'static str, body: &impl Serialize) -> Response {
    // Texts and lists always serialise.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = answer::with_type(StatusCode::OK, HeaderValue::from_static(content_type), body);
    response.headers_mut().insert(CACHE_CONTROL, KEPT);
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_becomes_a_name_that_every_form_takes() {
        for (host, name, reversed) in [
            ("API.example.com:8443", "api.example.com", "com.example.api"),
            ("localhost", "localhost", "localhost"),
            ("127.0.0.1:8082", "127.0.0.1", "127.0.0.1"),
            ("[::1]:80", "--1", "--1"),
            ("a_b.example.", "a-b.example", "example.a-b"),
        ] {
            let origin = Origin { scheme: "https", host };
            assert_eq!((origin.name().as_str(), origin.reversed().as_str()), (name, reversed), "{host}");
        }
    }
}
