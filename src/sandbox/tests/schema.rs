//! A reader of the few words of JSON Schema that the tools use, so that a schema can be held against what comes.
//!
//! Never here: a word that no tool uses; one that is not known here fails.

use serde_json::Value;

/// Whether a value is what the schema says, or why not.
pub(super) fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    for (word, said) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "description" | "default" => true,
            "format" => {
                assert_eq!(said, "date-time");
                value.as_str().is_some_and(|text| crate::domain::time::Wall::parse(text).is_some())
            }
            "type" => match said.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("the type {other}"),
            },
            "const" => value == said,
            "enum" => said.as_array().unwrap().contains(value),
            "minimum" => value.as_f64() >= said.as_f64(),
            "maximum" => value.as_f64() <= said.as_f64(),
            "minLength" => {
                value.as_str().unwrap_or_default().chars().count() as u64 >= said.as_u64().unwrap()
            }
            "maxLength" => {
                value.as_str().unwrap_or_default().chars().count() as u64 <= said.as_u64().unwrap()
            }
            "minItems" => value.as_array().map_or(0, Vec::len) as u64 >= said.as_u64().unwrap(),
            "maxItems" => value.as_array().map_or(0, Vec::len) as u64 <= said.as_u64().unwrap(),
            "items" => {
                value.as_array().into_iter().flatten().try_for_each(|item| fits(item, said))?;
                true
            }
            "properties" => {
                let mut given = value.as_object().into_iter().flatten();
                given.try_for_each(|(name, value)| match said.get(name) {
                    Some(schema) => fits(value, schema).map_err(|why| format!("{name}: {why}")),
                    None => Ok(()),
                })?;
                true
            }
            "required" => {
                said.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                let is_known = |name: &String| known.is_some_and(|known| known.contains_key(name));
                said == true || value.as_object().into_iter().flatten().all(|(name, _)| is_known(name))
            }
            other => panic!("the word {other}"),
        };
        if !holds {
            return Err(format!("{value} is not {word} {said}"));
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_told() {
    use serde_json::json;
    let schema = json!({
        "type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
        "required": ["a"], "additionalProperties": false
    });
    fits(&json!({"a": [1]}), &schema).unwrap();
    for bad in [
        json!([]),
        json!({}),
        json!({"a": 1}),
        json!({"a": ["x"]}),
        json!({"a": [-1]}),
        json!({"a": [], "b": 1}),
    ] {
        fits(&bad, &schema).unwrap_err();
    }
}
