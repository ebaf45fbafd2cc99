//! The tools and methods of a JSON-RPC door's file: each with the permission it asks for, by its own name, by a
//! pattern of names, or by what its annotations say.
//!
//! Every permission that can come out is a declared one.
//!
//! Never here: a tool that is open because nobody said otherwise.

use std::collections::HashMap;

use super::door::{own_terms, requirement, terms_over};
use super::profile::TermsTable;
use super::reader::{Field, Section};
use crate::domain::permission::Permission;
use crate::domain::profile::{
    LISTING_METHODS, METHOD_LEN_MAX, NamePattern, PATTERN_BYTES_MAX, Requirement, ToolClass, ToolPattern,
    ToolTerms, is_method,
};

/// The most tools of one profile.
const TOOLS_MAX: usize = 2_000;
/// The most patterns of tools: each call of a tool without a line of its own may try all of them.
const PATTERNS_MAX: usize = 200;
/// The most methods that ask for a permission.
const METHODS_MAX: usize = 64;
/// How a profile says that what it does not map is closed.
const CLOSED: &str = "closed";

/// `[rpc.tools]`: each tool with what it asks.
pub(super) fn named(section: &Section<'_>, terms: &mut TermsTable) -> HashMap<String, Requirement> {
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
        } else if let Some(requirement) = asked(&field, terms) {
            tools.insert(name.to_owned(), requirement);
        }
    }
    tools
}

/// `[[rpc.tool_pattern]]` and behind them `unmapped`: the rules for all other tools, in their order.
pub(super) fn patterns(section: &Section<'_>, terms: &mut TermsTable) -> Vec<ToolPattern> {
    let mut patterns: Vec<ToolPattern> = Vec::new();
    for section in section.sections("tool_pattern", PATTERNS_MAX) {
        let form = format!(
            "a pattern of names such as contacts_*: 1 to {PATTERN_BYTES_MAX} of A-Z, a-z, 0-9, _, -, ., / and at most 8 *"
        );
        let names = section.required("match").and_then(|field| {
            let names = field.parsed(&form, NamePattern::parse)?;
            let is_first = patterns.iter().all(|known| known.names != names);
            if is_first { Some(names) } else { field.refused("given twice") }
        });
        let by_class = section.field("resource").map(|field| by_class(&section, &field, terms));
        let terms = match by_class {
            Some(_) if section.field("permission").is_some() => {
                section.problem("expected permission or resource, not both");
                None
            }
            Some(terms) => terms,
            None => own_terms(&section, terms).map(ToolTerms::Same),
        };
        section.close();
        patterns.extend(names.zip(terms).map(|(names, terms)| ToolPattern { names, terms }));
    }
    let rest = section.field("unmapped").and_then(|field| unmapped(&field, terms));
    let all = || NamePattern::parse("*");
    patterns.extend(rest.and_then(|terms| Some(ToolPattern { names: all()?, terms })));
    patterns
}

/// `[rpc.method_permissions]`: methods that ask for more than a standing key.
pub(super) fn methods(section: &Section<'_>, terms: &mut TermsTable) -> Vec<(String, Requirement)> {
    let field = section.field("method_permissions");
    let entries = field.and_then(|field| field.section()).map(|section| section.entries());
    let entries = entries.unwrap_or_default();
    if entries.len() > METHODS_MAX {
        section.problem(&format!("expected at most {METHODS_MAX} methods that ask for a permission"));
    }
    let mut methods = Vec::new();
    for (name, field) in entries {
        if !can_be_listed(name) {
            field.problem(&format!("expected {}", method_form()));
        } else if let Some(requirement) = asked(&field, terms) {
            methods.push((name.to_owned(), requirement));
        }
    }
    methods
}

/// What a method that a profile names looks like.
pub(super) fn method_form() -> String {
    format!(
        "a method of 1 to {METHOD_LEN_MAX} of A-Z, a-z, 0-9, _, /, $, - and ., not tools/call, and tools/list and tasks/result in these letters"
    )
}

/// Whether a profile can name this method. A call asks what its tool asks; in other letters it, or a list of tools,
/// would be looked at by nobody on its way to an upstream that reads it all the same.
pub(super) fn can_be_listed(method: &str) -> bool {
    let resembles = |known: &str| method.eq_ignore_ascii_case(known);
    is_method(method)
        && !resembles("tools/call")
        && LISTING_METHODS.iter().all(|known| method == *known || !resembles(known))
}

/// A permission, or a table of it and of terms of its own.
fn asked(field: &Field<'_>, terms: &mut TermsTable) -> Option<Requirement> {
    if field.is_text() {
        return requirement(field, terms);
    }
    let section = field.section()?;
    let asked = own_terms(&section, terms);
    section.close();
    asked
}

fn unmapped(field: &Field<'_>, terms: &mut TermsTable) -> Option<ToolTerms> {
    const FORM: &str = "\"closed\", or a resource for what annotations say, such as { resource = \"tools\" }";
    if !field.is_table() {
        field.parsed(FORM, |text| (text == CLOSED).then_some(()));
        return None;
    }
    let section = field.section()?;
    let resource = section.required("resource");
    let terms = resource.and_then(|field| by_class(&section, &field, terms));
    section.close();
    terms
}

/// What tools ask of this resource: one permission for each thing that annotations can say.
fn by_class(section: &Section<'_>, resource: &Field<'_>, terms: &mut TermsTable) -> Option<ToolTerms> {
    let form = "a resource such as contacts, without *";
    let named = resource.parsed(form, |text| {
        let is_resource = !text.contains(['*', ':']) && Permission::parse(&format!("{text}:read")).is_some();
        is_resource.then_some(text)
    });
    let permissions = named.map(|name| ToolClass::ALL.map(|class| format!("{name}:{}", class.action())));
    let known = |text: &String| terms.asking(&Permission::parse(text)?);
    let found = permissions.as_ref().map(|texts| texts.each_ref().map(known));
    if let (Some(texts), Some(found)) = (&permissions, &found) {
        let missing: Vec<_> =
            texts.iter().zip(found).filter(|(_, asked)| asked.is_none()).map(|(text, _)| &**text).collect();
        if !missing.is_empty() {
            resource.problem(&format!(
                "annotations can ask for {}, and these are not declared: {}",
                texts.join(", "),
                missing.join(", ")
            ));
        }
    }
    let asked = found.and_then(|[read, write, delete]| Some([read?, write?, delete?]));
    terms_over(section, terms, asked).map(ToolTerms::ByClass)
}

#[cfg(test)]
mod tests {
    use crate::config::{LoadedProfile, load_profile};
    use crate::domain::permission::Permission;
    use crate::domain::profile::{Profile, Requirement, ToolClass};

    /// A profile whose door says this, or its problems.
    fn with(rpc: &str) -> Result<LoadedProfile, Vec<String>> {
        let names = ["contacts:read", "contacts:write", "contacts:delete", "tools:read", "tools:write"];
        let permissions = names.map(|name| format!("[[permission]]\nname = \"{name}\"\n")).concat();
        let text = format!(
            "name = \"p\"\ntag = \"p_\"\n{permissions}[[plan]]\nname = \"free\"\n\
             [rpc]\nendpoint = \"/mcp\"\nwords = \"standard\"\n{rpc}"
        );
        load_profile(&text, "p.toml").map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    fn number(profile: &Profile, permission: &str) -> Option<crate::domain::permission::PermissionNo> {
        profile.catalogue.number(&Permission::parse(permission).unwrap())
    }

    fn asks(loaded: &LoadedProfile, name: &str, class: Option<ToolClass>) -> Option<Requirement> {
        loaded.profile.rpc.as_ref().unwrap().requirement(name, class)
    }

    #[test]
    fn a_line_stands_over_patterns_and_patterns_stand_in_their_order() {
        let loaded = with(
            "[rpc.tools]\ncontacts_purge = \"contacts:delete\"\n\
             [[rpc.tool_pattern]]\nmatch = \"contacts_*_list\"\npermission = \"contacts:read\"\n\
             [[rpc.tool_pattern]]\nmatch = \"contacts_*\"\npermission = \"contacts:write\"\nmeter = \"m\"\ncost = 3\n",
        )
        .unwrap();
        for (name, permission, cost) in [
            ("contacts_purge", "contacts:delete", 1),
            ("contacts_emails_list", "contacts:read", 1),
            ("contacts_emails", "contacts:write", 3),
        ] {
            let asked = asks(&loaded, name, None).unwrap();
            assert_eq!(asked.permission, number(&loaded.profile, permission), "{name}");
            assert_eq!(asked.cost.units(), cost, "{name}");
        }
        assert_eq!(asks(&loaded, "contact", None), None);
        let place = |name| loaded.profile.place_name(asks(&loaded, name, None).unwrap().place);
        assert_eq!(place("contacts_purge"), "contacts_purge");
        assert_eq!((place("contacts_a"), place("contacts_b")), ("contacts_*".into(), "contacts_*".into()));
        assert_eq!(place("contacts_a_list"), "contacts_*_list");
    }

    #[test]
    fn a_resource_asks_by_class_and_all_of_it_is_one_place() {
        let loaded =
            with("[[rpc.tool_pattern]]\nmatch = \"contacts_*\"\nresource = \"contacts\"\nmeter = \"m\"\n")
                .unwrap();
        for class in ToolClass::ALL {
            let asked = asks(&loaded, "contacts_x", Some(class)).unwrap();
            let expected = number(&loaded.profile, &format!("contacts:{}", class.action()));
            assert_eq!((asked.permission, asked.meter), (expected, loaded.profile.meter("m")), "{class:?}");
            assert_eq!(loaded.profile.place_name(asked.place), "contacts_*");
        }
        assert_eq!(asks(&loaded, "contacts_x", None), None);
        assert_eq!(asks(&loaded, "other", Some(ToolClass::Read)), None);
    }

    #[test]
    fn what_nothing_maps_is_closed_unless_the_profile_maps_it_by_annotation() {
        for closed in ["", "unmapped = \"closed\"\n"] {
            let loaded = with(closed).unwrap();
            assert_eq!(asks(&loaded, "x", Some(ToolClass::Read)), None);
        }
        let open = with(
            "unmapped = { resource = \"contacts\" }\n[[rpc.tool_pattern]]\nmatch = \"t*\"\npermission = \"tools:read\"\n",
        )
        .unwrap();
        let permission = |name| asks(&open, name, Some(ToolClass::Delete)).unwrap().permission;
        assert_eq!(permission("t1"), number(&open.profile, "tools:read"));
        assert_eq!(permission("x"), number(&open.profile, "contacts:delete"));
    }

    #[test]
    fn every_permission_that_can_come_out_is_declared() {
        for (rpc, told) in [
            ("unmapped = { resource = \"tools\" }\n", "these are not declared: tools:delete"),
            ("unmapped = { resource = \"no\" }\n", "not declared: no:read, no:write, no:delete"),
            ("unmapped = { resource = \"*\" }\n", "rpc.unmapped.resource: expected a resource"),
            ("unmapped = { resource = \"a:b\" }\n", "expected a resource"),
            ("unmapped = \"open\"\n", "rpc.unmapped: expected \"closed\", or a resource"),
            ("unmapped = { permission = \"tools:read\" }\n", "`resource` is missing"),
            ("[[rpc.tool_pattern]]\nmatch = \"a*\"\n", "`permission` is missing"),
            ("[[rpc.tool_pattern]]\npermission = \"tools:read\"\n", "`match` is missing"),
            (
                "[[rpc.tool_pattern]]\nmatch = \"a*\"\npermission = \"tools:read\"\nresource = \"contacts\"\n",
                "permission or resource, not both",
            ),
            ("[[rpc.tool_pattern]]\nmatch = \"a*\"\npermission = \"tools:fly\"\n", "a declared permission"),
            ("[[rpc.tool_pattern]]\nmatch = \"a b\"\npermission = \"tools:read\"\n", "a pattern of names"),
            (
                "[[rpc.tool_pattern]]\nmatch = \"a*\"\nresource = \"contacts\"\ncost = 2\n",
                "no meter counts this",
            ),
            (
                "[[rpc.tool_pattern]]\nmatch = \"a*\"\npermission = \"tools:read\"\n\
                 [[rpc.tool_pattern]]\nmatch = \"a*\"\npermission = \"tools:read\"\n",
                "given twice",
            ),
            ("[rpc.method_permissions]\n\"tools/call\" = \"tools:read\"\n", "not tools/call"),
            ("[rpc.method_permissions]\n\"resources/read\" = \"no:read\"\n", "a declared permission"),
            ("methods = [\"a/b\"]\n[rpc.method_permissions]\n\"a/b\" = \"tools:read\"\n", "given twice"),
            (
                "keyless_methods = [\"a/b\"]\n[rpc.method_permissions]\n\"a/b\" = \"tools:read\"\n",
                "given twice",
            ),
            ("keyless_methods = [\"*\"]\n", "a method of 1 to"),
            ("keyless_methods = [\"tools/call\"]\n", "not tools/call"),
            ("keyless_methods = [\"tools/list\"]\n", "rpc.keyless_methods[0]: its answer may list tools"),
            (
                "keyless_methods = [\"ping\", \"tasks/result\"]\n",
                "rpc.keyless_methods[1]: its answer may list",
            ),
            ("keyless_methods = [\"Tools/List\"]\n", "in these letters"),
            ("methods = [\"TOOLS/LIST\"]\n", "in these letters"),
            ("methods = [\"tools/Call\"]\n", "not tools/call"),
            ("[rpc.method_permissions]\n\"Tasks/result\" = \"tools:read\"\n", "in these letters"),
        ] {
            let problems = with(rpc).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(told)), "{rpc}: {problems:?}");
        }
    }

    #[test]
    fn a_method_may_ask_for_a_permission_and_a_star_takes_every_other_but_the_calls() {
        let loaded = with(
            "methods = [\"*\", \"ping\"]\nkeyless_methods = [\"initialize\"]\n\
             [rpc.method_permissions]\n\"resources/read\" = \"contacts:read\"\n\
             \"prompts/get\" = { permission = \"contacts:write\", meter = \"m\", cost = 2 }\n",
        )
        .unwrap();
        let door = loaded.profile.rpc.as_ref().unwrap();
        let asked = |method: &str| door.requirement_of_method(method);
        let place = |method: &str| loaded.profile.place_name(asked(method).unwrap().place);
        let needed = |method: &str| asked(method).unwrap().permission;
        assert_eq!(needed("resources/read"), number(&loaded.profile, "contacts:read"));
        assert_eq!(asked("prompts/get").unwrap().cost.units(), 2);
        for (method, counted_at) in [
            ("resources/read", "resources/read"),
            ("prompts/get", "prompts/get"),
            ("ping", "ping"),
            ("initialize", "initialize"),
            ("tools/list", "*"),
            ("resources/list", "*"),
        ] {
            assert_eq!(place(method), counted_at, "{method}");
        }
        for method in
            ["tools/call", "Tools/List", "TOOLS/CALL", "tools/x", "*", "", "a b", "a\u{0}", &"a".repeat(129)]
        {
            assert_eq!(asked(method), None, "{method}");
        }
        let named = with("methods = [\"ping\"]\n").unwrap();
        assert_eq!(named.profile.rpc.as_ref().unwrap().requirement_of_method("tools/list"), None);
    }
}
