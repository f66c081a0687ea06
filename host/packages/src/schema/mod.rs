//! `config.schema.json`: what a plugin's configuration must be, by JSON Schema (drafts 6, 7, 2019-09 and 2020-12).
//!
//! A schema comes from the plugin's author and is as hostile as the rest. It may refer to its own parts only, and not to a
//! part that holds the reference; its size with all references written out is bounded, and so are its patterns, which run
//! in time linear in the text. So validating ends soon, whatever the schema and the configuration are.

mod bounds;
mod defaults;
mod secrets;
mod violation;

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

pub use violation::{Violation, Violations};

/// The longest schema, in bytes: written by hand, read by people.
pub const SCHEMA_BYTES: usize = 256 * 1024;
/// The largest configuration, in bytes of JSON: it is kept in memory for every release, and handed to instances whole.
pub const CONFIG_BYTES: usize = 256 * 1024;
/// The most memory for one compiled pattern, and for what is remembered while it runs, in bytes. There may be 200.
const PATTERN_BYTES: usize = 256 * 1024;

/// The most values of a configuration times parts of its schema. In the worst case each is compared with each and leaves an
/// error of 400 bytes: 100 MiB, and a second in a debug build. A schema of 100 parts leaves room for 2,500 values.
const MAX_WORK: usize = 250_000;

const DRAFTS: [&str; 4] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
];

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is too long.
    #[error("has {size_bytes} bytes, more than {SCHEMA_BYTES}")]
    TooLarge {
        /// Its length in bytes.
        size_bytes: usize,
    },
    /// It is not JSON; the parser says where.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not an object.
    #[error("must be a JSON object")]
    NotObject,
    /// It is written for another draft.
    #[error("$schema: must be one of {}; without it the first holds", DRAFTS.join(", "))]
    Draft,
    /// It refers to what is outside, or by a name.
    #[error("{at}: {reference:?}: a reference must be to a part of this file, as \"#/$defs/name\"")]
    External {
        /// Where the reference stands, as a JSON pointer.
        at: String,
        /// What it says.
        reference: String,
    },
    /// It refers to what is not there.
    #[error("{at}: {reference:?}: there is no such part")]
    Dangling {
        /// Where the reference stands.
        at: String,
        /// What it says.
        reference: String,
    },
    /// It refers to a part in which the reference stands.
    #[error("{at}: the schema refers to itself: a configuration has as many levels as its schema writes out")]
    Recursive {
        /// Where the circle was closed.
        at: String,
    },
    /// A keyword that would make references mean something else.
    #[error("{at}: {keyword} is not supported here: refer to parts by \"#/…\"")]
    Unsupported {
        /// Where it stands.
        at: String,
        /// The keyword.
        keyword: &'static str,
    },
    /// It is too deep.
    #[error("{at}: is more than {} levels deep, references included", bounds::MAX_DEPTH)]
    TooDeep {
        /// Where.
        at: String,
    },
    /// It is too large when references are written out.
    #[error("has more than {} parts when each reference is replaced by what it refers to", bounds::MAX_PARTS)]
    TooManyParts,
    /// A pattern is too long, or there are too many.
    #[error(
        "{at}: a pattern has at most {} characters, and a schema at most {} patterns",
        bounds::MAX_PATTERN_CHARS,
        bounds::MAX_PATTERNS
    )]
    TooManyPatterns {
        /// The first that is too much.
        at: String,
    },
    /// It breaks the rules of its draft; every breach is listed.
    #[error("{0}")]
    Invalid(Violations),
    /// It keeps the rules, and still cannot be compiled: a pattern with look-around or back-references, or too large a one.
    #[error("{at}: {reason}")]
    Refused {
        /// Where, as a JSON pointer.
        at: String,
        /// Why.
        reason: String,
    },
}

/// A configuration that the schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is too long.
    #[error("the configuration has {size_bytes} bytes as JSON, more than {CONFIG_BYTES}")]
    TooLarge {
        /// Its length in bytes.
        size_bytes: usize,
    },
    /// It has more values than can be compared with a schema of this size.
    #[error("the configuration has {values} values, more than the {} that a schema of {parts} parts leaves room for", MAX_WORK / parts)]
    TooManyValues {
        /// Values of the configuration, lists and objects included.
        values: usize,
        /// Parts of the schema, references written out; never 0.
        parts: usize,
    },
    /// It breaks the schema; every breach is listed, secrets hidden.
    #[error("{0}")]
    Violations(Violations),
}

/// A schema that was checked, or the absence of one, which allows everything.
pub struct ConfigSchema {
    compiled: Option<Compiled>,
}

struct Compiled {
    document: Value,
    validator: Validator,
    /// With references written out; never 0.
    parts: usize,
}

impl ConfigSchema {
    /// Allows every object.
    pub fn any() -> Self {
        Self { compiled: None }
    }

    /// Reads and checks the text of a `config.schema.json`.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > SCHEMA_BYTES {
            return Err(SchemaError::TooLarge { size_bytes: text.len() });
        }
        let document: Value = serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let root = document.as_object().ok_or(SchemaError::NotObject)?;
        if let Some(draft) = root.get("$schema") {
            let is_known = |draft: &str| DRAFTS.contains(&draft.strip_suffix('#').unwrap_or(draft));
            draft.as_str().filter(|draft| is_known(draft)).ok_or(SchemaError::Draft)?;
        }
        // Before anything compiles or follows it.
        let parts = bounds::check(&document)?;
        let rules = jsonschema::meta::validator_for(&document).map_err(|error| refused(&error))?;
        let breaches = Violations::of(rules.iter_errors(&document), &document, None);
        if !breaches.is_empty() {
            return Err(SchemaError::Invalid(breaches));
        }
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES))
            .should_validate_formats(true)
            .offline()
            .build(&document)
            .map_err(|error| refused(&error))?;
        Ok(Self { compiled: Some(Compiled { document, validator, parts }) })
    }

    /// The schema's document; `None` where every object is allowed.
    pub fn document(&self) -> Option<&Value> {
        self.compiled.as_ref().map(|compiled| &compiled.document)
    }

    /// The configuration in force: what the operator gives, over what the manifest gives, over the schema's `default`s,
    /// key by key at the top. Validated.
    pub fn configure(
        &self,
        manifest: &Map<String, Value>,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConfigError> {
        let config = self.filled(manifest, given)?;
        let violations = self.violations(&config, |_| true);
        if violations.is_empty() { Ok(config) } else { Err(ConfigError::Violations(violations)) }
    }

    /// Whether the manifest's values are allowed as far as they go: keys that the operator must add may be missing.
    pub fn check_defaults(&self, manifest: &Map<String, Value>) -> Result<(), ConfigError> {
        let config = self.filled(manifest, &Map::new())?;
        let violations = self.violations(&config, violation::is_about_what_is_there);
        if violations.is_empty() { Ok(()) } else { Err(ConfigError::Violations(violations)) }
    }

    /// The configuration with the values of `writeOnly` properties hidden, fit for printing. Of one that is too large for its
    /// schema everything is hidden.
    pub fn redacted(&self, config: &Map<String, Value>) -> Map<String, Value> {
        match &self.compiled {
            Some(compiled) if values_in(config) > MAX_WORK / compiled.parts => {
                config.keys().map(|key| (key.clone(), secrets::HIDDEN.into())).collect()
            }
            Some(compiled) => secrets::redacted(&compiled.document, config),
            None => config.clone(),
        }
    }

    fn filled(
        &self,
        manifest: &Map<String, Value>,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut config = self.document().map(defaults::of).unwrap_or_default();
        for (key, value) in manifest.iter().chain(given) {
            config.insert(key.clone(), value.clone());
        }
        let size_bytes = serde_json::to_vec(&config).map_or(usize::MAX, |bytes| bytes.len());
        if size_bytes > CONFIG_BYTES {
            return Err(ConfigError::TooLarge { size_bytes });
        }
        let values = values_in(&config);
        match &self.compiled {
            Some(Compiled { parts, .. }) if values > MAX_WORK / parts => {
                Err(ConfigError::TooManyValues { values, parts: *parts })
            }
            _ => Ok(config),
        }
    }

    fn violations(
        &self,
        config: &Map<String, Value>,
        counts: impl Fn(&jsonschema::ValidationError<'_>) -> bool,
    ) -> Violations {
        let Some(Compiled { document, validator, .. }) = &self.compiled else { return Violations::default() };
        let shown = Value::Object(secrets::redacted(document, config));
        let config = Value::Object(config.clone());
        Violations::of(validator.iter_errors(&config).filter(counts), &shown, Some(document))
    }
}

impl fmt::Debug for ConfigSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigSchema").field(&self.document()).finish()
    }
}

/// Values of an object, those of its lists and objects included.
fn values_in(config: &Map<String, Value>) -> usize {
    let mut waiting: Vec<&Value> = config.values().collect();
    let mut values = 0;
    while let Some(value) = waiting.pop() {
        values += 1;
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => waiting.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    values
}

fn refused(error: &jsonschema::ValidationError<'_>) -> SchemaError {
    let at = violation::pointer(error.instance_path().as_str());
    let reason = match error.kind() {
        jsonschema::error::ValidationErrorKind::Format { format } if format == "regex" => {
            "the pattern is too large or uses look-around or back-references, which would not run in linear time".into()
        }
        _ => error.masked().to_string(),
    };
    SchemaError::Refused { at, reason }
}

#[cfg(test)]
mod tests;
