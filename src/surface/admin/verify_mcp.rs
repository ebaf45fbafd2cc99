//! The verify call about an MCP request of which only the headers are known, for gateways that cannot read bodies.
//!
//! In the modern era an upstream refuses a request whose headers and body differ, so what the headers say is what
//! would be done; whoever asks here must forward to such an upstream. Before that version headers bound nobody, and
//! nothing is decided by them.
//!
//! Never here: an answer for a version in which a body could say something else.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::intake::{self, Fields, refused};
use crate::dialect::AdminRefusal;
use crate::domain::decision::Wanted;
use crate::domain::denial::Denial;
use crate::domain::mcp::MODERN_VERSION;
use crate::domain::profile::{Public, RpcDoor, ToolClass};
use crate::surface::rpc::named;

/// What holds where a decision by headers alone is worth something.
const CONDITIONS: [&str; 3] = [
    "forward the request only to an upstream that compares MCP-Protocol-Version, Mcp-Method and Mcp-Name with the body and refuses what differs (-32020)",
    "forward those headers as they are told here, each once",
    "an answer to tools/list is not filtered: it may name tools that this key cannot call",
];

/// What the headers of an MCP request say.
pub(super) struct McpHeaders {
    method: String,
    /// The tool, in a `tools/call`.
    tool: Option<String>,
    /// The product, for a request without a key.
    pub(super) profile: Option<String>,
}

impl McpHeaders {
    /// Reads `mcp`.
    pub(super) fn read(field: &str, raw: &RawValue) -> Result<Self, AdminRefusal> {
        let within = |refusal| match refusal {
            AdminRefusal::Field { detail } => AdminRefusal::Field { detail: format!("{field}.{detail}") },
            other => other,
        };
        Self::of(raw).map_err(within)
    }

    fn of(raw: &RawValue) -> Result<Self, AdminRefusal> {
        let known = ["protocol_version", "method", "name", "profile"];
        let fields = Fields::read(raw.get().as_bytes(), &known)?;
        let version = fields.optional("protocol_version", intake::text)?;
        if !version.is_some_and(|version| is_date(&version) && &*version >= MODERN_VERSION) {
            return Err(refused(
                "protocol_version",
                format!(
                    "{MODERN_VERSION} or later: before that, or without a version, an upstream need not compare headers with the body, so the headers decide nothing"
                ),
            ));
        }
        let method = fields.required("method", header_value)?;
        let name = fields.optional("name", header_value)?;
        let tool = match (&*method, name) {
            ("tools/call", Some(name)) => Some(decoded(&name).ok_or_else(|| {
                refused("name", "a name as it is, or =?base64?…?= around the base64 of its UTF-8")
            })?),
            ("tools/call", None) => {
                return Err(refused("name", "the value of Mcp-Name: a tools/call has one"));
            }
            _ => None,
        };
        Ok(Self { method, tool, profile: fields.optional("profile", intake::text)? })
    }

    /// What is wanted, with what is known of the tool.
    pub(super) fn wanted(
        &self,
        door: Option<&RpcDoor>,
        class_of: impl Fn(&str) -> Option<ToolClass>,
    ) -> Wanted {
        match &self.tool {
            None => door
                .and_then(|door| door.requirement_of_method(&self.method))
                .map_or(Wanted::Refused(Denial::UnknownMethod), Wanted::Known),
            Some(tool) => door
                .and_then(|door| door.requirement(tool, class_of(tool)))
                .map_or(Wanted::Refused(Denial::Permission { needed: None }), Wanted::Known),
        }
    }

    /// Whether it needs no key.
    pub(super) fn public(&self, door: Option<&RpcDoor>) -> Option<Public> {
        door.filter(|_| self.tool.is_none())?.keyless_method(&self.method)
    }

    /// What whoever asked is told beside the verdict.
    pub(super) fn told(&self, door: Option<&RpcDoor>, class_of: impl Fn(&str) -> Option<ToolClass>) -> Value {
        let unknown =
            |tool: &String| door.is_some_and(|door| door.asks_for_class(tool)) && class_of(tool).is_none();
        let mut told = Map::from_iter([("conditions".to_owned(), json!(CONDITIONS))]);
        if self.tool.as_ref().is_some_and(unknown) {
            let why = json!(
                "unknown tool annotation: the profile maps this tool by what it says that it does, and no list of this key went through the gate in the last five minutes; map it by its name"
            );
            told.insert("why".to_owned(), why);
        }
        told.into()
    }
}

/// The value of a header, as a client may send it.
fn header_value(field: &str, raw: &RawValue) -> Result<String, AdminRefusal> {
    let text = intake::text(field, raw)?;
    let plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || !plain || text.trim() != text {
        return Err(refused(field, "the header's value as it came: printable ASCII, no space at either end"));
    }
    Ok(text)
}

/// The name that a header's value stands for; `None` when it cannot be read one way. What looks encoded in other
/// letters is a name to one upstream and its encoding to another.
fn decoded(value: &str) -> Option<String> {
    String::from_utf8(named(value.as_bytes())?.into_owned()).ok()
}

/// Whether a version is one that can be compared: `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let form = |(place, byte): (usize, u8)| {
        if place == 4 || place == 7 { byte == b'-' } else { byte.is_ascii_digit() }
    };
    text.len() == 10 && text.bytes().enumerate().all(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(String, Option<String>), String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        McpHeaders::read("mcp", raw).map(|read| (read.method, read.tool)).map_err(|refusal| match refusal {
            AdminRefusal::Field { detail } => detail,
            _ => panic!("a field is named"),
        })
    }

    #[test]
    fn a_name_is_read_as_it_is_or_decoded() {
        for (name, tool) in [
            ("contacts_list", "contacts_list"),
            ("two words", "two words"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
            ("=?base32?YQ==?=", "=?base32?YQ==?="),
        ] {
            let json = json!({"protocol_version": "2026-07-28", "method": "tools/call", "name": name});
            assert_eq!(read(&json.to_string()).unwrap().1.as_deref(), Some(tool), "{name}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_or_is_too_old_is_refused_and_named() {
        let with = |version: &str, name: &str| {
            json!({"protocol_version": version, "method": "tools/call", "name": name}).to_string()
        };
        for (json, told) in [
            (with("2025-11-25", "a"), "mcp.protocol_version: expected 2026-07-28 or later"),
            (with("", "a"), "mcp.protocol_version"),
            (with("2026-07-28 ", "a"), "mcp.protocol_version"),
            (with("zzzz-zz-zz", "a"), "mcp.protocol_version"),
            (r#"{"method":"tools/call","name":"a"}"#.to_owned(), "without a version"),
            (with("2026-07-28", ""), "mcp.name"),
            (with("2026-07-28", " a"), "mcp.name"),
            (with("2026-07-28", "a\u{0}"), "mcp.name"),
            (with("2026-07-28", "ä"), "mcp.name"),
            (with("2026-07-28", "=?base64?YQ==?"), "mcp.name"),
            (with("2026-07-28", "=?BASE64?YQ==?="), "mcp.name"),
            (with("2026-07-28", "=?Base64?YQ==?="), "mcp.name"),
            (with("2026-07-28", "=?base64?YQ?="), "mcp.name"),
            (with("2026-07-28", "=?base64?/w==?="), "mcp.name"),
            (with("2026-07-28", "=?base64?YR==?="), "mcp.name"),
            (r#"{"protocol_version":"2026-07-28","method":"tools/call"}"#.to_owned(), "mcp.name"),
            (r#"{"protocol_version":"2026-07-28"}"#.to_owned(), "mcp.method: is required"),
            (r#"{"protocol_version":"2026-07-28","method":"a","x":1}"#.to_owned(), "mcp.unknown field"),
            ("7".to_owned(), "mcp.body"),
        ] {
            let refused = read(&json).unwrap_err();
            assert!(refused.contains(told), "{json}: {refused}");
        }
        assert!(read(&with("2026-07-28", "a")).is_ok() && read(&with("2027-01-01", "a")).is_ok());
    }
}
