//! `[r.packages]`: where R packages are restored from.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use lectern_domain::r_packages::Repository;
use lectern_runtimes::r::Sources;

use super::reader::Reader;

/// The kinds of source hosts that manifests name.
const KINDS: [&str; 3] = ["github", "gitlab", "bitbucket"];

/// `[r.packages]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RPackages {
    /// Repositories that are asked first, because they have packages built already.
    binary: Vec<Place>,
    /// CRAN-like repositories.
    repositories: Vec<Place>,
    /// Source hosts that packages may come from.
    remotes: Vec<Place>,
    /// Whether packages of the server's own library count.
    use_installed: bool,
}

/// A name and a URL; printed without user and password.
#[derive(Clone)]
struct Place {
    name: String,
    url: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => write!(f, "{}={scheme}://***@{host}{path}", self.name),
            None => write!(f, "{}={}", self.name, self.url),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RPackages {
    /// In the form that restores take.
    pub(crate) fn sources(&self, timeout: Duration) -> Sources {
        let repository =
            |place: &Place, binary| Repository { name: place.name.clone(), url: place.url.clone(), binary };
        let binary = self.binary.iter().map(|place| repository(place, true));
        Sources {
            repositories: binary.chain(self.repositories.iter().map(|place| repository(place, false))).collect(),
            remotes: self.remotes.iter().map(|place| (place.name.clone(), place.url.clone())).collect(),
            use_installed: self.use_installed,
            timeout,
        }
    }
}

/// Reads the section.
pub(super) fn r_packages(read: &mut Reader) -> RPackages {
    const FORM: &str = "a list of names and http, https or file URLs, like [\"CRAN=https://cran.example.org\"]";
    let settings = RPackages {
        repositories: read.masked_list("r.packages.repositories", FORM, repository),
        binary: read.masked_list("r.packages.binary_repositories", FORM, repository),
        remotes: read.masked_list(
            "r.packages.remotes",
            "a list of github, gitlab or bitbucket with a URL that has {user}, {repo} and {sha}, like \
             [\"github=https://codeload.github.com/{user}/{repo}/tar.gz/{sha}\"]",
            remote,
        ),
        use_installed: read.switch("r.packages.use_installed", false),
    };
    let lists = [
        ("r.packages.repositories", &settings.repositories),
        ("r.packages.binary_repositories", &settings.binary),
        ("r.packages.remotes", &settings.remotes),
    ];
    for (key, list) in lists {
        let mut names = BTreeSet::new();
        for place in list.iter().filter(|place| !names.insert(place.name.to_ascii_lowercase())) {
            read.mistake(key, place.name.clone(), "must name each once".into());
        }
    }
    if settings.repositories.is_empty() && settings.binary.is_empty() && !settings.remotes.is_empty() {
        let count = settings.remotes.len().to_string();
        read.mistake("r.packages.remotes", count, "needs r.packages.repositories: without, nothing is restored".into());
    }
    settings
}

fn repository(text: &str) -> Option<Place> {
    let (name, url) = text.split_once('=')?;
    let (name, url) = (name.trim(), url.trim());
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b' ');
    let parsed = url::Url::parse(url).ok()?;
    let fits = match parsed.scheme() {
        "http" | "https" => parsed.has_host(),
        "file" => parsed.to_file_path().is_ok(),
        _ => false,
    };
    let plain = parsed.query().is_none() && parsed.fragment().is_none();
    let named = !name.is_empty() && name.len() <= 60 && name.bytes().all(is_word);
    (fits && plain && named).then(|| Place { name: name.to_owned(), url: url.trim_end_matches('/').to_owned() })
}

fn remote(text: &str) -> Option<Place> {
    let (kind, url) = text.split_once('=')?;
    let (kind, url) = (kind.trim().to_ascii_lowercase(), url.trim());
    let has_all = ["{user}", "{repo}", "{sha}"].iter().all(|part| url.contains(part));
    let parsed = url::Url::parse(&url.replace(['{', '}'], "")).ok()?;
    let fits = matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && KINDS.contains(&kind.as_str());
    (has_all && fits).then(|| Place { name: kind, url: url.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Config, undocumented};

    fn resolve(values: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        super::super::resolve(values).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn places_in_their_order_and_passwords_hidden() {
        let config = resolve(&[
            ("r.packages.repositories", "CRAN=https://cran.example/x@y/, internal=https://ada:hunter2@r.example/x"),
            ("r.packages.binary_repositories", "CRAN=https://p.example/cran/__linux__/bookworm/latest"),
            ("r.packages.remotes", "github=https://codeload.example/{user}/{repo}/tar.gz/{sha}"),
        ])
        .unwrap();
        let sources = config.r_packages.sources(config.r.restore_timeout);
        let shown: Vec<String> =
            sources.repositories.iter().map(|one| format!("{} {} {}", one.name, one.url, one.binary)).collect();
        assert_eq!(
            shown,
            [
                "CRAN https://p.example/cran/__linux__/bookworm/latest true",
                "CRAN https://cran.example/x@y false",
                "internal https://ada:hunter2@r.example/x false",
            ]
        );
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2") && printed.contains("internal=https://***@r.example/x"), "{printed}");
        assert!(printed.contains("CRAN=https://cran.example/x@y"), "{printed}");
        let page = include_str!("../../../../docs/operating.md");
        assert_eq!(undocumented(&config, "r.packages.", &[page]), [""; 0], "in no table");
    }

    #[test]
    fn mistakes() {
        for (key, value, expected) in [
            ("r.packages.repositories", "https://cran.example", "must be a list of names and http, https or file URLs"),
            ("r.packages.repositories", "CRAN=ftp://u:hunter2@cran.example", "must be a list of names"),
            ("r.packages.repositories", "CRAN=https://a.example,cran=https://b.example", "must name each once"),
            ("r.packages.binary_repositories", "CRAN=https://a.example/?x", "must be a list of names"),
            ("r.packages.remotes", "github=https://codeload.example/{user}/{repo}", "must be a list of github"),
            ("r.packages.remotes", "svn=https://x.example/{user}/{repo}/{sha}", "must be a list of github"),
            ("r.packages.remotes", "github=https://x.example/{user}/{repo}/{sha}", "needs r.packages.repositories"),
            ("r.packages.use_installed", "maybe", "must be true or false"),
        ] {
            let mistakes = resolve(&[(key, value)]).unwrap_err().join("\n");
            assert!(mistakes.contains(expected) && !mistakes.contains("hunter2"), "{key} = {value}: {mistakes}");
        }
    }
}
