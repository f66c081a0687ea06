//! The values that a schema itself gives: the `default`s of its properties at the top.

use serde_json::{Map, Value};

use super::bounds;

/// By key. Deeper `default`s are descriptions only, as they are everywhere else.
pub(super) fn of(document: &Value) -> Map<String, Value> {
    let mut defaults = Map::new();
    for (key, property) in document.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = default_of(document, property) {
            defaults.insert(key.clone(), value.clone());
        }
    }
    defaults
}

/// The property's own, or that of what it refers to. References are checked to end.
fn default_of<'a>(document: &'a Value, property: &'a Value) -> Option<&'a Value> {
    let own = property.get("default");
    own.or_else(|| default_of(document, bounds::resolve(document, property.get("$ref")?.as_str()?)?))
}
