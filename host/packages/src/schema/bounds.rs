//! Walks a schema with its references followed, before anything else does, and says whether following them ends soon.
//!
//! Two references to a part that has two references to a part … make a file of a few lines mean billions of parts; a part
//! that refers to itself has no end. The walk remembers what each part weighs, so it costs no more than the file is long.

use std::collections::HashMap;

use serde_json::Value;

use super::SchemaError;

/// The most levels, references included. Each costs the validator a few frames of its stack.
pub(super) const MAX_DEPTH: usize = 64;
/// The most parts with references written out: each is asked at most once about each value.
pub(super) const MAX_PARTS: usize = 10_000;
/// The most patterns: each takes up to 256 KiB compiled.
pub(super) const MAX_PATTERNS: usize = 200;
/// The longest pattern, in characters: parsers of patterns call themselves for each bracket.
pub(super) const MAX_PATTERN_CHARS: usize = 1_000;

/// Keywords that hold one schema. `items` may hold a list too.
const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords that hold a list of schemas.
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords that hold schemas under names of the author's.
const MAPS: [&str; 6] = ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];

/// How many parts a schema has. Refuses one that is too much, or that refers to what it may not.
pub(super) fn check(document: &Value) -> Result<usize, SchemaError> {
    let mut walk = Walk { document, weights: HashMap::new(), patterns: 0 };
    let whole = walk.weigh(document, String::new(), 0)?;
    if whole.parts > MAX_PARTS { Err(SchemaError::TooManyParts) } else { Ok(whole.parts) }
}

/// The part that a reference means; `None`: it is to none of this document's.
pub(super) fn resolve<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    document.pointer(pointer_of(reference)?)
}

/// The JSON pointer in `#` or `#/…`. Percent signs would give one part two spellings.
fn pointer_of(reference: &str) -> Option<&str> {
    let pointer = reference.strip_prefix('#')?;
    (pointer.is_empty() || pointer.starts_with('/')).then_some(pointer).filter(|pointer| !pointer.contains('%'))
}

/// A name as part of a JSON pointer (RFC 6901 §3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A part with all that it holds and refers to.
#[derive(Clone, Copy)]
struct Weight {
    parts: usize,
    levels: usize,
}

impl Weight {
    /// With one more that it holds or refers to.
    fn add(&mut self, other: Self) {
        self.parts = self.parts.saturating_add(other.parts);
        self.levels = self.levels.max(other.levels + 1);
    }
}

struct Walk<'a> {
    document: &'a Value,
    /// By pointer; `None` while the part is being walked.
    weights: HashMap<String, Option<Weight>>,
    patterns: usize,
}

impl<'a> Walk<'a> {
    /// The weight of a schema that stands `depth` levels below the root, on the way by which it was reached.
    fn weigh(&mut self, schema: &'a Value, at: String, depth: usize) -> Result<Weight, SchemaError> {
        let known = self.weights.get(&at).copied();
        // What was weighed near the root may be reached again far from it.
        if depth + known.flatten().map_or(0, |weight| weight.levels) > MAX_DEPTH {
            return Err(SchemaError::TooDeep { at: shown(&at) });
        }
        match known {
            Some(Some(weight)) => return Ok(weight),
            Some(None) => return Err(SchemaError::Recursive { at: shown(&at) }),
            None => {}
        }
        self.weights.insert(at.clone(), None);
        let weight = self.weigh_inside(schema, &at, depth)?;
        self.weights.insert(at, Some(weight));
        Ok(weight)
    }

    fn weigh_inside(&mut self, schema: &'a Value, at: &str, depth: usize) -> Result<Weight, SchemaError> {
        // What is neither an object nor true or false is refused by the draft's own rules later.
        let Some(keywords) = schema.as_object() else { return Ok(Weight { parts: 1, levels: 0 }) };
        let inside = |keyword: &str| format!("{at}/{}", escaped(keyword));
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if keywords.contains_key(keyword) {
                return Err(SchemaError::Unsupported { at: inside(keyword), keyword });
            }
        }
        for keyword in ["$id", "$schema"] {
            // Below the root it would begin a document of its own.
            if !at.is_empty() && keywords.contains_key(keyword) {
                return Err(SchemaError::Unsupported { at: inside(keyword), keyword });
            }
        }
        let mut weight = Weight { parts: 1, levels: 0 };
        if let Some(reference) = keywords.get("$ref") {
            let at = inside("$ref");
            let reference = reference.as_str().unwrap_or_default();
            let Some(pointer) = pointer_of(reference) else {
                return Err(SchemaError::External { at, reference: reference.chars().take(200).collect() });
            };
            let Some(target) = self.document.pointer(pointer) else {
                return Err(SchemaError::Dangling { at, reference: reference.chars().take(200).collect() });
            };
            weight.add(self.weigh(target, pointer.to_owned(), depth + 1)?);
        }
        if let Some(pattern) = keywords.get("pattern") {
            self.count_pattern(pattern.as_str().unwrap_or_default(), || inside("pattern"))?;
        }
        for pattern in
            keywords.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(|map| map.keys())
        {
            self.count_pattern(pattern, || inside("patternProperties"))?;
        }
        let mut parts: Vec<(&Value, String)> = Vec::new();
        for keyword in ONE {
            parts.extend(keywords.get(keyword).filter(|value| !value.is_array()).map(|part| (part, inside(keyword))));
        }
        for keyword in LISTS {
            let list = keywords.get(keyword).and_then(Value::as_array).into_iter().flatten();
            parts.extend(list.enumerate().map(|(n, part)| (part, format!("{}/{n}", inside(keyword)))));
        }
        for keyword in MAPS {
            let map = keywords.get(keyword).and_then(Value::as_object).into_iter().flatten();
            parts.extend(map.map(|(name, part)| (part, format!("{}/{}", inside(keyword), escaped(name)))));
        }
        for (part, at) in parts {
            weight.add(self.weigh(part, at, depth + 1)?);
        }
        Ok(weight)
    }

    fn count_pattern(&mut self, pattern: &str, at: impl Fn() -> String) -> Result<(), SchemaError> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS || pattern.chars().count() > MAX_PATTERN_CHARS {
            return Err(SchemaError::TooManyPatterns { at: at() });
        }
        Ok(())
    }
}

/// A pointer as it stands in messages; the root's is empty.
fn shown(pointer: &str) -> String {
    if pointer.is_empty() { "/".into() } else { pointer.into() }
}
