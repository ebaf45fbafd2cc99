//! A profile: one product as data. What its keys look like, what they may be asked for, by which doors, on
//! which plans.
//!
//! A profile that was built is complete: every route and tool has a requirement, every name resolves. The
//! words in which refusals are spoken belong to the `dialect` room, the TOML form to `config`.
//!
//! Never here: a product's name, or the text of a refusal.

mod discovery;
mod routes;
mod rpc;
mod tools;

pub use discovery::{CATALOGUE_PATH, Described};
pub use routes::{Access, Found, Route, RouteConflict, Routes, Verb, VerbSet};
pub use rpc::{ANY_METHOD, LISTING_METHODS, METHOD_LEN_MAX, RefusedKeyId, RpcDoor, is_method};
pub use tools::{
    NamePattern, PATTERN_BYTES_MAX, TOOL_NAME_BYTES_MAX, ToolClass, ToolPattern, ToolRule, ToolTerms,
};

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

/// Something that a profile opens to callers without a key. Only a profile's own list makes one, and what a door
/// tells of itself.
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
