//! Mistakes in what an author wrote, collected instead of reported one by one.

use std::fmt;

/// How many mistakes are printed; a file that is something else altogether would fill the screen.
const MAX_SHOWN: usize = 50;

/// One mistake: key, value and the allowed form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key with its tables: `plugin.version`.
    pub key: String,
    /// The value as given, cut where it is long; `None`: there is none.
    pub value: Option<String>,
    /// What is wrong, or what the value must be.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.key, self.problem),
            None => write!(f, "{}: {}", self.key, self.problem),
        }
    }
}

/// All mistakes of one file, in the order in which they were met. Printed one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Notes one.
    pub(crate) fn note(&mut self, key: impl Into<String>, value: Option<String>, problem: impl Into<String>) {
        self.0.push(Mistake { key: key.into(), value, problem: problem.into() });
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().take(MAX_SHOWN).enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        match self.0.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// A text on one line of at most `most` characters, quoted, with what is cut marked.
pub(crate) fn quoted(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_printed() {
        let mut mistakes = Mistakes::default();
        for n in 0..53 {
            mistakes.note(format!("k{n}"), Some("1".into()), "must be 2");
        }
        let text = mistakes.to_string();
        assert_eq!(text.lines().count(), 51);
        assert!(text.starts_with("k0 = 1: must be 2\n") && text.ends_with("\nand 3 more"));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(quoted("äöü", 2), "\"äö\"…");
        assert_eq!(quoted("a\nb", 3), r#""a\nb""#);
    }
}
