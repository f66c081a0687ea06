//! Takes typed values out of a TOML table, noting every mistake instead of stopping at the first.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::mistake::{Mistakes, quoted};

/// How much of a value is repeated in a message.
const MAX_VALUE_CHARS: usize = 120;

/// One table, whose keys are taken one by one; what remains at the end is unknown.
pub(crate) struct Fields<'a> {
    table: Table,
    /// Where the table stands, with a dot at the end unless it is the root.
    at: String,
    known: Vec<&'static str>,
    mistakes: &'a mut Mistakes,
}

impl<'a> Fields<'a> {
    /// Of the table named `at`, empty for the root.
    pub(crate) fn new(table: Table, at: &str, mistakes: &'a mut Mistakes) -> Self {
        let at = if at.is_empty() { String::new() } else { format!("{at}.") };
        Self { table, at, known: Vec::new(), mistakes }
    }

    /// The full name of a key.
    pub(crate) fn key(&self, key: &str) -> String {
        let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_[]".contains(&byte));
        if plain { format!("{}{key}", self.at) } else { format!("{}{}", self.at, quoted(key, MAX_VALUE_CHARS)) }
    }

    /// Notes that a value is none that its key allows.
    pub(crate) fn refuse(&mut self, key: &str, value: Option<String>, problem: impl Into<String>) {
        let key = self.key(key);
        self.mistakes.note(key, value, problem);
    }

    /// The value of a key as it is.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// An optional value: `parse` reads it or says what it must be.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.refuse(key, Some(shown(&value)), problem);
                None
            }
        }
    }

    /// A value that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        form: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.refuse(key, None, format!("missing: must be {form}"));
            return None;
        }
        self.optional(key, parse)
    }

    /// A table inside this one.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Fields<'_>> {
        let table = self.optional(key, |value| value.as_table().cloned().ok_or_else(|| "must be a table".into()))?;
        Some(Fields::new(table, &self.key(key), self.mistakes))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table> {
        let read = |value: &Value| {
            let tables = value.as_array().map(|items| items.iter().map(|item| item.as_table().cloned()).collect());
            tables.flatten().ok_or_else(|| format!("must be tables, each begun with [[{key}]]"))
        };
        self.optional(key, read).unwrap_or_default()
    }

    /// One of [`Self::tables`], counted from 1 as people do.
    pub(crate) fn nth(&mut self, key: &str, at: usize, table: Table) -> Fields<'_> {
        let at = format!("{}[{}]", self.key(key), at + 1);
        Fields::new(table, &at, self.mistakes)
    }

    /// A table whose keys are the author's own.
    pub(crate) fn map<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str, &Value) -> Result<T, String>,
    ) -> Option<BTreeMap<String, T>> {
        let mut inside = self.table(key)?;
        let mut map = BTreeMap::new();
        for (name, value) in std::mem::take(&mut inside.table) {
            match parse(&name, &value) {
                Ok(parsed) => {
                    map.insert(name, parsed);
                }
                Err(problem) => inside.refuse(&name, Some(shown(&value)), problem),
            }
        }
        Some(map)
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// The same; `why` knows better of some keys.
    pub(crate) fn finish_with(mut self, why: impl Fn(&str) -> Option<String>) {
        for (key, _) in std::mem::take(&mut self.table) {
            if let Some(why) = why(&key) {
                self.refuse(&key, None, why);
                continue;
            }
            let hint = match nearest(&key, self.known.iter().copied()) {
                Some(known) => format!("; did you mean {}?", self.key(known)),
                None => String::new(),
            };
            self.refuse(&key, None, format!("no such key{hint}"));
        }
    }
}

/// A value on one line.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text, MAX_VALUE_CHARS),
        Value::Table(_) => "(a table)".into(),
        Value::Array(_) => "(a list)".into(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
    }
}

/// A text without control characters of 1 to `most` characters.
pub(crate) fn line(value: &Value, most: usize) -> Result<String, String> {
    let fits =
        |text: &&str| !text.trim().is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control);
    let text = value.as_str().filter(fits);
    text.map(str::to_owned).ok_or_else(|| format!("must be one line of 1 to {most} characters"))
}

/// Any text.
pub(crate) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a text".into())
}

/// A value with a textual form.
pub(crate) fn word<T>(value: &Value, form: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    value.as_str().and_then(parse).ok_or_else(|| format!("must be {form}"))
}

/// A list of values with a textual form.
pub(crate) fn words<T>(value: &Value, form: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let items = value.as_array().ok_or_else(|| format!("must be a list of {form}"))?;
    let one = |item: &Value| {
        item.as_str().and_then(&parse).ok_or_else(|| format!("must be a list of {form}; {} is none", shown(item)))
    };
    items.iter().map(one).collect()
}

/// A whole number between two.
pub(crate) fn number(value: &Value, least: i64, most: i64) -> Result<i64, String> {
    let number = value.as_integer().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// The same value as JSON.
pub(crate) fn json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(serde_json::Value::Number)
            .ok_or("must be finite: JSON knows no other numbers")?,
        Value::Boolean(on) => (*on).into(),
        Value::Datetime(_) => return Err("must be written as a text, in quotes: JSON knows no dates".into()),
        Value::Array(items) => serde_json::Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Table(table) => serde_json::Value::Object(json_object(table)?),
    })
}

/// The same table as a JSON object.
pub(crate) fn json_object(table: &Table) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    table.iter().map(|(key, value)| Ok((key.clone(), json(value)?))).collect()
}

/// The known word that a misspelt one was meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // One slip of the finger, or two in a long word.
    let slips = if word.len() < 6 { 1 } else { 2 };
    let near = known.filter(|known| known.len().abs_diff(word.len()) <= slips);
    near.map(|known| (distance(known, word), known)).min().filter(|(far, _)| *far <= slips).map(|(_, known)| known)
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mistakes_of(toml: &str, take: impl FnOnce(&mut Fields<'_>)) -> String {
        let mut mistakes = Mistakes::default();
        let mut fields = Fields::new(toml.parse().unwrap(), "", &mut mistakes);
        take(&mut fields);
        fields.finish();
        mistakes.to_string()
    }

    #[test]
    fn unknown_keys_are_refused_with_what_was_meant() {
        assert_eq!(
            mistakes_of("orde = 1\n\"a b\" = 2\n[other]", |fields| {
                fields.optional("order", |value| number(value, 0, 9));
            }),
            "\"a b\": no such key\norde: no such key; did you mean order?\nother: no such key"
        );
    }

    #[test]
    fn values_are_refused_with_their_form() {
        assert_eq!(
            mistakes_of("a = 10\nb = 'x'\nc = ['x', 1]\nd = \"a\\nb\"\n[e]\nf = 1\n'g:*' = 2", |fields| {
                fields.optional("a", |value| number(value, 0, 9));
                fields.optional("b", |value| word(value, "y or z", |text| (text == "y").then_some(())));
                fields.optional("c", |value| words(value, "texts", |text| Some(text.to_owned())));
                fields.optional("d", |value| line(value, 9));
                fields.map("e", |_, value| text(value));
                fields.required("f", "a text", text);
            }),
            "a = 10: must be a whole number from 0 to 9\n\
             b = \"x\": must be y or z\n\
             c = (a list): must be a list of texts; 1 is none\n\
             d = \"a\\nb\": must be one line of 1 to 9 characters\n\
             e.f = 1: must be a text\n\
             e.\"g:*\" = 2: must be a text\n\
             f: missing: must be a text"
        );
    }

    #[test]
    fn toml_becomes_json() {
        let table: Table = "a = 1\nb = [1.5, true, 'x']\n[c]\nd = {}".parse().unwrap();
        let json = serde_json::Value::Object(json_object(&table).unwrap());
        assert_eq!(json, serde_json::json!({"a": 1, "b": [1.5, true, "x"], "c": {"d": {}}}));
        for bad in ["a = nan", "a = [inf]", "a = 2026-01-01"] {
            assert!(json_object(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
