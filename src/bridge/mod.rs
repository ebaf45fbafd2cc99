//! An upstream that is a command: an MCP server that speaks over its standard input and output, served as Streamable
//! HTTP.
//!
//! It is reached only as an HTTP/1.1 upstream over an in-memory connection, so the gate in front of it is the one in
//! front of any server. Either one process serves everyone (`lane`, `link`), or each session has its own
//! (`sessions`); the modern era has no sessions, and is served by one process in any case. Whatever waits is bounded:
//! for a server that does not read, for a client that does not, for a process that is not there.
//!
//! Never here: a credential, a permission, a limit (they were decided before), a key, or a call into another room but
//! `domain`.

mod answer;
mod lane;
mod lines;
mod link;
mod message;
mod outbox;
mod process;
mod refusals;
mod sessions;
mod waiting;

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::mcp::{Era, LEGACY_VERSIONS, names_event_stream};
use answer::Answer;
use lane::{Ground, Lane, Unready};
use link::{Asked, Streams};
use message::{INTERNAL_ERROR, INVALID_REQUEST, Kind, Message, NoMessage, spliced};
use outbox::Budget;
use process::{LINE_BYTES_MAX, Program, Unsaid};
use refusals::{Refused, no_such_session, not_allowed, not_said, not_taken, not_up, refused, unreadable};
use sessions::{NoSession, Session, Sessions, Untaken};

/// Headers of one request at most: the 64 that a listener lets in, and room for those that the gateway adds.
const HEADERS_MAX: usize = 160;
/// Where the gateway names the key that was proven. Absent on keyless requests.
const KEY_ID: &str = "x-keyward-key-id";
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: &str = "mcp-protocol-version";

/// An upstream that is a command. Cheap to clone: every clone is the same processes.
#[derive(Clone, Debug)]
pub struct Bridge {
    endpoint: Arc<str>,
    wait_max: Duration,
    budget: Budget,
    streams: Arc<Streams>,
    modern: Lane,
    legacy: Legacy,
}

/// What a bridge is made of.
#[derive(Clone)]
pub struct BridgeOptions {
    /// The product that the server stands behind, for the log.
    pub profile: String,
    /// The one path that takes messages.
    pub endpoint: String,
    /// What is started: a path, or a name that is looked up in the `PATH` of `environment`.
    pub command: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The whole of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it runs; where the daemon does when there is none.
    pub directory: Option<PathBuf>,
    /// How many processes there are.
    pub processes: Processes,
    /// The longest that a request waits for a process that is starting.
    pub wait_max: Duration,
}

/// How many processes there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Processes {
    /// One for everyone, and one more for the modern era once it is asked for.
    Shared,
    /// One for each session of the legacy era.
    Sessions {
        /// The most at once.
        most: usize,
        /// The longest that a session does nothing before it is ended.
        idle_max: Duration,
    },
}

impl fmt::Debug for BridgeOptions {
    /// Arguments and environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeOptions").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
enum Legacy {
    Shared(Lane),
    Sessions(Sessions),
}

impl Bridge {
    /// Starts the command, or gets ready to. Everything that runs for it runs on `tasks`, until `shutdown`; then a
    /// process is given some seconds to end.
    pub fn start(options: BridgeOptions, tasks: &TaskTracker, shutdown: &CancellationToken) -> Self {
        let BridgeOptions { profile, command, arguments, environment, directory, .. } = options;
        let program = Arc::new(Program { profile, command, arguments, environment, directory });
        let budget = Budget::default();
        let (tasks, shutdown) = (tasks.clone(), shutdown.clone());
        let ground = Ground { program, budget: budget.clone(), tasks, shutdown };
        let streams = Arc::new(Streams::default());
        let (legacy, modern) = match options.processes {
            Processes::Shared => {
                let legacy = Lane::legacy(&ground, &streams);
                let modern = Lane::modern(&ground, &streams, Some(&legacy));
                (Legacy::Shared(legacy), modern)
            }
            Processes::Sessions { most, idle_max } => {
                let modern = Lane::modern(&ground, &streams, None);
                (Legacy::Sessions(Sessions::new(ground, most, idle_max)), modern)
            }
        };
        let (endpoint, wait_max) = (options.endpoint.into(), options.wait_max);
        Self { endpoint, wait_max, budget, streams, modern, legacy }
    }

    /// Serves one in-memory HTTP/1.1 connection until the peer closes it.
    pub async fn serve(self, connection: DuplexStream) {
        let service = service_fn(move |request| {
            let bridge = self.clone();
            async move { Ok::<_, Infallible>(bridge.answer(request).await) }
        });
        // No header timeout: the peer is the gateway's own pool, which decides how long a connection idles.
        let served = hyper::server::conn::http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(connection), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to a command ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != &*self.endpoint {
            return answer::error(StatusCode::NOT_FOUND, None, INVALID_REQUEST, "There is nothing here.");
        }
        let (parts, body) = request.into_parts();
        let answered = match parts.method {
            Method::POST => match read(body).await {
                Ok(body) => self.message(&parts.headers, &body).await,
                Err(refused) => Err(refused),
            },
            Method::GET => self.listen(&parts.headers),
            Method::DELETE => self.end(&parts.headers),
            _ => Err(not_allowed()),
        };
        answered.unwrap_or_else(|refused| refused.answer())
    }

    async fn message(&self, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Refused> {
        let text = std::str::from_utf8(body).map_err(|_| unreadable(NoMessage::NotJson))?;
        let message = Message::read(text).map_err(unreadable)?;
        if message.is_modern() || is_modern(headers) {
            return self.shared(&self.modern, Era::Modern, headers, &message).await;
        }
        match &self.legacy {
            Legacy::Shared(lane) if message.method() == "initialize" && message.kind() == Kind::Request => {
                let up = lane.up(self.wait_max).await.map_err(|unready| not_up(unready, &message))?;
                let result = greeting(&up.greeting, text);
                Ok(answer::json(StatusCode::OK, message::result(message.id(), &result)))
            }
            Legacy::Shared(lane) => self.shared(lane, Era::Legacy, headers, &message).await,
            Legacy::Sessions(sessions) => in_session(sessions, headers, &message).await,
        }
    }

    /// A message for a server that everyone of an era shares.
    async fn shared(
        &self,
        lane: &Lane,
        era: Era,
        headers: &HeaderMap,
        message: &Message<'_>,
    ) -> Result<Answer, Refused> {
        let caller = headers.get(KEY_ID).and_then(|id| id.to_str().ok());
        let asked = asked(headers, message, caller);
        let mut is_second = false;
        loop {
            let up = lane.up(self.wait_max).await.map_err(|unready| not_up(unready, message))?;
            let said = match message.kind() {
                Kind::Request => match up.link.ask(message, asked.clone()).await {
                    Ok(waiting) => return Ok(answer::of_server(waiting, era).await),
                    Err(unsaid) => Err(unsaid),
                },
                Kind::Notification => up.link.tell(message, caller).await,
                // Nobody is asked anything here.
                Kind::Answer => Ok(()),
            };
            match said {
                Ok(()) => return Ok(answer::empty(StatusCode::ACCEPTED)),
                // It ended before it was given this: the next one gets it.
                Err(Unsaid::Ended) if !is_second => is_second = true,
                Err(unsaid) => return Err(not_said(unsaid, message)),
            }
        }
    }

    /// A stream of what belongs to no request.
    fn listen(&self, headers: &HeaderMap) -> Result<Answer, Refused> {
        if !takes_stream(headers) || is_modern(headers) {
            return Err(not_allowed());
        }
        let waiting = match &self.legacy {
            Legacy::Shared(_) => self.streams.listen(&self.budget).ok_or_else(|| {
                refused(StatusCode::SERVICE_UNAVAILABLE, None, INTERNAL_ERROR, "Too many streams are open.")
            })?,
            Legacy::Sessions(sessions) => {
                session_of(sessions, headers, None)?.listen().map_err(|untaken| match untaken {
                    Untaken::Listening | Untaken::SameId => refused(
                        StatusCode::CONFLICT,
                        None,
                        INVALID_REQUEST,
                        "This session has a stream already.",
                    ),
                    Untaken::Unsaid(_) => no_such_session(None),
                })?
            }
        };
        Ok(answer::stream(waiting, None))
    }

    fn end(&self, headers: &HeaderMap) -> Result<Answer, Refused> {
        match &self.legacy {
            Legacy::Shared(_) => Err(not_allowed()),
            Legacy::Sessions(sessions) => {
                session_of(sessions, headers, None)?.end();
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
        }
    }
}

/// A message of the legacy era where each session has a process.
async fn in_session(
    sessions: &Sessions,
    headers: &HeaderMap,
    message: &Message<'_>,
) -> Result<Answer, Refused> {
    if message.method() == "initialize" && message.kind() == Kind::Request {
        return new_session(sessions, headers, message).await;
    }
    let session = session_of(sessions, headers, Some(message.id()))?;
    match message.kind() {
        Kind::Request => {
            let waiting = session.ask(message, asked(headers, message, None)).await;
            let waiting = waiting.map_err(|untaken| not_taken(untaken, message))?;
            Ok(answer::of_server(waiting, Era::Legacy).await)
        }
        Kind::Notification | Kind::Answer => {
            session.tell(message).await.map_err(|unsaid| not_said(unsaid, message))?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
    }
}

async fn new_session(
    sessions: &Sessions,
    headers: &HeaderMap,
    message: &Message<'_>,
) -> Result<Answer, Refused> {
    let (id, session) = sessions.begin(headers.contains_key(KEY_ID)).map_err(|none| match none {
        NoSession::Full => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            Some(message.id()),
            INTERNAL_ERROR,
            "As many sessions as there may be are open.",
        ),
        NoSession::NotStarted => not_up(Unready::Failing, message),
    })?;
    // Until it is answered there is no session to tell of.
    let asked = Asked { takes_messages: false, ..asked(headers, message, None) };
    let waiting = session.ask(message, asked).await;
    let waiting = waiting.map_err(|untaken| {
        session.end();
        not_taken(untaken, message)
    })?;
    let (mut answer, greeted) = answer::of_first(waiting).await;
    match HeaderValue::try_from(id) {
        Ok(id) if greeted => {
            answer.headers_mut().insert(SESSION_ID, id);
        }
        _ => session.end(),
    }
    Ok(answer)
}

fn session_of(sessions: &Sessions, headers: &HeaderMap, id: Option<&str>) -> Result<Arc<Session>, Refused> {
    let Some(named) = headers.get(SESSION_ID) else {
        let message = "Mcp-Session-Id is missing: start with initialize.";
        return Err(refused(StatusCode::BAD_REQUEST, id, INVALID_REQUEST, message));
    };
    let found = named.to_str().ok().and_then(|named| sessions.find(named));
    let session = found.ok_or_else(|| no_such_session(id))?;
    if headers.contains_key(KEY_ID) {
        session.note_key();
    }
    Ok(session)
}

fn asked(headers: &HeaderMap, message: &Message<'_>, caller: Option<&str>) -> Asked {
    Asked {
        caller: caller.map(str::to_owned),
        id: message.id().to_owned(),
        token: message.progress_token().map(str::to_owned),
        takes_messages: takes_stream(headers),
    }
}

async fn read(body: Incoming) -> Result<Bytes, Refused> {
    match Limited::new(body, LINE_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => {
            let status = if error.is::<LengthLimitError>() {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            Err(refused(status, None, INVALID_REQUEST, "The body is too large, or ended too early."))
        }
    }
}

/// Whether the client takes a stream of events, as it says itself: a missing `Accept` or `*/*` means JSON.
fn takes_stream(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(names_event_stream)
}

/// Whether the header names a version of the modern era.
fn is_modern(headers: &HeaderMap) -> bool {
    Era::of_version(headers.get(VERSION).and_then(|version| version.to_str().ok())) == Era::Modern
}

/// What the server said of itself, to a client that asks in `text`: in its version, where the server's is later.
fn greeting(greeting: &str, text: &str) -> String {
    #[derive(Deserialize)]
    struct Initialize<'a> {
        #[serde(borrow)]
        params: Option<Versioned<'a>>,
    }
    #[derive(Deserialize)]
    struct Versioned<'a> {
        #[serde(borrow, rename = "protocolVersion")]
        version: Option<&'a RawValue>,
    }
    let version = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    let wanted = serde_json::from_str::<Initialize<'_>>(text).ok().and_then(|read| read.params?.version);
    let own = serde_json::from_str::<Versioned<'_>>(greeting).ok().and_then(|read| read.version);
    let (Some(wanted), Some(place)) = (wanted.and_then(version), own) else { return greeting.to_owned() };
    let is_reached =
        LEGACY_VERSIONS.contains(&wanted.as_str()) && version(place).is_some_and(|own| wanted < own);
    if is_reached {
        spliced(greeting, &[(place.get(), &format!("\"{wanted}\""))])
    } else {
        greeting.to_owned()
    }
}

#[cfg(test)]
mod tests;
