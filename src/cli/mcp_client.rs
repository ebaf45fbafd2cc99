//! A small MCP client that asks a server for its tools: the modern protocol first, the legacy one where that is
//! not spoken.
//!
//! Answers may be JSON or a stream of events. Everything is bounded in time, bytes and pages; a redirect is not
//! followed. What a server says is data: it is shown by whoever shows it without control characters.
//!
//! Never here: a call of a tool.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::output::plain;
use crate::domain::causes::Causes;
use crate::domain::mcp::{LEGACY_VERSIONS, MODERN_VERSION, NEWEST_LEGACY_VERSION};
use crate::domain::profile::ToolClass;
use crate::http::events::EventData;
use crate::http::tls::{ClientTlsError, client_config};
use crate::surface::each_tool;

/// The longest that a connection may take to stand.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest that one answer may take to arrive whole.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The longest that an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// The most pages of a list.
const PAGES_MAX: usize = 100;
/// The most bytes of all answers together.
const BYTES_MAX: usize = 8 << 20;
/// The most characters of a server's own words that are told.
const TOLD_CHARS_MAX: usize = 200;

/// Why a server's tools are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum McpError {
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    #[error("no version of TLS can be spoken")]
    Versions(#[from] rustls::Error),
    #[error("{url} cannot be asked: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} did not answer in {} seconds", ANSWER_MAX.as_secs())]
    Late { url: String },
    #[error("{url} refused {method} (status {}): {told}", .status.as_u16())]
    Refused { url: String, method: &'static str, status: StatusCode, told: String },
    #[error("{url} does not answer {method} as an MCP server does: {why}")]
    NotMcp { url: String, method: &'static str, why: &'static str },
}

/// A tool as a server lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) read_only: Option<bool>,
    pub(super) destructive: Option<bool>,
}

impl Tool {
    /// What it does, as it says.
    pub(super) const fn class(&self) -> ToolClass {
        ToolClass::of_hints(self.read_only, self.destructive)
    }
}

/// What a server listed.
#[derive(Debug)]
pub(super) struct Listing {
    /// The version that was spoken.
    pub(super) version: String,
    pub(super) tools: Vec<Tool>,
}

/// A client of one server.
pub(super) struct McpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    /// What each request carries: the user's own.
    headers: HeaderMap,
    version: String,
    session: Option<HeaderValue>,
    left_bytes: usize,
    asked: u32,
}

impl McpClient {
    /// A client of the server at `url` that shows it `headers`. `authorities` is a file of those to believe
    /// instead of the system's.
    pub(super) fn new(url: Uri, headers: HeaderMap, authorities: Option<&Path>) -> Result<Self, McpError> {
        let tls =
            if url.scheme_str() == Some("https") { client_config(authorities)? } else { believing_nobody()? };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .retry_canceled_requests(false)
            .build(connector);
        let version = MODERN_VERSION.to_owned();
        Ok(Self { client, url, headers, version, session: None, left_bytes: BYTES_MAX, asked: 0 })
    }

    /// All tools of the server.
    pub(super) async fn list(mut self) -> Result<Listing, McpError> {
        self.begin().await?;
        let tools = self.all_tools().await;
        if let Some(session) = self.session.clone() {
            // A server that keeps sessions is told that this one is over; it need not care.
            let request = Request::delete(self.url.clone()).header("mcp-session-id", session);
            if let Ok(request) = self.complete(request.body(Full::default()), "DELETE") {
                drop(timeout(CONNECT_MAX, self.client.request(request)).await);
            }
        }
        Ok(Listing { tools: tools?, version: self.version })
    }

    /// Finds out which protocol is spoken.
    async fn begin(&mut self) -> Result<(), McpError> {
        match self.ask("server/discover", json!({})).await {
            Ok(_) => return Ok(()),
            // What a legacy server says to a method that it does not know; a proof of who asks it wants the same.
            Err(McpError::Refused { status, .. })
                if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN => {}
            Err(McpError::NotMcp { .. }) => {}
            Err(error) => return Err(error),
        }
        NEWEST_LEGACY_VERSION.clone_into(&mut self.version);
        let client = json!({"name": "keyward", "version": env!("CARGO_PKG_VERSION")});
        let params =
            json!({"protocolVersion": NEWEST_LEGACY_VERSION, "capabilities": {}, "clientInfo": client});
        let answer = self.ask("initialize", params).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let version = answer.pointer("/result/protocolVersion").and_then(Value::as_str);
        match version.filter(|version| LEGACY_VERSIONS.contains(version)) {
            Some(version) => version.clone_into(&mut self.version),
            None => return Err(self.not_mcp("initialize", "it speaks no version that is known here")),
        }
        let method = "notifications/initialized";
        let message = json!({"jsonrpc": "2.0", "method": method});
        let answer = self.send(method, &message).await?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refused(method, answer).await) }
    }

    async fn all_tools(&mut self) -> Result<Vec<Tool>, McpError> {
        let (mut tools, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let page = self.ask("tools/list", params).await?;
            let next = each_tool(&page, |tool| {
                tools.push(Tool {
                    name: tool.name.clone().into_owned(),
                    read_only: tool.read_only,
                    destructive: tool.destructive,
                });
            });
            match next {
                None => return Err(self.not_mcp("tools/list", "its list cannot be read one way")),
                Some(next) if next.is_none() || next == cursor => return Ok(tools),
                Some(next) => cursor = next,
            }
        }
        Err(self.not_mcp("tools/list", "its list has more than 100 pages"))
    }

    /// Asks and gives the whole message that answers, which is no error.
    async fn ask(&mut self, method: &'static str, params: Value) -> Result<Vec<u8>, McpError> {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        if let Some(params) =
            message.get_mut("params").and_then(Value::as_object_mut).filter(|_| self.is_modern())
        {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.version,
                "io.modelcontextprotocol/clientInfo": {"name": "keyward", "version": env!("CARGO_PKG_VERSION")},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            params.insert("_meta".to_owned(), meta);
        }
        let answer = self.send(method, &message).await?;
        if !answer.status().is_success() {
            return Err(self.refused(method, answer).await);
        }
        if method == "initialize" {
            self.session = answer.headers().get("mcp-session-id").cloned();
        }
        let status = answer.status();
        let reading = timeout(ANSWER_MAX, self.message(answer, id)).await;
        let Some(message) = reading.map_err(|_| McpError::Late { url: self.shown() })?? else {
            return Err(self.not_mcp(method, "no message answers it"));
        };
        let value: Value = serde_json::from_slice(&message).unwrap_or_default();
        match (value.get("result"), value.get("error")) {
            (Some(_), None) => Ok(message),
            (None, Some(error)) => {
                Err(McpError::Refused { url: self.shown(), method, status, told: told(error) })
            }
            _ => Err(self.not_mcp(method, "what answers it has neither a result nor an error")),
        }
    }

    async fn send(&self, method: &'static str, message: &Value) -> Result<Response<Incoming>, McpError> {
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if self.is_modern() {
            request = request.header("mcp-method", method);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if method != "initialize" {
            request = request.header("mcp-protocol-version", &self.version);
        }
        let request = self.complete(request.body(Full::from(message.to_string())), method)?;
        let answer = timeout(ANSWER_MAX, self.client.request(request)).await;
        let answer = answer.map_err(|_| McpError::Late { url: self.shown() })?;
        answer.map_err(|error| McpError::Unreachable { url: self.shown(), why: Causes(&error).to_string() })
    }

    fn complete(
        &self,
        request: Result<Request<Full<Bytes>>, http::Error>,
        method: &'static str,
    ) -> Result<Request<Full<Bytes>>, McpError> {
        let mut request = request.map_err(|_| self.not_mcp(method, "no request for it can be made"))?;
        let agent = HeaderValue::from_static(concat!("keyward/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    /// The message that answers the request with this id.
    async fn message(&mut self, answer: Response<Incoming>, id: u32) -> Result<Option<Vec<u8>>, McpError> {
        let label = answer.headers().get(CONTENT_TYPE).and_then(|label| label.to_str().ok());
        let essence = label.and_then(|label| label.split(';').next()).unwrap_or_default().trim();
        let is_stream = essence.eq_ignore_ascii_case("text/event-stream");
        let (mut body, mut events, mut whole) = (answer.into_body(), EventData::default(), Vec::new());
        while let Some(piece) = self.piece(&mut body).await? {
            if is_stream {
                let mut messages = events.take(&piece).into_iter();
                if let Some(message) = messages.find(|message| answers(message, id)) {
                    return Ok(Some(message));
                }
            } else {
                whole.extend_from_slice(&piece);
            }
        }
        Ok(Some(whole).filter(|whole| answers(whole, id)))
    }

    async fn piece(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, McpError> {
        loop {
            let frame = body.frame().await.transpose();
            let frame = frame.map_err(|error| McpError::Unreachable {
                url: self.shown(),
                why: Causes(&error).to_string(),
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(piece) = frame.into_data() else { continue };
            let left = self.left_bytes.checked_sub(piece.len());
            self.left_bytes = left.ok_or_else(|| McpError::Unreachable {
                url: self.shown(),
                why: "its answers are larger than 8 MiB".to_owned(),
            })?;
            return Ok(Some(piece));
        }
    }

    async fn refused(&mut self, method: &'static str, answer: Response<Incoming>) -> McpError {
        let status = answer.status();
        let mut body = answer.into_body();
        let reading = async {
            let mut whole = Vec::new();
            while let Ok(Some(piece)) = self.piece(&mut body).await {
                whole.extend_from_slice(&piece);
            }
            whole
        };
        let whole = timeout(CONNECT_MAX, reading).await.unwrap_or_default();
        let value: Value = serde_json::from_slice(&whole).unwrap_or_default();
        let told = match value.get("error") {
            Some(error) => told(error),
            None if status == StatusCode::UNAUTHORIZED => {
                "it wants to know who asks: --bearer-file".to_owned()
            }
            None => "it says nothing more that can be read".to_owned(),
        };
        McpError::Refused { url: self.shown(), method, status, told }
    }

    fn is_modern(&self) -> bool {
        self.version == MODERN_VERSION
    }

    fn not_mcp(&self, method: &'static str, why: &'static str) -> McpError {
        McpError::NotMcp { url: self.shown(), method, why }
    }

    /// The server without what a query may hold.
    fn shown(&self) -> String {
        self.url.to_string().split('?').next().unwrap_or_default().to_owned()
    }
}

/// Headers from lines of `Name: value`; `None` when a line is none.
pub(super) fn headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        headers.insert(name.trim().parse::<HeaderName>().ok()?, value);
    }
    Some(headers)
}

/// Whether a message is the answer to the request with this id.
fn answers(message: &[u8], id: u32) -> bool {
    let value: Value = serde_json::from_slice(message).unwrap_or_default();
    value.get("method").is_none() && value.get("id").and_then(Value::as_u64) == Some(id.into())
}

/// What a server says of its own error, fit for one line.
fn told(error: &Value) -> String {
    let code = error.get("code").and_then(Value::as_i64).map_or_else(String::new, |code| format!("{code} "));
    let message = error.get("message").and_then(Value::as_str).or(error.as_str()).unwrap_or("without a word");
    let message: String = message.chars().take(TOLD_CHARS_MAX).collect();
    format!("{code}{}", plain(&message))
}

/// For a server without TLS, to which nothing of this is ever shown.
fn believing_nobody() -> Result<ClientConfig, rustls::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}
