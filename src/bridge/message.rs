//! One JSON-RPC message as a line: what kind it is, where its numbers stand, and the same text with some of them
//! replaced.
//!
//! Nothing is rebuilt from known members: a replacement is made in the text, so every other byte stays as it came,
//! but line breaks between tokens, which become spaces. What is written to a server is therefore one line, whatever
//! came.
//!
//! Never here: what a method means.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON-RPC's code for a method that nobody has.
pub(super) const METHOD_NOT_FOUND: i32 = -32_601;
/// JSON-RPC's code for what is no message, or not now.
pub(super) const INVALID_REQUEST: i32 = -32_600;
/// JSON-RPC's code for parameters that a method does not take.
pub(super) const INVALID_PARAMS: i32 = -32_602;
/// JSON-RPC's code for a failure inside.
pub(super) const INTERNAL_ERROR: i32 = -32_603;
/// JSON-RPC's code for text that is no JSON.
pub(super) const PARSE_ERROR: i32 = -32_700;
/// MCP's codes of the modern era that go with a 400: a header that disagrees, a capability that is missing, a
/// version that is not spoken.
pub(super) const MODERN_REFUSALS: [i32; 3] = [-32_020, -32_021, UNSUPPORTED_VERSION];
/// The last of them.
pub(super) const UNSUPPORTED_VERSION: i32 = -32_022;

/// One message, borrowed from its line.
#[derive(Debug)]
pub(super) struct Message<'a> {
    text: &'a str,
    id: Option<&'a str>,
    method: Option<String>,
    error: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    marks: Marks<'a>,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Is one.
    Answer,
}

/// Why a text is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoMessage {
    /// It is no JSON.
    NotJson,
    /// It is no JSON-RPC message, or could be read as two.
    NotRpc,
}

/// What else a message names: numbers that another message speaks of, as they were written.
#[derive(Default, Debug)]
struct Marks<'a> {
    request: Option<&'a str>,
    token: Option<&'a str>,
    subscription: Option<&'a str>,
    version: Option<&'a str>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: String,
    // Not an `Option` of the text alone: that would read `null` as absent, and a request as a notification.
    #[serde(default, borrow, deserialize_with = "given")]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    result: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<&'a RawValue>,
}

fn given<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads an object; the derived reader would take an array for the members in their order. A member that is
/// named here and given twice is an error, since two readers could take different ones.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
}

impl<'a> Message<'a> {
    /// Reads one message.
    pub(super) fn read(text: &'a str) -> Result<Self, NoMessage> {
        serde_json::from_str::<&RawValue>(text).map_err(|_| NoMessage::NotJson)?;
        let envelope: Envelope<'_> = object(text).ok_or(NoMessage::NotRpc)?;
        let Envelope { jsonrpc, id, method, params, result, error } = envelope;
        let is_answer = method.is_none() && id.is_some() && (result.is_some() != error.is_some());
        let is_question = method.is_some() && result.is_none() && error.is_none();
        if jsonrpc != "2.0" || !(is_answer || is_question) || !id.is_none_or(is_id) {
            return Err(NoMessage::NotRpc);
        }
        let marks = match (params, result) {
            (Some(params), _) => Marks::read(params, id.is_some()).ok_or(NoMessage::NotRpc)?,
            // An answer that can be read in two ways is still the answer.
            (None, Some(result)) => Marks::read(result, true).unwrap_or_default(),
            (None, None) => Marks::default(),
        };
        Ok(Self { text, id: id.map(RawValue::get), method, error, result, marks })
    }

    pub(super) const fn kind(&self) -> Kind {
        match (&self.method, self.id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) => Kind::Notification,
            (None, _) => Kind::Answer,
        }
    }

    /// Its method; empty for an answer.
    pub(super) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// Its id, as it was written; null for a notification.
    pub(super) fn id(&self) -> &'a str {
        self.id.unwrap_or("null")
    }

    /// The token by which progress is told: the one that a request asks for, or that a notification names.
    pub(super) const fn progress_token(&self) -> Option<&'a str> {
        self.marks.token
    }

    /// The request that a notification is about.
    pub(super) const fn about_request(&self) -> Option<&'a str> {
        self.marks.request
    }

    /// The request whose stream a notification belongs to.
    pub(super) const fn subscription(&self) -> Option<&'a str> {
        self.marks.subscription
    }

    /// Whether it speaks the modern era, in which each request says which version it is in.
    pub(super) fn is_modern(&self) -> bool {
        self.marks.version.is_some() || self.method() == "server/discover"
    }

    /// The result of an answer.
    pub(super) const fn result(&self) -> Option<&'a RawValue> {
        self.result
    }

    /// The code of an answer that is an error; 0 for one without a code.
    pub(super) fn error_code(&self) -> Option<i32> {
        #[derive(Deserialize)]
        struct Coded {
            code: i32,
        }
        self.error.map(|error| object::<Coded>(error.get()).map_or(0, |coded| coded.code))
    }

    /// The same message as one line without its end.
    pub(super) fn line(&self) -> String {
        one_line(self.text.to_owned())
    }

    /// The same message, other texts in the places of some of its numbers, as one line without its end. A place
    /// must be a part of this message's text.
    pub(super) fn with(&self, replacements: &[(&str, &str)]) -> String {
        one_line(spliced(self.text, replacements))
    }
}

impl<'a> Marks<'a> {
    /// None when they could be read in two ways. A request asks for progress in its `_meta`; what is told of it
    /// names the token beside.
    fn read(params: &'a RawValue, is_request: bool) -> Option<Self> {
        if !params.get().starts_with('{') {
            return Some(Self::default());
        }
        let params: Params<'_> = object(params.get())?;
        let meta = match params.meta.filter(|meta| meta.get().starts_with('{')) {
            Some(meta) => object(meta.get())?,
            None => Meta { progress_token: None, subscription: None, version: None },
        };
        Some(Self {
            request: params.request_id.map(RawValue::get),
            token: if is_request { meta.progress_token } else { params.progress_token }.map(RawValue::get),
            subscription: meta.subscription.map(RawValue::get),
            version: meta.version.map(RawValue::get),
        })
    }
}

/// A text or a number; null is none that anybody could be answered by.
fn is_id(id: &RawValue) -> bool {
    id.get().starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// One writing for ids that are equal: `1` for `1.0`, `"a"` for `"\u0061"`.
pub(super) fn canonical(id: &str) -> String {
    match serde_json::from_str::<Value>(id) {
        Ok(Value::Number(number)) if !number.is_i64() && !number.is_u64() => match number.as_f64() {
            // Beyond this, floats skip whole numbers, and two ids could become one.
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => format!("{float:.0}"),
            _ => id.to_owned(),
        },
        Ok(value) => value.to_string(),
        Err(_) => id.to_owned(),
    }
}

/// An id of ours, when a server wrote one.
pub(super) fn own_id(id: &str) -> Option<u64> {
    canonical(id).parse().ok()
}

/// `text` with the parts replaced that the first of each pair is; none of them overlap. What is no part of it
/// stays.
pub(super) fn spliced(text: &str, replacements: &[(&str, &str)]) -> String {
    let start = text.as_ptr().addr();
    let place = |part: &str| -> Option<Range<usize>> {
        let from = part.as_ptr().addr().checked_sub(start)?;
        let range = from..from.checked_add(part.len())?;
        (text.get(range.clone()) == Some(part)).then_some(range)
    };
    let mut places: Vec<_> =
        replacements.iter().filter_map(|(part, new)| Some((place(part)?, *new))).collect();
    places.sort_by_key(|(range, _)| range.start);
    let mut made = String::with_capacity(text.len() + 32);
    let mut from = 0;
    for (range, new) in places {
        made.push_str(text.get(from..range.start).unwrap_or_default());
        made.push_str(new);
        from = range.end;
    }
    made.push_str(text.get(from..).unwrap_or_default());
    made
}

/// Valid JSON on one line: a line break in it can only stand between tokens.
fn one_line(text: String) -> String {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
}

/// A request or a notification of our own.
pub(super) fn ours(id: Option<u64>, method: &str, params: &Value) -> String {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",{id}\"method\":{},\"params\":{params}}}", Value::from(method))
}

/// An answer of our own that is an error. `id` is JSON.
pub(super) fn error(id: &str, code: i32, message: &str) -> String {
    let message = Value::from(message);
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message}}}}}")
}

/// An answer of our own. `id` is JSON, and so is `result`.
pub(super) fn result(id: &str, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_what_it_has() {
        let kinds = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Ok(Kind::Request)),
            (r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#, Ok(Kind::Notification)),
            (r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, Ok(Kind::Answer)),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Ok(Kind::Answer)),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#, Ok(Kind::Answer)),
            ("Server started", Err(NoMessage::NotJson)),
            (r#"{"level":"info","msg":"started"}"#, Err(NoMessage::NotRpc)),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Err(NoMessage::NotRpc)),
            (r#"{"jsonrpc":"2.0","id":1}"#, Err(NoMessage::NotRpc)),
            (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, Err(NoMessage::NotRpc)),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, Err(NoMessage::NotRpc)),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{},"_meta":{}}}"#,
                Err(NoMessage::NotRpc),
            ),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Err(NoMessage::NotRpc)),
            (r#"["2.0",1,"ping"]"#, Err(NoMessage::NotRpc)),
        ];
        for (text, kind) in kinds {
            assert_eq!(Message::read(text).map(|message| message.kind()), kind, "{text}");
        }
    }

    #[test]
    fn only_the_numbers_that_are_replaced_change() {
        let text = r#"{"x":1.50,"jsonrpc":"2.0","id" : 7,"method":"tools/call","params":{"name":"7","_meta":{"progressToken":"7","y":[7]}}}"#;
        let message = Message::read(text).unwrap();
        let token = message.progress_token().unwrap();
        assert_eq!(
            message.with(&[(token, "41"), (message.id(), "40")]),
            r#"{"x":1.50,"jsonrpc":"2.0","id" : 40,"method":"tools/call","params":{"name":"7","_meta":{"progressToken":41,"y":[7]}}}"#
        );
        assert_eq!(message.with(&[("7", "8")]), text, "what only looks like a part is none");
    }

    #[test]
    fn a_message_over_several_lines_becomes_one() {
        let text =
            "{\"jsonrpc\":\"2.0\",\r\n \"id\":1,\n\"method\":\"x\",\"params\":{\"a\":\"l\\nm\u{2028}\"}}\n";
        let line = Message::read(text).unwrap().line();
        assert!(!line.contains(['\n', '\r']));
        let same = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(same(&line), same(text));
    }

    #[test]
    fn equal_ids_have_one_writing() {
        for (id, one) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1e2", "100"),
            ("\"a\"", "\"a\""),
            ("\"\\u0061\"", "\"a\""),
            ("-0.5", "-0.5"),
        ] {
            assert_eq!(canonical(id), one, "{id}");
        }
        assert_ne!(canonical("1"), canonical("\"1\""));
        assert_eq!((own_id("12.0"), own_id("\"12\""), own_id("-1")), (Some(12), None, None));
    }

    #[test]
    fn what_a_message_names_is_found() {
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"r"}}"#;
        assert_eq!(Message::read(cancelled).unwrap().about_request(), Some("\"r\""));
        let heard = r#"{"jsonrpc":"2.0","method":"n","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#;
        assert_eq!(Message::read(heard).unwrap().subscription(), Some("3"));
        let modern = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert!(Message::read(modern).unwrap().is_modern());
        let refused = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no","data":1}}"#;
        assert_eq!(Message::read(refused).unwrap().error_code(), Some(METHOD_NOT_FOUND));
    }
}
