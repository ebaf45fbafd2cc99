//! Asking an upstream what its tools do, before a call is decided on that depends on it.
//!
//! The question is the caller's own `tools/list`, with its session and its headers, so the answer is what it would
//! be listed. It is asked once for all who need it at that moment, page by page, within bounds of pages, bytes and
//! time. What the upstream refuses the question with (a session that it does not know, say) is the caller's answer;
//! any other failure is a fault. Neither lets the call through.
//!
//! Never here: a tool that is taken for harmless because nobody could be asked.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::headers::{era, is_event_stream, session};
use super::listed_tool::{each_tool, learn};
use super::outgoing;
use super::session::InSession;
use crate::dialect::Era;
use crate::domain::denial::{Fault, Refusal};
use crate::domain::profile::{RpcDoor, ToolClass};
use crate::engine::{Caller, Engine, SessionUser};
use crate::gateway::{Arrival, Pass};
use crate::http::body::BodyError;
use crate::http::events::EventData;
use crate::http::{Body, Response};
use crate::surface::buffers::{Buffers, Holder};
use crate::surface::data::Product;
use crate::surface::is_json;
use crate::surface::members::{BorrowedText, Members};

/// The most pages of one list.
const PAGES_MAX: usize = 100;
/// The most bytes of all its pages together.
const LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The longest that all of it may take.
const LIST_TIME_MAX: Duration = Duration::from_secs(30);
/// The most bytes of a refusal that is passed on.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;

/// A call whose tool is mapped by what it says that it does.
pub(super) struct ToolQuestion<'a> {
    pub(super) engine: &'a Engine,
    pub(super) product: &'a Product,
    pub(super) door: &'a RpcDoor,
    pub(super) buffers: &'a Buffers,
    /// The head of the call.
    pub(super) parts: &'a Parts,
    pub(super) arrival: &'a Arrival,
    /// The id of the call, as it was written.
    pub(super) id: Option<&'a str>,
    /// Whether it came by the older transport, whose answers come elsewhere: nothing can be asked there.
    pub(super) is_older: bool,
}

/// Why it is not known.
pub(super) enum Unanswered {
    /// The question could not be asked, or was not answered.
    Refused(Refusal),
    /// The upstream refused the question: that is for the caller.
    ByUpstream(Box<Response>),
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.into())
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl ToolQuestion<'_> {
    /// What this tool does, as it is listed to this caller. `None` when it is not listed, or when the caller would
    /// be refused before anybody asks what it may do.
    pub(super) async fn class(
        &self,
        caller: &Caller,
        tool: &str,
        meta: Option<&str>,
    ) -> Result<Option<ToolClass>, Unanswered> {
        let meta = meta.filter(|_| era(&self.parts.headers) == Era::Modern);
        let (learnt, key) = (self.engine.learnt_tools(), caller.key());
        let known = learnt.class(key, tool);
        if known.is_some() || self.is_older || learnt.knows_all(key) || self.errand(caller).is_none() {
            return Ok(known);
        }
        // A session of somebody else's is not asked in; the decision says so.
        let user = SessionUser::from(caller);
        if InSession::of(self.engine, self.product, &self.parts.headers, user).is_err() {
            return Ok(None);
        }
        let session = session(&self.parts.headers).ok().flatten().unwrap_or_default();
        let fault_of = |unanswered: &Unanswered| match unanswered {
            Unanswered::Refused(Refusal::Failed(fault)) => Some(*fault),
            Unanswered::Refused(Refusal::Denied(_)) | Unanswered::ByUpstream(_) => None,
        };
        learnt.ask_once(key, session, self.read_list(caller, meta), fault_of).await?;
        Ok(learnt.class(key, tool))
    }

    fn errand(&self, caller: &Caller) -> Option<Pass> {
        let (errand, identity, tether) = self.engine.errand(caller, self.product.asserts)?;
        Some(Pass::Errand(errand, identity, tether))
    }

    /// Reads the whole list and remembers it.
    async fn read_list(&self, caller: &Caller, meta: Option<&str>) -> Result<(), Unanswered> {
        let _held = self.buffers.hold(Holder::Workspace(caller.workspace()), LIST_BYTES_MAX)?;
        timeout(LIST_TIME_MAX, self.read_pages(caller, meta))
            .await
            .unwrap_or_else(|_| Err(Fault::UpstreamLate.into()))
    }

    async fn read_pages(&self, caller: &Caller, meta: Option<&str>) -> Result<(), Unanswered> {
        let (learnt, key) = (self.engine.learnt_tools(), caller.key());
        let (mut cursor, mut left_bytes) = (None::<String>, LIST_BYTES_MAX);
        for number in 1..=PAGES_MAX {
            // Who stopped standing meanwhile is told so by the decision.
            let Some(pass) = self.errand(caller) else { return Ok(()) };
            let request = self.arrival.request_id.to_str().unwrap_or_default();
            let id = format!("keyward-{request}-{number}");
            let question = question(&id, cursor.as_deref(), meta);
            let outgoing =
                outgoing(self.product, self.head(meta), Body::from(question), self.arrival.clone());
            let answer = self.product.upstream.forward(pass, outgoing).await?;
            if answer.status().is_client_error() {
                return Err(self.passed_on(answer).await);
            }
            let page = read_page(answer, &id, &mut left_bytes).await?;
            let next = each_tool(&page, |tool| learn(self.door, learnt, key, tool)).ok_or_else(unreadable)?;
            match next {
                None => {
                    learnt.learn_end(key);
                    return Ok(());
                }
                // A list that turns in a circle has been read.
                next if next == cursor => return Ok(()),
                next => cursor = next,
            }
        }
        tracing::warn!(pages = PAGES_MAX, "the upstream's list of tools has more pages than are read");
        Err(Fault::UpstreamBroken.into())
    }

    /// The call's head as the question's.
    fn head(&self, meta: Option<&str>) -> Parts {
        let mut head = self.parts.clone();
        let is_of_call = |name: &&HeaderName| {
            let name = name.as_str();
            ["content-length", "expect", "range", "last-event-id", "mcp-name"].contains(&name)
                || name.starts_with("if-")
                || name.starts_with("mcp-param-")
        };
        let of_call: Vec<HeaderName> = head.headers.keys().filter(is_of_call).cloned().collect();
        for name in of_call {
            head.headers.remove(name);
        }
        let mut set =
            |name: HeaderName, value| drop(head.headers.insert(name, HeaderValue::from_static(value)));
        set(CONTENT_TYPE, "application/json");
        set(ACCEPT, "application/json, text/event-stream");
        if meta.is_some() || self.parts.headers.contains_key("mcp-method") {
            set(HeaderName::from_static("mcp-method"), "tools/list");
        }
        head
    }

    /// The upstream's refusal of the question, with the id of the call.
    async fn passed_on(&self, answer: Response) -> Unanswered {
        let (mut head, body) = answer.into_parts();
        let mut left_bytes = REFUSAL_BYTES_MAX;
        let body = match read_whole(body, &mut left_bytes).await {
            Ok(body) => body,
            Err(refusal) => return refusal.into(),
        };
        let id = self.id.unwrap_or("null");
        let body = match Members::read(&body, &["id"]) {
            Ok(members) => {
                let member = |(name, value): (&str, &RawValue)| {
                    let value = if name == "id" { id } else { value.get() };
                    format!("{}:{value}", serde_json::Value::from(name))
                };
                Bytes::from(format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(",")))
            }
            Err(_) => body,
        };
        head.headers.remove(CONTENT_LENGTH);
        Unanswered::ByUpstream(Box::new(Response::from_parts(head, Body::from(body))))
    }
}

/// The message that asks for a page.
fn question(id: &str, cursor: Option<&str>, meta: Option<&str>) -> Bytes {
    let cursor = cursor.map(|cursor| format!(r#""cursor":{}"#, serde_json::Value::from(cursor)));
    let meta = meta.map(|meta| format!(r#""_meta":{meta}"#));
    let params = [cursor, meta].into_iter().flatten().collect::<Vec<_>>().join(",");
    format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"tools/list","params":{{{params}}}}}"#).into()
}

fn unreadable() -> Fault {
    tracing::warn!("the upstream's list of tools cannot be read one way");
    Fault::UpstreamBroken
}

/// The message that answers the question with this id, from a JSON body or a stream of events.
async fn read_page(answer: Response, id: &str, left_bytes: &mut u64) -> Result<Vec<u8>, Refusal> {
    if !answer.status().is_success() {
        return Err(unreadable().into());
    }
    let (head, mut body) = answer.into_parts();
    if is_json(&head.headers) {
        let message = read_whole(body, left_bytes).await?;
        return if answers(&message, id) { Ok(message.into()) } else { Err(unreadable().into()) };
    }
    if !is_event_stream(&head.headers) {
        return Err(unreadable().into());
    }
    let mut events = EventData::default();
    while let Some(piece) = next_piece(&mut body, left_bytes).await? {
        let mut messages = events.take(&piece).into_iter();
        // What else the upstream says meanwhile is no answer.
        if let Some(message) = messages.find(|message| answers(message, id)) {
            return Ok(message);
        }
    }
    Err(unreadable().into())
}

/// Whether a message answers the question with this id.
fn answers(message: &[u8], id: &str) -> bool {
    let members = Members::read(message, &["id", "method", "result", "error"]).ok();
    let told = members.as_ref().and_then(|members| members.get("id"));
    let told = told.and_then(|told| serde_json::from_str::<BorrowedText<'_>>(told.get()).ok());
    told.is_some_and(|told| told.0 == id) && members.is_some_and(|members| members.get("method").is_none())
}

async fn read_whole(mut body: Body, left_bytes: &mut u64) -> Result<Bytes, Refusal> {
    let mut whole = Vec::new();
    while let Some(piece) = next_piece(&mut body, left_bytes).await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

async fn next_piece(body: &mut Body, left_bytes: &mut u64) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = body.frame().await.transpose().map_err(|error| match error {
            BodyError::Untethered(denial) => Refusal::Denied(denial),
            BodyError::Late => Fault::UpstreamLate.into(),
            _ => Fault::UpstreamBroken.into(),
        })?;
        let Some(frame) = frame else { return Ok(None) };
        let Ok(piece) = frame.into_data() else { continue };
        *left_bytes = left_bytes.checked_sub(piece.len() as u64).ok_or_else(unreadable)?;
        return Ok(Some(piece));
    }
}
