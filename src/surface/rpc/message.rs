//! One JSON-RPC 2.0 message, read so strictly that every other reader must read the same.
//!
//! One object; no member twice and none that looks like a known one (letter case, NUL, the long s, the Kelvin
//! sign), at the top, in `params` and in its `_meta`; `params` an object; nesting bounded; a method or an
//! answer, never both. What passes is forwarded as the same bytes, so a lenient upstream cannot see another
//! method or tool than the one that was decided on.
//!
//! Never here: a decision on a `serde_json::Value`, which keeps the last of two equal members.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::domain::denial::Invalid;
use crate::surface::json_text::{JsonText, decoded};
use crate::surface::members::Members;

/// How deeply a message may nest.
const DEPTH_MAX: usize = 32;

/// The members that are looked at, at the top of a message, in its `params` and in their `_meta`.
const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const KNOWN_PARAMS: [&str; 6] = ["name", "arguments", "_meta", "cursor", "uri", "taskId"];
const KNOWN_META: [&str; 1] = ["io.modelcontextprotocol/protocolVersion"];

/// A message, borrowed from its body.
#[derive(Debug)]
pub struct RpcMessage<'a> {
    id: Option<&'a str>,
    method: Option<Cow<'a, str>>,
    params: Params<'a>,
    version: Option<Cow<'a, str>>,
}

/// What `params` has, as it is written; of what is not there, nothing.
#[derive(Debug, Default)]
struct Params<'a> {
    name: Option<&'a str>,
    uri: Option<&'a str>,
    task_id: Option<&'a str>,
    meta: Option<&'a str>,
    version: Option<&'a str>,
}

/// A message that cannot be taken, and its id where one could be read.
#[derive(Debug)]
pub struct Unreadable<'a> {
    /// What is wrong with it.
    pub invalid: Invalid,
    /// The id as it was written.
    pub id: Option<&'a str>,
}

impl<'a> RpcMessage<'a> {
    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Unreadable<'a>> {
        let without_id = |invalid| Unreadable { invalid, id: None };
        let mut params = Ok(Params::default());
        let members = JsonText::new(body, DEPTH_MAX).and_then(|mut text| {
            let (_, members) = text.object(&KNOWN, |text, name| match name {
                "params" => {
                    let written;
                    (written, params) = Params::read(text)?;
                    Some(written)
                }
                _ => text.value(),
            })?;
            text.is_over().then_some(members)
        });
        let members = members.unwrap_or(Err(Invalid::NotJson)).map_err(without_id)?;
        let [version, id, method, _, result, error] = members;
        if id.is_some_and(|id| !is_id(id)) {
            return Err(without_id(Invalid::NotRpc));
        }
        let refused = |invalid| Unreadable { invalid, id };
        if version.and_then(decoded).as_deref() != Some("2.0") {
            return Err(refused(Invalid::NotRpc));
        }
        let method = match (method, result, error) {
            (Some(method), None, None) => Some(decoded(method).ok_or_else(|| refused(Invalid::NotRpc))?),
            // What a client answers, it was asked with an id.
            (None, Some(_), None) | (None, None, Some(_)) if id.is_some_and(|id| id != "null") => None,
            _ => return Err(refused(Invalid::NotRpc)),
        };
        let params = params.map_err(refused)?;
        let version = params.version.map(|said| decoded(said).ok_or_else(|| refused(Invalid::Params)));
        Ok(Self { id, method, version: version.transpose()?, params })
    }

    /// The id as it was written; `None` for a notification.
    pub const fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// The method; `None` for a client's answer to something that it was asked.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// The protocol version that it says itself.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The `_meta` of its params without one of its members; `None` without one that can be read one way.
    pub(super) fn meta_without(&self, left_out: &str) -> Option<String> {
        let meta = Members::read(self.params.meta?.as_bytes(), &[]).ok()?;
        let kept = meta.iter().filter(|(name, _)| *name != left_out);
        let member = |(name, value): (&str, &RawValue)| format!("{}:{value}", serde_json::Value::from(name));
        Some(format!("{{{}}}", kept.map(member).collect::<Vec<_>>().join(",")))
    }

    /// The tool that a `tools/call` names.
    pub fn tool_name(&self) -> Result<Cow<'a, str>, Invalid> {
        self.params.name.and_then(decoded).ok_or(Invalid::Params)
    }

    /// What it is about, which the header `Mcp-Name` says too: a tool, a prompt, a resource, a task. `None` for
    /// methods that are about nothing of a name.
    pub fn subject(&self) -> Option<Option<Cow<'a, str>>> {
        match self.method()? {
            "tools/call" | "prompts/get" => Some(self.params.name.and_then(decoded)),
            "resources/read" => Some(self.params.uri.and_then(decoded)),
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
                Some(self.params.task_id.and_then(decoded))
            }
            _ => None,
        }
    }
}

impl<'a> Params<'a> {
    /// Passes `params`, and gives it as it is written and what it has. `None` when it is no JSON.
    fn read(text: &mut JsonText<'a>) -> Option<(&'a str, Result<Self, Invalid>)> {
        let mut version = Ok(None);
        let (written, params) = text.object(&KNOWN_PARAMS, |text, name| match name {
            "_meta" => {
                let (written, meta) = text.object(&KNOWN_META, |text, _| text.value())?;
                // What is no object says no version to anybody.
                version = if written.starts_with('{') { meta.map(|[said]| said) } else { Ok(None) };
                Some(written)
            }
            _ => text.value(),
        })?;
        let read = params.and_then(|[name, _, meta, _, uri, task_id]| {
            Ok(Self { name, uri, task_id, meta, version: version? })
        });
        let as_params = |invalid| if invalid == Invalid::NotRpc { Invalid::Params } else { invalid };
        Some((written, read.map_err(as_params)))
    }
}

/// A string, a number or null, as JSON-RPC 2.0 section 4 has it.
fn is_id(raw: &str) -> bool {
    raw == "null" || raw.starts_with(['"', '-']) || raw.starts_with(|first: char| first.is_ascii_digit())
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
            assert_eq!(message.id(), Some(id));
            assert_eq!(message.method(), Some("tools/call"));
            assert_eq!(message.tool_name().unwrap(), "posts_list");
        }
        let notification =
            RpcMessage::parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.id(), None);
    }

    #[test]
    fn an_escaped_method_is_the_method_it_spells() {
        let message = RpcMessage::parse(br#"{"jsonrpc":"2.0","id":1,"method":"t\u006fols/list"}"#).unwrap();
        assert_eq!(message.method(), Some("tools/list"));
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
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000x":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"\u0131d":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"x":1,"x":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}}}"#,
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

    #[test]
    fn an_answer_has_an_id_and_one_of_result_and_error_and_no_method() {
        for body in [r#"{"jsonrpc":"2.0","id":"a","result":null}"#, r#"{"jsonrpc":"2.0","id":0,"error":{}}"#]
        {
            let message = RpcMessage::parse(body.as_bytes()).unwrap();
            assert!(message.method().is_none() && message.id().is_some(), "{body}");
        }
        for body in [
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        ] {
            assert_eq!(refusal(body).0, Invalid::NotRpc, "{body}");
        }
    }
}
