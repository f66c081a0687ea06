//! Names of commits.

use std::fmt;
use std::str::FromStr;

/// A commit's name: 20 bytes of SHA-1, in 40 hexadecimal digits of lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commit([u8; 20]);

/// It is not 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commit is named by 40 hexadecimal digits")]
pub struct BadCommit;

impl FromStr for Commit {
    type Err = BadCommit;

    fn from_str(text: &str) -> Result<Self, BadCommit> {
        let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>().ok_or(BadCommit)?;
        if digits.len() != 40 {
            return Err(BadCommit);
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().fold(0, |sum, digit| (sum << 4) | u8::try_from(*digit).unwrap_or(0));
        }
        Ok(Self(bytes))
    }
}

impl Commit {
    /// Whether it stands for "none".
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; 20]
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn forty_digits() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(text.parse::<Commit>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Commit>().unwrap().to_string(), text);
        let bad =
            ["", "0123", "g123456789abcdef0123456789abcdef01234567", &format!("{text}0"), &"é".repeat(20), "main"];
        for bad in bad {
            assert!(bad.parse::<Commit>().is_err(), "{bad}");
        }
    }
}
