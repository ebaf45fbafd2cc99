//! The routes of a REST door, as a profile's file writes them.
//!
//! A path here is plain: literal segments of unreserved characters, or one name in braces for a whole
//! segment. What could be read two ways as a path cannot be written as a route.
//!
//! Never here: a route that is open because nobody said otherwise. Those of `[[rest.public]]` are, and each of
//! them has a bound on its body.

use super::door::{MAX_BODY_BYTES, own_terms, size};
use super::profile::TermsTable;
use super::reader::Section;
use crate::domain::profile::{Access, Requirement, Route, Verb};

/// The most bytes of body without a key where the profile says nothing.
const PUBLIC_BODY_BYTES: u64 = 64 * 1024;
/// The longest path, in bytes.
const PATH_LEN_MAX: usize = 500;

/// A route that asks for a permission. `base` is the door's, `max_body` its bound on bodies.
pub(super) fn keyed(
    section: &Section<'_>,
    base: &str,
    max_body: Option<u64>,
    terms: &mut TermsTable,
) -> Option<Route> {
    let target = target(section, base);
    let asked = own_terms(section, terms);
    let own_max = own_max(section);
    section.close();
    let (verb, pattern) = target?;
    let max_body_bytes = own_max.or(max_body);
    Some(Route { verb, pattern, requirement: asked?, max_body_bytes, access: Access::Keyed })
}

/// A route that is open to everyone.
pub(super) fn public(
    section: &Section<'_>,
    base: &str,
    max_body: Option<u64>,
    terms: &mut TermsTable,
) -> Option<Route> {
    let target = target(section, base);
    let bucket = section.field("rate").and_then(|field| terms.route_rates.used_by(&field));
    let own_max = own_max(section);
    section.close();
    let (verb, pattern) = target?;
    let max_body_bytes = Some(own_max.or(max_body).unwrap_or(PUBLIC_BODY_BYTES));
    let requirement = Requirement { bucket, ..Requirement::default() };
    Some(Route { verb, pattern, requirement, max_body_bytes, access: Access::Public })
}

fn target(section: &Section<'_>, base: &str) -> Option<(Verb, String)> {
    let verb = section
        .required("method")
        .and_then(|field| field.parsed("GET, POST, PUT, PATCH or DELETE", Verb::parse));
    let form = format!("a path under {base}, its segments plain or one {{name}} each");
    let pattern = section.required("path").and_then(|field| {
        field.parsed(&form, |text| (is_pattern(text) && lies_under(text, base)).then_some(text))
    });
    Some((verb?, pattern?.to_owned()))
}

fn own_max(section: &Section<'_>) -> Option<u64> {
    section.field("max_body").and_then(|field| size(&field, 0..=MAX_BODY_BYTES))
}

/// Whether one path is the other or lies under it.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    lies_under(one, other) || lies_under(other, one)
}

fn lies_under(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether this can be a path here, names in braces and all.
pub(super) fn is_pattern(text: &str) -> bool {
    let segments = text.strip_prefix('/').map(|rest| rest.split('/'));
    text.len() <= PATH_LEN_MAX && segments.is_some_and(|mut segments| segments.all(is_segment))
}

fn is_segment(segment: &str) -> bool {
    let word = |text: &str, extra: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
    };
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => word(name, b"_"),
        None => word(segment, b"._~-") && segment != "." && segment != "..",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load_profile, shipped};

    #[test]
    fn a_path_that_could_be_read_two_ways_is_no_route() {
        for good in ["/v1", "/v1/posts/{id}", "/.well-known/x", "/a~b/c_d"] {
            assert!(is_pattern(good), "{good}");
        }
        let bad = [
            "",
            "/",
            "v1",
            "/v1/",
            "//v1",
            "/v1/..",
            "/./a",
            "/a%2Fb",
            "/{*rest}",
            "/{}",
            "/a{id}",
            "/{id}.json",
            "/a;b",
            "/ä",
        ];
        for bad in bad {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    /// The public routes of the shipped profile with this one instead of its own, or the problems.
    fn public(table: &str) -> Result<Vec<Route>, Vec<String>> {
        let shipped = shipped("socialcrm").unwrap();
        let own = "method = \"PUT\"\npath = \"/v1/media/{id}/content\"\nmax_body = \"50MiB\"\n";
        assert!(shipped.contains(own));
        let loaded = load_profile(&shipped.replacen(own, table, 1), "p.toml");
        let routes = |loaded: crate::config::LoadedProfile| {
            let routes = &loaded.profile.rest.as_ref().unwrap().routes;
            routes.iter().filter(|route| route.public().is_some()).cloned().collect()
        };
        loaded.map(routes).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_public_route_asks_for_nothing_and_always_bounds_its_body() {
        let found = public("method = \"PUT\"\npath = \"/v1/up/{id}\"\nmax_body = \"3MiB\"\n").unwrap();
        let [route] = &found[..] else { panic!("{found:?}") };
        let expected = (Verb::Put, "/v1/up/{id}", Some(3 << 20));
        assert_eq!((route.verb, route.pattern.as_str(), route.max_body_bytes), expected);
        assert_eq!((route.requirement.permission, route.requirement.paid), (None, false));
        let of_door = public("method = \"PUT\"\npath = \"/v1/up/{id}\"\n").unwrap();
        assert_eq!(of_door[0].max_body_bytes, Some(1 << 20));
        let paced = "method = \"GET\"\npath = \"/v1/s\"\nrate = { limit = 2, window_s = 60 }\n";
        assert!(public(paced).unwrap()[0].public().unwrap().bucket().is_some());
    }

    #[test]
    fn a_public_route_is_no_other_routes_and_has_no_terms() {
        for (table, told) in [
            ("method = \"GET\"\npath = \"/v1/posts\"\n", "GET /v1/posts is given twice"),
            ("method = \"GET\"\npath = \"/v1/s\"\npermission = \"posts:read\"\n", "permission: unknown"),
            ("method = \"GET\"\npath = \"/v2/s\"\n", "path: expected a path under /v1"),
            ("path = \"/v1/s\"\n", "`method` is missing"),
        ] {
            let problems = public(table).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(told)), "{table}: {problems:?}");
        }
    }

    #[test]
    fn paths_overlap_by_whole_segments() {
        let cases = [
            ("/v1", "/v1", true),
            ("/v1", "/v1/posts", true),
            ("/v1/posts", "/v1", true),
            ("/v1", "/v10", false),
            ("/api/mcp-app", "/api/mcp", false),
        ];
        for (one, other, overlapping) in cases {
            assert_eq!(overlap(one, other), overlapping, "{one} {other}");
        }
    }
}
