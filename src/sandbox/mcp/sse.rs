//! The older transport of MCP, HTTP+SSE (2024-11-05): a GET opens a stream whose first event names where messages
//! are posted, and what is posted there is taken with 202 and answered on the stream.
//!
//! A stream is one workspace's: another one's messages find nothing at its address. An address is gone with its
//! stream, so there are never more of them than streams, and no stream holds more than a few answers that nobody
//! has read yet.
//!
//! Never here: a method of MCP; what is posted goes the way of every message.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::rpc::{INVALID_REQUEST, Refusal, internal};
use super::{ENDPOINT, message, method_not_allowed};
use crate::domain::id::WorkspaceId;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::failure::{Failure, Fault};
use crate::sandbox::product::Server;
use crate::sandbox::{Sandbox, workspace};

/// The most streams of one product at one time: as many as a gate can be told to open.
const STREAMS_MAX: usize = 16_384;
/// The most answers that wait in one stream for their reader.
const EVENTS_WAITING_MAX: usize = 64;
/// Random bytes of an address: nobody guesses it.
const SESSION_BYTES: usize = 16;
/// What stands in the query of an address before its random part.
const QUERY: &str = "session_id=";

/// The streams of one product that are open. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::sandbox) struct Streams(Arc<Mutex<HashMap<String, Opened>>>);

struct Opened {
    workspace: WorkspaceId,
    inlet: Sender<Bytes>,
}

/// Whether a path is the transport's: where its stream is, or where its messages go.
pub(in crate::sandbox) fn is_at(sse: &str, path: &str) -> bool {
    path.strip_prefix(sse).is_some_and(|rest| matches!(rest, "" | "/messages"))
}

/// Answers a request at one of those; `sse` is where the stream is.
pub(in crate::sandbox) async fn answer(sandbox: &Sandbox, sse: &str, request: Request<Incoming>) -> Answer {
    match (request.uri().path() == sse, request.method()) {
        (true, &Method::GET) => open(sandbox, sse, &request).unwrap_or_else(|refusal| refusal.answer(None)),
        (true, _) => method_not_allowed("GET"),
        (false, &Method::POST) => post(sandbox, request).await,
        (false, _) => method_not_allowed("POST"),
    }
}

fn open(sandbox: &Sandbox, sse: &str, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    let workspace = workspace_of(request)?;
    let mut drawn = [0; SESSION_BYTES];
    getrandom::fill(&mut drawn).map_err(|error| Refusal::from(Fault::Random(error)))?;
    let session = hex::encode(drawn);
    let (inlet, waiting) = mpsc::channel(EVENTS_WAITING_MAX);
    let streams = sandbox.streams.clone();
    streams.add(&session, Opened { workspace, inlet })?;
    let first = Bytes::from(format!("event: endpoint\ndata: {sse}/messages?{QUERY}{session}\n\n"));
    let events = Events { first: Some(first), waiting, session, streams };
    let mut answer = Response::new(events.boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(answer)
}

async fn post(sandbox: &Sandbox, request: Request<Incoming>) -> Answer {
    let workspace = match workspace_of(&request) {
        Ok(workspace) => workspace,
        Err(refusal) => return refusal.answer(None),
    };
    let session = request.uri().query().and_then(|query| query.strip_prefix(QUERY)).unwrap_or_default();
    let Some(inlet) = sandbox.streams.inlet(session, workspace) else {
        let told = "No stream has this address: it ended, or never was.".to_owned();
        return Refusal::new(StatusCode::NOT_FOUND, INVALID_REQUEST, told).answer(None);
    };
    let product = &sandbox.product;
    let is_built = product.endpoint.as_deref() == Some(ENDPOINT);
    let server = if is_built { Server::Built } else { Server::Named(&product.tools) };
    let (head, body) = message(sandbox, server, request).await.into_parts();
    let Ok(body) = body.collect().await else { return internal().answer(None) };
    let body = body.to_bytes();
    if !has_id(&body) {
        // Nothing to say on the stream: a notification, or what could not be read.
        return Response::from_parts(head, answer::whole(body));
    }
    let event = [b"event: message\ndata: ", &body[..], b"\n\n"].concat();
    match inlet.try_send(event.into()) {
        Ok(()) => answer::empty(StatusCode::ACCEPTED),
        Err(TrySendError::Full(_)) => {
            let told = "Too many answers wait on the stream. Read them first.".to_owned();
            let full = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, INVALID_REQUEST, told);
            full.answer(None)
        }
        Err(TrySendError::Closed(_)) => {
            let told = "The stream ended.".to_owned();
            Refusal::new(StatusCode::NOT_FOUND, INVALID_REQUEST, told).answer(None)
        }
    }
}

fn workspace_of(request: &Request<Incoming>) -> Result<WorkspaceId, Refusal> {
    workspace(request.headers()).map_err(|failure| match failure {
        Failure::Fault(fault) => Refusal::from(fault),
        refusal => super::rpc::invalid(&refusal.message()),
    })
}

/// Whether an answer is to a message that can be told apart by its id.
fn has_id(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    serde_json::from_slice::<Id<'_>>(answer).is_ok_and(|answer| answer.id.get() != "null")
}

impl Streams {
    fn add(&self, session: &str, opened: Opened) -> Result<(), Refusal> {
        let mut open = self.lock();
        if open.len() >= STREAMS_MAX {
            let told = "Too many streams are open.".to_owned();
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, INVALID_REQUEST, told));
        }
        open.insert(session.to_owned(), opened);
        drop(open);
        Ok(())
    }

    fn inlet(&self, session: &str, workspace: WorkspaceId) -> Option<Sender<Bytes>> {
        let open = self.lock();
        open.get(session).filter(|opened| opened.workspace == workspace).map(|opened| opened.inlet.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Opened>> {
        // Each change is one step, so a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stream says: where to post, and then the answers as they come.
struct Events {
    first: Option<Bytes>,
    waiting: Receiver<Bytes>,
    session: String,
    streams: Streams,
}

impl Body for Events {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => self.waiting.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event)))),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.session);
    }
}
