//! What a message asks for: the attempt that it makes, and whether it needs a key at all.
//!
//! The headers that speak of the message must agree with it. A tool that the profile does not map is closed.
//!
//! Never here: a decision about a key.

use hyper::HeaderMap;

use super::headers;
use super::message::RpcMessage;
use super::tool_question::{ToolQuestion, Unanswered};
use crate::domain::decision::Wanted;
use crate::domain::denial::Denial;
use crate::domain::profile::{LISTING_METHODS, Public, Requirement, RpcDoor};
use crate::domain::usage::Place;
use crate::engine::Caller;

/// What a message asks for.
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    /// Whether its answer may hold a list of tools.
    pub(super) lists_tools: bool,
    /// The tool that is called, where what it asks depends on what it does; closed until that is known.
    by_class: Option<ByClass>,
    public: Option<Public>,
}

/// A call of a tool that is mapped by what it does.
struct ByClass {
    tool: String,
    /// The `_meta` of the call, without the token of its progress, which is the call's own.
    meta: Option<String>,
}

impl Asked {
    /// Reads a message, and its id where there is one.
    pub(super) fn read(body: &[u8], door: &RpcDoor, headers: &HeaderMap) -> (Self, Option<String>) {
        match RpcMessage::parse(body) {
            Ok(message) => {
                let method = message.method();
                let wanted = wanted(&message, door, headers);
                let is_open = !matches!(wanted, Wanted::Refused(Denial::Invalid(_)));
                let asked = Self {
                    wanted,
                    by_class: Some(&message).filter(|_| is_open).and_then(|message| by_class(message, door)),
                    lists_tools: method.is_some_and(|method| LISTING_METHODS.contains(&method)),
                    public: method.and_then(|method| door.keyless_method(method)),
                };
                // The id of an answer is the other side's: nothing is told under it.
                let id = message.id().filter(|_| method.is_some());
                (asked, id.map(str::to_owned))
            }
            Err(unreadable) => {
                let wanted = Wanted::Refused(Denial::Invalid(unreadable.invalid));
                (
                    Self { wanted, lists_tools: false, by_class: None, public: None },
                    unreadable.id.map(str::to_owned),
                )
            }
        }
    }

    /// Finds out what is wanted where that hangs on what a tool does.
    pub(super) async fn learn_class(
        &mut self,
        question: &ToolQuestion<'_>,
        caller: &Caller,
    ) -> Result<(), Unanswered> {
        let Some(ByClass { tool, meta }) = self.by_class.take() else { return Ok(()) };
        // Rare and large, so it does not lie in every message's future.
        let class = Box::pin(question.class(caller, &tool, meta.as_deref())).await?;
        let asked = question.door.requirement(&tool, class);
        self.wanted = asked.map_or(Wanted::Refused(Denial::Permission { needed: None }), Wanted::Known);
        Ok(())
    }

    /// For a caller without a key. Nothing is told of a message that only a key could send, but what is wrong
    /// with its form.
    pub(super) fn open_to(self, anonymous: bool) -> Result<Public, Denial> {
        match (self.wanted, self.public) {
            (Wanted::Refused(denial @ Denial::Invalid(_)), _) => Err(denial),
            (_, public) => public.filter(|_| anonymous).ok_or(Denial::Missing),
        }
    }
}

fn by_class(message: &RpcMessage<'_>, door: &RpcDoor) -> Option<ByClass> {
    let tool = Some(message).filter(|message| message.method() == Some("tools/call"))?.tool_name().ok()?;
    // Most tools are mapped by their names, and then nobody asks for the rest.
    door.asks_for_class(&tool)
        .then(|| ByClass { tool: tool.into_owned(), meta: message.meta_without("progressToken") })
}

/// What a message asks for.
fn wanted(message: &RpcMessage<'_>, door: &RpcDoor, headers: &HeaderMap) -> Wanted {
    let refused = |invalid| Wanted::Refused(Denial::Invalid(invalid));
    if let Err(invalid) = headers::check(message, headers) {
        return refused(invalid);
    }
    let Some(method) = message.method() else {
        // A client's answer to what the upstream asked it. Any key that stands may give one.
        return Wanted::Known(Requirement::default().at(Place::Standing));
    };
    if method == "tools/call" {
        let name = match message.tool_name() {
            Ok(name) => name,
            Err(invalid) => return refused(invalid),
        };
        // A tool that the profile does not map is closed.
        return match door.requirement(&name, None) {
            Some(requirement) => Wanted::Known(requirement),
            None => Wanted::Refused(Denial::Permission { needed: None }),
        };
    }
    match door.requirement_of_method(method) {
        Some(requirement) => Wanted::Known(requirement),
        None => Wanted::Refused(Denial::UnknownMethod),
    }
}
