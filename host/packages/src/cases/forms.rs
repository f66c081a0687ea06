//! Forms that several parts of a case share.

use lectern_domain::ids::ContentGuid;
use toml::Value;

use crate::fields::{self, Fields};

/// A list of texts.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    fields::words(value, "texts", |text| Some(text.to_owned()))
}

/// A content item.
pub(super) fn guid(value: &Value) -> Result<ContentGuid, String> {
    fields::word(value, "a content GUID", |text| text.parse().ok())
}

/// A method of HTTP.
pub(super) fn method(value: &Value) -> Result<String, String> {
    fields::word(value, "a method, as GET", |text| (is_token(text) && text.len() <= 32).then(|| text.to_owned()))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The name of a header field, in lower case.
pub(super) fn header_name(text: &str) -> Option<String> {
    is_token(text).then(|| text.to_ascii_lowercase())
}

/// A table of header fields, each a text or a list of texts.
pub(super) fn headers(fields: &mut Fields<'_>, key: &'static str) -> Option<Vec<(String, String)>> {
    let is_value = |text: &&str| !text.chars().any(|c| c.is_control() && c != '\t');
    let read = |name: &str, value: &Value| {
        let name = header_name(name).ok_or("is not the name of a header field")?;
        let values: Option<Vec<String>> = match value {
            Value::String(text) => is_value(&text.as_str()).then(|| vec![text.clone()]),
            Value::Array(items) => items.iter().map(|item| item.as_str().filter(is_value).map(str::to_owned)).collect(),
            _ => None,
        };
        let values = values.ok_or("must be a text or a list of texts, without control characters")?;
        Ok(values.into_iter().map(|value| (name.clone(), value)).collect::<Vec<_>>())
    };
    let map = fields.map(key, read)?;
    Some(map.into_values().flatten().collect())
}
