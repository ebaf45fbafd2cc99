//! Which part of a list a caller wants: `limit` and `offset`, from a query or from a tool's arguments.
//!
//! A page is always within its bounds; what is outside is refused by the field's name, never clamped.
//!
//! Never here: the lists themselves.

use serde_json::Value;

use super::failure::Failure;
use super::members::{Members, shown};

/// The names of the two parameters.
pub(super) const PARAMETERS: [&str; 2] = ["limit", "offset"];

/// Entries on a page when the caller does not say.
pub(super) const LIMIT_DEFAULT: u32 = 20;
/// Entries on a page at most.
pub(super) const LIMIT_MAX: u32 = 50;

/// A part of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Page {
    /// Entries at most, 1 to [`LIMIT_MAX`].
    pub(super) limit: usize,
    /// Entries to leave out first.
    pub(super) offset: usize,
}

impl Page {
    /// Reads the query of a list. Names and numbers are taken as they stand, without percent-decoding: no
    /// client encodes digits, and one text should have one meaning.
    pub(super) fn from_query(query: Option<&str>) -> Result<Self, Failure> {
        let (mut limit, mut offset) = (Given::Nothing, Given::Nothing);
        for pair in
            query.unwrap_or_default().split('&').filter(|_| query.is_some_and(|text| !text.is_empty()))
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "limit" => &mut limit,
                "offset" => &mut offset,
                _ => {
                    return Err(Failure::Invalid(format!(
                        "The parameter {} is not known here. Known: limit, offset.",
                        shown(name)
                    )));
                }
            };
            if *slot != Given::Nothing {
                return Err(Failure::Invalid(format!("The parameter {name} is given twice.")));
            }
            *slot = Given::text(value);
        }
        Self::checked(limit, offset)
    }

    /// Takes the two members out of a tool's arguments.
    pub(super) fn from_members(members: &mut Members) -> Result<Self, Failure> {
        let limit = Given::value(members.take("limit").as_ref());
        let offset = Given::value(members.take("offset").as_ref());
        Self::checked(limit, offset)
    }

    /// This part of a list that lies in memory.
    pub(super) fn of<T>(self, list: &[T]) -> Vec<&T> {
        list.iter().skip(self.offset).take(self.limit).collect()
    }

    fn checked(limit: Given, offset: Given) -> Result<Self, Failure> {
        let limit =
            limit.or(LIMIT_DEFAULT).filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
                Failure::Invalid(format!("limit must be a whole number from 1 to {LIMIT_MAX}."))
            })?;
        let offset = offset.or(0).ok_or_else(|| {
            Failure::Invalid(format!("offset must be a whole number from 0 to {}.", u32::MAX))
        })?;
        Ok(Self {
            limit: usize::try_from(limit).unwrap_or(0),
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
        })
    }
}

/// What a caller gave for one of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    Number(u32),
    NoNumber,
}

impl Given {
    fn text(value: &str) -> Self {
        // A sign is no digit: `+5` would otherwise pass as 5.
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { value.parse().map_or(Self::NoNumber, Self::Number) } else { Self::NoNumber }
    }

    fn value(value: Option<&Value>) -> Self {
        let Some(value) = value else { return Self::Nothing };
        value.as_u64().and_then(|number| u32::try_from(number).ok()).map_or(Self::NoNumber, Self::Number)
    }

    fn or(self, default: u32) -> Option<u32> {
        match self {
            Self::Nothing => Some(default),
            Self::Number(number) => Some(number),
            Self::NoNumber => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_within_its_bounds() {
        for (query, limit, offset) in [
            (None, 20, 0),
            (Some(""), 20, 0),
            (Some("limit=1"), 1, 0),
            (Some("limit=50&offset=4294967295"), 50, 4_294_967_295),
            (Some("offset=7"), 20, 7),
        ] {
            assert_eq!(Page::from_query(query).unwrap(), Page { limit, offset }, "{query:?}");
        }
    }

    #[test]
    fn anything_else_in_a_query_is_refused_by_name() {
        for (query, named) in [
            ("limit=0", "limit"),
            ("limit=51", "limit"),
            ("limit=", "limit"),
            ("limit", "limit"),
            ("limit=+5", "limit"),
            ("limit=-1", "limit"),
            ("limit=5.0", "limit"),
            ("limit=%35", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=5&limit=5", "limit is given twice"),
            ("offset=-1", "offset"),
            ("offset=4294967296", "offset"),
            ("offset=x", "offset"),
            ("page=2", "\"page\""),
            ("Limit=2", "\"Limit\""),
            ("limit=2&", "\"\""),
        ] {
            let Err(Failure::Invalid(message)) = Page::from_query(Some(query)) else {
                panic!("{query} was read");
            };
            assert!(message.contains(named), "{query}: {message}");
        }
    }
}
