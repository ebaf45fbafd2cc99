//! The routes of a REST door, as a profile's file writes them.
//!
//! A path here is plain: literal segments of unreserved characters, one name in braces for a whole segment, and
//! perhaps `{*name}` at its end for all that follows, which is at least one character. What could be read two
//! ways as a path cannot be written as a route. Of two paths that fit, the more specific one is taken.
//!
//! Never here: a route that is open because nobody said otherwise. Those of `[[rest.public]]` are, and each of
//! them has a bound on its body.

use super::door::{MAX_BODY_BYTES, own_terms, size};
use super::profile::TermsTable;
use super::reader::{Field, Section};
use crate::domain::profile::{Access, Requirement, Route, Verb};

/// The most bytes of body without a key where the profile says nothing.
const PUBLIC_BODY_BYTES: u64 = 64 * 1024;
/// The longest path, in bytes.
const PATH_LEN_MAX: usize = 500;

/// Routes that ask for a permission: one for each method. `base` is the door's, `max_body` its bound on bodies.
pub(super) fn keyed(
    section: &Section<'_>,
    base: &str,
    max_body: Option<u64>,
    terms: &mut TermsTable,
) -> Option<Vec<Route>> {
    let target = target(section, base);
    let asked = own_terms(section, terms);
    let bound = Bound::read(section, Bound::of(max_body), Access::Keyed);
    let websocket = websocket(section, target.as_ref());
    section.close();
    let routes = target?.routes(asked?, bound?, Access::Keyed);
    Some(routes.map(|route| Route { websocket: websocket && route.verb == Verb::Get, ..route }).collect())
}

/// Routes that are open to everyone.
pub(super) fn public(
    section: &Section<'_>,
    base: &str,
    max_body: Option<u64>,
    terms: &mut TermsTable,
) -> Option<Vec<Route>> {
    let target = target(section, base);
    let bucket = section.field("rate").and_then(|field| terms.route_rates.used_by(&field));
    let of_door = Bound::Bytes(max_body.unwrap_or(PUBLIC_BODY_BYTES));
    let bound = Bound::read(section, of_door, Access::Public);
    section.close();
    let requirement = Requirement { bucket, ..Requirement::default() };
    Some(target?.routes(requirement, bound?, Access::Public).collect())
}

/// Methods and a path.
struct RouteTarget {
    verbs: Vec<Verb>,
    pattern: String,
}

impl RouteTarget {
    /// A route for each method, all on the same terms and with one bucket.
    fn routes(self, requirement: Requirement, bound: Bound, access: Access) -> impl Iterator<Item = Route> {
        let Self { verbs, pattern } = self;
        let max_body_bytes = bound.bytes();
        verbs.into_iter().map(move |verb| {
            let pattern = pattern.clone();
            Route { verb, pattern, requirement, max_body_bytes, access, websocket: false }
        })
    }
}

fn target(section: &Section<'_>, base: &str) -> Option<RouteTarget> {
    let verbs = section.required("method").and_then(|field| verbs(&field));
    let form =
        format!("a path under {base}, its segments plain or one {{name}} each, the last perhaps {{*name}}");
    let pattern = section.required("path").and_then(|field| {
        field.parsed(&form, |text| (is_pattern(text) && lies_under(text, base)).then_some(text))
    });
    Some(RouteTarget { verbs: verbs?, pattern: pattern?.to_owned() })
}

/// One method, a list of them, or `"*"` for each that a route can have.
fn verbs(field: &Field<'_>) -> Option<Vec<Verb>> {
    const FORM: &str =
        "GET (HEAD goes with it), POST, PUT, PATCH or DELETE, a list of those, or \"*\" for all";
    if !field.is_list() {
        return field.parsed(FORM, |text| match text {
            "*" => Some(Verb::ALL.to_vec()),
            one => Verb::parse(one).map(|verb| vec![verb]),
        });
    }
    let items = field.items(Verb::ALL.len());
    let mut verbs = Vec::new();
    for item in &items {
        let verb = item.parsed("GET (HEAD goes with it), POST, PUT, PATCH or DELETE", Verb::parse)?;
        if verbs.contains(&verb) {
            return item.refused("given twice");
        }
        verbs.push(verb);
    }
    if verbs.is_empty() { field.refused(&format!("expected {FORM}")) } else { Some(verbs) }
}

/// How much body a route takes.
#[derive(Clone, Copy)]
enum Bound {
    /// As much as the upstream does.
    Upstreams,
    Bytes(u64),
}

impl Bound {
    fn of(max_bytes: Option<u64>) -> Self {
        max_bytes.map_or(Self::Upstreams, Self::Bytes)
    }

    const fn bytes(self) -> Option<u64> {
        match self {
            Self::Upstreams => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }

    /// The route's own, or the door's.
    fn read(section: &Section<'_>, of_door: Self, access: Access) -> Option<Self> {
        let Some(field) = section.field("max_body") else { return Some(of_door) };
        if !field.is_text() || field.text() != Some("none") {
            return size(&field, 0..=MAX_BODY_BYTES).map(Self::Bytes);
        }
        match access {
            Access::Keyed => Some(Self::Upstreams),
            Access::Public => field.refused("expected a bound: anybody may send this"),
        }
    }
}

/// Whether a route's callers may ask for a WebSocket, which begins with a GET.
fn websocket(section: &Section<'_>, target: Option<&RouteTarget>) -> bool {
    let field = section.field("websocket");
    let is_opened = field.as_ref().and_then(Field::boolean).unwrap_or(false);
    let gets = target.is_none_or(|target| target.verbs.contains(&Verb::Get));
    if let Some(field) = field.filter(|_| is_opened && !gets) {
        field.problem("a WebSocket begins with a GET: expected it at a route of that method");
    }
    is_opened
}

/// Whether one path is the other or lies under it.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    lies_under(one, other) || lies_under(other, one)
}

fn lies_under(path: &str, base: &str) -> bool {
    // Everything lies under the root.
    path.strip_prefix(base.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether this can be a path here, names in braces and all.
pub(super) fn is_pattern(text: &str) -> bool {
    // A tail stands behind segments or alone.
    let (front, has_fitting_tail) = match text.rsplit_once("/{*") {
        Some((front, tail)) => (front, tail.strip_suffix('}').is_some_and(|name| is_word(name, b"_"))),
        None => (text, false),
    };
    let segments = front.strip_prefix('/').map(|rest| rest.split('/'));
    let is_plain = segments.is_some_and(|mut segments| segments.all(is_segment));
    let is_whole = if text.contains("{*") { has_fitting_tail } else { true };
    text.len() <= PATH_LEN_MAX && is_whole && (is_plain || (front.is_empty() && has_fitting_tail))
}

fn is_segment(segment: &str) -> bool {
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => is_word(name, b"_"),
        None => is_word(segment, b"._~-") && segment != "." && segment != "..",
    }
}

fn is_word(text: &str, extra: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load_profile, shipped};

    #[test]
    fn a_path_that_could_be_read_two_ways_is_no_route() {
        for good in ["/v1", "/v1/posts/{id}", "/.well-known/x", "/a~b/c_d", "/{*rest}", "/v1/{id}/{*rest}"] {
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
            "/{*rest}/a",
            "/{*}",
            "/{*a}/{*b}",
            "/a{*b}",
            "/{*a-b}",
            "{*a}",
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

    /// The methods and bounds of one route of the shipped profile, written so, or the problems.
    fn keyed(table: &str) -> Result<Vec<(Verb, Option<u64>)>, Vec<String>> {
        let shipped = shipped("socialcrm").unwrap();
        let own = "method = \"GET\"\npath = \"/v1/persona\"\n";
        assert!(shipped.contains(own));
        let loaded = load_profile(&shipped.replacen(own, table, 1), "p.toml");
        let routes = |loaded: crate::config::LoadedProfile| {
            let routes = &loaded.profile.rest.as_ref().unwrap().routes;
            let here = routes.iter().filter(|route| route.pattern == "/v1/x/{*tail}");
            here.map(|route| (route.verb, route.max_body_bytes)).collect()
        };
        loaded.map(routes).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_route_may_have_several_methods_and_a_tail() {
        let methods = |text: &str| keyed(&format!("method = {text}\npath = \"/v1/x/{{*tail}}\"\n"));
        let mib = Some(1 << 20);
        assert_eq!(methods("[\"GET\", \"PUT\"]").unwrap(), [(Verb::Get, mib), (Verb::Put, mib)]);
        assert_eq!(methods("\"*\"").unwrap(), Verb::ALL.map(|verb| (verb, mib)));
        for (bad, told) in [
            ("[]", "method: expected GET"),
            ("[\"GET\", \"GET\"]", "method[1]: given twice"),
            ("[\"*\"]", "method[0]: expected GET"),
            ("\"OPTIONS\"", "method: expected GET"),
            ("[\"TRACE\"]", "method[0]: expected GET"),
            ("\"HEAD\"", "HEAD goes with it"),
            ("7", "method: expected a text"),
        ] {
            let problems = methods(bad).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(told)), "{bad}: {problems:?}");
        }
        let tail = keyed("method = \"GET\"\npath = \"/v1/{*tail}/x\"\n").unwrap_err();
        assert!(tail[0].contains("the last perhaps {*name}"), "{tail:?}");
    }

    #[test]
    fn a_route_may_lift_the_doors_bound_but_no_public_one() {
        let get = "method = \"PUT\"\npath = \"/v1/x/{*tail}\"\n";
        assert_eq!(keyed(&format!("{get}max_body = \"none\"\n")).unwrap(), [(Verb::Put, None)]);
        assert_eq!(keyed(&format!("{get}max_body = 7\n")).unwrap(), [(Verb::Put, Some(7))]);
        assert!(keyed(&format!("{get}max_body = \"some\"\n")).unwrap_err()[0].contains("bytes from 0"));
        let open = public(&format!("{get}max_body = \"none\"\n")).unwrap_err();
        assert!(open.iter().any(|problem| problem.contains("expected a bound")), "{open:?}");
    }

    #[test]
    fn g05_a_route_without_a_permission_that_is_declared_does_not_load() {
        let route = |more: &str| keyed(&format!("method = \"GET\"\npath = \"/v1/x/{{*tail}}\"\n{more}"));
        let shipped = shipped("socialcrm").unwrap();
        let own = "path = \"/v1/persona\"\npermission = \"insights:read\"\n";
        assert!(shipped.contains(own));
        let without =
            load_profile(&shipped.replacen(own, "path = \"/v1/persona\"\n", 1), "p.toml").unwrap_err();
        assert!(without.len() == 1 && without[0].message == "`permission` is missing", "{without:?}");
        assert!(without[0].line.is_some());
        let unknown = shipped.replacen(own, "path = \"/v1/persona\"\npermission = \"insights:rea\"\n", 1);
        let unknown = load_profile(&unknown, "p.toml").unwrap_err();
        assert!(unknown[0].message.contains("a declared permission, one of: insights:read"), "{unknown:?}");
        assert!(route("public = true\n").unwrap_err()[0].contains("public: unknown"));
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
    fn a_websocket_is_opened_by_a_get_route_that_says_so_and_by_no_other() {
        let shipped = shipped("socialcrm").unwrap();
        let with = |permission: &str| {
            let own = format!("path = \"/v1/posts\"\npermission = \"{permission}\"\n");
            assert!(shipped.contains(&own));
            load_profile(&shipped.replacen(&own, &format!("{own}websocket = true\n"), 1), "p.toml")
        };
        let loaded = with("posts:read").unwrap();
        let routes = &loaded.profile.rest.as_ref().unwrap().routes;
        let opened = routes.iter().filter(|route| route.websocket).map(|route| (route.verb, &*route.pattern));
        assert_eq!(opened.collect::<Vec<_>>(), [(Verb::Get, "/v1/posts")]);
        let problems = with("posts:write").unwrap_err();
        assert!(problems[0].to_string().contains("a WebSocket begins with a GET"), "{problems:?}");
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
