//! JSON objects as text in one written form, so that a hash can cover them and the database gives back the same bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A JSON object as text. Made from values it has sorted keys and no white space: equal objects are equal texts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Document(String);

/// A text that is not a JSON object.
#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    /// It cannot be read.
    #[error("not JSON")]
    Syntax(#[source] serde_json::Error),
    /// It is another JSON value.
    #[error("a JSON object is needed, with braces around it")]
    NotAnObject,
}

impl Document {
    /// Writes an object.
    pub fn new(object: Map<String, Value>) -> Self {
        Self(sorted(Value::Object(object)).to_string())
    }

    /// Writes what a type is as JSON. Fails for values that JSON cannot say, and for those that are no objects.
    pub fn of(value: &impl Serialize) -> Result<Self, BadDocument> {
        match serde_json::to_value(value).map_err(BadDocument::Syntax)? {
            Value::Object(object) => Ok(Self::new(object)),
            _ => Err(BadDocument::NotAnObject),
        }
    }

    /// Takes back a text that was stored, byte by byte: what was hashed once is hashed again, in whatever form it is.
    pub fn stored(text: String) -> Result<Self, BadDocument> {
        match serde_json::from_str(&text).map_err(BadDocument::Syntax)? {
            Value::Object(_) => Ok(Self(text)),
            _ => Err(BadDocument::NotAnObject),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object.
    pub fn to_object(&self) -> Map<String, Value> {
        // The text was read once: an empty object stands for what cannot happen.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// The value with the keys of all objects in order of their bytes.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<(String, Value)> = object.into_iter().collect();
            fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain => plain,
    }
}

impl Default for Document {
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Document {
    type Err = BadDocument;
    fn from_str(text: &str) -> Result<Self, BadDocument> {
        match serde_json::from_str(text).map_err(BadDocument::Syntax)? {
            Value::Object(object) => Ok(Self::new(object)),
            _ => Err(BadDocument::NotAnObject),
        }
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_object().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(Map::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn equal_objects_are_equal_texts() {
        let cases = [
            (r#"{"b": 1, "a": {"d": [ {"y":1,"x":2} ], "c": null}}"#, r#"{"a":{"c":null,"d":[{"x":2,"y":1}]},"b":1}"#),
            ("{}", "{}"),
            (r#" { "a" : "\u0041\u0000" } "#, r#"{"a":"A\u0000"}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ];
        for (text, expected) in cases {
            let document: Document = text.parse().unwrap();
            assert_eq!(document.as_str(), expected);
            assert_eq!(expected.parse::<Document>().unwrap(), document);
            let json = serde_json::to_string(&document).unwrap();
            assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
        }
        for bad in ["", "[]", "1", "null", "{", "{} {}"] {
            assert!(bad.parse::<Document>().is_err(), "{bad}");
            assert!(Document::stored(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(Document::default(), "{}".parse().unwrap());
    }

    #[test]
    fn stored_texts_stay_as_they_are() {
        let text = r#"{"b":0.30000000000000004, "a":1e2}"#;
        assert_eq!(Document::stored(text.to_owned()).unwrap().as_str(), text);
    }

    #[test]
    fn types_are_written() {
        assert_eq!(
            Document::of(&super::super::Share::default()).unwrap().as_str(),
            r#"{"per_ten_thousand":0,"users":[]}"#
        );
        assert!(Document::of(&7).is_err());
    }
}
