//! What a message asks for: the attempt that it makes, and whether it needs a key at all.
//!
//! The headers that the modern era adds must agree with the message. A tool that the profile does not map is
//! closed.
//!
//! Never here: a decision about a key.

use hyper::HeaderMap;

use super::message::RpcMessage;
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Invalid};
use crate::domain::profile::{Public, RpcDoor};

/// What a message asks for.
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    pub(super) lists_tools: bool,
    public: Option<Public>,
}

impl Asked {
    /// Reads a message, and its id where there is one.
    pub(super) fn read(body: &[u8], door: &RpcDoor, headers: &HeaderMap) -> (Self, Option<String>) {
        match RpcMessage::parse(body) {
            Ok(message) => {
                let asked = Self {
                    wanted: wanted(&message, door, headers),
                    lists_tools: message.method == "tools/list",
                    public: door.keyless_method(&message.method),
                };
                (asked, message.id.map(str::to_owned))
            }
            Err(unreadable) => {
                let wanted = Wanted::Refused(Denial::Invalid(unreadable.invalid));
                (Self { wanted, lists_tools: false, public: None }, unreadable.id.map(str::to_owned))
            }
        }
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

/// What a message asks for. The headers that the modern era adds must agree with it.
fn wanted(message: &RpcMessage<'_>, door: &RpcDoor, headers: &HeaderMap) -> Wanted {
    let refused = |invalid| Wanted::Refused(Denial::Invalid(invalid));
    if !agrees(headers, "mcp-method", &message.method) {
        return refused(Invalid::HeaderMismatch);
    }
    if message.method == "tools/call" {
        let name = match message.tool_name() {
            Ok(name) => name,
            Err(invalid) => return refused(invalid),
        };
        if !agrees(headers, "mcp-name", &name) {
            return refused(Invalid::HeaderMismatch);
        }
        // A tool that the profile does not map is closed.
        return match door.requirement(&name, None) {
            Some(requirement) => Wanted::Known(requirement),
            None => Wanted::Refused(Denial::Permission { needed: None }),
        };
    }
    match door.requirement_of_method(&message.method) {
        Some(requirement) => Wanted::Known(requirement),
        None => Wanted::Refused(Denial::UnknownMethod),
    }
}

fn agrees(headers: &HeaderMap, name: &str, said: &str) -> bool {
    headers.get_all(name).iter().all(|value| value.as_bytes() == said.as_bytes())
}
