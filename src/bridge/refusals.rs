//! What a bridge refuses in its own name, and with which status and code.
//!
//! The words say what a client can do about it and nothing of the machine.
//!
//! Never here: a refusal of the server's, which goes on as it came.

use http::StatusCode;

use super::answer::{self, Answer};
use super::lane::Unready;
use super::message::{INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, Message, NoMessage, PARSE_ERROR};
use super::process::Unsaid;
use super::sessions::Untaken;

/// MCP's own code for a session that is not known.
const SESSION_NOT_FOUND: i32 = -32_001;

/// A refusal of our own.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    /// The message's id, as JSON.
    id: Option<String>,
    code: i32,
    message: &'static str,
}

impl Refused {
    pub(super) fn answer(&self) -> Answer {
        answer::error(self.status, self.id.as_deref(), self.code, self.message)
    }
}

pub(super) fn refused(status: StatusCode, id: Option<&str>, code: i32, message: &'static str) -> Refused {
    Refused { status, id: id.map(str::to_owned), code, message }
}

pub(super) fn unreadable(no_message: NoMessage) -> Refused {
    let (code, message) = match no_message {
        NoMessage::NotJson => (PARSE_ERROR, "Not valid JSON."),
        NoMessage::NotRpc => (INVALID_REQUEST, "Not one JSON-RPC message that can be read in one way."),
    };
    refused(StatusCode::BAD_REQUEST, None, code, message)
}

pub(super) fn not_allowed() -> Refused {
    refused(StatusCode::METHOD_NOT_ALLOWED, None, INVALID_REQUEST, "Not allowed here.")
}

pub(super) fn no_such_session(id: Option<&str>) -> Refused {
    refused(StatusCode::NOT_FOUND, id, SESSION_NOT_FOUND, "Session not found")
}

pub(super) fn not_up(unready: Unready, message: &Message<'_>) -> Refused {
    let id = Some(message.id());
    match unready {
        Unready::Failing => refused(
            StatusCode::BAD_GATEWAY,
            id,
            INTERNAL_ERROR,
            "The server cannot be started at the moment.",
        ),
        Unready::Late => {
            refused(StatusCode::SERVICE_UNAVAILABLE, id, INTERNAL_ERROR, "The server is not there yet.")
        }
        Unready::NotSpoken if message.method() == "server/discover" => {
            refused(StatusCode::NOT_FOUND, id, METHOD_NOT_FOUND, "Method not found: start with initialize.")
        }
        Unready::NotSpoken => refused(
            StatusCode::BAD_REQUEST,
            id,
            INVALID_REQUEST,
            "The server does not speak the era of this message.",
        ),
    }
}

pub(super) fn not_said(unsaid: Unsaid, message: &Message<'_>) -> Refused {
    let id = Some(message.id());
    match unsaid {
        Unsaid::Full => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            id,
            INTERNAL_ERROR,
            "The server does not take messages at the moment.",
        ),
        Unsaid::Ended => refused(StatusCode::BAD_GATEWAY, id, INTERNAL_ERROR, "The server has ended."),
    }
}

pub(super) fn not_taken(untaken: Untaken, message: &Message<'_>) -> Refused {
    match untaken {
        Untaken::Unsaid(unsaid) => not_said(unsaid, message),
        Untaken::SameId | Untaken::Listening => refused(
            StatusCode::BAD_REQUEST,
            Some(message.id()),
            INVALID_REQUEST,
            "A request with this id is under way.",
        ),
    }
}
