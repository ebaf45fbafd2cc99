//! Reading what an admin sends: one JSON object, every field known and of the right kind, or a refusal that
//! names the field and says what was expected.
//!
//! Never here: a default that widens what a key may do.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::members::Members;
use crate::dialect::AdminRefusal;
use crate::domain::address::{ADDRESS_RULES_MAX, AddressRules, AddressRulesError};
use crate::domain::denial::Invalid;
use crate::domain::id::WorkspaceId;
use crate::domain::permission::{CATALOGUE_MAX, Permission};
use crate::domain::profile::Profile;
use crate::domain::rate::{Rate, Rates, WINDOWS_MAX};
use crate::domain::record::{
    BRANDS_MAX, DESCRIPTION_CHARS_MAX, LABEL_CHARS_MAX, Label, METADATA_BYTES_MAX, PERMISSIONS_MAX,
};
use crate::domain::time::Wall;
use crate::engine::Page;

/// The most items of one page.
const PAGE_MAX: usize = 100;
/// The longest stretch of time that is asked about: ten years.
const DURATION_SECS_MAX: u32 = 3650 * 86_400;
/// Items of a page that does not say.
const PAGE_DEFAULT: usize = 20;

/// A refusal that names a field.
pub(super) fn refused(field: &str, expected: impl std::fmt::Display) -> AdminRefusal {
    AdminRefusal::Field { detail: format!("{field}: expected {expected}") }
}

/// The start of what somebody sent, fit for one line of an answer.
pub(super) fn quoted(text: &str) -> String {
    const QUOTED_CHARS_MAX: usize = 60;
    text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_default).collect()
}

/// The fields of one object.
pub(super) struct Fields<'a> {
    members: Members<'a>,
}

impl<'a> Fields<'a> {
    /// Reads a body that may have these fields and no others.
    pub(super) fn read(body: &'a [u8], known: &[&str]) -> Result<Self, AdminRefusal> {
        let Ok(members) = Members::read_whole(body, known) else {
            let behind = refused("body", "one JSON object and nothing behind it");
            return Err(Members::read(body, known).err().map_or(behind, |invalid| match invalid {
                Invalid::AmbiguousMember => refused("body", "each field once and spelt exactly"),
                _ => refused("body", format!("one JSON object with the fields {}", known.join(", "))),
            }));
        };
        if let Some((unknown, _)) = members.iter().find(|(name, _)| !known.contains(name)) {
            let detail = format!("unknown field `{}`: expected {}", quoted(unknown), known.join(", "));
            return Err(AdminRefusal::Field { detail });
        }
        Ok(Self { members })
    }

    /// Whether a field is there.
    pub(super) fn has(&self, field: &str) -> bool {
        self.members.get(field).is_some()
    }

    /// Whether one of these is.
    pub(super) fn has_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.has(field))
    }

    /// The names of the fields that are there.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.iter().map(|(name, _)| name.to_owned()).collect()
    }

    /// A field that may be left out but not be null.
    pub(super) fn optional<T>(
        &self,
        field: &str,
        read: impl FnOnce(&str, &'a RawValue) -> Result<T, AdminRefusal>,
    ) -> Result<Option<T>, AdminRefusal> {
        self.members.get(field).map(|value| read(field, value)).transpose()
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &self,
        field: &str,
        read: impl FnOnce(&str, &'a RawValue) -> Result<T, AdminRefusal>,
    ) -> Result<T, AdminRefusal> {
        let missing = || AdminRefusal::Field { detail: format!("{field}: is required") };
        read(field, self.members.get(field).ok_or_else(missing)?)
    }

    /// A field that may be left out (stays) or be null (clears).
    #[expect(clippy::option_option, reason = "a merge patch has three cases: left out, null, a value")]
    pub(super) fn clearable<T>(
        &self,
        field: &str,
        read: impl FnOnce(&str, &'a RawValue) -> Result<T, AdminRefusal>,
    ) -> Result<Option<Option<T>>, AdminRefusal> {
        match self.members.get(field) {
            None => Ok(None),
            Some(value) if value.get() == "null" => Ok(Some(None)),
            Some(value) => read(field, value).map(|read| Some(Some(read))),
        }
    }
}

fn value<T: DeserializeOwned>(
    field: &str,
    raw: &RawValue,
    expected: impl std::fmt::Display,
) -> Result<T, AdminRefusal> {
    serde_json::from_str(raw.get()).map_err(|_| refused(field, expected))
}

/// Any text.
pub(super) fn text(field: &str, raw: &RawValue) -> Result<String, AdminRefusal> {
    value(field, raw, "a text")
}

/// True or false.
pub(super) fn flag(field: &str, raw: &RawValue) -> Result<bool, AdminRefusal> {
    value(field, raw, "true or false")
}

/// A whole number from 1 on.
pub(super) fn count(field: &str, raw: &RawValue) -> Result<u64, AdminRefusal> {
    let expected = "a whole number from 1 on";
    match value(field, raw, expected)? {
        0 => Err(refused(field, expected)),
        count => Ok(count),
    }
}

/// The id of a workspace.
pub(super) fn workspace_id(field: &str, raw: &RawValue) -> Result<WorkspaceId, AdminRefusal> {
    let expected = "the id of a workspace, such as \"ws_01h2xcejqtf2nbrexx3vqjhp41\"";
    WorkspaceId::parse(&text(field, raw)?).ok_or_else(|| refused(field, expected))
}

/// A name.
pub(super) fn label(field: &str, raw: &RawValue) -> Result<Label, AdminRefusal> {
    let expected = format!("a text of 1 to {LABEL_CHARS_MAX} characters without control characters");
    let text: String = value(field, raw, &expected)?;
    Label::parse(&text).ok_or_else(|| refused(field, expected))
}

/// A list of names.
pub(super) fn labels(field: &str, raw: &RawValue) -> Result<Vec<Label>, AdminRefusal> {
    let expected = format!("a list of at most {BRANDS_MAX} texts of 1 to {LABEL_CHARS_MAX} characters");
    let texts: Vec<String> = value(field, raw, &expected)?;
    let labels: Option<Vec<_>> = texts.iter().map(|text| Label::parse(text)).collect();
    labels.filter(|labels| labels.len() <= BRANDS_MAX).ok_or_else(|| refused(field, expected))
}

/// A description.
pub(super) fn description(field: &str, raw: &RawValue) -> Result<String, AdminRefusal> {
    let expected = format!("a text of at most {DESCRIPTION_CHARS_MAX} characters");
    let text: String = value(field, raw, &expected)?;
    if text.chars().count() > DESCRIPTION_CHARS_MAX { Err(refused(field, expected)) } else { Ok(text) }
}

/// A moment.
pub(super) fn moment(field: &str, raw: &RawValue) -> Result<Wall, AdminRefusal> {
    let expected = "a time as RFC 3339 writes it, such as \"2027-01-31T00:00:00Z\"";
    let text: String = value(field, raw, expected)?;
    Wall::parse(&text).ok_or_else(|| refused(field, expected))
}

/// Permissions that `profile` knows, each once.
pub(super) fn permissions(
    field: &str,
    raw: &RawValue,
    profile: &Profile,
) -> Result<Vec<Permission>, AdminRefusal> {
    let expected = format!("a list of at most {PERMISSIONS_MAX} texts such as \"posts:read\"");
    let texts: Vec<String> = value(field, raw, &expected)?;
    if texts.len() > PERMISSIONS_MAX {
        return Err(refused(field, expected));
    }
    let mut held: Vec<Permission> = Vec::with_capacity(texts.len());
    for text in &texts {
        let shown = quoted(text);
        let unknown = || AdminRefusal::Field {
            detail: format!(
                "{field}: unknown permission `{shown}`: expected some of {}",
                known_permissions(profile)
            ),
        };
        let permission = Permission::parse(text)
            .filter(|permission| profile.catalogue.knows(permission))
            .ok_or_else(unknown)?;
        if held.contains(&permission) {
            return Err(AdminRefusal::Field { detail: format!("{field}: `{shown}` is given twice") });
        }
        held.push(permission);
    }
    Ok(held)
}

/// One permission that something of `profile` asks for.
pub(super) fn permission(field: &str, raw: &RawValue) -> Result<Permission, AdminRefusal> {
    let expected = "a text such as \"posts:read\"";
    let text: String = value(field, raw, expected)?;
    Permission::parse(&text).ok_or_else(|| refused(field, expected))
}

/// What a profile asks for, as a list for people.
pub(super) fn known_permissions(profile: &Profile) -> String {
    let names: Vec<_> = profile.catalogue.iter().take(CATALOGUE_MAX).map(Permission::as_str).collect();
    format!("{}, or `*` for a resource or an action", names.join(", "))
}

/// One address.
pub(super) fn address(field: &str, raw: &RawValue) -> Result<IpAddr, AdminRefusal> {
    text(field, raw)?.parse().map_err(|_| refused(field, "an IPv4 or IPv6 address"))
}

/// Address rules.
pub(super) fn addresses(field: &str, raw: &RawValue) -> Result<AddressRules, AdminRefusal> {
    let expected = format!(
        "a list of 1 to {ADDRESS_RULES_MAX} addresses or networks such as \"203.0.113.7\" or \"10.0.0.0/8\""
    );
    let rules: Vec<String> = value(field, raw, &expected)?;
    AddressRules::parse(rules.iter().map(String::as_str)).map_err(|error| match error {
        AddressRulesError::Unreadable { place } => {
            let shown = quoted(rules.get(place).map_or("", String::as_str));
            AdminRefusal::Field {
                detail: format!(
                    "{field}: `{shown}` is neither an address nor a network: expected {expected}"
                ),
            }
        }
        AddressRulesError::Empty => AdminRefusal::Field {
            detail: format!(
                "{field}: an empty list would admit nobody: send null (or leave it out) for no rule"
            ),
        },
        AddressRulesError::TooMany => refused(field, expected),
    })
}

/// A stretch of time in seconds, as people write it: 90s, 30m, 24h or 30d.
pub(super) fn duration_secs(field: &str, text: &str) -> Result<u32, AdminRefusal> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let split = text.char_indices().last().map(|(place, unit)| (text.get(..place).unwrap_or_default(), unit));
    let secs = split.and_then(|(digits, unit)| {
        let (_, secs) = units.into_iter().find(|(known, _)| *known == unit)?;
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?;
        number?.checked_mul(secs).filter(|secs| (1..=DURATION_SECS_MAX).contains(secs))
    });
    let expected =
        || format!("a whole number and a unit, such as 12h or 30d, at most {}d", DURATION_SECS_MAX / 86_400);
    secs.ok_or_else(|| refused(field, expected()))
}

/// A refusal of something inside a field, with the field's name before it.
fn inside(field: &str, refusal: AdminRefusal) -> AdminRefusal {
    match refusal {
        AdminRefusal::Field { detail } => AdminRefusal::Field { detail: format!("{field}.{detail}") },
        other => other,
    }
}

/// The rates of a key: `{limit, window_s, burst?}`, or a list of 1 to 4 of them.
pub(super) fn rates(field: &str, raw: &RawValue) -> Result<Rates, AdminRefusal> {
    if !raw.get().starts_with('[') {
        return rate(field, raw).map(Rates::from);
    }
    let expected = format!("one {{limit, window_s, burst?}}, or a list of 1 to {WINDOWS_MAX} of them");
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| refused(field, &expected))?;
    if items.len() > WINDOWS_MAX {
        return Err(refused(field, expected));
    }
    let read = |(place, raw): (usize, &&RawValue)| rate(&format!("{field}[{place}]"), raw);
    let read = items.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Rates::new(read).map_err(|error| refused(field, error.expected()))
}

/// A rate: `{limit, window_s, burst?}`.
pub(super) fn rate(field: &str, raw: &RawValue) -> Result<Rate, AdminRefusal> {
    let named = |refusal| inside(field, refusal);
    let fields = Fields::read(raw.get().as_bytes(), &["limit", "window_s", "burst"]).map_err(named)?;
    let whole = |name: &str, raw: &RawValue| value::<u64>(name, raw, "a whole number");
    let limit = fields.required("limit", whole).map_err(named)?;
    let window = fields.required("window_s", whole).map_err(named)?;
    let burst = fields.optional("burst", whole).map_err(named)?;
    let window = u32::try_from(window).unwrap_or(u32::MAX);
    Rate::new(limit, window, burst).map_err(|error| {
        let (member, expected) = error.expected();
        refused(&format!("{field}.{member}"), expected)
    })
}

/// A user's own JSON object, kept as its text.
pub(super) fn metadata(field: &str, raw: &RawValue) -> Result<String, AdminRefusal> {
    let expected = format!("a JSON object of at most {METADATA_BYTES_MAX} bytes");
    let is_object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(raw.get());
    match is_object {
        // The map, not the text: what is kept has no doubled members and no odd spacing.
        Ok(object) if raw.get().len() <= METADATA_BYTES_MAX => {
            Ok(serde_json::Value::Object(object).to_string())
        }
        _ => Err(refused(field, expected)),
    }
}

/// What a workspace sets apart from its plan; `null` inside clears.
#[derive(Default)]
#[expect(clippy::option_option, reason = "a merge patch has three cases: left out, null, a value")]
pub(super) struct OverridesPatch {
    pub(super) rate: Option<Option<Rates>>,
    pub(super) workspace_rate: Option<Option<Rate>>,
    pub(super) meters: BTreeMap<String, Option<u64>>,
}

/// `{rate?, workspace_rate?, meters?: {NAME: limit}}`, as a JSON merge patch (RFC 7396).
pub(super) fn overrides(
    field: &str,
    raw: &RawValue,
    profile: &Profile,
) -> Result<OverridesPatch, AdminRefusal> {
    let fields = Fields::read(raw.get().as_bytes(), &["rate", "workspace_rate", "meters"])
        .map_err(|refusal| inside(field, refusal))?;
    let own_rates = fields.clearable("rate", |name, raw| rates(&format!("{field}.{name}"), raw))?;
    let workspace_rate =
        fields.clearable("workspace_rate", |name, raw| rate(&format!("{field}.{name}"), raw))?;
    let at = format!("{field}.meters");
    let known: Vec<_> = profile.meters.iter().map(String::as_str).collect();
    let limits = fields.optional("meters", |_, raw| {
        let named = Fields::read(raw.get().as_bytes(), &known).map_err(|refusal| inside(&at, refusal))?;
        let mut limits = BTreeMap::new();
        for name in &known {
            let limit = named.clearable(name, |_, raw| {
                value::<u64>(&format!("{at}.{name}"), raw, "a whole number, or null for the plan's")
            })?;
            limits.extend(limit.map(|limit| ((*name).to_owned(), limit)));
        }
        Ok(limits)
    })?;
    Ok(OverridesPatch { rate: own_rates, workspace_rate, meters: limits.unwrap_or_default() })
}

/// The parameters of a query, each known and given once.
pub(super) struct Query<'a>(Vec<(&'a str, String)>);

impl<'a> Query<'a> {
    /// Reads a query that may have these parameters and no others.
    pub(super) fn read(query: Option<&'a str>, known: &[&str]) -> Result<Self, AdminRefusal> {
        let mut given: Vec<(&str, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) || given.iter().any(|(other, _)| *other == name) {
                return Err(refused(
                    "query",
                    format!("each of {} at most once, and nothing else", known.join(", ")),
                ));
            }
            let text = percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| refused(name, "a text in UTF-8"))?;
            given.push((name, text.into_owned()));
        }
        Ok(Self(given))
    }

    /// A parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    /// `limit` and `offset`.
    pub(super) fn page(&self) -> Result<Page, AdminRefusal> {
        let number = |name: &str, default: usize, range: std::ops::RangeInclusive<usize>| match self.get(name)
        {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| range.contains(number) && text.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| {
                    refused(name, format!("a whole number from {} to {}", range.start(), range.end()))
                }),
        };
        let limit = number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
        Ok(Page::new(number("offset", 0, 0..=1_000_000_000)?, limit))
    }
}
