//! The JSON-RPC door of a profile's file: its paths and its methods. What tools ask lies in `tools`.
//!
//! Never here: a tool that is open because nobody said otherwise.

use super::door::path;
use super::profile::TermsTable;
use super::reader::{Field, Section};
use super::route::overlap;
use super::{tools, words};
use crate::dialect::{RpcDialect, RpcTerms};
use crate::domain::profile::{ANY_METHOD, LISTING_METHODS, RefusedKeyId, RpcDoor};

/// The most public paths, and the most methods in one list.
const LIST_MAX: usize = 64;

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
    if endpoint.as_ref().is_some_and(|endpoint| sse.as_ref().and_then(Option::as_ref) == Some(endpoint)) {
        section.problem("sse is the endpoint: the two transports need paths of their own");
    }
    let list = |name| section.field(name).map(|field| field.items(LIST_MAX)).unwrap_or_default();
    let public_paths = list("public_paths").iter().filter_map(|field| outside(field, rest)).collect();
    let keyless_methods: Vec<_> = list("keyless_methods").iter().filter_map(keyless_method).collect();
    let mut methods = Vec::new();
    let method_requirements = tools::methods(section, terms);
    for field in list("methods") {
        let any = (field.text() == Some(ANY_METHOD)).then(|| ANY_METHOD.to_owned());
        match any.or_else(|| method(&field)) {
            Some(name) if method_requirements.iter().any(|(known, _)| *known == name) => {
                field.problem("given twice: it asks for a permission");
            }
            Some(name) if keyless_methods.contains(&name) => field.problem("given twice: it needs no key"),
            Some(name) => methods.push(name),
            None => {}
        }
    }
    if let Some((name, _)) = method_requirements.iter().find(|(name, _)| keyless_methods.contains(name)) {
        section.problem(&format!("{name} is given twice: it needs no key, and asks for a permission"));
    }
    let tools = tools::named(section, terms);
    let tool_patterns = tools::patterns(section, terms);
    let refused_key_id = section.field("refused_key_id").and_then(|field| {
        field.parsed("\"null\" or \"echo\"", |text| match text {
            "null" => Some(RefusedKeyId::Null),
            "echo" => Some(RefusedKeyId::Echo),
            _ => None,
        })
    });
    let refused_key_id = refused_key_id.unwrap_or_default();
    let tells_reason = section.field("reason").and_then(|field| field.boolean()).unwrap_or(false);
    let words = words::rpc(section);
    section.close();
    let terms_of_dialect = RpcTerms { upgrade_url, refused_key_id, tells_reason };
    let dialect = RpcDialect::new(&words?, &terms.words, terms_of_dialect);
    let sse = match sse {
        Some(path) => Some(path?),
        None => None,
    };
    let endpoint = endpoint?;
    let door = RpcDoor {
        endpoint,
        sse,
        public_paths,
        keyless_methods,
        methods,
        method_requirements,
        tools,
        tool_patterns,
        refused_key_id,
    };
    Some((door, dialect))
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
    field.parsed(&tools::method_form(), |text| tools::can_be_listed(text).then(|| text.to_owned()))
}

/// A method that anybody may use: none whose answer may hold a list of tools. Such a list is shown as the caller's key
/// may call the tools, and nobody's key may call any.
fn keyless_method(field: &Field<'_>) -> Option<String> {
    let method = method(field)?;
    if LISTING_METHODS.contains(&&*method) {
        return field.refused(
            "its answer may list tools, and what of that is shown hangs on a key: put it in methods",
        );
    }
    Some(method)
}
