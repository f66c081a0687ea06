//! Reads typed values out of the layers, noting every mistake instead of stopping at the first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::layers::{Given, Layers, Origin};

/// One mistake: key, value, origin and the allowed form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) key: String,
    /// The value as given; hidden for secrets.
    pub(crate) value: String,
    pub(crate) origin: String,
    pub(crate) allowed: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {} ({}): {}", self.key, self.value, self.origin, self.allowed)
    }
}

/// A key's value as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) origin: String,
}

/// Takes values out of the layers by key.
pub(super) struct Reader {
    layers: Layers,
    base: PathBuf,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) effective: Vec<Effective>,
    /// Every key asked for: the known ones.
    known: Vec<&'static str>,
}

const HIDDEN: &str = "(hidden)";

impl Reader {
    /// `base` is what relative paths are relative to.
    pub(super) fn new(layers: Layers, base: &Path) -> Self {
        Self { layers, base: base.to_owned(), mistakes: Vec::new(), effective: Vec::new(), known: Vec::new() }
    }

    /// Takes `key`: `parse` turns the text into a value or refuses it; `show` prints what is in force.
    fn take<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        secret: bool,
        default: T,
        parse: impl FnOnce(&Value) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.known.push(key);
        let (value, origin) = match self.layers.values.remove(key) {
            None => (default, Origin::Default),
            Some(Given { value, origin }) => match parse(&value) {
                Some(parsed) => (parsed, origin),
                None => {
                    self.mistakes.push(Mistake {
                        key: key.to_owned(),
                        value: if secret { HIDDEN.to_owned() } else { shown(&value) },
                        origin: origin.to_string(),
                        allowed: format!("must be {allowed}"),
                    });
                    return default;
                }
            },
        };
        let value_shown = if secret && origin != Origin::Default { HIDDEN.to_owned() } else { show(&value) };
        self.effective.push(Effective { key, value: value_shown, origin: origin.to_string() });
        value
    }

    /// A value with a textual form.
    pub(super) fn text<T: ToString>(
        &mut self,
        key: &'static str,
        allowed: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.take(key, allowed, false, default, |value| parse(value.as_str()?), T::to_string)
    }

    /// An optional value with a textual form; an empty text is "not set".
    pub(super) fn optional<T: ToString>(
        &mut self,
        key: &'static str,
        allowed: &str,
        secret: bool,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let parse = |value: &Value| {
            let text = value.as_str()?;
            if text.is_empty() { Some(None) } else { parse(text).map(Some) }
        };
        self.take(key, allowed, secret, None, parse, |value| {
            value.as_ref().map_or_else(|| "(not set)".into(), T::to_string)
        })
    }

    /// A list: TOML strings, or one text with commas.
    pub(super) fn list<T: ToString>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        self.take(key, allowed, false, Vec::new(), |value| list_of(value, &parse), |list| list_shown(list))
    }

    /// A list of what may hold passwords: a mistake does not repeat the value, and `T` prints itself without them.
    pub(super) fn masked_list<T: ToString>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let read = |value: &Value| list_of(value, &parse);
        let list = self.take(key, allowed, true, Vec::new(), read, |list| list_shown(list));
        if let Some(last) = self.effective.last_mut().filter(|last| last.key == key) {
            last.value = list_shown(&list);
        }
        list
    }

    /// A whole number between `least` and `most`.
    pub(super) fn number(&mut self, key: &'static str, default: u64, least: u64, most: u64) -> u64 {
        let read = |value: &Value| {
            let number = match value {
                Value::Integer(number) => u64::try_from(*number).ok()?,
                Value::String(text) => text.trim().parse().ok()?,
                _ => return None,
            };
            (least..=most).contains(&number).then_some(number)
        };
        self.take(key, &format!("a whole number from {least} to {most}"), false, default, read, u64::to_string)
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&mut self, key: &'static str, default: f64) -> f64 {
        let read = |value: &Value| {
            let number = match value {
                Value::Float(number) => *number,
                Value::Integer(number) => f64::from(u8::try_from(*number).ok()?),
                Value::String(text) => text.trim().parse().ok()?,
                _ => return None,
            };
            (0.0..=1.0).contains(&number).then_some(number)
        };
        self.take(key, "a number from 0 to 1, like 0.5", false, default, read, f64::to_string)
    }

    /// Seconds between `least` and `most`.
    pub(super) fn seconds(&mut self, key: &'static str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_secs(self.number(key, default, least, most))
    }

    /// A size in bytes: a whole number, or one followed by KiB, MiB, GiB or TiB.
    pub(super) fn size(&mut self, key: &'static str, default: u64, least: u64) -> u64 {
        let read = |value: &Value| {
            let bytes = match value {
                Value::Integer(number) => u64::try_from(*number).ok()?,
                Value::String(text) => parse_size(text)?,
                _ => return None,
            };
            (bytes >= least).then_some(bytes)
        };
        let allowed = format!("a size of at least {least} bytes, like 1073741824 or \"1 GiB\"");
        self.take(key, &allowed, false, default, read, u64::to_string)
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, key: &'static str, default: bool) -> bool {
        let read = |value: &Value| match value {
            Value::Boolean(on) => Some(*on),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        self.take(key, "true or false", false, default, read, bool::to_string)
    }

    /// A path; relative ones are relative to the working directory.
    pub(super) fn path(&mut self, key: &'static str, default: PathBuf) -> PathBuf {
        let base = self.base.clone();
        let default = base.join(default);
        let read = |value: &Value| value.as_str().filter(|text| is_path(text)).map(|text| base.join(text));
        self.take(key, "a path", false, default, read, |path| path.display().to_string())
    }

    /// An optional path; an empty text is "not set".
    pub(super) fn optional_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let base = self.base.clone();
        let read = |value: &Value| match value.as_str()? {
            "" => Some(None),
            text => is_path(text).then(|| Some(base.join(text))),
        };
        let show =
            |path: &Option<PathBuf>| path.as_ref().map_or_else(|| "(not set)".into(), |p| p.display().to_string());
        self.take(key, "a path", false, None, read, show)
    }

    /// A list of absolute paths.
    pub(super) fn paths(&mut self, key: &'static str) -> Vec<PathBuf> {
        let list = self.list(key, "a list of absolute paths", |text| {
            Path::new(text).is_absolute().then(|| Shown(PathBuf::from(text)))
        });
        list.into_iter().map(|shown| shown.0).collect()
    }

    /// Notes a mistake that concerns more than one value's form.
    pub(super) fn mistake(&mut self, key: &str, value: String, allowed: String) {
        let origin = self.effective.iter().find(|e| e.key == key).map_or_else(String::new, |e| e.origin.clone());
        self.mistakes.push(Mistake { key: key.to_owned(), value, origin, allowed });
    }

    /// Whether something about this key is wrong already.
    pub(super) fn is_mistaken(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key == key)
    }

    /// The value in force, if somebody gave one.
    pub(super) fn given(&self, key: &str) -> Option<String> {
        let default = Origin::Default.to_string();
        self.effective.iter().find(|e| e.key == key && e.origin != default).map(|e| e.value.clone())
    }

    /// What remains was not asked for by anyone: unknown keys.
    pub(super) fn refuse_unknown(&mut self) {
        for (key, given) in std::mem::take(&mut self.layers.values) {
            let nearest = self.known.iter().min_by_key(|known| distance(known, &key));
            let hint = match nearest {
                Some(known) if distance(known, &key) <= 4 => format!("; did you mean {known}?"),
                _ => String::new(),
            };
            // The value of an unknown key may be a misspelt secret.
            self.mistakes.push(Mistake {
                value: HIDDEN.to_owned(),
                origin: given.origin.to_string(),
                allowed: format!("no such key{hint}"),
                key,
            });
        }
    }
}

fn list_of<T>(value: &Value, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::String(text) => text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(&parse).collect(),
        Value::Array(items) => items.iter().map(|item| parse(item.as_str()?)).collect(),
        _ => None,
    }
}

fn list_shown<T: ToString>(list: &[T]) -> String {
    format!("[{}]", list.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

/// A path that prints.
struct Shown(PathBuf);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    for (unit, shift) in units {
        if let Some(number) = text.strip_suffix(unit) {
            return number.trim().parse::<u64>().ok()?.checked_mul(1 << shift);
        }
    }
    text.parse().ok()
}

/// Edit distance (Levenshtein), for "did you mean".
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
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("1 KiB", Some(1024)),
            ("3GiB", Some(3 << 30)),
            ("x", None),
            ("-1", None),
            ("1.5 GiB", None),
            ("99999999999 TiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn edit_distance() {
        for (a, b, expected) in [("", "abc", 3), ("listen", "listen", 0), ("listen", "listn", 1), ("abc", "xyz", 3)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
