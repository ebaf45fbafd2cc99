//! A `tools/list` answer without the tools that the caller may not call.
//!
//! It is known by its shape, wherever it stands: an answer whose result has `tools`. Tool objects pass through whole,
//! byte for byte; a list that was filtered is the caller's own, so its cache scope is private. An answer that cannot
//! be read one way is never shown.
//!
//! Never here: the predicate; it is the one that gates `tools/call`.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::listed_tool::ListedTool;
use crate::dialect::Era;
use crate::surface::members::Members;

/// What is shown of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// It is no list.
    AsItIs,
    /// What it is without what may not be called.
    Filtered(Bytes),
}

/// Rewrites `result.tools`, keeping every other byte of every member. `None` when the answer cannot be read.
pub(super) fn filter_tools(
    answer: &[u8],
    may_call: impl Fn(&ListedTool<'_>) -> bool,
    era: Era,
) -> Option<Shown> {
    if !answer.trim_ascii_start().starts_with(b"[") {
        return filter_one(answer, &may_call, era);
    }
    // Several answers at once, as one version of the protocol had it.
    let answers: Vec<&RawValue> = serde_json::from_slice(answer).ok()?;
    let mut is_filtered = false;
    let mut shown = Vec::with_capacity(answers.len());
    for answer in answers {
        shown.push(match filter_one(answer.get().as_bytes(), &may_call, era)? {
            Shown::AsItIs => Bytes::copy_from_slice(answer.get().as_bytes()),
            Shown::Filtered(filtered) => {
                is_filtered = true;
                filtered
            }
        });
    }
    let joined = || [&b"["[..], &shown.join(&b","[..]), b"]"].concat().into();
    Some(if is_filtered { Shown::Filtered(joined()) } else { Shown::AsItIs })
}

fn filter_one(answer: &[u8], may_call: &impl Fn(&ListedTool<'_>) -> bool, era: Era) -> Option<Shown> {
    let top = Members::read_answer(answer, &["result"]).ok()?;
    // What is no object has no tools.
    let Some(result) = top.get("result").filter(|result| result.get().starts_with('{')) else {
        return Some(Shown::AsItIs);
    };
    let result = Members::read_answer(result.get().as_bytes(), &["tools", "cacheScope"]).ok()?;
    let Some(tools) = result.get("tools") else { return Some(Shown::AsItIs) };
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).ok()?;
    let is_callable = |tool: &&RawValue| ListedTool::read(tool).is_some_and(|tool| may_call(&tool));
    let shown: Vec<_> = tools.into_iter().filter(is_callable).map(RawValue::get).collect();
    let shown = format!("[{}]", shown.join(","));
    let says_scope = result.get("cacheScope").is_some();
    // Older clients know no cache scope: where the upstream gives none, none is added.
    let added = (era == Era::Modern && !says_scope).then_some(("cacheScope", PRIVATE));
    let members = result.iter().map(|(name, value)| match name {
        "tools" => (name, &*shown),
        "cacheScope" => (name, PRIVATE),
        _ => (name, value.get()),
    });
    let result = object(members.chain(added));
    let answer =
        object(top.iter().map(|(name, value)| (name, if name == "result" { &*result } else { value.get() })));
    Some(Shown::Filtered(answer.into()))
}

const PRIVATE: &str = "\"private\"";

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    // A member's name was text, so it serialises.
    let member = |(name, value)| format!("{}:{value}", serde_json::to_string(name).unwrap_or_default());
    format!("{{{}}}", members.map(member).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(answer: &str, era: Era) -> String {
        match filter_tools(answer.as_bytes(), |tool| tool.name == "a", era).unwrap() {
            Shown::AsItIs => answer.to_owned(),
            Shown::Filtered(shown) => String::from_utf8(shown.to_vec()).unwrap(),
        }
    }

    #[test]
    fn a_list_keeps_callable_tools_whole_and_drops_the_rest() {
        let answer = r#"{"jsonrpc":"2.0","id":1.0,"result":{"tools":[{"name":"a","x":{"y":1.50}},{"name":"b"},{"title":"no name"}],"nextCursor":"c","cacheScope":"public"}}"#;
        let expected = r#"{"jsonrpc":"2.0","id":1.0,"result":{"tools":[{"name":"a","x":{"y":1.50}}],"nextCursor":"c","cacheScope":"private"}}"#;
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(filtered(answer, era), expected);
        }
    }

    #[test]
    fn a_cache_scope_is_added_where_clients_know_of_it() {
        let answer = r#"{"result":{"tools":[{"name":"b"}]}}"#;
        assert_eq!(filtered(answer, Era::Legacy), r#"{"result":{"tools":[]}}"#);
        assert_eq!(filtered(answer, Era::Modern), r#"{"result":{"tools":[],"cacheScope":"private"}}"#);
    }

    #[test]
    fn lists_among_several_answers_are_filtered_too() {
        let answer = r#" [{"id":1,"result":{"tools":[{"name":"b"},{"name":"a"}]}}, {"id":2,"result":7}]"#;
        let expected = r#"[{"id":1,"result":{"tools":[{"name":"a"}]}},{"id":2,"result":7}]"#;
        assert_eq!(filtered(answer, Era::Legacy), expected);
        let no_list = r#"[{"method":"notifications/progress"}]"#;
        assert_eq!(filter_tools(no_list.as_bytes(), |_| true, Era::Legacy), Some(Shown::AsItIs));
    }

    #[test]
    fn an_error_answer_passes_and_an_ambiguous_list_does_not() {
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"tools":[{"name":"b"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"tools":[]}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        ] {
            assert_eq!(
                filter_tools(other.as_bytes(), |_| false, Era::Modern),
                Some(Shown::AsItIs),
                "{other}"
            );
        }
        for bad in [
            &b"not json"[..],
            b"[7]",
            br#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
            br#"{"result":{"tools":[],"TOOLS":[]}}"#,
            br#"{"result":{"tools":{}}}"#,
            br#"{"result":{},"Result":{"tools":[{"name":"b"}]}}"#,
            br#"{"result":{"tools":[{"name":"b"}],"x":NaN}}"#,
            br#"[{"result":{"tools":[]}},{"result":{"tools":[],"tools":[{"name":"b"}]}}]"#,
        ] {
            assert!(filter_tools(bad, |_| true, Era::Legacy).is_none());
        }
    }

    #[test]
    fn a_tool_of_two_names_is_not_shown() {
        for tool in [r#"{"name":"b","name":"a"}"#, r#"{"name":"a","Name":"b"}"#] {
            let answer = format!(r#"{{"result":{{"tools":[{tool}]}}}}"#);
            assert_eq!(filtered(&answer, Era::Legacy), r#"{"result":{"tools":[]}}"#);
        }
    }
}
