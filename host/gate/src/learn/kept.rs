//! An answer as the guest gets it, and what may be kept of it beside the tree.

use std::fmt;

use super::question::{Question, shown};

/// One part of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// There is none.
    None,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// Octets.
    Bytes(Vec<u8>),
    /// A list or a record begins.
    Open,
    /// It ends.
    Close,
}

/// An answer as the guest gets it. Where it has another shape than asked for, it reads as empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Kept(Vec<Part>);

impl Kept {
    pub(super) fn push(&mut self, part: Part) {
        self.0.push(part);
    }

    /// The parts as they were written.
    pub fn into_parts(self) -> Vec<Part> {
        self.0
    }

    /// A text; empty where there is none.
    pub fn text(self) -> String {
        self.maybe_text().unwrap_or_default()
    }

    /// A text, where there is one.
    pub fn maybe_text(self) -> Option<String> {
        match self.0.into_iter().next() {
            Some(Part::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Yes or no.
    pub fn flag(&self) -> bool {
        matches!(self.0.first(), Some(Part::Flag(true)))
    }

    /// A number, where there is one.
    pub fn number(&self) -> Option<u64> {
        match self.0.first() {
            Some(Part::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Octets, where there are some.
    pub fn maybe_bytes(self) -> Option<Vec<u8>> {
        match self.0.into_iter().next() {
            Some(Part::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The octets in a list.
    pub fn list(self) -> Vec<Vec<u8>> {
        let octets = |part| if let Part::Bytes(bytes) = part { Some(bytes) } else { None };
        self.0.into_iter().filter_map(octets).collect()
    }

    /// Names and octets by turns.
    pub fn fields(self) -> Vec<(String, Vec<u8>)> {
        let mut parts = self.0.into_iter();
        let mut fields = Vec::new();
        while let Some(part) = parts.next() {
            if let Part::Text(name) = part
                && let Some(Part::Bytes(value)) = parts.next()
            {
                fields.push((name, value));
            }
        }
        fields
    }

    /// What may be kept of it beside the tree.
    pub(super) fn words(&self, question: &Question) -> Words {
        match &*self.0 {
            [] | [Part::None] | [Part::Open, Part::Close] => Words::Absent,
            parts if question.shows_answers() => Words::Text(in_words(parts).into()),
            _ => Words::Hidden,
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

/// What is known of an answer besides its hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// There was none.
    Absent,
    /// It may be shown.
    Text(Box<str>),
    /// It may carry a credential.
    Hidden,
}

impl Words {
    pub(super) fn heap_bytes(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { 0 }
    }
}

fn in_words(parts: &[Part]) -> String {
    let mut words = String::new();
    for part in parts {
        let text: &str = match part {
            Part::Open | Part::Close => continue,
            Part::None => "none",
            Part::Flag(true) => "yes",
            Part::Flag(false) => "no",
            Part::Number(number) => &number.to_string(),
            Part::Text(text) => text,
            Part::Bytes(bytes) => &String::from_utf8_lossy(bytes),
        };
        if !words.is_empty() {
            words.push_str(", ");
        }
        words.push_str(text);
    }
    shown(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_as_the_guest_asks() {
        let kept = |parts: &[Part]| Kept(parts.to_vec());
        assert_eq!(kept(&[Part::Text("a".into())]).text(), "a");
        assert_eq!(kept(&[Part::None]).maybe_text(), None);
        assert_eq!(kept(&[]).text(), "");
        assert!(kept(&[Part::Flag(true)]).flag() && !kept(&[]).flag());
        assert_eq!(kept(&[Part::Number(7)]).number(), Some(7));
        assert_eq!(kept(&[Part::Bytes(b"a".to_vec())]).maybe_bytes(), Some(b"a".to_vec()));
        let list = [Part::Open, Part::Bytes(b"a".to_vec()), Part::Bytes(b"".to_vec()), Part::Close];
        assert_eq!(kept(&list).list(), [b"a".to_vec(), b"".to_vec()]);
        let fields = [Part::Open, Part::Text("n".into()), Part::Bytes(b"v".to_vec()), Part::Close];
        assert_eq!(kept(&fields).fields(), [("n".to_owned(), b"v".to_vec())]);
    }

    #[test]
    fn words_are_kept_only_where_they_may() {
        let kept = Kept(vec![Part::Text("tok".into())]);
        assert!(kept.words(&Question::Cookie("c".into())) == Words::Hidden);
        assert!(kept.words(&Question::Method) == Words::Text("tok".into()));
        assert!(Kept(vec![Part::None]).words(&Question::Cookie("c".into())) == Words::Absent);
        assert!(Kept(vec![Part::Open, Part::Close]).words(&Question::header("a")) == Words::Absent);
        assert!(Kept(vec![Part::Flag(false)]).words(&Question::VisitorPresent) == Words::Text("no".into()));
    }
}
