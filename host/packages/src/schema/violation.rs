//! What a value breaks, said so that its author can mend it: where, what stands there, and what must.

use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use crate::fields::nearest;
use crate::mistake::quoted;

/// How many are reported. A list of wrong items has one for each.
const MAX_REPORTED: usize = 50;
/// How much of a value is repeated.
const MAX_VALUE_CHARS: usize = 80;
/// How many forms of a choice are described.
const MAX_FORMS: usize = 5;

/// One breach of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON pointer: `/oidc/issuer`. `/` is the whole.
    pub at: String,
    /// What stands there; `None`: nothing, or something that is not one value.
    pub value: Option<String>,
    /// What must.
    pub expected: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.at, self.expected),
            None => write!(f, "{}: {}", self.at, self.expected),
        }
    }
}

/// All breaches, one a line; of very many the first 50.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    reported: Vec<Violation>,
    more: usize,
}

impl Violations {
    /// In the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.reported.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.reported.is_empty()
    }

    /// `shown` is the value as it may be printed; `schema` describes its keys.
    pub(super) fn of<'i>(
        errors: impl Iterator<Item = ValidationError<'i>>,
        shown: &Value,
        schema: Option<&Value>,
    ) -> Self {
        let mut violations = Self::default();
        for error in errors {
            if violations.reported.len() == MAX_REPORTED {
                violations.more += 1;
                continue;
            }
            for violation in of_error(&error, shown, schema) {
                match () {
                    // Two branches of a schema may say the same.
                    () if violations.reported.contains(&violation) => {}
                    () if violations.reported.len() < MAX_REPORTED => violations.reported.push(violation),
                    () => violations.more += 1,
                }
            }
        }
        violations
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, violation) in self.reported.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{violation}")?;
        }
        if self.more == 0 { Ok(()) } else { write!(f, "\nand {} more", self.more) }
    }
}

/// A pointer as it stands in messages.
pub(super) fn pointer(pointer: &str) -> String {
    if pointer.is_empty() { "/".into() } else { pointer.into() }
}

/// Whether an error is about a value that is there, not about one that is missing.
pub(super) fn is_about_what_is_there(error: &ValidationError<'_>) -> bool {
    match error.kind() {
        Kind::Required { .. } => false,
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } | Kind::PropertyNames { .. } => true,
        _ => !error.instance_path().as_str().is_empty(),
    }
}

/// Missing and unknown keys are each a violation of their own, at the key.
fn of_error(error: &ValidationError<'_>, shown: &Value, schema: Option<&Value>) -> Vec<Violation> {
    let at = error.instance_path().as_str();
    let key = |name: &str| format!("{at}/{}", super::bounds::escaped(name));
    // Only the keys at the top can be looked up without asking which parts of the schema apply.
    let properties = schema.filter(|_| at.is_empty()).and_then(|schema| schema.get("properties")?.as_object());
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let description = properties.and_then(|properties| properties.get(name)?.get("description")?.as_str());
            let expected = match description {
                Some(text) => format!("missing: {}", text.split('\n').next().unwrap_or_default()),
                None => "missing".into(),
            };
            vec![Violation { at: key(name), value: None, expected }]
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let hint = |name: &str| {
                // Whoever has more keys than these looks them up.
                let known = properties.into_iter().flatten().take(200).map(|(known, _)| known.as_str());
                nearest(name, known).map_or(String::new(), |known| format!("; did you mean {known}?"))
            };
            let unknown = |(n, name): (usize, &String)| {
                let hint = if n < MAX_REPORTED { hint(name) } else { String::new() };
                Violation { at: key(name), value: None, expected: format!("no such key{hint}") }
            };
            unexpected.iter().enumerate().map(unknown).collect()
        }
        kind => vec![Violation {
            at: pointer(at),
            value: shown.pointer(at).and_then(shown_value),
            expected: expected(kind, at),
        }],
    }
}

/// A value on one line; lists and objects are not repeated, since they may be long and hold more than the mistake.
fn shown_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text == super::secrets::HIDDEN => Some(text.clone()),
        Value::String(text) => Some(quoted(text, MAX_VALUE_CHARS)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) => Some("(a list)".into()),
        Value::Object(_) => None,
    }
}

/// What must stand at `at`. Says nothing of what does: it may be a secret.
fn expected(kind: &Kind, at: &str) -> String {
    match kind {
        Kind::AdditionalItems { limit } => format!("must have at most {}", items(*limit as u64)),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => format!("must be {}", forms(context, at)),
        Kind::OneOfMultipleValid { .. } => {
            "must fit exactly one of the forms that are allowed, and fits several".into()
        }
        Kind::Constant { expected_value } => format!("must be {}", cut(expected_value)),
        Kind::Contains => "must hold an item that fits, or fewer or more of them".into(),
        Kind::ContentEncoding { content_encoding } => format!("must be encoded as {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => format!("must be text of the type {content_media_type}"),
        Kind::FromUtf8 { .. } => "must be text in UTF-8 when decoded".into(),
        Kind::Custom { message, .. } => message.clone(),
        Kind::Enum { options } => match options.as_array() {
            Some(options) if options.len() > 1 => {
                let words: Vec<String> = options.iter().take(20).map(cut).collect();
                let more = if options.len() > 20 { ", …" } else { "" };
                format!("must be one of {}{more}", words.join(", "))
            }
            Some(options) => format!("must be {}", options.first().map(cut).unwrap_or_default()),
            None => format!("must be {}", cut(options)),
        },
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::FalseSchema => "must not be there".into(),
        Kind::Format { format } => format!("must have the form {format:?}"),
        Kind::MaxItems { limit } => format!("must have at most {}", items(*limit)),
        Kind::MinItems { limit } => format!("must have at least {}", items(*limit)),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinLength { limit: 1 } => "must not be empty".into(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        Kind::MinProperties { limit } => format!("must have at least {limit} keys"),
        Kind::Not { .. } => "must not have this form".into(),
        Kind::Pattern { pattern } => format!("must match the pattern {}", quoted(pattern, MAX_VALUE_CHARS)),
        Kind::PropertyNames { error } => format!("has a key that is not allowed: a key {}", expected(error.kind(), at)),
        Kind::Required { property } => format!("must have the key {property}"),
        Kind::Type { kind: TypeKind::Single(kind) } => format!("must be {}", type_name(kind.as_str())),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let names: Vec<&str> = kinds.iter().map(|kind| type_name(kind.as_str())).collect();
            format!("must be {}", names.join(" or "))
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().take(MAX_FORMS).map(|name| quoted(name, 40)).collect();
            format!("must not have the key {}", names.join(", "))
        }
        Kind::UnevaluatedItems { .. } => "must not have further items".into(),
        Kind::UniqueItems => "must not have the same item twice".into(),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "could not be matched with the schema's pattern".into()
        }
        Kind::Referencing(_) => "could not be checked: the schema refers to what is not there".into(),
    }
}

fn items(count: u64) -> String {
    if count == 1 { "1 item".into() } else { format!("{count} items") }
}

/// The forms of a choice, each by the first thing that is wrong with it.
fn forms(context: &[Vec<ValidationError<'static>>], at: &str) -> String {
    let form = |errors: &Vec<ValidationError<'static>>| {
        let error = errors.first()?;
        let inside = error.instance_path().as_str();
        let what = match error.kind() {
            // A choice within a choice is not described: the text would grow with each.
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                format!("must be one of {} forms", context.len())
            }
            kind => expected(kind, inside),
        };
        Some(if inside == at { what } else { format!("{inside} {what}") })
    };
    let mut forms: Vec<String> = context.iter().take(MAX_FORMS).filter_map(form).collect();
    forms.dedup();
    let more = if context.len() > MAX_FORMS { "; …" } else { "" };
    format!("one of {} forms: {}{more}", context.len(), forms.join("; or "))
}

fn type_name(name: &'static str) -> &'static str {
    match name {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "null" => "null",
        "number" => "a number",
        "object" => "an object",
        _ => "a text",
    }
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE_CHARS) {
        None => text,
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}
