//! JSON Schema for what tools take and give: the pieces that several of them share.
//!
//! A schema says what the checks behind it hold; a number that both know stands in one place.
//!
//! Never here: a tool.

use serde_json::{Map, Value, json};

use crate::sandbox::page::{LIMIT_DEFAULT, LIMIT_MAX};

/// An object of these properties and no others, of which these are always there.
pub(super) fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// An object that may have other properties besides.
pub(super) fn open_object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": true})
}

/// A text, and what it is.
pub(super) fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// A text of one to so many characters.
pub(super) fn short_text(chars_max: usize, description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": chars_max, "description": description})
}

/// A moment as RFC 3339 writes it.
pub(super) fn moment() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A whole number from zero.
pub(super) fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// A list of these.
pub(super) fn list_of(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// `{"data": …}`.
pub(super) fn data(inner: &Value) -> Value {
    object(&json!({"data": inner}), &["data"])
}

/// `limit` and `offset`.
pub(super) fn page() -> Map<String, Value> {
    Map::from_iter([
        (
            "limit".to_owned(),
            json!({"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}),
        ),
        ("offset".to_owned(), json!({"type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 0})),
    ])
}
