//! The MCP door: JSON-RPC messages on one endpoint, answered as JSON, in both eras of the protocol.
//!
//! A message names its era by the `MCP-Protocol-Version` header: none or an older date is the legacy one
//! (`initialize`, `ping`), the modern one is stateless and starts with `server/discover`. An id is echoed as
//! the very text that came. The status of an error follows the era: where the legacy clients end their whole
//! session on anything but 200, an unknown method or tool is a 200.
//!
//! Never here: a batch, a session, a stream (`sse` opens those of the older transport), a rule about posts.

mod kept;
mod rpc;
mod schema;
mod social;
pub(super) mod sse;
mod tools;

use http::header::ACCEPT;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::failure::Failure;
use super::intake::{self, Unread};
use super::members::shown;
use super::product::Server;
use super::{Sandbox, discovery, workspace};
use crate::domain::mcp::{Era, LEGACY_VERSIONS, MODERN_VERSION, NEWEST_LEGACY_VERSION, names_event_stream};

use rpc::{
    INVALID_REQUEST, METHOD_NOT_FOUND, Refusal, UNSUPPORTED_VERSION, internal, invalid, invalid_params,
    is_request_id, parse, result,
};
use tools::{Found, NOT_BUILT, ToolCall};

/// The endpoint's path.
pub(super) const ENDPOINT: &str = "/api/mcp-app";

const VERSION_HEADER: &str = "mcp-protocol-version";

/// How long a client may keep what does not change while the daemon runs.
const TTL_MS: u32 = 300_000;

/// Answers one request to the endpoint.
pub(super) async fn answer(sandbox: &Sandbox, server: Server<'_>, request: Request<Incoming>) -> Answer {
    match (request.method(), server) {
        (&Method::POST, _) => message(sandbox, server, request).await,
        (&Method::GET, Server::Built) if !wants_stream(request.headers()) => {
            discovery::document(request.headers())
        }
        (_, Server::Built) => method_not_allowed("GET, POST"),
        (_, Server::Named(_)) => method_not_allowed("POST"),
    }
}

/// A 405 in this door's words.
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    let refusal =
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, format!("Allowed here: {allow}."));
    answer::with_allow(refusal.answer(None), allow)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(names_event_stream)
}

/// The era that a message speaks; a version that is not spoken here has none.
fn era_of(headers: &HeaderMap) -> Result<Era, Refusal> {
    let mut versions = headers.get_all(VERSION_HEADER).iter();
    let version = match (versions.next(), versions.next()) {
        (None, _) => return Ok(Era::Legacy),
        (Some(version), None) => version.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => {
            let message = "MCP-Protocol-Version is given twice.".to_owned();
            return Err(Refusal::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, message));
        }
    };
    let is_date = version.len() == MODERN_VERSION.len()
        && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match version {
        MODERN_VERSION => Ok(Era::Modern),
        // Any older date: clients in the field name versions that no list has, and speak like the rest.
        older if is_date && older < MODERN_VERSION => Ok(Era::Legacy),
        other => {
            let mut refusal = Refusal::new(
                StatusCode::BAD_REQUEST,
                UNSUPPORTED_VERSION,
                format!("Unsupported protocol version {}.", shown(other)),
            );
            refusal.data = Some(json!({"supported": [MODERN_VERSION], "requested": other}));
            Err(refusal)
        }
    }
}

async fn message(sandbox: &Sandbox, server: Server<'_>, request: Request<Incoming>) -> Answer {
    let headers = request.headers().clone();
    let body = match intake::json(request).await {
        Ok(body) => body,
        Err(unread) => {
            let status = match unread {
                Unread::MediaType | Unread::NoForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Unread::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Unread::Broken => StatusCode::BAD_REQUEST,
            };
            return Refusal::new(status, INVALID_REQUEST, unread.message()).answer(None);
        }
    };
    let message = match parse(&body) {
        Ok(message) => message,
        Err(refusal) => return refusal.answer(None),
    };
    let (method, id) = match (&message.method, message.id) {
        (Some(method), Some(id)) if is_request_id(id) => (method, id),
        // Notifications get no answer, whatever they say, and do nothing here.
        (Some(_), None) => return answer::empty(StatusCode::ACCEPTED),
        // Nothing is ever asked of a client, so its answers are taken and dropped.
        (None, _) if message.result.is_some() || message.error.is_some() => {
            return answer::empty(StatusCode::ACCEPTED);
        }
        (Some(_), Some(_)) => return invalid("id must be a text or a whole number.").answer(None),
        (None, _) => return invalid("method must be a text.").answer(None),
    };
    let outcome = match era_of(&headers) {
        Ok(era) => handle(sandbox, server, &headers, era, method, message.params).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(answered) => result(id, &answered),
        Err(refusal) => refusal.answer(Some(id)),
    }
}

/// A result of one of the methods; which one is told by the method.
type Outcome = Result<Value, Refusal>;

async fn handle(
    sandbox: &Sandbox,
    server: Server<'_>,
    headers: &HeaderMap,
    era: Era,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Box<RawValue>, Refusal> {
    if params.is_some_and(|params| !params.get().starts_with('{')) {
        return Err(invalid_params("params must be an object."));
    }
    let params = params.map_or("{}", RawValue::get);
    match (method, era) {
        ("initialize", Era::Legacy) => written(era, &initialize(server, params)?),
        ("ping", Era::Legacy) => written(era, &json!({})),
        // Asked in either era: it is how a client finds out which one there is.
        ("server/discover", _) => written(Era::Modern, &discover(server)),
        ("tools/list", _) => written(era, &list(sandbox, server, era, params)?),
        ("tools/call", _) => call(sandbox, server, headers, era, params).await,
        _ => Err(no_method(era, format!("No method {}.", shown(method)))),
    }
}

fn no_method(era: Era, message: String) -> Refusal {
    let status = match era {
        Era::Legacy => StatusCode::OK,
        Era::Modern => StatusCode::NOT_FOUND,
    };
    Refusal::new(status, METHOD_NOT_FOUND, message)
}

fn initialize(server: Server<'_>, params: &str) -> Outcome {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        protocol_version: Option<String>,
    }
    let params: Params = serde_json::from_str(params)
        .map_err(|error| invalid_params(&format!("initialize: protocolVersion must be a text: {error}.")))?;
    let asked = params.protocol_version.as_deref();
    let version =
        LEGACY_VERSIONS.into_iter().find(|known| asked == Some(*known)).unwrap_or(NEWEST_LEGACY_VERSION);
    Ok(json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": server.info(),
        "instructions": server.instructions(),
    }))
}

fn discover(server: Server<'_>) -> Value {
    json!({
        "supportedVersions": [MODERN_VERSION],
        "capabilities": {"tools": {}},
        "serverInfo": server.info(),
        "instructions": server.instructions(),
        "ttlMs": TTL_MS,
        "cacheScope": "public",
        "_meta": {"io.modelcontextprotocol/serverInfo": server.info()},
    })
}

fn list(sandbox: &Sandbox, server: Server<'_>, era: Era, params: &str) -> Outcome {
    #[derive(Deserialize)]
    struct Params {
        cursor: Option<Value>,
    }
    let params: Params =
        serde_json::from_str(params).map_err(|error| invalid_params(&format!("{error}.")))?;
    if params.cursor.is_some() {
        return Err(invalid_params("This cursor is not known: the list has one page."));
    }
    let tools = tools::list(sandbox, server);
    Ok(match era {
        Era::Legacy => json!({"tools": tools}),
        // What the gate leaves of the list depends on the key.
        Era::Modern => json!({"tools": tools, "ttlMs": TTL_MS, "cacheScope": "private"}),
    })
}

async fn call(
    sandbox: &Sandbox,
    server: Server<'_>,
    headers: &HeaderMap,
    era: Era,
    params: &str,
) -> Result<Box<RawValue>, Refusal> {
    #[derive(Deserialize)]
    struct Params<'a> {
        name: String,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let params: Params<'_> = serde_json::from_str(params).map_err(|error| {
        invalid_params(&format!("tools/call needs a name and an object of arguments: {error}."))
    })?;
    let arguments = params.arguments.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') {
        return Err(invalid_params("arguments must be an object."));
    }
    let tool = match tools::find(sandbox, server, &params.name) {
        Found::Tool(tool) => tool,
        Found::NotBuilt => return Err(no_method(era, NOT_BUILT.to_owned())),
        Found::Nothing => {
            let mut refusal = invalid_params(&format!("Unknown tool {}.", shown(&params.name)));
            if era == Era::Legacy {
                refusal.status = StatusCode::OK;
            }
            return Err(refusal);
        }
    };
    let workspace = workspace(headers).map_err(|failure| match failure {
        Failure::Fault(fault) => Refusal::from(fault),
        refusal => invalid_params(&refusal.message()),
    })?;
    let outcome =
        tool.call(ToolCall { sandbox, workspace, headers, arguments: arguments.as_bytes() }).await?;
    written(era, &outcome)
}

/// A result as text; the modern era marks each as complete.
fn written(era: Era, result: &impl Serialize) -> Result<Box<RawValue>, Refusal> {
    #[derive(Serialize)]
    struct Complete<'a, T> {
        #[serde(rename = "resultType")]
        result_type: &'static str,
        #[serde(flatten)]
        result: &'a T,
    }
    let text = match era {
        Era::Legacy => serde_json::value::to_raw_value(result),
        Era::Modern => serde_json::value::to_raw_value(&Complete { result_type: "complete", result }),
    };
    text.map_err(|_| internal())
}
