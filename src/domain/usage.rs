//! What is counted of each key's requests: where they went, and what became of them.
//!
//! A *place* is something that a profile names: a route, a tool, an RPC method, a public path, a permission
//! that the verify call asks for. All that it does not name is one place, `other`, so that a caller's own words
//! make nothing grow. Every decision about a proven key is counted once, as valid or by its refusal's word;
//! what the upstream made of a granted request stands beside that and changes no count of it.
//!
//! Never here: a table that requests share (engine), or how a report is shown (surface).

mod cell;
mod row;

use std::collections::BTreeMap;

pub use cell::{NoteCell, Noted};
pub use row::{CELLS_MAX, PlaceUsage, UsageRow};

use super::denial::{REFUSAL_NAMES, Refusal};
use super::permission::PermissionNo;
use super::profile::{ANY_METHOD, Profile, Requirement, RpcDoor};
use super::time::Wall;

/// The name of the place that stands for all that a profile does not name.
pub const OTHER_PLACE: &str = "other";
/// The name of the place of verify calls that ask only whether the key stands.
pub const STANDING_PLACE: &str = "key";

/// How long hours are kept; from then on they are part of their day.
pub const HOURS_KEPT: u32 = 35 * HOURS_OF_DAY;
/// How long days are kept.
pub const DAYS_KEPT: u32 = 400;
/// Hours of a day, which is one of UTC.
pub const HOURS_OF_DAY: u32 = 24;

const HOUR_SECS: i64 = 3600;

/// The hour that a moment lies in, numbered from the Unix epoch.
pub fn hour_of(at: Wall) -> u32 {
    u32::try_from(at.secs().max(0) / HOUR_SECS).unwrap_or(u32::MAX)
}

/// When an hour begins.
pub fn start_of_hour(hour: u32) -> Wall {
    Wall::from_secs(i64::from(hour) * HOUR_SECS)
}

/// When a day begins, numbered from the Unix epoch.
pub fn start_of_day(day: u32) -> Wall {
    start_of_hour(day.saturating_mul(HOURS_OF_DAY))
}

/// Where a request is counted: a number in its key's profile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Place {
    /// What the profile does not name.
    #[default]
    Other,
    /// Whether a key stands, and nothing more.
    Standing,
    /// A permission, as the verify call asks for one.
    Permission(PermissionNo),
    /// A route.
    Route(u16),
    /// A tool.
    Tool(u16),
    /// An RPC method, at its place among the methods and then the keyless ones.
    Method(u16),
    /// A public path, at its place in the list.
    PublicPath(u16),
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UsageOutcome {
    /// It was granted.
    Valid,
    /// It was refused.
    Refused(RefusalNo),
    /// It was granted, and this is what came back.
    Answered(UpstreamAnswer),
}

/// The number of a refusal's word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RefusalNo(u8);

impl RefusalNo {
    /// The number of this refusal.
    pub fn of(refusal: &Refusal) -> Self {
        Self(u8::try_from(refusal.ordinal()).unwrap_or(u8::MAX))
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        REFUSAL_NAMES.get(usize::from(self.0)).copied().unwrap_or("unnamed")
    }
}

/// How a granted request was answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UpstreamAnswer {
    /// With a status below 400.
    Fine,
    /// With a status from 400 to 499.
    ClientError,
    /// With a status from 500 on.
    ServerError,
    /// By us: the upstream failed, or the key stopped standing.
    Failed(RefusalNo),
    /// Not at all: the caller went away first.
    Abandoned,
}

impl UpstreamAnswer {
    /// The word of answers that are fine; all others count as errors.
    pub const FINE: &'static str = "ok";

    /// What a status amounts to.
    pub const fn of_status(status: u16) -> Self {
        match status {
            ..400 => Self::Fine,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => Self::FINE,
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Failed(refusal) => refusal.name(),
            Self::Abandoned => "abandoned",
        }
    }
}

impl Profile {
    /// Gives each route and each tool its place. To be called once, when everything else is there.
    pub fn number_places(&mut self) {
        if let Some(door) = &mut self.rest {
            number(door.routes.iter_mut().map(|route| &mut route.requirement), Place::Route);
        }
        if let Some(door) = &mut self.rpc {
            let tools: BTreeMap<_, _> = door.tools.iter_mut().collect();
            let named = u16::try_from(tools.len()).unwrap_or(u16::MAX);
            number(tools.into_values(), Place::Tool);
            // All tools of a pattern are one place.
            for (pattern, number) in door.tool_patterns.iter_mut().zip(named..) {
                for requirement in pattern.terms.requirements_mut() {
                    requirement.place = Place::Tool(number);
                }
            }
            let open = door.methods.len() + door.keyless_methods.len();
            let asking = door.method_requirements.iter_mut().map(|(_, requirement)| requirement);
            for (requirement, number) in asking.zip(u16::try_from(open).unwrap_or(u16::MAX)..) {
                requirement.place = Place::Method(number);
            }
        }
    }

    /// The name of a place.
    pub fn place_name(&self, place: Place) -> String {
        self.name_of_place(place).unwrap_or_else(|| OTHER_PLACE.to_owned())
    }

    fn name_of_place(&self, place: Place) -> Option<String> {
        let rpc = self.rpc.as_ref();
        match place {
            Place::Other => None,
            Place::Standing => Some(STANDING_PLACE.to_owned()),
            Place::Permission(number) => Some(self.catalogue.permission(number)?.to_string()),
            Place::Route(_) => {
                let route =
                    self.rest.as_ref()?.routes.iter().find(|route| route.requirement.place == place)?;
                Some(format!("{} {}", route.verb.as_str(), route.pattern))
            }
            Place::Tool(_) => {
                let mut named = rpc?.tools.iter();
                if let Some((name, _)) = named.find(|(_, requirement)| requirement.place == place) {
                    return Some(name.clone());
                }
                let is_here = |asked: &Requirement| asked.place == place;
                let mut patterns = rpc?.tool_patterns.iter();
                let found = patterns.find(|pattern| pattern.terms.requirements().iter().any(is_here))?;
                Some(found.names.as_str().to_owned())
            }
            Place::Method(number) => rpc?.all_methods().nth(usize::from(number)).cloned(),
            Place::PublicPath(number) => {
                rpc?.public_paths.get(usize::from(number)).map(|path| format!("GET {path}"))
            }
        }
    }
}

impl RpcDoor {
    /// What a method beside `tools/call` asks; `None` when this door does not know it.
    pub fn requirement_of_method(&self, method: &str) -> Option<Requirement> {
        let asking = self.method_requirements.iter().find(|(known, _)| known == method);
        if let Some((_, requirement)) = asking {
            return Some(*requirement);
        }
        let position = |name: &str| self.all_methods().position(|known| known == name);
        let found = position(method).filter(|_| method != ANY_METHOD);
        let found = found.or_else(|| position(ANY_METHOD).filter(|_| self.takes_any(method)));
        numbered(found, Place::Method).map(|place| Requirement::default().at(place))
    }

    /// The place of a public path.
    pub fn place_of_public_path(&self, path: &str) -> Option<Place> {
        numbered(self.public_paths.iter().position(|known| known == path), Place::PublicPath)
    }

    fn all_methods(&self) -> impl Iterator<Item = &String> {
        let asking = self.method_requirements.iter().map(|(name, _)| name);
        self.methods.iter().chain(&self.keyless_methods).chain(asking)
    }
}

impl Requirement {
    /// The same, counted at this place.
    #[must_use]
    pub const fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }
}

fn number<'a>(requirements: impl Iterator<Item = &'a mut Requirement>, place: impl Fn(u16) -> Place) {
    for (number, requirement) in (0..u16::MAX).zip(requirements) {
        requirement.place = place(number);
    }
}

fn numbered(position: Option<usize>, place: impl Fn(u16) -> Place) -> Option<Place> {
    u16::try_from(position?).ok().map(place)
}

#[cfg(test)]
mod tests {
    use super::super::denial::{Denial, Fault};
    use super::*;

    #[test]
    fn hours_and_days_begin_where_utc_says() {
        let at = Wall::parse("2027-03-10T12:59:59.999999Z").unwrap();
        assert_eq!(start_of_hour(hour_of(at)), Wall::parse("2027-03-10T12:00:00Z").unwrap());
        assert_eq!(start_of_day(hour_of(at) / HOURS_OF_DAY), Wall::parse("2027-03-10T00:00:00Z").unwrap());
        assert_eq!(hour_of(at.plus_micros(1)), hour_of(at) + 1);
        assert_eq!((hour_of(Wall::from_secs(-1)), hour_of(Wall::from_secs(3599))), (0, 0));
    }

    #[test]
    fn a_status_is_fine_below_400_and_an_error_of_either_side_from_there_on() {
        let words =
            [100, 200, 399, 400, 499, 500, 999].map(|status| UpstreamAnswer::of_status(status).name());
        assert_eq!(words, ["ok", "ok", "ok", "4xx", "4xx", "5xx", "5xx"]);
    }

    #[test]
    fn a_refusal_keeps_its_word() {
        let refusals = [Refusal::from(Denial::Plan), Fault::UpstreamLate.into()];
        assert_eq!(refusals.map(|refusal| RefusalNo::of(&refusal).name()), ["plan", "upstream_late"]);
    }
}
