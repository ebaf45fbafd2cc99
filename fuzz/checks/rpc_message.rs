//! Feeds `RpcMessage::parse` with what a caller may post as a message: any bytes.
//!
//! What always holds: it never panics; what it accepts is one JSON object in which readers that are not strict see the
//! same method, the same `params.name` and the same protocol version. They keep the first or the last of equal members,
//! and take a name for another that differs by letter case (up or down), by NULs in it, or behind the first NUL; one is
//! `serde_json::Value` itself. A message is a method or an answer to all of them.
//!
//! Not covered: the values of members beyond their texts, members deeper than `params._meta`, and readers that take
//! what is no JSON.

use std::fmt;

use keyward::surface::rpc::message::RpcMessage;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub(crate) fn check(body: &[u8]) {
    let Ok(message) = RpcMessage::parse(body) else { return };
    // A reader may refuse what is JSON, as this one does where a number is too large for it: then it sees nothing.
    let (Ok(tree), Ok(value)) =
        (serde_json::from_slice::<Tree>(body), serde_json::from_slice::<serde_json::Value>(body))
    else {
        return;
    };
    let tool = message.tool_name().ok();
    let is_answer = message.method().is_none();
    assert_eq!(value["method"].as_str(), message.method());
    assert_eq!(value["params"]["name"].as_str(), tool.as_deref());
    assert_eq!(value["params"]["_meta"][VERSION].as_str(), message.version());
    for reader in Reader::all() {
        let params = reader.member(&tree, "params");
        let text_of = |tree: Option<&Tree>, name: &str| {
            tree.and_then(|tree| reader.member(tree, name)).and_then(Tree::text).map(str::to_owned)
        };
        let told = format!("{reader:?} reads {}", String::from_utf8_lossy(body));
        assert_eq!(text_of(Some(&tree), "method").as_deref(), message.method(), "{told}");
        assert_eq!(text_of(params, "name").as_deref(), tool.as_deref(), "{told}");
        let meta = params.and_then(|params| reader.member(params, "_meta"));
        assert_eq!(text_of(meta, VERSION).as_deref(), message.version(), "{told}");
        let answers = ["result", "error"].map(|name| reader.member(&tree, name).is_some());
        assert_eq!(answers[0] || answers[1], is_answer, "{told}");
        assert!(!(answers[0] && answers[1]), "{told}");
    }
}

/// A reader that is not strict.
#[derive(Clone, Copy, Debug)]
struct Reader {
    keeps_first: bool,
    spelling: fn(&str) -> String,
}

impl Reader {
    fn all() -> impl Iterator<Item = Self> {
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

    fn member<'a>(&self, tree: &'a Tree, name: &str) -> Option<&'a Tree> {
        let Tree::Object(members) = tree else { return None };
        let wanted = (self.spelling)(name);
        let mut same = members.iter().filter(|(given, _)| (self.spelling)(given) == wanted);
        let found = if self.keeps_first { same.next() } else { same.next_back() };
        found.map(|(_, value)| value)
    }
}

/// JSON with every member that was given, in order.
enum Tree {
    Object(Vec<(String, Tree)>),
    Text(String),
    Other,
}

impl Tree {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object(_) | Self::Other => None,
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
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Tree::Other)
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
