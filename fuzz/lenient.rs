//! Readers of JSON that are not strict, as clients and servers have them: each takes something for something else.
//!
//! They keep the first or the last of equal members, and take a name for another that differs by letter case (up or
//! down), by NULs in it, or behind the first NUL.
//!
//! Never here: what a text should be read as.

#![allow(dead_code, reason = "two checks use this, each a part")]

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A reader that is not strict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    keeps_first: bool,
    spelling: fn(&str) -> String,
}

impl Reader {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let spellings: [fn(&str) -> String; 6] = [
            str::to_owned,
            str::to_lowercase,
            str::to_uppercase,
            |name| name.replace('\0', ""),
            |name| name.split('\0').next().unwrap_or_default().to_owned(),
            |name| name.split('\0').next().unwrap_or_default().to_uppercase(),
        ];
        spellings
            .into_iter()
            .flat_map(|spelling| [true, false].map(|keeps_first| Self { keeps_first, spelling }))
    }

    pub(crate) fn member<'a>(&self, tree: &'a Tree, name: &str) -> Option<&'a Tree> {
        let Tree::Object(members) = tree else { return None };
        let wanted = (self.spelling)(name);
        let mut same = members.iter().filter(|(given, _)| (self.spelling)(given) == wanted);
        let found = if self.keeps_first { same.next() } else { same.next_back() };
        found.map(|(_, value)| value)
    }
}

/// JSON with every member that was given, in order.
pub(crate) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Text(String),
    Other,
}

impl Tree {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object(_) | Self::Array(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Other)
    }
}
