//! The members of a JSON object, each given once, for both doors.
//!
//! A name given twice is refused, since readers disagree about which one counts. What is taken out is owned
//! by the taker; a name that nobody asked for is refused by that name.
//!
//! Never here: what a member means (whoever takes it says that).

use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::failure::Failure;

/// Members of one object at most; what callers keep may have many.
const MEMBERS_MAX: usize = 128;

/// Characters of a caller's own name that an error repeats.
const SHOWN_MAX: usize = 64;

/// Characters of the JSON reader's own words that an error repeats.
const SAID_MAX: usize = 200;

/// The members of one object.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<(String, Value)>);

impl Members {
    /// Reads the text of one JSON object; `what` it is called in the error.
    pub(super) fn parse(text: &[u8], what: &str) -> Result<Self, Failure> {
        serde_json::from_slice(text).map_err(|error| {
            // The reader repeats a text that it did not expect, however long.
            let said: String = error.to_string().chars().take(SAID_MAX).collect();
            Failure::Invalid(match error.classify() {
                Category::Data => format!("{what} must be a JSON object with each field once: {said}."),
                Category::Syntax | Category::Eof | Category::Io => {
                    format!("{what} is not valid JSON: {said}.")
                }
            })
        })
    }

    /// Refuses the first member whose name is not among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Failure::Invalid(format!(
                "The field {} is not known here. Known: {}.",
                shown(name),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ))),
            None => Ok(()),
        }
    }

    /// All of them, in their order.
    pub(super) fn into_map(self) -> Map<String, Value> {
        self.0.into_iter().collect()
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }
}

/// A caller's own text as an error repeats it: quoted, escaped, cut short.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("{:?}…", text.get(..cut).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(de::Error::custom(format_args!("{} is given twice", shown(&name))));
                    }
                    if members.len() == MEMBERS_MAX {
                        return Err(de::Error::custom(format_args!("more than {MEMBERS_MAX} fields")));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_only_with_each_field_once() {
        let cases: [(&str, &str); 7] = [
            (r#"{"a":1,"a":2}"#, "\"a\" is given twice"),
            (r#"{"a":1,"\u0061":2}"#, "\"a\" is given twice"),
            ("[1]", "must be a JSON object"),
            ("null", "must be a JSON object"),
            ("", "not valid JSON"),
            ("{\"a\":1} x", "not valid JSON"),
            ("{\"a\":\"\\ud800\"}", "not valid JSON"),
        ];
        for (text, said) in cases {
            let Err(Failure::Invalid(message)) = Members::parse(text.as_bytes(), "The body") else {
                panic!("{text} was read");
            };
            assert!(message.starts_with("The body ") && message.contains(said), "{text}: {message}");
        }
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|number| format!("\"{number}\":0")).collect();
        Members::parse(format!("{{{}}}", many.join(",")).as_bytes(), "The body").unwrap_err();
    }

    #[test]
    fn a_long_text_in_place_of_an_object_is_not_echoed_whole() {
        let Err(Failure::Invalid(message)) =
            Members::parse(format!("\"{}\"", "x".repeat(5000)).as_bytes(), "The body")
        else {
            panic!("a text was read as an object");
        };
        assert!(message.len() < 400, "{}", message.len());
    }

    #[test]
    fn a_long_name_is_cut_where_it_is_repeated() {
        assert_eq!(shown("a\n"), "\"a\\n\"");
        assert_eq!(shown(&"é".repeat(65)), format!("\"{}\"…", "é".repeat(64)));
    }
}
