//! What publishers name in a repository: a branch, and a directory.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes: references are files in most repositories, whose names are no longer.
const MOST_BYTES: usize = 255;
/// Longest directory, in bytes.
const MOST_DIRECTORY_BYTES: usize = 1024;

/// A branch, a tag, or a commit by its 40 digits: what a bundle is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch(String);

/// A directory of a repository: `.`, or names with `/` between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(String);

/// Why a name is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// Not a name that git has for a reference.
    #[error(
        "the branch must be a branch, a tag or a commit as git names them: up to {MOST_BYTES} bytes, not beginning with - or /, without spaces, .., or any of ~^:?*[\\"
    )]
    Branch,
    /// Not a directory below the repository's root.
    #[error(
        "the directory must be a path inside the repository, like app or reports/monthly: up to {MOST_DIRECTORY_BYTES} bytes, without .., .git, backslashes or control characters"
    )]
    Directory,
}

impl FromStr for Branch {
    type Err = BadLocation;

    /// Takes what `git check-ref-format --branch` takes: a name that begins with `-` would be an option to git, and the
    /// others mean something else to it.
    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        let fits = text.len() <= MOST_BYTES
            && !text.starts_with('-')
            && !text.ends_with('.')
            && text != "@"
            && !text.contains("..")
            && !text.contains("@{")
            && !text.chars().any(|one| one.is_control() || " ~^:?*[\\".contains(one))
            && text.split('/').all(part);
        if fits { Ok(Self(text.to_owned())) } else { Err(BadLocation::Branch) }
    }
}

impl FromStr for Directory {
    type Err = BadLocation;

    /// Reads a path; `/` at its ends and `.` in it mean nothing. The empty path is the root.
    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        // Case does not count: it does not on the publisher's computer, and git refuses all spellings too.
        let is_safe = |part: &&str| *part != ".." && !part.eq_ignore_ascii_case(".git");
        let plain = !text.chars().any(|one| one.is_control() || one == '\\');
        if text.len() > MOST_DIRECTORY_BYTES || !plain || !parts.iter().all(is_safe) {
            return Err(BadLocation::Directory);
        }
        Ok(Self(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }
}

impl Branch {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Branch {
    /// The name that git hosts give to the first branch.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl Directory {
    /// `.`, or names with `/` between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the repository's root.
    pub fn is_root(&self) -> bool {
        self.0 == "."
    }
}

impl Default for Directory {
    /// The root.
    fn default() -> Self {
        Self(".".to_owned())
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn branches() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for good in ["main", "feature/x-1", "v1.2.3", "HEAD", "refs/heads/main", "ümlaut", "a@b", commit, "abc1234"] {
            assert_eq!(good.parse::<Branch>().unwrap().as_str(), good);
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            "-",
            "--upload-pack=touch /tmp/x",
            "-main",
            "/main",
            "main/",
            "a//b",
            "a..b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a.lock/b",
            "@",
            "a@{1}",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "a\nb",
            "a\0",
            "a\u{7f}",
            &long,
        ] {
            assert!(bad.parse::<Branch>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn directories() {
        for (given, taken) in [
            ("", "."),
            (".", "."),
            ("/", "."),
            ("./", "."),
            ("app", "app"),
            ("/app/", "app"),
            ("a/b c/", "a/b c"),
            ("./a/./b", "a/b"),
            ("-x", "-x"),
            ("...", "..."),
            (".github", ".github"),
            ("ümlaut", "ümlaut"),
        ] {
            assert_eq!(given.parse::<Directory>().unwrap().as_str(), taken, "{given}");
        }
        let long = "x".repeat(1025);
        for bad in ["..", "a/../b", "../a", ".git", "a/.GIT/hooks", "a\\b", "a\nb", "a\0b", "\u{1b}", &long] {
            assert!(bad.parse::<Directory>().is_err(), "{bad:?}");
        }
        assert_eq!(Directory::default(), "".parse().unwrap());
        assert!(Directory::default().is_root());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again(text in "\\PC{0,40}") {
            if let Ok(branch) = text.parse::<Branch>() {
                prop_assert!(!branch.as_str().starts_with('-') && !branch.as_str().contains(char::is_control));
            }
            if let Ok(directory) = text.parse::<Directory>() {
                prop_assert_eq!(directory.as_str().parse::<Directory>(), Ok(directory.clone()));
                prop_assert!(directory.as_str().split('/').all(|part| !part.is_empty() && part != ".."));
            }
        }
    }
}
