//! The tools of the admin listener: what each is called, takes, and which route it is.
//!
//! A tool's arguments are the fields of its route's body, or the parameters of its query, under the same names;
//! the route reads them as strictly as anybody's, so a schema here describes and never decides.
//!
//! Never here: a call.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use crate::domain::profile::Verb;

/// One tool.
pub(super) struct AdminTool {
    pub(super) name: &'static str,
    pub(super) verb: Verb,
    /// The pattern of its route.
    pub(super) pattern: &'static str,
    title: &'static str,
    description: &'static str,
    hints: Hints,
    /// Its arguments: a JSON Schema of properties, and the names of those that must be there.
    properties: fn() -> Value,
    required: &'static [&'static str],
}

/// What a client may tell its user of a tool.
enum Hints {
    Reads,
    Adds,
    /// What was there before is gone for good.
    Ends,
}

/// The argument that stands in the braces of a route.
const ID: &str = "id";

/// What is escaped in a query: all but the unreserved characters (RFC 3986, section 2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call's arguments as its route takes them.
pub(super) struct Arguments {
    pub(super) id: Option<String>,
    pub(super) query: Option<String>,
    pub(super) body: Vec<u8>,
}

impl AdminTool {
    /// What `tools/list` tells of it.
    pub(super) fn described(&self) -> Tool {
        let schema = json!({
            "type": "object",
            "properties": (self.properties)(),
            "required": self.required,
            "additionalProperties": false,
        });
        let hints = ToolAnnotations::new().open_world(false);
        let hints = match self.hints {
            Hints::Reads => hints.read_only(true),
            Hints::Adds => hints.read_only(false).destructive(false).idempotent(false),
            Hints::Ends => hints.read_only(false).destructive(true),
        };
        let schema = match schema {
            Value::Object(schema) => schema,
            _ => JsonObject::new(),
        };
        Tool::new(self.name, self.description, Arc::new(schema))
            .with_title(self.title)
            .with_annotations(hints)
    }

    /// Lays out a call's arguments, or says what was expected.
    pub(super) fn arguments(&self, mut given: JsonObject) -> Result<Arguments, String> {
        let id = if self.pattern.contains('{') {
            match given.shift_remove(ID) {
                Some(Value::String(id)) => Some(id),
                _ => {
                    return Err(format!(
                        "{ID}: expected the id of a key, such as \"key_01h2xcejqtf2nbrexx3vqjhp41\""
                    ));
                }
            }
        } else {
            None
        };
        if self.verb != Verb::Get {
            let body = serde_json::to_vec(&given).map_err(|error| error.to_string())?;
            return Ok(Arguments { id, query: None, body });
        }
        let parameter = |(name, value): (&String, &Value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return Err(format!("{}: expected a text or a number", name.escape_default())),
            };
            let encoded = |text: &str| utf8_percent_encode(text, &RESERVED).to_string();
            Ok(format!("{}={}", encoded(name), encoded(&text)))
        };
        let parameters = given.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
        let query = (!parameters.is_empty()).then(|| parameters.join("&"));
        Ok(Arguments { id, query, body: Vec::new() })
    }
}

/// Every tool.
pub(super) static TOOLS: [AdminTool; 9] = [
    AdminTool {
        name: "list_workspaces",
        verb: Verb::Get,
        pattern: "/api/v1/workspaces",
        title: "List workspaces",
        description: "The accounts that keys belong to, with profile and plan. One page.",
        hints: Hints::Reads,
        properties: || {
            let status = json!({"type": "string", "enum": ["active", "suspended", "deleted"]});
            page(json!({"status": status}))
        },
        required: &[],
    },
    AdminTool {
        name: "list_keys",
        verb: Verb::Get,
        pattern: "/api/v1/keys",
        title: "List keys",
        description: "Keys with their permissions, expiry and last use, never their text. One page.",
        hints: Hints::Reads,
        properties: || {
            page(json!({
                "workspace_id": {"type": "string", "description": "Only keys of this workspace."},
                "status": {"type": "string", "enum": ["active", "expired", "revoked"]},
                "unused_for": {"type": "string", "description": "Only keys that were not used for so long, such as 90d."},
            }))
        },
        required: &[],
    },
    AdminTool {
        name: "show_key",
        verb: Verb::Get,
        pattern: "/api/v1/keys/{id}",
        title: "Show a key",
        description: "One key, never its text.",
        hints: Hints::Reads,
        properties: || json!({"id": key_id()}),
        required: &[ID],
    },
    AdminTool {
        name: "create_key",
        verb: Verb::Post,
        pattern: "/api/v1/keys",
        title: "Create a key",
        description: "Makes a key. Its text is in the answer, under `key`, and cannot be had again.",
        hints: Hints::Adds,
        properties: || {
            json!({
                "workspace_id": {"type": "string", "description": "The account it belongs to: see list_workspaces."},
                "permissions": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Such as [\"posts:read\"]; none when left out. A refusal names those that the \
                                    workspace's profile knows.",
                },
                "name": {"type": "string"},
                "description": {"type": "string"},
                "expires_at": {"type": "string", "format": "date-time"},
                "ip_allow": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Addresses and ranges, such as 10.0.0.0/8, that it may be used from.",
                },
                "rate": {"type": "object", "description": "Such as {\"limit\": 60, \"window_s\": 60}."},
                "metadata": {"type": "object"},
                "require_signature": {"type": "boolean"},
            })
        },
        required: &["workspace_id", "permissions"],
    },
    AdminTool {
        name: "rotate_key",
        verb: Verb::Post,
        pattern: "/api/v1/keys/{id}/rotate",
        title: "Rotate a key",
        description: "Gives a key a new secret, told under `key` once; the older one ends after `overlap_s`.",
        hints: Hints::Ends,
        properties: || {
            let overlap =
                json!({"type": "integer", "minimum": 0, "description": "Seconds that both secrets work."});
            json!({"id": key_id(), "overlap_s": overlap})
        },
        required: &[ID, "overlap_s"],
    },
    AdminTool {
        name: "revoke_key",
        verb: Verb::Post,
        pattern: "/api/v1/keys/{id}/revoke",
        title: "Revoke a key",
        description: "Ends a key at once and for good; its open streams are cut.",
        hints: Hints::Ends,
        properties: || json!({"id": key_id()}),
        required: &[ID],
    },
    AdminTool {
        name: "key_usage",
        verb: Verb::Get,
        pattern: "/api/v1/keys/{id}/usage",
        title: "Usage of a key",
        description: "Requests, refusals and errors of a key by hour or day, and by route and tool.",
        hints: Hints::Reads,
        properties: || {
            json!({
                "id": key_id(),
                "from": {"type": "string", "format": "date-time"},
                "to": {"type": "string", "format": "date-time"},
                "step": {"type": "string", "enum": ["hour", "day"]},
            })
        },
        required: &[ID],
    },
    AdminTool {
        name: "workspace_meters",
        verb: Verb::Get,
        pattern: "/api/v1/workspaces/{id}/meters",
        title: "Meters of a workspace",
        description: "What the workspace used of its monthly limits.",
        hints: Hints::Reads,
        properties: || json!({"id": {"type": "string", "description": "The id of a workspace: ws_…"}}),
        required: &[ID],
    },
    AdminTool {
        name: "explain_refusal",
        verb: Verb::Post,
        pattern: "/api/v1/keys/{id}/explain",
        title: "Explain a refusal",
        description: "What a request of a key would be told now, check by check, and why. Spends nothing.",
        hints: Hints::Reads,
        properties: || {
            json!({
                "id": key_id(),
                "permission": {"type": "string", "description": "A permission that would be needed; or:"},
                "method": {"type": "string", "description": "the method and"},
                "path": {"type": "string", "description": "path of a request; or:"},
                "tool": {"type": "string", "description": "the name of a tool."},
                "ip": {"type": "string", "description": "The address that it would come from."},
                "meter": {"type": "string"},
                "cost": {"type": "integer", "minimum": 1},
                "prefix": {"type": "string", "description": "Which secret of the key; the newest when left out."},
            })
        },
        required: &[ID],
    },
];

fn key_id() -> Value {
    json!({"type": "string", "description": "The id of a key: key_…"})
}

/// These parameters and those of a page.
fn page(parameters: Value) -> Value {
    let mut parameters = parameters;
    if let Value::Object(parameters) = &mut parameters {
        parameters.insert("limit".to_owned(), json!({"type": "integer", "minimum": 1, "maximum": 100}));
        parameters.insert("offset".to_owned(), json!({"type": "integer", "minimum": 0}));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str) -> &'static AdminTool {
        TOOLS.iter().find(|tool| tool.name == name).unwrap()
    }

    fn object(value: &Value) -> JsonObject {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn arguments_become_a_query_or_a_body_and_the_id_is_the_routes() {
        let given = object(&json!({"id": "key_1", "from": "2027-01-31T00:00:00+01:00", "step": "day"}));
        let arguments = tool("key_usage").arguments(given).unwrap();
        assert_eq!(arguments.id.as_deref(), Some("key_1"));
        assert_eq!(arguments.query.as_deref(), Some("from=2027-01-31T00%3A00%3A00%2B01%3A00&step=day"));
        let arguments =
            tool("rotate_key").arguments(object(&json!({"id": "key_1", "overlap_s": 60}))).unwrap();
        assert_eq!((arguments.id.as_deref(), &*arguments.body), (Some("key_1"), &b"{\"overlap_s\":60}"[..]));
        let arguments = tool("list_keys").arguments(JsonObject::new()).unwrap();
        assert_eq!((arguments.id, arguments.query), (None, None));
    }

    #[test]
    fn an_argument_that_no_query_can_carry_is_told() {
        for bad in [json!({}), json!({"id": 7}), json!({"id": "key_1", "step": ["day"]})] {
            assert!(tool("key_usage").arguments(object(&bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schema_names_each_required_argument() {
        for tool in &TOOLS {
            let described = tool.described();
            let properties = described.input_schema["properties"].as_object().unwrap();
            assert!(tool.required.iter().all(|name| properties.contains_key(*name)), "{}", tool.name);
        }
    }
}
