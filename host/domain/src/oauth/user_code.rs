//! The code that a person reads in one place and enters in another.

/// Letters of a code: no vowels, so that no words come about, and none that look like digits (RFC 8628 §6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters in a code: with 20 to choose from each, 8 carry 34 bits.
const LETTERS: usize = 8;

/// Eight letters, shown in two groups of four.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// A code from random bytes; `None`: too many of them had to be passed over. 32 suffice but once in 10^20.
    pub fn from_random(bytes: &[u8]) -> Option<Self> {
        // 240 is the largest multiple of 20 in a byte: what lies above would favour some letters.
        let fair = bytes.iter().filter(|byte| **byte < 240);
        let text: String = fair.take(LETTERS).map(|byte| char::from(ALPHABET[usize::from(byte % 20)])).collect();
        (text.len() == LETTERS).then_some(Self(text))
    }

    /// Reads a code as people type it: in any case, with spaces and dashes wherever they like.
    pub fn parse(text: &str) -> Option<Self> {
        // Longer than anybody separates eight letters.
        if text.len() > 64 {
            return None;
        }
        let letters = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '–' | '_' | '.'));
        let text: String = letters.map(|c| c.to_ascii_uppercase()).collect();
        (text.len() == LETTERS && text.bytes().all(|byte| ALPHABET.contains(&byte))).then_some(Self(text))
    }

    /// The bare letters, by which a code is looked up.
    pub fn letters(&self) -> &str {
        &self.0
    }

    /// As people are shown it.
    pub fn shown(&self) -> String {
        let (one, other) = self.0.split_at(LETTERS / 2);
        format!("{one}-{other}")
    }
}

/// A code opens an account until it is used.
impl std::fmt::Debug for UserCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserCode(<hidden>)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        for text in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k", "BCDF–GHJK"] {
            assert_eq!(UserCode::parse(text).unwrap().shown(), "BCDF-GHJK", "{text}");
        }
        for text in ["", "BCDF", "BCDF-GHJA", "BCDF-GHJKL", "BCDF-GHJ1", &" ".repeat(100), "ßßßßßßßß"] {
            assert!(UserCode::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn codes_come_from_fair_bytes() {
        assert_eq!(UserCode::from_random(&[0, 255, 1, 240, 2, 3, 4, 5, 6, 7]).unwrap().letters(), "BCDFGHJK");
        assert!(UserCode::from_random(&[255; 32]).is_none());
        assert!(UserCode::from_random(&[1; 7]).is_none());
        assert!(!format!("{:?}", UserCode::parse("BCDFGHJK").unwrap()).contains("BCDF"));
    }
}
