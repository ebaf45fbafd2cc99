//! The JSON-RPC door of a profile's file: its paths, its methods, and the permission that each tool asks for.
//!
//! Never here: a tool that is open because nobody said otherwise.

use std::collections::HashMap;

use super::door::{own_terms, path, requirement};
use super::profile::TermsTable;
use super::reader::{Field, Section};
use super::route::overlap;
use super::words;
use crate::dialect::RpcDialect;
use crate::domain::profile::{RefusedKeyId, Requirement, RpcDoor};

/// The most tools of one profile.
const TOOLS_MAX: usize = 2_000;
/// The most public paths, and the most methods in one list.
const LIST_MAX: usize = 64;
/// The longest name of a method or tool, in bytes.
const METHOD_LEN_MAX: usize = 128;

/// The JSON-RPC door and its dialect. `rest` is the other door of the same profile: their paths may not
/// overlap.
pub(super) fn rpc(
    section: &Section<'_>,
    rest: Option<&Section<'_>>,
    terms: &mut TermsTable,
    upgrade_url: Option<&str>,
) -> Option<(RpcDoor, RpcDialect)> {
    let endpoint = section.required("endpoint").and_then(|field| outside(&field, rest));
    let sse = section.field("sse").map(|field| outside(&field, rest));
    let list = |name| section.field(name).map(|field| field.items(LIST_MAX)).unwrap_or_default();
    let public_paths = list("public_paths").iter().filter_map(|field| outside(field, rest)).collect();
    let keyless_methods: Vec<_> = list("keyless_methods").iter().filter_map(method).collect();
    let mut methods = Vec::new();
    for field in list("methods") {
        match method(&field) {
            Some(name) if keyless_methods.contains(&name) => field.problem("given twice: it needs no key"),
            Some(name) => methods.push(name),
            None => {}
        }
    }
    let tools = tools(section, terms);
    let refused_key_id = section.field("refused_key_id").and_then(|field| {
        field.parsed("\"null\" or \"echo\"", |text| match text {
            "null" => Some(RefusedKeyId::Null),
            "echo" => Some(RefusedKeyId::Echo),
            _ => None,
        })
    });
    let refused_key_id = refused_key_id.unwrap_or_default();
    let words = words::rpc(section);
    section.close();
    if upgrade_url.is_none() {
        section.problem("a profile with this door needs an upgrade_url at its top");
    }
    let dialect = RpcDialect::new(&words?, &terms.words, upgrade_url?, refused_key_id);
    let sse = match sse {
        Some(path) => Some(path?),
        None => None,
    };
    let door =
        RpcDoor { endpoint: endpoint?, sse, public_paths, keyless_methods, methods, tools, refused_key_id };
    Some((door, dialect))
}

fn tools(section: &Section<'_>, terms: &mut TermsTable) -> HashMap<String, Requirement> {
    let entries = section.field("tools").and_then(|field| field.section()).map(|section| section.entries());
    let entries = entries.unwrap_or_default();
    if entries.len() > TOOLS_MAX {
        section.problem(&format!("expected at most {TOOLS_MAX} tools"));
    }
    let mut tools = HashMap::new();
    for (name, field) in entries {
        if !is_method(name) || name.contains(['/', '$']) {
            field.problem(&format!(
                "expected a tool's name of 1 to {METHOD_LEN_MAX} of A-Z, a-z, 0-9, _, - and ."
            ));
        } else if let Some(requirement) = tool(&field, terms) {
            tools.insert(name.to_owned(), requirement);
        }
    }
    tools
}

/// A tool's permission, or a table of it and of terms of the tool's own.
fn tool(field: &Field<'_>, terms: &mut TermsTable) -> Option<Requirement> {
    if field.is_text() {
        return requirement(field, terms);
    }
    let section = field.section()?;
    let asked = own_terms(&section, terms);
    section.close();
    asked
}

fn outside(field: &Field<'_>, rest: Option<&Section<'_>>) -> Option<String> {
    let path = path(field)?;
    let base = rest.and_then(|section| section.field("base")).and_then(|field| field.text());
    if base.is_some_and(|base| overlap(&path, base)) {
        return field.refused("expected a path apart from the REST door's base");
    }
    Some(path)
}

fn method(field: &Field<'_>) -> Option<String> {
    let form =
        format!("a method of 1 to {METHOD_LEN_MAX} of A-Z, a-z, 0-9, _, /, $, - and ., not tools/call");
    field.parsed(&form, |text| (is_method(text) && text != "tools/call").then(|| text.to_owned()))
}

fn is_method(text: &str) -> bool {
    (1..=METHOD_LEN_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/$-.".contains(&byte))
}
