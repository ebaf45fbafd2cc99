//! The doors of a profile's file: REST routes and JSON-RPC tools, each with the permission it asks for.
//!
//! A door is read with the words in which it refuses, so that one that cannot say something does not load.
//!
//! Never here: a route or tool that is open because nobody said otherwise.

use std::ops::RangeInclusive;

use super::profile::TermsTable;
use super::quantity;
use super::reader::{Field, Section};
use super::route::{self, is_pattern};
use super::words;
use crate::dialect::{Envelope, RestDialect};
use crate::domain::permission::Permission;
use crate::domain::profile::{COST_MAX, Cost, Requirement, RestDoor, Routes};

/// The most routes of one profile.
const ROUTES_MAX: usize = 2_000;
/// The most headers that may carry a key.
const KEY_HEADERS_MAX: usize = 4;
/// The largest bound on a body that can be set, in bytes.
pub(super) const MAX_BODY_BYTES: u64 = 1 << 30;

/// The REST door and its dialect.
pub(super) fn rest(section: &Section<'_>, terms: &mut TermsTable) -> Option<(RestDoor, RestDialect)> {
    let base = section.required("base").and_then(|field| base(&field));
    let headers = section.field("key_headers").map(|field| field.items(KEY_HEADERS_MAX)).unwrap_or_default();
    let key_headers = headers.iter().filter_map(own_header).collect();
    let envelope = section.required("envelope").and_then(|field| {
        field.parsed("\"error\" or \"error+type\"", |text| match text {
            "error" => Some(Envelope::Error),
            "error+type" => Some(Envelope::ErrorType),
            _ => None,
        })
    });
    let max_body = section.field("max_body").and_then(|field| size(&field, 0..=MAX_BODY_BYTES));
    let routes = section.sections("route", ROUTES_MAX);
    if routes.is_empty() {
        section.problem("expected at least one [[rest.route]]");
    }
    let under = base.as_deref().unwrap_or_default();
    let mut read: Vec<_> =
        routes.iter().filter_map(|section| route::keyed(section, under, max_body, terms)).flatten().collect();
    let public = section.sections("public", ROUTES_MAX);
    read.extend(public.iter().filter_map(|section| route::public(section, under, max_body, terms)).flatten());
    let words = words::rest(section, envelope.unwrap_or(Envelope::Error));
    section.close();
    let table = match Routes::new(read) {
        Ok(table) => Some(table),
        Err(conflict) => {
            section.problem(&format!("{} is given twice, or once more under other names", conflict.route));
            None
        }
    };
    let dialect = RestDialect::new(envelope?, &words?, &terms.words);
    Some((RestDoor { base: base?, key_headers, routes: table? }, dialect))
}

/// What the permission of a route or tool asks for, with what is set for this one alone.
pub(super) fn own_terms(section: &Section<'_>, terms: &mut TermsTable) -> Option<Requirement> {
    let asked = section.required("permission").and_then(|field| requirement(&field, terms));
    let [asked] = terms_over(section, terms, asked.map(|asked| [asked]))?;
    Some(asked)
}

/// The same for what can be asked for here, one or the other.
pub(super) fn terms_over<const N: usize>(
    section: &Section<'_>,
    terms: &mut TermsTable,
    asked: Option<[Requirement; N]>,
) -> Option<[Requirement; N]> {
    let paid = section.field("paid").and_then(|field| field.boolean());
    let meter = section.field("meter").and_then(|field| terms.meters.used_by(&field));
    let bucket = section.field("rate").and_then(|field| terms.route_rates.used_by(&field));
    let cost = section.field("cost");
    let units = cost.as_ref().and_then(|field| field.integer(1..=COST_MAX.into()));
    let asked = asked?;
    if let Some(field) = cost.filter(|_| asked.iter().any(|asked| meter.or(asked.meter).is_none())) {
        field.problem("no meter counts this, so it would cost nothing: give it a meter");
    }
    let cost = units.and_then(Cost::new).unwrap_or_default();
    Some(asked.map(|asked| Requirement {
        paid: paid.unwrap_or(asked.paid),
        meter: meter.or(asked.meter),
        cost,
        bucket,
        ..asked
    }))
}

pub(super) fn requirement(field: &Field<'_>, terms: &TermsTable) -> Option<Requirement> {
    field.parsed(&format!("a declared permission, one of: {}", terms.names()), |text| {
        terms.asking(&Permission::parse(text)?)
    })
}

/// A header that a profile names for itself.
pub(super) fn own_header(field: &Field<'_>) -> Option<String> {
    let form = "a header such as X-API-Key: letters, digits and -, none that HTTP or the gate uses itself";
    field.parsed(form, |text| {
        let name = text.to_ascii_lowercase();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let fits = (1..=64).contains(&name.len()) && plain && !is_taken_header(&name);
        fits.then_some(name)
    })
}

/// Headers that mean something else already.
fn is_taken_header(name: &str) -> bool {
    let taken = [
        "authorization",
        "host",
        "cookie",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "origin",
        "range",
    ];
    let families = [
        "content-",
        "transfer-",
        "accept",
        "proxy-",
        "keyward-",
        "x-keyward-",
        "x-forwarded-",
        "mcp-",
        "if-",
        "keep-",
    ];
    taken.contains(&name) || families.iter().any(|family| name.starts_with(family))
}

/// A size in bytes: a whole number, or a text such as `"1MiB"`.
pub(super) fn size(field: &Field<'_>, range: RangeInclusive<u64>) -> Option<u64> {
    if field.is_integer() {
        return field.integer(range);
    }
    let form = format!(
        "bytes from {} to {}, as a number or a text such as \"1MiB\" (B, KiB, MiB, GiB)",
        range.start(),
        range.end()
    );
    field.parsed(&form, |text| {
        let bytes = quantity::size(text).or_else(|| text.parse().ok())?;
        range.contains(&bytes).then_some(bytes)
    })
}

fn base(field: &Field<'_>) -> Option<String> {
    if field.is_text() && field.text() == Some("/") { Some("/".to_owned()) } else { path(field) }
}

pub(super) fn path(field: &Field<'_>) -> Option<String> {
    let form = "a path such as /v1: no slash at its end, segments of A-Z, a-z, 0-9, ., _, ~ and -";
    field.parsed(form, |text| (is_pattern(text) && !text.contains('{')).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::config::{LoadedProfile, load_profile, shipped};
    use crate::domain::profile::{Found, RefusedKeyId, Verb};

    /// The shipped profile after these edits, or its problems.
    fn edited(edits: &[(&str, &str)]) -> Result<LoadedProfile, Vec<String>> {
        let mut text = shipped("socialcrm").unwrap().to_owned();
        for (old, new) in edits {
            assert!(text.contains(old), "{old}");
            text = text.replacen(old, new, 1);
        }
        load_profile(&text, "p.toml").map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_route_and_a_tool_have_a_cost_of_their_own_where_a_meter_counts_them() {
        let compose = |cost: &str| format!("path = \"/v1/ai/compose\"\ncost = {cost}");
        let tool = |terms: &str| format!("posts_create = {{ permission = \"posts:write\", {terms} }}");
        let (route_was, tool_was) = ("path = \"/v1/ai/compose\"", "posts_create = \"posts:write\"");
        let terms = tool("paid = true, meter = \"ai\", cost = 7");
        let loaded = edited(&[(route_was, &compose("1_000_000")), (tool_was, &terms)]).unwrap();
        let profile = &loaded.profile;
        let route = |path| match profile.rest.as_ref().unwrap().routes.find(Some(Verb::Post), path) {
            Found::Route(route) => route.requirement,
            _ => panic!("{path}"),
        };
        assert_eq!(route("/v1/ai/compose").cost.units(), 1_000_000);
        assert_eq!((route("/v1/ai/rewrite").cost.units(), route("/v1/posts").cost.units()), (1, 1));
        let tools = &profile.rpc.as_ref().unwrap().tools;
        let create = tools["posts_create"];
        assert_eq!((create.paid, create.meter, create.cost.units()), (true, profile.meter("ai"), 7));
        assert_eq!((tools["posts_update"].meter, tools["posts_update"].cost.units()), (None, 1));
        for cost in ["0", "1_000_001", "-1", "1.5", "\"2\""] {
            let problems = edited(&[(route_was, &compose(cost))]).unwrap_err();
            assert!(
                problems.iter().any(|told| told.contains("cost: expected a whole number")),
                "{problems:?}"
            );
        }
        let free = edited(&[(tool_was, &tool("cost = 2"))]).unwrap_err();
        assert!(free.iter().any(|told| told.contains("rpc.tools.posts_create.cost: no meter")), "{free:?}");
        let unknown = edited(&[(tool_was, &tool("scope = 2"))]).unwrap_err();
        assert!(
            unknown.iter().any(|told| told.contains("known here: permission, paid, meter, rate, cost")),
            "{unknown:?}"
        );
    }

    #[test]
    fn the_id_of_a_refused_key_is_null_unless_the_profile_echoes_it() {
        let id = |edits: &[(&str, &str)]| {
            edited(edits).map(|loaded| loaded.profile.rpc.as_ref().unwrap().refused_key_id)
        };
        let with = |value: &str| format!("[rpc]\nrefused_key_id = {value}");
        assert_eq!(id(&[]).unwrap(), RefusedKeyId::Null);
        assert_eq!(id(&[("[rpc]", &with("\"null\""))]).unwrap(), RefusedKeyId::Null);
        assert_eq!(id(&[("[rpc]", &with("\"echo\""))]).unwrap(), RefusedKeyId::Echo);
        assert!(id(&[("[rpc]", &with("\"mine\""))]).unwrap_err()[0].contains("rpc.refused_key_id: expected"));
    }
}
