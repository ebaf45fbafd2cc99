//! JSON-RPC 2.0 messages: one in, one out.
//!
//! A message is one object with each of its members once; a batch is no message. Whatever can be read one way
//! only is read; the rest is refused with the protocol's own codes, and a broken message has no id to echo.
//!
//! Never here: a method of MCP.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::sandbox::answer::{self, Answer};
use crate::sandbox::failure::{Failure, Fault};

// What the codes mean is JSON-RPC's to say; the last one is MCP's.
const PARSE_ERROR: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;
pub(super) const UNSUPPORTED_VERSION: i32 = -32022;

/// A JSON-RPC message. Members that are not named here are nobody's business.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(default)]
    jsonrpc: Value,
    // Not an `Option` of the text alone: that would read `null` as absent, and a request as a notification.
    #[serde(default, borrow, deserialize_with = "given")]
    pub(super) id: Option<&'a RawValue>,
    pub(super) method: Option<String>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    pub(super) result: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    pub(super) error: Option<&'a RawValue>,
}

fn given<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one message.
pub(super) fn parse(body: &[u8]) -> Result<Message<'_>, Refusal> {
    // The derived reader would take an array for the members in their order.
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let parsed = if is_object {
        serde_json::from_slice::<Message<'_>>(body)
    } else {
        serde_json::from_slice::<serde::de::IgnoredAny>(body)
            .and_then(|_| Err(serde::de::Error::custom("a message is one JSON object")))
    };
    let message = parsed.map_err(|error| match error.classify() {
        Category::Data => invalid(&format!("Not a JSON-RPC message: {error}.")),
        Category::Syntax | Category::Eof | Category::Io => {
            Refusal::new(StatusCode::BAD_REQUEST, PARSE_ERROR, format!("Not valid JSON: {error}."))
        }
    })?;
    if message.jsonrpc == "2.0" { Ok(message) } else { Err(invalid("jsonrpc must be \"2.0\".")) }
}

/// Whether a request may have this id: a text or a whole number, as MCP says; never null.
pub(super) fn is_request_id(id: &RawValue) -> bool {
    let digits = id.get().strip_prefix('-').unwrap_or(id.get());
    id.get().starts_with('"') || digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The answer to a request that went well.
pub(super) fn result(id: &RawValue, result: &RawValue) -> Answer {
    #[derive(Serialize)]
    struct Reply<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        result: &'a RawValue,
    }
    answer::json(StatusCode::OK, &Reply { jsonrpc: "2.0", id, result })
}

/// An error and the status that it travels with.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    code: i32,
    message: String,
    pub(super) data: Option<Value>,
}

impl Refusal {
    /// An error without data.
    pub(super) fn new(status: StatusCode, code: i32, message: String) -> Self {
        Self { status, code, message, data: None }
    }

    /// The whole answer, with the id of the request where it had one.
    pub(super) fn answer(&self, id: Option<&RawValue>) -> Answer {
        #[derive(Serialize)]
        struct Reply<'a> {
            jsonrpc: &'static str,
            id: Option<&'a RawValue>,
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: i32,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a Value>,
        }
        let error = Inner { code: self.code, message: &self.message, data: self.data.as_ref() };
        let answered = answer::json(self.status, &Reply { jsonrpc: "2.0", id, error });
        if self.status == StatusCode::SERVICE_UNAVAILABLE { answer::with_retry(answered) } else { answered }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        fault.log();
        let mut refusal = internal();
        if fault.is_passing() {
            refusal.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        refusal.message = Failure::Fault(fault).message();
        refusal
    }
}

/// A message that is none.
pub(super) fn invalid(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, message.to_owned())
}

/// Parameters that the method does not take.
pub(super) fn invalid_params(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, INVALID_PARAMS, message.to_owned())
}

/// A failure of our own.
pub(super) fn internal() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        INTERNAL_ERROR,
        "The sandbox failed to answer.".to_owned(),
    )
}
