//! Tolerant reading of JSON objects: what is absent, null, empty or of another type reads as absent.

use serde_json::{Map, Value};

use super::{BundlePath, ManifestError};

/// An object whose values are read by name; the default one has no values.
#[derive(Clone, Copy, Default)]
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    /// The fields of `value`, unless it is no object.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(|map| Self(Some(map)))
    }

    /// The object `key`; an empty one when there is none.
    pub(super) fn section(self, key: &str) -> Self {
        self.present(key).unwrap_or_default()
    }

    /// The object `key`, if there is one.
    pub(super) fn present(self, key: &str) -> Option<Self> {
        self.0.and_then(|map| map.get(key)).and_then(Self::of)
    }

    /// The text `key`, without surrounding blanks, if it is one and not empty.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.0.and_then(|map| map.get(key)).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    /// [`Fields::text`], owned.
    pub(super) fn owned(self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    /// The truth value `key`.
    pub(super) fn flag(self, key: &str) -> Option<bool> {
        self.0.and_then(|map| map.get(key)).and_then(Value::as_bool)
    }

    /// The path `key`; `name` is how an error calls it.
    pub(super) fn path(self, key: &str, name: &'static str) -> Result<Option<BundlePath>, ManifestError> {
        self.text(key).map(|text| BundlePath::parse(name, text)).transpose()
    }

    /// Every name with its value.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.0.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }
}

/// What kind of JSON value this is, with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The first 120 characters: enough to recognise a value in a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
