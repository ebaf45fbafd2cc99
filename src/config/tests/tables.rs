//! What the shipped `mcp-cloud` and `shingleai` profiles ask of a key and sell on a plan, row by row.
//!
//! Each route and tool is asked about with each set of permissions that could change the answer, so that a row too
//! many or a row that is wrong fails here.
//!
//! Never here: an expectation read out of the profile that is looked at.

use super::super::{LoadedProfile, load_profile, shipped};
use crate::domain::permission::Permission;
use crate::domain::profile::{Found, Plan, Verb};
use crate::domain::rate::Rates;

fn loaded(name: &str) -> LoadedProfile {
    load_profile(shipped(name).unwrap(), name).unwrap()
}

fn parsed(text: &str) -> Permission {
    Permission::parse(text).unwrap()
}

/// Name; limit and window of the rate; whether it is paid; what its meters admit with the grace.
type Offer<'a> = (&'a str, Option<(u64, u32)>, bool, Vec<Option<u64>>);

fn offer(plan: &Plan) -> Offer<'_> {
    let rate = plan.rate.as_ref().and_then(Rates::only).map(|rate| (rate.limit(), rate.window_secs()));
    let admitted = plan.limits.iter().map(|limit| limit.map(|limit| plan.grace.admitted(limit)));
    (&plan.name, rate, plan.paid, admitted.collect())
}

const CLOUD_SCOPES: [&str; 7] = [
    "completions:create",
    "chats:create",
    "models:read",
    "contexts:read",
    "contexts:write",
    "files:read",
    "files:write",
];

const CLOUD_ROUTES: [(Verb, &str, &str); 14] = [
    (Verb::Post, "/v1/completions", "completions:create"),
    (Verb::Post, "/v1/chat/completions", "chats:create"),
    (Verb::Get, "/v1/models", "models:read"),
    (Verb::Get, "/v1/models/any", "models:read"),
    (Verb::Get, "/v1/contexts", "contexts:read"),
    (Verb::Get, "/v1/contexts/c1", "contexts:read"),
    (Verb::Post, "/v1/contexts", "contexts:write"),
    (Verb::Put, "/v1/contexts/c1", "contexts:write"),
    (Verb::Delete, "/v1/contexts/c1", "contexts:write"),
    (Verb::Get, "/v1/files", "files:read"),
    (Verb::Get, "/v1/files/f1", "files:read"),
    (Verb::Get, "/v1/files/f1/content", "files:read"),
    (Verb::Post, "/v1/files", "files:write"),
    (Verb::Delete, "/v1/files/f1", "files:write"),
];

#[test]
fn each_route_of_mcp_cloud_opens_to_exactly_the_sets_of_scopes_with_its_own() {
    let profile = loaded("mcp-cloud").profile;
    let routes = &profile.rest.as_ref().unwrap().routes;
    assert_eq!(routes.iter().count(), CLOUD_ROUTES.len());
    let mut opened = 0;
    for set in 0u32..1 << CLOUD_SCOPES.len() {
        let is_held = |place: usize| set >> place & 1 == 1;
        let held: Vec<_> = (0..CLOUD_SCOPES.len())
            .filter(|place| is_held(*place))
            .map(|place| parsed(CLOUD_SCOPES[place]))
            .collect();
        let bits = profile.compile(&held);
        for (verb, path, scope) in CLOUD_ROUTES {
            let Found::Route(route) = routes.find(Some(verb), path) else { panic!("{path}") };
            let expected = is_held(CLOUD_SCOPES.iter().position(|known| *known == scope).unwrap());
            assert_eq!(
                bits.holds(route.requirement.permission.unwrap()),
                expected,
                "{verb:?} {path} {set:b}"
            );
            assert!(!route.requirement.paid && route.requirement.meter.is_none(), "{path}");
            opened += u32::from(expected);
        }
    }
    assert_eq!(opened, 14 * 64, "each route to half of the sets");
}

#[test]
fn the_plans_of_mcp_cloud_differ_in_their_rate() {
    let profile = loaded("mcp-cloud").profile;
    let offers: Vec<_> = profile.plans.iter().map(offer).collect();
    assert_eq!(
        offers,
        [
            ("free", Some((10, 60)), false, vec![]),
            ("standard", Some((60, 60)), true, vec![]),
            ("professional", Some((300, 60)), true, vec![]),
            ("enterprise", None, true, vec![]),
        ]
    );
    assert!(profile.rate.is_none(), "enterprise is unlimited until it is set");
    assert_eq!(profile.tag.as_str(), "mcp_sk_");
    let signing = profile.signing.as_ref().unwrap();
    assert_eq!((&*signing.timestamp, &*signing.signature), ("x-mcp-timestamp", "x-mcp-signature"));
    assert!(profile.rpc.is_none() && profile.key_headers().is_empty());
}

const RESOURCES: [(&str, &[&str]); 9] = [
    ("contacts", &["emails", "phones", "addresses"]),
    ("customers", &["transactions"]),
    ("businesses", &["offerings", "presence"]),
    ("messages", &[]),
    ("automations", &[]),
    ("domains", &["contacts", "registrations"]),
    ("tasks", &[]),
    ("files", &[]),
    ("resources", &[]),
];

const VERBS: [(&str, &str); 6] = [
    ("list", "read"),
    ("get", "read"),
    ("search", "read"),
    ("create", "write"),
    ("update", "write"),
    ("delete", "delete"),
];

/// Every tool: its name, its resource, the child where there is one, its action.
fn tools() -> Vec<(String, &'static str, Option<&'static str>, &'static str)> {
    let mut tools = Vec::new();
    for (resource, children) in RESOURCES {
        for child in children.iter().copied().map(Some).chain([None]) {
            for (verb, action) in VERBS {
                if resource == "resources" && !["list", "get"].contains(&verb) {
                    continue;
                }
                let thing = child.map_or_else(|| resource.to_owned(), |child| format!("{resource}_{child}"));
                tools.push((format!("{thing}_{verb}"), resource, child, action));
            }
        }
    }
    tools
}

#[test]
fn each_tool_of_shingleai_opens_to_its_own_permission_its_parents_and_the_stars() {
    let profile = loaded("shingleai").profile;
    let door = profile.rpc.as_ref().unwrap();
    let tools = tools();
    assert_eq!((door.tools.len(), tools.len(), profile.catalogue.iter().count()), (98, 98, 49));
    let mut held: Vec<(String, String)> = vec![("*".into(), "*".into())];
    for action in ["read", "write", "delete", "*"] {
        held.push(("*".into(), action.into()));
        for (resource, children) in RESOURCES {
            held.push((resource.into(), action.into()));
            held.extend(children.iter().map(|child| (format!("{resource}.{child}"), action.to_owned())));
        }
    }
    for (name, resource, child, action) in tools {
        let asked = &door.tools[&name];
        assert_eq!(asked.meter.map(|meter| profile.meter_name(meter)), Some("mcp_calls"), "{name}");
        assert!(!asked.paid && asked.cost.units() == 1, "{name}");
        let own = child.map_or_else(|| resource.to_owned(), |child| format!("{resource}.{child}"));
        for (holds, acts) in &held {
            let covers = holds == "*" || *holds == own || holds == resource;
            let expected = covers && (acts == "*" || acts == action);
            let bits = profile.compile(&[parsed(&format!("{holds}:{acts}"))]);
            assert_eq!(bits.holds(asked.permission.unwrap()), expected, "{name} with {holds}:{acts}");
        }
        assert!(!profile.compile(&[]).holds(asked.permission.unwrap()), "{name} with nothing");
    }
}

#[test]
fn the_plans_of_shingleai_sell_calls_and_the_paid_ones_a_tenth_more() {
    let profile = loaded("shingleai").profile;
    let offers: Vec<_> = profile.plans.iter().map(offer).collect();
    assert_eq!(
        offers,
        [
            ("free", None, false, vec![Some(500)]),
            ("starter", None, true, vec![Some(5_500)]),
            ("professional", None, true, vec![Some(55_000)]),
            ("enterprise", None, true, vec![None]),
        ]
    );
    let graces: Vec<_> = profile.plans.iter().map(|plan| plan.grace.admitted(100)).collect();
    assert_eq!(graces, [100, 110, 110, 110], "an override has its plan's grace");
    let rate = profile.rate.as_ref().and_then(Rates::only).unwrap();
    assert_eq!((rate.limit(), rate.window_secs(), rate.burst()), (100, 60, 100));
    assert_eq!(
        (profile.tag.as_str(), profile.meters.as_slice()),
        ("mcp_live_", &["mcp_calls".to_owned()][..])
    );
    let door = profile.rpc.as_ref().unwrap();
    assert!(profile.rest.is_none() && door.keyless_methods.is_empty() && door.public_paths.is_empty());
}
