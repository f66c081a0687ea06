//! The configuration of a release as plugins read it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A JSON object, in one text and by its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    document: String,
    values: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn new(config: &Map<String, Value>) -> Self {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self {
            document: Value::Object(config.clone()).to_string(),
            values: config.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        }
    }

    /// The whole object as JSON.
    pub(crate) fn document(&self) -> &str {
        &self.document
    }

    /// One member: a text as it is, anything else as JSON.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The members' names, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn members_are_texts() {
        let Value::Object(config) = serde_json::json!({"b": "x", "a": 1, "c": {"d": [true]}}) else {
            unreachable!("an object")
        };
        let settings = Settings::new(&config);
        assert_eq!(settings.keys(), ["a", "b", "c"]);
        assert_eq!(
            [settings.get("a"), settings.get("b"), settings.get("c")],
            [Some("1"), Some("x"), Some(r#"{"d":[true]}"#)]
        );
        assert_eq!(settings.get("e"), None);
        assert_eq!(serde_json::from_str::<Value>(settings.document()).unwrap(), Value::Object(config));
    }
}
