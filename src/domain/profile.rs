//! A profile: one product as data. What its keys look like, what they may be asked for, by which doors, on
//! which plans.
//!
//! A profile that was built is complete: every route and tool has a requirement, every name resolves. The
//! words in which refusals are spoken belong to the `dialect` room, the TOML form to `config`.
//!
//! Never here: a product's name, or the text of a refusal.

use std::collections::HashMap;

use super::key::Tag;
use super::meter::Grace;
use super::permission::{Catalogue, Permission, PermissionBits, PermissionNo};
use super::rate::{Rate, Rates};
use super::signature::SigningHeaders;
use super::usage::Place;

/// The number of a meter in its profile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MeterNo(pub u8);

/// The number of a route or tool that each key has a bucket of its own for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RouteBucketNo(pub u16);

/// The most meters in one profile.
pub const METERS_MAX: usize = 16;

/// The name of the profile that admin keys belong to. No product may have it, and lists leave its workspace
/// out.
pub const SYSTEM_PROFILE: &str = "keyward-admin";

/// One product.
#[derive(Debug)]
pub struct Profile {
    /// Its name, as workspaces and configuration refer to it.
    pub name: String,
    /// The brand of its keys.
    pub tag: Tag,
    /// What its routes and tools ask for.
    pub catalogue: Catalogue,
    /// What each permission of the catalogue brings with it, in the catalogue's order.
    pub terms: Vec<Terms>,
    /// The names of its meters; a [`MeterNo`] is the place.
    pub meters: Vec<String>,
    /// Its plans.
    pub plans: Vec<Plan>,
    /// The rates of a key whose workspace, plan and own record set none; `None` is unlimited.
    pub rate: Option<Rates>,
    /// What each key may ask of single routes and tools beside that; a [`RouteBucketNo`] is the place.
    pub route_rates: Vec<Rate>,
    /// Under which headers the body form of signatures is taken; `None` is not at all. Our own form always is.
    pub signing: Option<SigningHeaders>,
    /// The REST door.
    pub rest: Option<RestDoor>,
    /// The JSON-RPC door.
    pub rpc: Option<RpcDoor>,
}

/// What asking for one permission brings with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Only on a paid plan.
    pub paid: bool,
    /// Counted by this meter.
    pub meter: Option<MeterNo>,
}

/// Units of a meter that one call takes: 1 to [`COST_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost(u32);

/// The most units that a profile lets one call take.
pub const COST_MAX: u32 = 1_000_000;

impl Cost {
    /// One unit, where nothing is said.
    pub const ONE: Self = Self(1);

    /// A cost of so many units; `None` outside 1 to [`COST_MAX`].
    pub fn new(units: u64) -> Option<Self> {
        u32::try_from(units).ok().filter(|units| (1..=COST_MAX).contains(units)).map(Self)
    }

    /// The units.
    pub const fn units(self) -> u64 {
        self.0 as u64
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::ONE
    }
}

/// What a known thing asks of a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Requirement {
    /// The permission; `None` when a standing key is enough.
    pub permission: Option<PermissionNo>,
    /// Only on a paid plan.
    pub paid: bool,
    /// Counted by this meter.
    pub meter: Option<MeterNo>,
    /// What one call takes of it.
    pub cost: Cost,
    /// Where its usage is counted.
    pub place: Place,
    /// Paced by a bucket of its own.
    pub bucket: Option<RouteBucketNo>,
}

/// A tier.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Whether paid actions are open.
    pub paid: bool,
    /// The rates of each key, unless the key or workspace sets them.
    pub rate: Option<Rates>,
    /// The rate of all keys of a workspace together, unless the workspace sets one.
    pub workspace_rate: Option<Rate>,
    /// The share admitted over a monthly limit.
    pub grace: Grace,
    /// The monthly limit of each meter; `None` is unlimited.
    pub limits: Vec<Option<u64>>,
}

impl Profile {
    /// The plan with this name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name == name)
    }

    /// The number of the meter with this name.
    pub fn meter(&self, name: &str) -> Option<MeterNo> {
        let place = self.meters.iter().position(|known| known == name)?;
        u8::try_from(place).ok().map(MeterNo)
    }

    /// The name of a meter.
    pub fn meter_name(&self, meter: MeterNo) -> &str {
        self.meters.get(usize::from(meter.0)).map_or("", String::as_str)
    }

    /// The rate of a route or tool that has one.
    pub fn route_rate(&self, number: RouteBucketNo) -> Option<&Rate> {
        self.route_rates.get(usize::from(number.0))
    }

    /// What asking for exactly this permission requires; `None` when nothing here asks for it.
    pub fn requirement(&self, permission: &Permission) -> Option<Requirement> {
        self.catalogue.number(permission).map(|number| self.requirement_of(number))
    }

    /// What asking for the numbered permission requires.
    pub fn requirement_of(&self, number: PermissionNo) -> Requirement {
        let terms = self.terms.get(number.place()).copied().unwrap_or_default();
        Requirement {
            permission: Some(number),
            paid: terms.paid,
            meter: terms.meter,
            cost: Cost::ONE,
            bucket: None,
            place: Place::Permission(number),
        }
    }

    /// Every header beside `Authorization` that carries a key at some door: what no upstream may see,
    /// whichever door it came by.
    pub fn key_headers(&self) -> &[String] {
        self.rest.as_ref().map_or(&[], |door| &door.key_headers)
    }

    /// What holding `held` amounts to here.
    pub fn compile(&self, held: &[Permission]) -> PermissionBits {
        self.catalogue.compile(held)
    }
}

/// The methods that a route can be defined for. HEAD is treated as GET before it comes here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// GET, and HEAD.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// Reads a method, exactly as HTTP writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// The route's method of a request's: HEAD is a GET without the body (RFC 9110, section 9.3.2).
    pub fn of_method(method: &str) -> Option<Self> {
        if method == "HEAD" { Some(Self::Get) } else { Self::parse(method) }
    }

    /// The method's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A set of methods.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerbSet(u8);

impl VerbSet {
    /// The set and this method.
    #[must_use]
    pub const fn with(self, verb: Verb) -> Self {
        Self(self.0 | 1 << verb as u8)
    }

    /// The methods, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.0 >> *verb as u8 & 1 == 1)
    }

    /// The value of an `Allow` header (RFC 9110, section 10.2.1); HEAD stands beside GET.
    pub fn to_allow(self) -> String {
        let names = self.iter().map(|verb| if verb == Verb::Get { "GET, HEAD" } else { verb.as_str() });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// The REST door of a profile.
#[derive(Debug)]
pub struct RestDoor {
    /// The path that all routes lie under, such as `/v1`, or `/`.
    pub base: String,
    /// Headers that may carry a raw key instead of `Authorization: Bearer`, in lower case.
    pub key_headers: Vec<String>,
    /// The routes.
    pub routes: Routes,
}

impl RestDoor {
    /// Whether a path lies under this door.
    pub fn is_at(&self, path: &str) -> bool {
        // Everything lies under the root.
        path.strip_prefix(self.base.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// One route: what it asks and what it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The method.
    pub verb: Verb,
    /// The pattern, such as `/v1/posts/{id}`.
    pub pattern: String,
    /// What it asks of a caller.
    pub requirement: Requirement,
    /// The most bytes of body; `None` leaves it to the upstream.
    pub max_body_bytes: Option<u64>,
    /// Who may come.
    pub access: Access,
    /// Whether a caller with a key may ask the upstream for a WebSocket.
    pub websocket: bool,
}

/// Who may come to a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Whoever holds a key that meets the route's requirement.
    #[default]
    Keyed,
    /// Anyone. A key that is sent all the same must be good.
    Public,
}

impl Route {
    /// Whether its path ends in a star.
    fn has_tail(&self) -> bool {
        self.pattern.contains("{*")
    }

    /// What opens this route to a caller without a key.
    pub fn public(&self) -> Option<Public> {
        (self.access == Access::Public).then_some(Public { bucket: self.requirement.bucket })
    }
}

/// What a method and a path lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// This route.
    Route(&'a Route),
    /// The path, under other methods.
    OtherVerbs(VerbSet),
    /// Nothing.
    Nothing,
}

/// A table of routes.
#[derive(Debug, Default)]
pub struct Routes {
    paths: matchit::Router<usize>,
    /// The paths with a star at their end, which are looked at only then.
    tails: matchit::Router<usize>,
    by_path: Vec<Vec<Route>>,
}

/// A route that does not fit into its table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteConflict {
    /// The method and pattern that were refused.
    pub route: String,
}

impl Routes {
    /// A table of these routes; each segment in braces matches one whole segment of a path, and one with a star
    /// at the end all that is left, if there is any. Plain segments go before names, and names before the star,
    /// whatever their methods.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteConflict> {
        let mut table = Self::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        for route in routes {
            let conflict = || RouteConflict { route: format!("{} {}", route.verb.as_str(), route.pattern) };
            let place = if let Some(place) = places.get(&route.pattern) {
                *place
            } else {
                let place = table.by_path.len();
                let patterns = if route.has_tail() { &mut table.tails } else { &mut table.paths };
                patterns.insert(route.pattern.clone(), place).map_err(|_| conflict())?;
                places.insert(route.pattern.clone(), place);
                table.by_path.push(Vec::new());
                place
            };
            let at_path = table.by_path.get_mut(place).ok_or_else(conflict)?;
            if at_path.iter().any(|known| known.verb == route.verb) {
                return Err(conflict());
            }
            at_path.push(route);
        }
        Ok(table)
    }

    /// Finds the route of a canonical path. `verb` is `None` for a method that no route can have.
    pub fn find(&self, verb: Option<Verb>, path: &str) -> Found<'_> {
        let place = self.place_of(path);
        // To many servers a path is the same with a slash at its end: what has a route of its own without one
        // must not go through the star's.
        let without_slash = path.strip_suffix('/').and_then(|path| self.place_of(path));
        if without_slash.is_some_and(|found| Some(found) != place) || self.heads_another_star(path, place) {
            return Found::Nothing;
        }
        let Some(at_path) = place.and_then(|place| self.by_path.get(place)) else {
            return Found::Nothing;
        };
        match at_path.iter().find(|route| Some(route.verb) == verb) {
            Some(route) => Found::Route(route),
            None => {
                Found::OtherVerbs(at_path.iter().fold(VerbSet::default(), |set, route| set.with(route.verb)))
            }
        }
    }

    /// Whether a path that a star takes is where a narrower star begins, with a slash at its end or without: what
    /// a server answers there belongs to the narrower one, which takes at least one character more.
    fn heads_another_star(&self, path: &str, place: Option<usize>) -> bool {
        let is_stars = self.paths.at(path).is_err() && place.is_some();
        let below =
            || self.tails.at(&format!("{}/x", path.trim_end_matches('/'))).ok().map(|found| *found.value);
        is_stars && below().is_some_and(|found| Some(found) != place)
    }

    fn place_of(&self, path: &str) -> Option<usize> {
        self.paths.at(path).or_else(|_| self.tails.at(path)).ok().map(|found| *found.value)
    }

    /// Every route.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_path.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.by_path.iter_mut().flatten()
    }
}

/// The JSON-RPC door of a profile.
#[derive(Debug)]
pub struct RpcDoor {
    /// The one path that takes messages, such as `/api/mcp-app`.
    pub endpoint: String,
    /// Paths that answer a GET without a key.
    pub public_paths: Vec<String>,
    /// Methods that need no key.
    pub keyless_methods: Vec<String>,
    /// Methods beside `tools/call` that any standing key may use.
    pub methods: Vec<String>,
    /// What each tool asks.
    pub tools: HashMap<String, Requirement>,
    /// The id that a refusal of a key carries.
    pub refused_key_id: RefusedKeyId,
}

/// The id that a refusal of a key carries over JSON-RPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RefusedKeyId {
    /// Always null: the message need not be read to say it.
    #[default]
    Null,
    /// The message's own, where it has one that can be read.
    Echo,
}

/// Something that a profile opens to callers without a key. Only a profile's own list makes one.
#[derive(Clone, Copy, Debug)]
pub struct Public {
    bucket: Option<RouteBucketNo>,
}

impl Public {
    const UNPACED: Self = Self { bucket: None };

    /// The rate that each address has here alone, beside the one for everything without a key.
    pub const fn bucket(self) -> Option<RouteBucketNo> {
        self.bucket
    }
}

impl RpcDoor {
    /// Whether a path is this door's.
    pub fn is_at(&self, path: &str) -> bool {
        self.endpoint == path || self.public_path(path).is_some()
    }

    /// Whether a GET of this path needs no key.
    pub fn public_path(&self, path: &str) -> Option<Public> {
        self.public_paths.iter().any(|known| known == path).then_some(Public::UNPACED)
    }

    /// Whether this method needs no key.
    pub fn keyless_method(&self, method: &str) -> Option<Public> {
        self.keyless_methods.iter().any(|known| known == method).then_some(Public::UNPACED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(verb: Verb, pattern: &str) -> Route {
        Route {
            verb,
            pattern: pattern.to_owned(),
            requirement: Requirement::default(),
            max_body_bytes: None,
            access: Access::Keyed,
            websocket: false,
        }
    }

    fn routes() -> Routes {
        Routes::new(vec![
            route(Verb::Get, "/v1/posts"),
            route(Verb::Post, "/v1/posts"),
            route(Verb::Get, "/v1/posts/{id}"),
            route(Verb::Get, "/v1/accounts/analytics"),
        ])
        .unwrap()
    }

    #[test]
    fn a_path_is_found_first_and_its_method_then() {
        let routes = routes();
        assert!(
            matches!(routes.find(Some(Verb::Get), "/v1/posts/7"), Found::Route(r) if r.pattern == "/v1/posts/{id}")
        );
        assert!(
            matches!(routes.find(Some(Verb::Patch), "/v1/posts"), Found::OtherVerbs(allow) if allow.to_allow() == "GET, HEAD, POST")
        );
        assert!(
            matches!(routes.find(None, "/v1/posts/7"), Found::OtherVerbs(allow) if allow.to_allow() == "GET, HEAD")
        );
        for nothing in ["/v1/posts/", "/v1/posts/7/8", "/v1/post", "/", "/v1//posts"] {
            assert_eq!(routes.find(Some(Verb::Get), nothing), Found::Nothing, "{nothing}");
        }
    }

    #[test]
    fn a_star_takes_what_is_left_and_nothing_that_has_a_route_of_its_own() {
        let patterns =
            ["/v1/files/{*path}", "/v1/files/secret", "/v1/files/{id}/meta", "/v1/{*rest}", "/v1/posts/{id}"];
        let routes = Routes::new(patterns.map(|pattern| route(Verb::Get, pattern)).into()).unwrap();
        for (path, pattern) in [
            ("/v1/files/a", "/v1/files/{*path}"),
            ("/v1/files/a/b/c.txt", "/v1/files/{*path}"),
            ("/v1/files/a/b/", "/v1/files/{*path}"),
            ("/v1/files/secret/b", "/v1/files/{*path}"),
            ("/v1/files/secret", "/v1/files/secret"),
            ("/v1/files/a/meta", "/v1/files/{id}/meta"),
            ("/v1/posts/7", "/v1/posts/{id}"),
            ("/v1/posts", "/v1/{*rest}"),
            ("/v1/posts/7/8", "/v1/{*rest}"),
        ] {
            assert!(
                matches!(routes.find(Some(Verb::Get), path), Found::Route(r) if r.pattern == pattern),
                "{path}"
            );
        }
        for nothing in ["/v1", "/v1/", "/v2/a", "/v1/files/secret/", "/v1/posts/7/", "/v1/files/a/meta/"] {
            assert_eq!(routes.find(Some(Verb::Get), nothing), Found::Nothing, "{nothing}");
        }
        // Where a narrower star begins, the wider one takes nothing: to a server that is the same place.
        for head in ["/v1/files", "/v1/files/"] {
            assert_eq!(routes.find(Some(Verb::Get), head), Found::Nothing, "{head}");
        }
        let own =
            Routes::new(["/{*all}", "/a/{*rest}", "/a"].map(|path| route(Verb::Get, path)).into()).unwrap();
        assert!(matches!(own.find(Some(Verb::Get), "/a"), Found::Route(route) if route.pattern == "/a"));
        assert_eq!(own.find(Some(Verb::Get), "/a/"), Found::Nothing);
        assert!(
            matches!(own.find(Some(Verb::Get), "/b/"), Found::Route(route) if route.pattern == "/{*all}")
        );
        // The path is found first: the star does not lend its methods.
        let mixed = [route(Verb::Get, "/a/b"), route(Verb::Post, "/a/{*rest}"), route(Verb::Get, "/{*all}")];
        let mixed = Routes::new(mixed.into()).unwrap();
        assert!(matches!(mixed.find(Some(Verb::Post), "/a/b"), Found::OtherVerbs(_)));
        assert!(matches!(mixed.find(Some(Verb::Get), "/a/c"), Found::OtherVerbs(_)));
        assert!(Routes::new(vec![route(Verb::Get, "/{*a}"), route(Verb::Post, "/{*b}")]).is_err());
        assert!(Routes::new(vec![route(Verb::Get, "/a/{id}"), route(Verb::Get, "/a/{*b}")]).is_ok());
    }

    #[test]
    fn a_route_given_twice_is_a_conflict() {
        let twice = Routes::new(vec![route(Verb::Get, "/a/{id}"), route(Verb::Get, "/a/{id}")]);
        assert_eq!(twice.unwrap_err().route, "GET /a/{id}");
        assert!(Routes::new(vec![route(Verb::Get, "/a/{id}"), route(Verb::Get, "/a/{name}")]).is_err());
    }

    #[test]
    fn only_the_methods_of_a_route_table_are_verbs() {
        for method in ["HEAD", "get", "GeT", "TRACE", "CONNECT", "OPTIONS", ""] {
            assert!(Verb::parse(method).is_none(), "{method}");
        }
        assert_eq!(Verb::parse("DELETE"), Some(Verb::Delete));
    }
}
