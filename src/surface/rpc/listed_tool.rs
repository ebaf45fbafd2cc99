//! One tool as an upstream lists it: its name, and what its annotations say that it does.
//!
//! Read so that every other reader must read the same; what cannot be read so is no tool that anybody may call.
//!
//! Never here: what a tool asks (domain).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::domain::id::KeyId;
use crate::domain::profile::{RpcDoor, ToolClass};
use crate::engine::LearntTools;
use crate::surface::members::{BorrowedText, Members};

/// A tool of a list.
#[derive(Debug)]
pub struct ListedTool<'a> {
    /// Its name, of any length and any characters: an upstream's own.
    pub name: Cow<'a, str>,
    /// Whether it says that it changes nothing.
    pub read_only: Option<bool>,
    /// Whether it says that it destroys something.
    pub destructive: Option<bool>,
}

impl<'a> ListedTool<'a> {
    /// Reads a tool object; `None` when it has no name, or can be read two ways.
    pub fn read(tool: &'a RawValue) -> Option<Self> {
        let members = Members::read(tool.get().as_bytes(), &["name", "annotations"]).ok()?;
        let name = serde_json::from_str::<BorrowedText<'_>>(members.get("name")?.get()).ok()?.0;
        let (read_only, destructive) = hints(members.get("annotations"))?;
        Some(Self { name, read_only, destructive })
    }

    /// What it does, as it says.
    pub const fn class(&self) -> ToolClass {
        ToolClass::of_hints(self.read_only, self.destructive)
    }
}

/// What annotations say. A hint that is no boolean says nothing; annotations that are no object do not either.
fn hints(annotations: Option<&RawValue>) -> Option<(Option<bool>, Option<bool>)> {
    let Some(annotations) = annotations.filter(|raw| raw.get().starts_with('{')) else {
        return Some((None, None));
    };
    let hints = Members::read(annotations.get().as_bytes(), &["readOnlyHint", "destructiveHint"]).ok()?;
    let hint = |name| match hints.get(name)?.get() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    Some((hint("readOnlyHint"), hint("destructiveHint")))
}

/// Tells each tool of a page, and gives the cursor of the next. `None` when it is no page that can be read one way.
pub fn each_tool(page: &[u8], mut tell: impl FnMut(&ListedTool<'_>)) -> Option<Option<String>> {
    let top = Members::read(page, &["id", "result"]).ok()?;
    let result = Members::read(top.get("result")?.get().as_bytes(), &["tools", "nextCursor"]).ok()?;
    let tools: Vec<&RawValue> = serde_json::from_str(result.get("tools")?.get()).ok()?;
    let next = match result.get("nextCursor") {
        None => None,
        Some(cursor) => serde_json::from_str::<Option<String>>(cursor.get()).ok()?,
    };
    for tool in tools.into_iter().filter_map(ListedTool::read) {
        tell(&tool);
    }
    Some(next.filter(|next| !next.is_empty()))
}

/// Remembers what a list said of a tool, where that decides anything.
pub(super) fn learn(door: &RpcDoor, learnt: &LearntTools, key: KeyId, tool: &ListedTool<'_>) {
    if door.asks_for_class(&tool.name) {
        learnt.learn(key, &tool.name, tool.class());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tool: &str) -> Option<(String, ToolClass)> {
        let raw: &RawValue = serde_json::from_str(tool).unwrap();
        ListedTool::read(raw).map(|tool| {
            let class = tool.class();
            (tool.name.into_owned(), class)
        })
    }

    #[test]
    fn annotations_are_read_exactly_and_say_nothing_unless_they_are_booleans() {
        for (annotations, class) in [
            ("", ToolClass::Write),
            (r#","annotations":{"readOnlyHint":true}"#, ToolClass::Read),
            (r#","annotations":{"readOnlyHint":false,"destructiveHint":true}"#, ToolClass::Delete),
            (r#","annotations":{"destructiveHint":false,"x":1}"#, ToolClass::Write),
            (r#","annotations":{"readOnlyHint":"true"}"#, ToolClass::Write),
            (r#","annotations":{"readOnlyHint":1,"destructiveHint":null}"#, ToolClass::Write),
            (r#","annotations":null"#, ToolClass::Write),
            (r#","annotations":[true]"#, ToolClass::Write),
            (r#","readOnlyHint":true"#, ToolClass::Write),
        ] {
            let tool = format!(r#"{{"name":"a\u005fb"{annotations}}}"#);
            assert_eq!(read(&tool), Some(("a_b".to_owned(), class)), "{tool}");
        }
    }

    #[test]
    fn a_tool_that_can_be_read_two_ways_is_none() {
        for tool in [
            "{}",
            "7",
            r#"{"name":7}"#,
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","Name":"b"}"#,
            r#"{"name":"a","annotations":{},"annotations":{"readOnlyHint":true}}"#,
            r#"{"name":"a","annotations":{},"Annotations":{"readOnlyHint":true}}"#,
            r#"{"name":"a","annotations":{"readOnlyHint":false,"readOnlyHint":true}}"#,
            r#"{"name":"a","annotations":{"readonlyHint":true}}"#,
        ] {
            assert_eq!(read(tool), None, "{tool}");
        }
    }
}
