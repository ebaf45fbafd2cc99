//! The members of one JSON object, read so that every other reader must read the same.
//!
//! No member twice, and none that looks like a known one (letter case, NUL, the long s, the Kelvin sign).
//! Values stay the bytes they were.
//!
//! Never here: a `serde_json::Value`, which keeps the last of two equal members.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::denial::Invalid;

/// The members of one object, in order.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object without doubles or look-alikes of `known`. `NotRpc` when it is something else.
    pub(super) fn read(json: &'a [u8], known: &[&str]) -> Result<Self, Invalid> {
        Self::read_at_most(MEMBERS_MAX, json, known)
    }

    /// The same of a text that is this object and nothing else, in one pass. `NotJson` when it is no JSON.
    pub(super) fn read_whole(json: &'a [u8], known: &[&str]) -> Result<Self, Invalid> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let members = reader.deserialize_map(MembersVisitor { members_max: MEMBERS_MAX });
        match members.and_then(|members| reader.end().map(|()| members)) {
            Ok(members) => Self::unambiguous(members, known),
            Err(_) if serde_json::from_slice::<&RawValue>(json).is_ok() => Err(Invalid::NotRpc),
            Err(_) => Err(Invalid::NotJson),
        }
    }

    /// The same of what an upstream answered, which may be of any shape.
    pub(super) fn read_answer(json: &'a [u8], known: &[&str]) -> Result<Self, Invalid> {
        Self::read_at_most(ANSWER_MEMBERS_MAX, json, known)
    }

    fn read_at_most(members_max: usize, json: &'a [u8], known: &[&str]) -> Result<Self, Invalid> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let members = reader.deserialize_map(MembersVisitor { members_max }).map_err(|_| Invalid::NotRpc)?;
        Self::unambiguous(members, known)
    }

    fn unambiguous(members: Vec<(Cow<'a, str>, &'a RawValue)>, known: &[&str]) -> Result<Self, Invalid> {
        for (place, (name, _)) in members.iter().enumerate() {
            let doubled = members.iter().skip(place + 1).any(|(other, _)| other == name);
            let looks_alike =
                !known.contains(&name.as_ref()) && known.iter().any(|known| resembles(name, known));
            if doubled || looks_alike {
                return Err(Invalid::AmbiguousMember);
            }
        }
        Ok(Self(members))
    }

    /// The value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Every member.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

/// Members that one object may have; a message with more is not one of ours.
pub(super) const MEMBERS_MAX: usize = 64;
/// Members that one object of an answer may have. Each is compared with each.
const ANSWER_MEMBERS_MAX: usize = 1024;

struct MembersVisitor {
    members_max: usize,
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {} members", self.members_max)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(4);
        while let Some(BorrowedText(name)) = map.next_key()? {
            if members.len() == self.members_max {
                return Err(serde::de::Error::invalid_length(self.members_max + 1, &self));
            }
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

#[derive(serde::Deserialize)]
pub(super) struct BorrowedText<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Whether the most careless reader could take one name for the other: one that drops NULs or ends a text at the
/// first, and compares in one letter case.
pub(super) fn resembles(name: &str, known: &str) -> bool {
    let is_known = |name: &str| fold(name).eq(fold(known));
    is_known(name) || name.split_once('\0').is_some_and(|(head, _)| is_known(head))
}

/// A name without NULs, in one letter case, also where only some readers fold: the long s is an s, the Kelvin sign a k,
/// an i has its dot.
fn fold(name: &str) -> impl Iterator<Item = char> {
    let folded = name.chars().filter(|c| *c != '\0').map(|c| match c {
        'ſ' => 's',
        'ı' | 'İ' => 'i',
        c => c,
    });
    folded.flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_whole_is_what_two_readings_would_say() {
        let many =
            format!("{{{}}}", (0..65).map(|place| format!("\"a{place}\":1")).collect::<Vec<_>>().join(","));
        for (text, read) in [
            (r#" {"a":1,"b":[{}]} "#, Ok(2)),
            (r#"{"a":1} {"a":2}"#, Err(Invalid::NotJson)),
            (r#"{"a":1,"a":2} x"#, Err(Invalid::NotJson)),
            (r#"{"a":1,"a":2}"#, Err(Invalid::AmbiguousMember)),
            (r#"{"A":1}"#, Err(Invalid::AmbiguousMember)),
            (r#"{"a":1,}"#, Err(Invalid::NotJson)),
            (r#"{"\ud800":1}"#, Err(Invalid::NotRpc)),
            ("[1]", Err(Invalid::NotRpc)),
            (&many, Err(Invalid::NotRpc)),
            ("", Err(Invalid::NotJson)),
        ] {
            let whole = Members::read_whole(text.as_bytes(), &["a"]).map(|members| members.iter().count());
            assert_eq!(whole, read, "{text}");
            let is_json = serde_json::from_slice::<&RawValue>(text.as_bytes()).is_ok();
            let twice = if is_json { Members::read(text.as_bytes(), &["a"]) } else { Err(Invalid::NotJson) };
            assert_eq!(twice.map(|members| members.iter().count()), read, "{text}");
        }
        assert_eq!(Members::read_whole(b"{\"a\":\"\xff\"}", &[]).err(), Some(Invalid::NotJson));
    }
}
