//! The table of REST routes: which requirement a method and a path lead to.
//!
//! A path is found first and its method then; a path that two readers could find in two places leads nowhere.
//!
//! Never here: the reading of a request's target; what comes in is canonical.

use std::collections::HashMap;

use super::{Public, Requirement};

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
        let plain = self.paths.at(path).ok().map(|found| *found.value);
        let place = plain.or_else(|| self.tails.at(path).ok().map(|found| *found.value));
        let is_stars = plain.is_none() && place.is_some();
        // To many servers a path is the same with a slash at its end: what has a route of its own without one
        // must not go through the star's.
        let without_slash = path.strip_suffix('/').and_then(|path| self.place_of(path));
        if without_slash.is_some_and(|found| Some(found) != place)
            || (is_stars && self.heads_another_star(path, place))
        {
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

    /// Whether a path that a star takes, at `place`, is where a narrower star begins, with a slash at its end or
    /// without: what a server answers there belongs to the narrower one, which takes at least one character more.
    fn heads_another_star(&self, path: &str, place: Option<usize>) -> bool {
        let below = format!("{}/x", path.trim_end_matches('/'));
        self.tails.at(&below).is_ok_and(|found| Some(*found.value) != place)
    }

    fn place_of(&self, path: &str) -> Option<usize> {
        self.paths.at(path).or_else(|_| self.tails.at(path)).ok().map(|found| *found.value)
    }

    /// Every route.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_path.iter().flatten()
    }

    pub(in crate::domain) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.by_path.iter_mut().flatten()
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
