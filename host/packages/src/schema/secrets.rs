//! Which values of a configuration must not be printed: those of properties that the schema calls `writeOnly`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::bounds;

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// The configuration with its secrets replaced.
pub(super) fn redacted(document: &Value, config: &Map<String, Value>) -> Map<String, Value> {
    let mut config = Value::Object(config.clone());
    let mut secrets = BTreeSet::new();
    find(document, document, &config, String::new(), &mut secrets);
    for pointer in secrets {
        // Inside one that is hidden already there is nothing more to find.
        if let Some(secret) = config.pointer_mut(&pointer) {
            *secret = HIDDEN.into();
        }
    }
    match config {
        Value::Object(map) => map,
        // The whole configuration is a secret.
        _ => Map::new(),
    }
}

/// Notes the places in `value` that any applicable part of the schema calls `writeOnly`.
///
/// Whether a branch of `anyOf` or `if` holds is not asked, nor whether a pattern fits a name: a value is hidden once too
/// often rather than printed once.
fn find(document: &Value, schema: &Value, value: &Value, at: String, secrets: &mut BTreeSet<String>) {
    let Some(keywords) = schema.as_object() else { return };
    if keywords.get("writeOnly") == Some(&Value::Bool(true)) {
        secrets.insert(at);
        return;
    }
    if let Some(target) = keywords.get("$ref").and_then(Value::as_str).and_then(|text| bounds::resolve(document, text))
    {
        find(document, target, value, at.clone(), secrets);
    }
    let list = |keyword: &str| keywords.get(keyword).and_then(Value::as_array).into_iter().flatten();
    let map = |keyword: &str| keywords.get(keyword).and_then(Value::as_object).into_iter().flatten();
    // About the value itself.
    let here = ["if", "then", "else", "not"].into_iter().filter_map(|keyword| keywords.get(keyword));
    let here = here.chain(["allOf", "anyOf", "oneOf"].into_iter().flat_map(list));
    let here = here.chain(["dependentSchemas", "dependencies"].into_iter().flat_map(map).map(|(_, part)| part));
    for part in here {
        find(document, part, value, at.clone(), secrets);
    }
    match value {
        Value::Object(fields) => {
            let properties = keywords.get("properties").and_then(Value::as_object);
            let others: Vec<&Value> = ["additionalProperties", "unevaluatedProperties"]
                .into_iter()
                .filter_map(|keyword| keywords.get(keyword))
                .chain(map("patternProperties").map(|(_, part)| part))
                .collect();
            for (name, field) in fields {
                let own = properties.and_then(|properties| properties.get(name));
                for part in own.into_iter().chain(others.iter().copied()) {
                    find(document, part, field, format!("{at}/{}", bounds::escaped(name)), secrets);
                }
            }
        }
        Value::Array(items) => {
            let parts: Vec<&Value> = ["items", "additionalItems", "unevaluatedItems", "contains"]
                .into_iter()
                .filter_map(|keyword| keywords.get(keyword))
                .chain(["items", "prefixItems"].into_iter().flat_map(list))
                .collect();
            for (n, item) in items.iter().enumerate() {
                for part in &parts {
                    find(document, part, item, format!("{at}/{n}"), secrets);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
