//! A `tools/list` answer without the tools that the caller may not call.
//!
//! Tool objects pass through whole, byte for byte; a list that was filtered is the caller's own, so its cache
//! scope is private. An answer that cannot be read one way is never shown.
//!
//! Never here: the predicate; it is the one that gates `tools/call`.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::surface::members::Members;

/// Rewrites `result.tools`, keeping every other byte of every member. `None` when the answer cannot be read.
pub(super) fn filter_tools(answer: &[u8], may_call: impl Fn(&str) -> bool) -> Option<Bytes> {
    let top = Members::read(answer, &["result"]).ok()?;
    let Some(result) = top.get("result") else { return Some(Bytes::copy_from_slice(answer)) };
    let result = Members::read(result.get().as_bytes(), &["tools", "cacheScope"]).ok()?;
    let Some(tools) = result.get("tools") else { return Some(Bytes::copy_from_slice(answer)) };
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).ok()?;
    let is_callable = |tool: &&RawValue| {
        let name =
            Members::read(tool.get().as_bytes(), &["name"]).ok().and_then(|members| members.get("name"));
        let name = name.and_then(|name| serde_json::from_str::<String>(name.get()).ok());
        name.is_some_and(|name| may_call(&name))
    };
    let shown: Vec<_> = tools.into_iter().filter(is_callable).map(RawValue::get).collect();
    let shown = format!("[{}]", shown.join(","));
    let result = object(result.iter().map(|(name, value)| match name {
        "tools" => (name, &*shown),
        "cacheScope" => (name, "\"private\""),
        _ => (name, value.get()),
    }));
    let answer =
        object(top.iter().map(|(name, value)| (name, if name == "result" { &*result } else { value.get() })));
    Some(answer.into())
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    // A member's name was text, so it serialises.
    let member = |(name, value)| format!("{}:{value}", serde_json::to_string(name).unwrap_or_default());
    format!("{{{}}}", members.map(member).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_callable_tools_whole_and_drops_the_rest() {
        let answer = br#"{"jsonrpc":"2.0","id":1.0,"result":{"tools":[{"name":"a","x":{"y":1.50}},{"name":"b"},{"title":"no name"}],"nextCursor":"c","cacheScope":"public"}}"#;
        let shown = filter_tools(answer, |name| name == "a").unwrap();
        let expected = br#"{"jsonrpc":"2.0","id":1.0,"result":{"tools":[{"name":"a","x":{"y":1.50}}],"nextCursor":"c","cacheScope":"private"}}"#;
        assert_eq!(shown, &expected[..]);
    }

    #[test]
    fn an_error_answer_passes_and_an_ambiguous_list_does_not() {
        let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#;
        assert_eq!(filter_tools(error, |_| false).unwrap(), &error[..]);
        for bad in [
            &b"not json"[..],
            br#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
            br#"{"result":{"tools":[],"TOOLS":[]}}"#,
            br#"{"result":{"tools":{}}}"#,
        ] {
            assert!(filter_tools(bad, |_| true).is_none());
        }
    }
}
