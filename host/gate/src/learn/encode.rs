//! Answers, as a stream of parts that is hashed, kept for the guest, or both.
//!
//! There is one evaluator: an [`Ask`] writes an answer into an [`Encoder`]. The walk only hashes it. A call of a plugin hashes
//! it and keeps the parts, and the guest is given exactly what was hashed.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::kept::{Kept, Part};
use super::question::{Question, Take};

/// The secret under which the answers of one tree are hashed, and the name of the tree. Never shown.
///
/// SipHash-2-4 with 128 bits: nobody without the key finds two answers with one hash better than by guessing, and of 2^17
/// edges guessed at 2^40 times the chance is 2^-71. With 64 bits it would be 2^-7, and the prize is somebody's identity.
#[derive(Clone, Copy)]
pub struct Key {
    hasher: SipHasher24,
    tree: u64,
}

impl Key {
    /// One from the operating system.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes)?;
        let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        Ok(Self::from_words([word(0), word(8), word(16)]))
    }

    /// One that is known: for tests and measurements.
    pub fn from_words(words: [u64; 3]) -> Self {
        Self { hasher: SipHasher24::new_with_keys(words[0], words[1]), tree: words[2] }
    }

    /// A number that no other tree has.
    pub(super) fn tree(self) -> u64 {
        self.tree
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// The hash of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AnswerHash(pub(super) [u64; 2]);

/// Answers questions about one request: the same code for the guest's calls and for the walk.
///
/// Called while a tree is locked: it answers from memory, does not block, does not walk the same tree. An answer is a function
/// of the request and of what the question names, and is the same for as long as those are.
pub trait Ask {
    /// Writes the answer to a question other than [`Question::Take`]. Without a request, or without an answer: [`Encoder::none`].
    fn ask(&mut self, question: &Question, into: &mut Encoder<'_>);

    /// Takes one from a bucket; `Some`: there was none, and the seconds until there is.
    fn take(&mut self, take: &Take) -> Option<u32>;
}

/// Where an answer goes. Every answer has its own encoding: a part is its kind and its length in one word, then its bytes.
pub struct Encoder<'a> {
    hasher: Option<SipHasher24>,
    kept: Option<&'a mut Kept>,
}

const NONE: u64 = 1;
const FLAG: u64 = 2;
const NUMBER: u64 = 3;
const TEXT: u64 = 4;
const BYTES: u64 = 5;
const OPEN: u64 = 6;
const CLOSE: u64 = 7;

impl<'a> Encoder<'a> {
    /// Hashes an answer. This is all that happens on a hit, and it allocates nothing.
    pub(super) fn hashing(key: &Key) -> Self {
        Self { hasher: Some(key.hasher), kept: None }
    }

    /// Keeps an answer, and hashes it if there is a key.
    pub(super) fn keeping(key: Option<&Key>, kept: &'a mut Kept) -> Self {
        Self { hasher: key.map(|key| key.hasher), kept: Some(kept) }
    }

    pub(super) fn finish(&self) -> AnswerHash {
        let hash = self.hasher.as_ref().map_or(0, |hasher| u128::from(hasher.finish128()));
        AnswerHash([hash as u64, (hash >> 64) as u64])
    }

    /// There is none.
    pub fn none(&mut self) {
        self.word(NONE, 0);
        self.keep(|| Part::None);
    }

    /// Yes or no.
    pub fn flag(&mut self, flag: bool) {
        self.word(FLAG, u64::from(flag));
        self.keep(|| Part::Flag(flag));
    }

    /// A number.
    pub fn number(&mut self, number: u64) {
        self.word(NUMBER, 0);
        if let Some(hasher) = &mut self.hasher {
            hasher.write_u64(number);
        }
        self.keep(|| Part::Number(number));
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.word(TEXT, text.len() as u64);
        self.raw(text.as_bytes());
        self.keep(|| Part::Text(text.to_owned()));
    }

    /// Octets.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(BYTES, bytes.len() as u64);
        self.raw(bytes);
        self.keep(|| Part::Bytes(bytes.to_vec()));
    }

    /// A text, or that there is none.
    pub fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.none(),
        }
    }

    /// A number, or that there is none.
    pub fn maybe_number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.none(),
        }
    }

    /// Begins a list or a record; its parts follow.
    pub fn open(&mut self) {
        self.word(OPEN, 0);
        self.keep(|| Part::Open);
    }

    /// Ends it.
    pub fn close(&mut self) {
        self.word(CLOSE, 0);
        self.keep(|| Part::Close);
    }

    /// No text has 2^56 bytes, so the kind fits above the length.
    fn word(&mut self, kind: u64, low: u64) {
        if let Some(hasher) = &mut self.hasher {
            hasher.write_u64(kind << 56 | low);
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.write(bytes);
        }
    }

    fn keep(&mut self, part: impl FnOnce() -> Part) {
        if let Some(kept) = &mut self.kept {
            kept.push(part());
        }
    }
}

impl fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let part = prop_oneof![
            Just(Part::None),
            any::<bool>().prop_map(Part::Flag),
            (0_u64..4).prop_map(Part::Number),
            any::<u64>().prop_map(Part::Number),
            "[ab\0]{0,9}".prop_map(Part::Text),
            prop::collection::vec(0_u8..8, 0..20).prop_map(Part::Bytes),
            Just(Part::Open),
            Just(Part::Close),
        ];
        prop::collection::vec(part, 0..5)
    }

    fn write(parts: &[Part], into: &mut Encoder<'_>) {
        for part in parts {
            match part {
                Part::None => into.none(),
                Part::Flag(flag) => into.flag(*flag),
                Part::Number(number) => into.number(*number),
                Part::Text(text) => into.text(text),
                Part::Bytes(bytes) => into.bytes(bytes),
                Part::Open => into.open(),
                Part::Close => into.close(),
            }
        }
    }

    fn hash(parts: &[Part]) -> [u64; 2] {
        let mut into = Encoder::hashing(&Key::from_words([1, 2, 3]));
        write(parts, &mut into);
        into.finish().0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn equal_hashes_mean_equal_answers(one in parts(), other in parts()) {
            prop_assert_eq!(hash(&one) == hash(&other), one == other);
        }

        #[test]
        fn moving_a_border_changes_the_hash(text in "[ab]{0,12}", one in 0_usize..12, other in 0_usize..12) {
            let cut = |at: usize| {
                let (left, right) = text.split_at(at.min(text.len()));
                [Part::Text(left.into()), Part::Text(right.into())]
            };
            prop_assert_eq!(hash(&cut(one)) == hash(&cut(other)), cut(one) == cut(other));
        }

        #[test]
        fn the_guest_gets_what_was_hashed(parts in parts()) {
            let mut kept = Kept::default();
            let mut into = Encoder::keeping(Some(&Key::from_words([1, 2, 3])), &mut kept);
            write(&parts, &mut into);
            let got = into.finish().0;
            prop_assert_eq!(got, hash(&parts));
            prop_assert!(kept.into_parts() == parts);
        }
    }

    #[test]
    fn the_same_octets_in_other_shapes_differ() {
        let shapes = [
            vec![],
            vec![Part::None],
            vec![Part::Text(String::new())],
            vec![Part::Bytes(Vec::new())],
            vec![Part::Flag(false)],
            vec![Part::Number(0)],
            vec![Part::Open, Part::Close],
            vec![Part::Open, Part::Text(String::new()), Part::Close],
            vec![Part::Open, Part::Open, Part::Close, Part::Close],
            vec![Part::Text("\0".into())],
            vec![Part::Text("ab".into())],
            vec![Part::Text("a".into()), Part::Text("b".into())],
            vec![Part::Bytes(b"ab".to_vec())],
            // The bytes of an encoded empty text, as a text.
            vec![Part::Text("\0\0\0\0\0\0\0\u{4}".into())],
        ];
        let mut seen: Vec<_> = shapes.iter().map(|shape| hash(shape)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), shapes.len());
        let other = |words| {
            let mut into = Encoder::hashing(&Key::from_words(words));
            into.text("a");
            into.finish().0
        };
        assert_ne!(other([1, 2, 3]), other([1, 3, 3]));
    }
}
