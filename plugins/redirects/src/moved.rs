//! Rules that send visitors elsewhere: paths that moved, and host names that are not the one to use.

use lectern_plugin::Host;
use serde::Deserialize;

use crate::address::{Address, fits, is_pattern, names_host};
use crate::location::{Location, is_encoded};

/// The status of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct Status(pub(crate) u16);

impl Default for Status {
    fn default() -> Self {
        Self(308)
    }
}

impl Status {
    /// Whether clients repeat the request as it was, method and body included (RFC 9110 §15.4).
    fn repeats(self) -> bool {
        matches!(self.0, 307 | 308)
    }
}

impl TryFrom<u16> for Status {
    type Error = String;
    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            301 | 302 | 307 | 308 => Ok(Self(status)),
            other => Err(format!("status {other} must be 301, 302, 307 or 308")),
        }
    }
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Match {
    /// The path and all below it; what is below it is kept.
    #[default]
    Prefix,
    /// The path alone.
    Exact,
}

/// A path that moved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moved {
    pub(crate) from: String,
    pub(crate) to: Location,
    #[serde(default, rename = "match")]
    pub(crate) how: Match,
    #[serde(default)]
    pub(crate) status: Status,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
}

/// Host names whose visitors belong to another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renamed {
    pub(crate) from: Vec<String>,
    pub(crate) to: Location,
    #[serde(default)]
    pub(crate) status: Status,
}

/// A redirect that a rule wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect<'r> {
    pub(crate) status: Status,
    pub(crate) to: &'r Location,
    /// What comes after the location's own path, decoded; `None`: nothing.
    pub(crate) rest: Option<String>,
}

/// The first rule that concerns this address: host names before paths, each in the order of the configuration.
pub(crate) fn find<'r>(renamed: &'r [Renamed], moved: &'r [Moved], address: &impl Address) -> Option<Redirect<'r>> {
    let by_name = renamed.iter().find_map(|rule| rule.redirect(address));
    by_name.or_else(|| moved.iter().find_map(|rule| rule.redirect(address)))
}

impl Redirect<'_> {
    /// Whether this request may be redirected. Not every client repeats a body, and publishing clients never do.
    pub(crate) fn suits(&self, host: &impl Host, address: &impl Address) -> bool {
        (self.status.repeats() && !address.is_below("/__api__")) || host.reads()
    }
}

impl Moved {
    fn redirect(&self, address: &impl Address) -> Option<Redirect<'_>> {
        // The path first: most requests are for none of these.
        if !address.is_below(&self.from) || !names_host(&self.hosts, address) || is_there(&self.to, address) {
            return None;
        }
        let rest = match self.how {
            Match::Exact if address.path() != self.from => return None,
            Match::Exact => None,
            Match::Prefix => Some(address.path().get(self.from.trim_end_matches('/').len()..)?.to_owned()),
        };
        Some(Redirect { status: self.status, to: &self.to, rest })
    }

    /// What is wrong with the rule by itself.
    pub(crate) fn problem(&self) -> Option<String> {
        if is_encoded(&self.from) {
            return Some(format!("from {:?} must be written decoded: a space, not %20", self.from));
        }
        if !lectern_plugin::web::is_path(&self.from) {
            return Some(format!("from {:?} must be a path that begins with a slash, without dot segments", self.from));
        }
        bad_pattern(&self.hosts)
    }
}

impl Renamed {
    fn redirect(&self, address: &impl Address) -> Option<Redirect<'_>> {
        let named = self.from.iter().any(|pattern| fits(pattern, address.name()));
        (named && !is_there(&self.to, address)).then(|| Redirect {
            status: self.status,
            to: &self.to,
            rest: Some(address.path().to_owned()),
        })
    }

    /// What is wrong with the rule by itself.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.from.is_empty() {
            return Some("from must name at least one host, or * for every other".to_owned());
        }
        if !self.to.is_origin() {
            return Some("to must be an origin without a path, as https://apps.example.org".to_owned());
        }
        self.from.iter().find(|pattern| *pattern != "*" && !is_pattern(pattern)).map(|pattern| host_problem(pattern))
    }
}

/// Whether the request came to the server that the location leads to: such a redirect would lead back here for ever.
fn is_there(to: &Location, address: &impl Address) -> bool {
    to.host().is_some_and(|host| host == address.name())
}

/// What is wrong with a list of host patterns.
pub(crate) fn bad_pattern(patterns: &[String]) -> Option<String> {
    patterns.iter().find(|pattern| !is_pattern(pattern)).map(|pattern| host_problem(pattern))
}

fn host_problem(pattern: &str) -> String {
    format!("host {pattern:?} must be a name in lower case without port, or `*.` and a name")
}
