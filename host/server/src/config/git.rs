//! `[git]`: content that is made of git repositories.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lectern_domain::outbound::Target;

use super::reader::Reader;

/// `[git]`.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    pub(crate) enabled: bool,
    /// The program, when it is not on the path.
    pub(crate) program: Option<PathBuf>,
    /// How often a repository is looked at.
    pub(crate) interval: Duration,
    /// Repositories looked at, and bundles made of commits, at a time.
    pub(crate) concurrency: usize,
    /// Most bytes of what a repository's server sends.
    pub(crate) max_bytes: u64,
    /// How long fetching may take.
    pub(crate) timeout: Duration,
    /// As whom repositories are fetched.
    pub(crate) credentials: Vec<Credential>,
}

/// A name for a host, and where its password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    /// Scheme, host and port that it is for, and no other.
    pub(crate) origin: String,
    pub(crate) username: String,
    /// Its first line is the password.
    pub(crate) password_file: PathBuf,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.origin, self.username, self.password_file.display())
    }
}

/// Reads the section.
pub(super) fn git(read: &mut Reader) -> Git {
    let settings = Git {
        enabled: read.switch("git.enabled", true),
        program: read.optional_path("git.program"),
        // Shorter ones would have hosts think of an attack, where there are many repositories.
        interval: read.seconds("git.poll_interval_seconds", 900, 1, 86_400),
        // Each holds one connection and one process; and a host is asked by no more at a time.
        concurrency: usize::try_from(read.number("git.concurrency", 2, 1, 32)).unwrap_or(2),
        max_bytes: read.size("git.max_repository_bytes", 2 << 30, 1 << 10),
        timeout: read.seconds("git.timeout_seconds", 600, 1, 86_400),
        credentials: read.list(
            "git.credentials",
            "a list of hosts, user names and the files that hold the password, like \
             [\"git.example.org=deploy:/etc/lectern/git.token\"]; http:// before the host sends it in the clear",
            credential,
        ),
    };
    for (at, one) in settings.credentials.iter().enumerate() {
        if settings.credentials[..at].iter().any(|before| before.origin == one.origin) {
            read.mistake("git.credentials", one.origin.clone(), "must name each host once".into());
        }
    }
    settings
}

/// Reads `host=user:/file`, `host:port=user:/file` or the same with a scheme. A user name may have colons in it.
fn credential(text: &str) -> Option<Credential> {
    let (place, rest) = text.split_once('=')?;
    let place = place.trim();
    let (username, file) = rest.split_at(rest.find(":/")?);
    let (username, password_file) = (username.trim(), PathBuf::from(file[1..].trim()));
    let url = if place.contains("://") { place.to_owned() } else { format!("https://{place}") };
    let target = Target::parse(&url).ok()?;
    let bare = target.as_str().split("://").nth(1).is_some_and(|rest| !rest.contains(['/', '?']));
    // A colon would end the name where the password begins (RFC 7617 §2).
    let fits = bare
        && !username.is_empty()
        && username.len() <= 255
        && !username.contains(|c: char| c == ':' || c.is_control());
    fits.then(|| Credential { origin: target.origin().to_string(), username: username.to_owned(), password_file })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Config, undocumented};

    fn resolve(values: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        super::super::resolve(values).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_and_credentials() {
        let config = resolve(&[]).unwrap().git;
        assert!(config.enabled && config.credentials.is_empty());
        assert_eq!((config.interval.as_secs(), config.concurrency), (900, 2));
        let list = "git.example.org=deploy:/etc/t, http://127.0.0.1:8080=ada:/a=b:c, GIT.other.example:8443=x:/y";
        let config = resolve(&[("git.credentials", list)]).unwrap();
        let shown: Vec<String> = config.git.credentials.iter().map(ToString::to_string).collect();
        let expected = [
            "https://git.example.org=deploy:/etc/t",
            "http://127.0.0.1:8080=ada:/a=b:c",
            "https://git.other.example:8443=x:/y",
        ];
        assert_eq!(shown, expected);
        let page = include_str!("../../../../docs/operating.md");
        assert_eq!(undocumented(&config, "git.", &[page]), [""; 0], "in no table");
    }

    #[test]
    fn mistakes() {
        for (key, value, expected) in [
            ("git.credentials", "git.example.org=deploy", "must be a list of hosts"),
            ("git.credentials", "git.example.org/a=deploy:/x", "must be a list of hosts"),
            ("git.credentials", "ssh://git.example.org=deploy:/x", "must be a list of hosts"),
            ("git.credentials", "git.example.org=:/x", "must be a list of hosts"),
            ("git.credentials", "a.example=x:/x, https://a.example=y:/y", "must name each host once"),
            ("git.poll_interval_seconds", "0", "must be a whole number from 1"),
            ("git.enabled", "perhaps", "must be true or false"),
        ] {
            let mistakes = resolve(&[(key, value)]).unwrap_err().join("\n");
            assert!(mistakes.contains(expected), "{key} = {value}: {mistakes}");
        }
    }
}
