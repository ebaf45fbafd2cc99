//! The upstream's answers on their way to the caller: lists of tools are filtered wherever they may appear.
//!
//! An answer that may hold a list is read, whole where it is one JSON document, event by event where it is a stream.
//! One that cannot be read one way is never shown. That a message asked for something else says little: servers send
//! an answer where they last saw its id, so in a stream, and in a session, it may be the answer to another message.
//! Everything else passes unread.
//!
//! Never here: the predicate; it is the one that gates `tools/call`.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG};

use super::headers::is_event_stream;
use super::listed_tool::{ListedTool, learn};
use super::tool_list::{Shown, filter_tools};
use crate::dialect::Era;
use crate::domain::denial::{Fault, Refusal};
use crate::domain::profile::Profile;
use crate::engine::{Engine, LearntTools, Reach};
use crate::http::body::BodyError;
use crate::http::events::{Event, Events, Rewriter, Verdict};
use crate::http::{Body, Response, body};
use crate::surface::buffers::{Buffers, Holder};
use crate::surface::is_json;

/// The most bytes of a JSON document that is filtered.
const TOOL_LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The most bytes of one that is read for somebody without a key.
const KEYLESS_BYTES_MAX: u64 = 1024 * 1024;
/// The longest that a list may take to arrive whole.
const TOOL_LIST_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest that another answer may take: a server may send its head and then work.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(10);

/// What one caller may see of a product's tools.
pub(super) struct Sight {
    profile: Arc<Profile>,
    /// Of nobody, there is none.
    reach: Option<Reach>,
    /// Where a list that was asked for is remembered.
    learnt: Option<LearntTools>,
    era: Era,
    expected: Expected,
}

/// What a message asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// What may be a list of tools, or a stream of anything.
    List,
    /// Something else, in a session or outside of any.
    Else { in_session: bool },
}

impl Sight {
    /// Of what may be a list.
    pub(super) fn of(engine: &Engine, profile: &Arc<Profile>, reach: Reach, era: Era) -> Self {
        let learnt = Some(engine.learnt_tools().clone());
        Self { profile: Arc::clone(profile), reach: Some(reach), learnt, era, expected: Expected::List }
    }

    /// Of an answer that should be none. What it says of tools is not remembered. Without a `reach` no tool is shown.
    pub(super) fn of_else(profile: &Arc<Profile>, reach: Option<Reach>, era: Era, in_session: bool) -> Self {
        let expected = Expected::Else { in_session };
        Self { profile: Arc::clone(profile), reach, learnt: None, era, expected }
    }

    /// Whether the key may call this tool. What the list says of it is remembered: so what is listed is what may be
    /// called.
    fn covers(&self, tool: &ListedTool<'_>) -> bool {
        let (Some(door), Some(reach)) = (&self.profile.rpc, &self.reach) else { return false };
        if let Some(learnt) = &self.learnt {
            learn(door, learnt, reach.key(), tool);
        }
        let requirement = door.requirement(&tool.name, Some(tool.class()));
        requirement.is_some_and(|requirement| reach.covers(&requirement))
    }

    /// Whether an answer that is no stream, of these headers and this size, is read.
    fn reads(&self, headers: &HeaderMap, declared_bytes: Option<u64>) -> bool {
        match self.expected {
            Expected::List => true,
            // A document that is too large for a list is none.
            Expected::Else { in_session } => {
                let may_fit = declared_bytes.is_none_or(|bytes| bytes <= TOOL_LIST_BYTES_MAX);
                in_session && is_json(headers) && may_fit
            }
        }
    }

    fn filtered(&self, answer: &[u8]) -> Option<Shown> {
        filter_tools(answer, |tool| self.covers(tool), self.era)
    }

    /// Looks at each event of a stream.
    pub(super) fn rewriter(self) -> Rewriter {
        Box::new(move |event: &Event<'_>| match self.filtered(event.data) {
            Some(Shown::AsItIs) => Verdict::Keep,
            Some(Shown::Filtered(data)) => Verdict::Replace(data),
            None if is_no_message(event) => Verdict::Keep,
            None => Verdict::Cut("an event cannot be read one way"),
        })
    }
}

/// Whether an event is none that a client takes for a message: one without an object, or one of another name that is
/// no JSON either.
fn is_no_message(event: &Event<'_>) -> bool {
    !holds_members(event.data)
        || (!matches!(event.name, b"" | b"message")
            && serde_json::from_slice::<serde::de::IgnoredAny>(event.data).is_err())
}

/// The upstream's answer as the caller may see it. `sight` is there where a list of tools may appear.
pub(super) async fn shown(
    response: Response,
    sight: Option<Sight>,
    buffers: &Buffers,
    holder: Holder,
) -> Result<Response, Refusal> {
    let (mut parts, body) = response.into_parts();
    let declared_bytes = body.size_hint().exact();
    let is_streamed = is_event_stream(&parts.headers);
    let Some(sight) = sight.filter(|sight| is_streamed || sight.reads(&parts.headers, declared_bytes)) else {
        let is_passing = is_streamed && parts.status.is_success() && !body.is_end_stream();
        let body = if is_passing { passing(body, Events::new) } else { body };
        return Ok(Response::from_parts(parts, body));
    };
    let is_document = is_json(&parts.headers);
    let is_failure = !parts.status.is_success();
    // What is neither a document nor a stream says in its own words why it failed.
    if matches!(body, Body::Empty) || (is_failure && !is_streamed && !is_document) {
        return Ok(Response::from_parts(parts, body));
    }
    // It was not asked for, and whoever decodes it would see what nobody looked at.
    let is_encoded = parts.headers.contains_key(CONTENT_ENCODING);
    let is_stream = is_streamed && parts.headers.get_all(CONTENT_TYPE).iter().count() == 1;
    if is_encoded || !(is_stream || is_document) {
        return Err(Fault::UpstreamBroken.into());
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ETAG);
    if is_stream {
        let room = buffers.events.clone();
        let body = passing(body, |relayed| Events::new(relayed).rewritten(sight.rewriter(), room));
        return Ok(Response::from_parts(parts, body));
    }
    let bytes_max = match holder {
        Holder::Workspace(_) => TOOL_LIST_BYTES_MAX,
        Holder::Address(_) => KEYLESS_BYTES_MAX,
    };
    let _held = buffers.hold(holder, declared_bytes.unwrap_or(bytes_max).min(bytes_max))?;
    let is_list = sight.expected == Expected::List;
    let time_max = if is_list { TOOL_LIST_TIME_MAX } else { ANSWER_TIME_MAX };
    // Most answers are not read, and do not carry this along.
    let whole = Box::pin(body::read(body, bytes_max, time_max)).await;
    let whole = whole.map_err(|error| match error {
        BodyError::Untethered(denial) => Refusal::Denied(denial),
        BodyError::TooLarge { .. } | BodyError::Late | BodyError::Broken(_) | BodyError::Event => {
            Fault::UpstreamBroken.into()
        }
    })?;
    let shown = match sight.filtered(&whole) {
        Some(Shown::AsItIs) => whole,
        Some(Shown::Filtered(shown)) => shown,
        // What is no object is no list either.
        None if (is_failure || !is_list) && !holds_members(&whole) => whole,
        None => return Err(Fault::UpstreamBroken.into()),
    };
    Ok(Response::from_parts(parts, Body::from(shown)))
}

/// Whether a text could be read as an object, or as several, by anybody.
fn holds_members(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'{' | b'['))
}

/// A stream as it comes. The gateway relays what it did not read.
fn passing(body: Body, events: impl FnOnce(body::Relayed) -> Events) -> Body {
    match body {
        Body::Relayed(relayed) => Body::Events(Box::new(events(relayed))),
        Body::Empty | Body::Whole(_) | Body::Events(_) => Body::Empty,
    }
}
