//! Users and their roles.

use serde::{Deserialize, Serialize};

/// What an account may do on the whole server. Ordered: each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// May open what is shared with them.
    Viewer,
    /// May also publish content of their own.
    Publisher,
    /// May also administer the server.
    Administrator,
}

impl UserRole {
    /// The word the protocol uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Administrator => "administrator",
        }
    }

    /// Parses the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Publisher, Self::Administrator].into_iter().find(|role| role.as_str() == text)
    }
}

/// Why a user name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUsername {
    /// Not 3 to 64 characters.
    #[error("user name {0:?} must be 3 to 64 characters long")]
    Length(String),
    /// Characters outside the set.
    #[error(
        "user name {0:?} may hold only letters, digits, `.`, `_`, `-` and `@`, and must begin with a letter or digit"
    )]
    Characters(String),
}

/// Checks a user name: 3 to 64 ASCII letters, digits, `.`, `_`, `-`, `@`, beginning with a letter or digit.
pub fn check_username(name: &str) -> Result<(), BadUsername> {
    let shown = || name.chars().take(80).collect();
    if !(3..=64).contains(&name.len()) {
        return Err(BadUsername::Length(shown()));
    }
    let first_fits = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !first_fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b)) {
        return Err(BadUsername::Characters(shown()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_named() {
        assert!(UserRole::Viewer < UserRole::Publisher && UserRole::Publisher < UserRole::Administrator);
        for role in [UserRole::Viewer, UserRole::Publisher, UserRole::Administrator] {
            assert_eq!(UserRole::parse(role.as_str()), Some(role));
        }
        assert_eq!(UserRole::parse("root"), None);
    }

    #[test]
    fn usernames() {
        for good in ["ada", "ada.l", "a1_b-c", "ada@example.org"] {
            assert_eq!(check_username(good), Ok(()), "{good}");
        }
        for bad in ["", "ab", ".ada", "a b c", "adä", "a\nbc", &"a".repeat(65)] {
            assert!(check_username(bad).is_err(), "{bad}");
        }
    }
}
