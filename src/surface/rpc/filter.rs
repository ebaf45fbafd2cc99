//! The upstream's answers on their way to the caller: lists of tools are filtered wherever they may appear.
//!
//! An answer that may hold a list is read, whole where it is one JSON document, event by event where it is a stream.
//! One that cannot be read one way is never shown. Everything else passes unread.
//!
//! Never here: the predicate; it is the one that gates `tools/call`.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG};

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
/// The longest that such a document may take to arrive whole.
const TOOL_LIST_TIME_MAX: Duration = Duration::from_secs(30);

/// What one caller may see of a product's tools.
pub(super) struct Sight {
    profile: Arc<Profile>,
    reach: Reach,
    learnt: LearntTools,
    era: Era,
}

impl Sight {
    pub(super) fn of(engine: &Engine, profile: &Arc<Profile>, reach: Reach, era: Era) -> Self {
        Self { profile: Arc::clone(profile), reach, learnt: engine.learnt_tools().clone(), era }
    }

    /// Whether the key may call this tool. What the list says of it is remembered: so what is listed is what may be
    /// called.
    fn covers(&self, tool: &ListedTool<'_>) -> bool {
        let Some(door) = &self.profile.rpc else { return false };
        learn(door, &self.learnt, self.reach.key(), tool);
        let requirement = door.requirement(&tool.name, Some(tool.class()));
        requirement.is_some_and(|requirement| self.reach.covers(&requirement))
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

/// Whether an event is none that a client takes for a message: one without a text, or one of another name that is no
/// JSON either.
fn is_no_message(event: &Event<'_>) -> bool {
    event.data.trim_ascii().is_empty()
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
    if !parts.status.is_success() || matches!(body, Body::Empty) {
        return Ok(Response::from_parts(parts, body));
    }
    let Some(sight) = sight else {
        let body = if is_event_stream(&parts.headers) { passing(body, Events::new) } else { body };
        return Ok(Response::from_parts(parts, body));
    };
    // It was not asked for, and whoever decodes it would see what nobody looked at.
    let is_encoded = parts.headers.contains_key(CONTENT_ENCODING);
    let is_stream = is_event_stream(&parts.headers)
        && parts.headers.get_all(hyper::header::CONTENT_TYPE).iter().count() == 1;
    if is_encoded || !(is_stream || is_json(&parts.headers)) {
        return Err(Fault::UpstreamBroken.into());
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ETAG);
    if is_stream {
        let room = buffers.events.clone();
        let body = passing(body, |relayed| Events::new(relayed).rewritten(sight.rewriter(), room));
        return Ok(Response::from_parts(parts, body));
    }
    let _held = buffers.hold(holder, TOOL_LIST_BYTES_MAX)?;
    let whole = body::read(body, TOOL_LIST_BYTES_MAX, TOOL_LIST_TIME_MAX).await;
    let whole = whole.map_err(|error| match error {
        BodyError::Untethered(denial) => Refusal::Denied(denial),
        BodyError::TooLarge { .. } | BodyError::Late | BodyError::Broken(_) | BodyError::Event => {
            Fault::UpstreamBroken.into()
        }
    })?;
    let shown = match sight.filtered(&whole).ok_or(Fault::UpstreamBroken)? {
        Shown::AsItIs => whole,
        Shown::Filtered(shown) => shown,
    };
    Ok(Response::from_parts(parts, Body::from(shown)))
}

/// A stream as it comes. The gateway relays what it did not read.
fn passing(body: Body, events: impl FnOnce(body::Relayed) -> Events) -> Body {
    match body {
        Body::Relayed(relayed) => Body::Events(Box::new(events(relayed))),
        Body::Empty | Body::Whole(_) | Body::Events(_) => Body::Empty,
    }
}
