//! One JSON-RPC 2.0 message, read so strictly that every other reader must read the same.
//!
//! One object; no member twice and none that looks like a known one (letter case, NUL, the long s, the Kelvin
//! sign), at the top and in `params`; `params` an object; nesting bounded. What passes is forwarded as the
//! same bytes, so a lenient upstream cannot see another method or tool than the one that was decided on.
//!
//! Never here: a decision on a `serde_json::Value`, which keeps the last of two equal members.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::domain::denial::Invalid;
use crate::surface::members::{BorrowedText, Members};

/// How deeply a message may nest.
const DEPTH_MAX: usize = 32;

/// A message, borrowed from its body.
#[derive(Debug)]
pub(super) struct RpcMessage<'a> {
    /// The id as it was written; `None` for a notification.
    pub(super) id: Option<&'a str>,
    /// The method.
    pub(super) method: Cow<'a, str>,
    params: Option<&'a RawValue>,
}

/// A message that cannot be taken, and its id where one could be read.
#[derive(Debug)]
pub(super) struct Unreadable<'a> {
    pub(super) invalid: Invalid,
    pub(super) id: Option<&'a str>,
}

impl<'a> RpcMessage<'a> {
    /// Reads a body.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Unreadable<'a>> {
        let without_id = |invalid| Unreadable { invalid, id: None };
        if depth(body) > DEPTH_MAX || serde_json::from_slice::<&RawValue>(body).is_err() {
            return Err(without_id(Invalid::NotJson));
        }
        let members = Members::read(body, &["jsonrpc", "id", "method", "params"]).map_err(without_id)?;
        let id = match members.get("id").map(RawValue::get) {
            Some(id) if !is_id(id) => return Err(without_id(Invalid::NotRpc)),
            id => id,
        };
        let refused = |invalid| Unreadable { invalid, id };
        let version = members.get("jsonrpc").and_then(text);
        let (Some("2.0"), Some(method)) = (version.as_deref(), members.get("method").and_then(text)) else {
            return Err(refused(Invalid::NotRpc));
        };
        let params = members.get("params");
        if let Some(params) = params {
            Members::read(params.get().as_bytes(), &["name", "arguments", "_meta", "cursor", "uri"])
                .map_err(|invalid| {
                    refused(if invalid == Invalid::NotRpc { Invalid::Params } else { invalid })
                })?;
        }
        Ok(Self { id, method, params })
    }

    /// The tool that a `tools/call` names.
    pub(super) fn tool_name(&self) -> Result<Cow<'a, str>, Invalid> {
        let params = self.params.ok_or(Invalid::Params)?;
        let members = Members::read(params.get().as_bytes(), &[])?;
        members.get("name").and_then(text).ok_or(Invalid::Params)
    }
}

/// A JSON string's text.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<BorrowedText<'_>>(value.get()).ok().map(|text| text.0)
}

/// A string, a number or null, as JSON-RPC 2.0 section 4 has it.
fn is_id(raw: &str) -> bool {
    raw == "null" || raw.starts_with(['"', '-']) || raw.starts_with(|first: char| first.is_ascii_digit())
}

/// The deepest nesting of arrays and objects, outside strings.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (Invalid, Option<String>) {
        let refused = RpcMessage::parse(body.as_bytes()).unwrap_err();
        (refused.invalid, refused.id.map(str::to_owned))
    }

    #[test]
    fn a_plain_message_is_read_and_its_id_kept_as_written() {
        for id in ["1", "1.0", "\"a\\u0062\"", "null", "-7"] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"posts_list"}}}}"#
            );
            let message = RpcMessage::parse(body.as_bytes()).unwrap();
            assert_eq!(message.id, Some(id));
            assert_eq!(message.method, "tools/call");
            assert_eq!(message.tool_name().unwrap(), "posts_list");
        }
        let notification =
            RpcMessage::parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.id, None);
    }

    #[test]
    fn an_escaped_method_is_the_method_it_spells() {
        let message = RpcMessage::parse(br#"{"jsonrpc":"2.0","id":1,"method":"t\u006fols/list"}"#).unwrap();
        assert_eq!(message.method, "tools/list");
    }

    #[test]
    fn what_is_not_one_json_rpc_object_is_refused() {
        let cases = [
            ("", Invalid::NotJson),
            ("{", Invalid::NotJson),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"ping\"} x", Invalid::NotJson),
            ("[]", Invalid::NotRpc),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Invalid::NotRpc),
            ("7", Invalid::NotRpc),
            (r#"{"id":1,"method":"ping"}"#, Invalid::NotRpc),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, Invalid::NotRpc),
            (r#"{"jsonrpc":"2.0","id":1}"#, Invalid::NotRpc),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Invalid::NotRpc),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, Invalid::NotRpc),
            (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, Invalid::NotRpc),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, Invalid::Params),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, Invalid::Params),
        ];
        for (body, invalid) in cases {
            assert_eq!(refusal(body).0, invalid, "{body}");
        }
    }

    #[test]
    fn a_message_that_two_readers_could_read_two_ways_is_refused() {
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
        ] {
            assert_eq!(refusal(body).0, Invalid::AmbiguousMember, "{body}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_counted_outside_strings() {
        let nested = |depth: usize| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}1{}}}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(RpcMessage::parse(nested(DEPTH_MAX - 2).as_bytes()).is_ok());
        assert_eq!(refusal(&nested(DEPTH_MAX - 1)).0, Invalid::NotJson);
        assert_eq!(refusal(&nested(100_000)).0, Invalid::NotJson);
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#, "[".repeat(100));
        assert!(RpcMessage::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn a_tool_call_without_a_text_for_a_name_has_bad_params() {
        for params in ["{}", r#"{"name":7}"#, r#"{"name":null}"#, r#"{"name":{}}"#] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let message = RpcMessage::parse(body.as_bytes()).unwrap();
            assert_eq!(message.tool_name(), Err(Invalid::Params), "{params}");
        }
    }
}
