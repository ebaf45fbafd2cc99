//! The profiles inside the binary: those that a user can name, and the one that the admin API itself runs on.
//!
//! A shipped profile is a file like a user's own and loads the same way. The system profile has no file and
//! no words: it is not for sale, and the admin API speaks a dialect of its own.
//!
//! Never here: the words of a refusal; they are a file's or a dialect's.

use std::sync::Arc;

use crate::domain::key::Tag;
use crate::domain::meter::Grace;
use crate::domain::permission::{Catalogue, Permission};
use crate::domain::profile::{
    Access, Plan, Profile, Requirement, RestDoor, Route, Routes, SYSTEM_PROFILE, Terms, Verb,
};

/// The most bytes that the admin API takes: the largest key that can be made (256 permissions, 64 address
/// rules, 8 KiB of metadata) fits twice.
const ADMIN_BODY_BYTES_MAX: u64 = 128 << 10;

/// The most bytes of an import: its 10,000 keys at some 800 bytes each, or fewer and larger ones.
const IMPORT_BODY_BYTES_MAX: u64 = 8 << 20;
/// The one route that takes as much.
const IMPORT_ROUTE: &str = "/api/v1/keys/import";

/// Where the admin listener speaks MCP.
const ADMIN_MCP: &str = "/mcp";

const SHIPPED: [(&str, &str); 3] = [
    ("socialcrm", include_str!("../../profiles/socialcrm.toml")),
    ("mcp-cloud", include_str!("../../profiles/mcp-cloud.toml")),
    ("shingleai", include_str!("../../profiles/shingleai.toml")),
];

/// The file of the shipped profile with this name.
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the shipped profiles.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

const PERMISSIONS: [&str; 10] = [
    "keys:read",
    "keys:write",
    "workspaces:read",
    "workspaces:write",
    "usage:read",
    "verify:use",
    "audit:read",
    "install_secret:rotate",
    "clock:read",
    "clock:confirm",
];

const ROUTES: [(Verb, &str, &str); 21] = [
    (Verb::Post, "/api/v1/workspaces", "workspaces:write"),
    (Verb::Get, "/api/v1/workspaces", "workspaces:read"),
    (Verb::Get, "/api/v1/workspaces/{id}", "workspaces:read"),
    (Verb::Patch, "/api/v1/workspaces/{id}", "workspaces:write"),
    (Verb::Delete, "/api/v1/workspaces/{id}", "workspaces:write"),
    (Verb::Get, "/api/v1/workspaces/{id}/meters", "usage:read"),
    (Verb::Post, "/api/v1/keys", "keys:write"),
    (Verb::Get, "/api/v1/keys", "keys:read"),
    (Verb::Post, IMPORT_ROUTE, "keys:write"),
    (Verb::Get, "/api/v1/keys/{id}", "keys:read"),
    (Verb::Get, "/api/v1/keys/{id}/usage", "usage:read"),
    (Verb::Patch, "/api/v1/keys/{id}", "keys:write"),
    (Verb::Post, "/api/v1/keys/{id}/revoke", "keys:write"),
    (Verb::Post, "/api/v1/keys/{id}/rotate", "keys:write"),
    (Verb::Post, "/api/v1/keys/{id}/explain", "keys:read"),
    (Verb::Get, "/api/v1/audit", "audit:read"),
    (Verb::Get, "/api/v1/audit/verify", "audit:read"),
    (Verb::Post, "/api/v1/install-secret/rotate", "install_secret:rotate"),
    (Verb::Post, "/api/v1/verify", "verify:use"),
    (Verb::Get, "/api/v1/clock", "clock:read"),
    (Verb::Post, "/api/v1/clock/confirm", "clock:confirm"),
];

/// The profile of admin keys: tag `kwadm_`, one plan `admin`, no rate.
///
/// # Panics
/// Never: it is made of constants.
#[expect(clippy::expect_used, reason = "made of the constants above, and a test makes it")]
pub fn system_profile() -> Arc<Profile> {
    Arc::new(build().expect("the system profile is well formed"))
}

fn build() -> Option<Profile> {
    let permissions = PERMISSIONS.iter().map(|text| Permission::parse(text)).collect::<Option<_>>()?;
    let catalogue = Catalogue::new(permissions)?;
    let routes = ROUTES.iter().map(|(verb, pattern, asked)| route(&catalogue, *verb, pattern, Some(asked)));
    // Any admin key may ask there what its permissions let it do.
    let mcp = cfg!(feature = "mcp").then(|| route(&catalogue, Verb::Post, ADMIN_MCP, None));
    let routes = Routes::new(routes.chain(mcp).collect::<Option<_>>()?).ok()?;
    let plan = Plan {
        name: "admin".to_owned(),
        paid: true,
        rate: None,
        workspace_rate: None,
        grace: Grace::default(),
        limits: Vec::new(),
    };
    let mut profile = Profile {
        name: SYSTEM_PROFILE.to_owned(),
        tag: Tag::parse("kwadm_")?,
        terms: vec![Terms::default(); PERMISSIONS.len()],
        catalogue,
        meters: Vec::new(),
        plans: vec![plan],
        rate: None,
        route_rates: Vec::new(),
        signing: None,
        rest: Some(RestDoor { base: "/api/v1".to_owned(), key_headers: Vec::new(), routes }),
        rpc: None,
    };
    profile.number_places();
    Some(profile)
}

fn route(catalogue: &Catalogue, verb: Verb, pattern: &str, asked: Option<&str>) -> Option<Route> {
    let permission = match asked {
        Some(asked) => Some(catalogue.number(&Permission::parse(asked)?)?),
        None => None,
    };
    Some(Route {
        verb,
        pattern: pattern.to_owned(),
        requirement: Requirement { permission, ..Requirement::default() },
        max_body_bytes: Some(if pattern == IMPORT_ROUTE {
            IMPORT_BODY_BYTES_MAX
        } else {
            ADMIN_BODY_BYTES_MAX
        }),
        access: Access::Keyed,
        websocket: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_profile;
    use crate::domain::profile::Found;

    #[test]
    fn every_shipped_profile_loads_under_its_name() {
        for name in shipped_names() {
            let loaded = load_profile(shipped(name).unwrap(), name).unwrap();
            assert_eq!(loaded.profile.name, name);
            assert_ne!(loaded.profile.tag, system_profile().tag);
        }
        assert!(shipped(SYSTEM_PROFILE).is_none());
    }

    #[test]
    fn each_admin_route_asks_for_its_permission() {
        let profile = system_profile();
        let routes = &profile.rest.as_ref().unwrap().routes;
        for (verb, pattern, asked) in ROUTES {
            let path = pattern.replace("{id}", "key_1");
            let Found::Route(route) = routes.find(Some(verb), &path) else { panic!("{pattern}") };
            let needed = route.requirement.permission.unwrap();
            assert_eq!(profile.catalogue.permission(needed).unwrap().as_str(), asked, "{pattern}");
        }
    }
}
