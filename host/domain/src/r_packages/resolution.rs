//! Which of the operator's repositories a package may come from.
//!
//! The words are the manifest's `environment.r.package_repository_resolution`. Elsewhere they say how the repositories of the
//! publisher and those of the operator are put together. Here a publisher's URL is never contacted: it, and the name beside it,
//! only say which of the operator's repositories is meant.
//!
//! | word | a package comes from |
//! |---|---|
//! | `lax`, the default | the repository it names, then all others in their order |
//! | `strict` | the operator's repositories in their order, whatever it names |
//! | `legacy` | the repository it names; a name that the operator has not configured is an error |
//! | `lockfile` | as `legacy`, with the packages of `renv.lock` |

use super::{Origin, Wanted};

/// A CRAN-like repository that the operator configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The name that packages and lock files know it by.
    pub name: String,
    /// Its URL, without a slash at the end; `src/contrib` is below it.
    pub url: String,
    /// Whether it is asked first, because it has packages that are built already.
    pub binary: bool,
}

/// How a package's repository is chosen; see the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolution {
    /// `lax`
    #[default]
    Lax,
    /// `strict`
    Strict,
    /// `legacy`
    Legacy,
    /// `lockfile`
    Lockfile,
}

/// What a bundle asks for as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wants {
    /// Its packages.
    pub packages: Vec<Wanted>,
    /// How their repositories are chosen.
    pub resolution: Resolution,
}

/// None of the operator's repositories is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the R package {package} comes from the repository {named}, which this server does not have (it has: {known}); the administrator can add it to r.packages.repositories"
)]
pub struct Refused {
    package: String,
    named: String,
    known: String,
}

impl Resolution {
    /// Reads the manifest's word; `None` for one nobody knows.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Lax, Self::Strict, Self::Legacy, Self::Lockfile].into_iter().find(|one| one.as_str() == word)
    }

    /// The manifest's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "lax",
            Self::Strict => "strict",
            Self::Legacy => "legacy",
            Self::Lockfile => "lockfile",
        }
    }

    /// The repositories that `wanted` may come from, in the order in which they are asked: those with binaries first.
    pub fn places<'r>(self, wanted: &Wanted, repositories: &'r [Repository]) -> Result<Vec<&'r Repository>, Refused> {
        let Origin::Repository { name, url } = &wanted.origin else { return Ok(Vec::new()) };
        let trimmed = url.as_deref().map(|url| url.trim_end_matches('/'));
        let is_meant = |one: &&Repository| {
            let by_name = name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&one.name));
            by_name || trimmed == Some(one.url.as_str())
        };
        // What nobody named may come from anywhere: packages that only others need.
        let unnamed = name.is_none() && url.is_none();
        let mut places: Vec<&Repository> = match self {
            Self::Strict => repositories.iter().collect(),
            Self::Lax => {
                let others = repositories.iter().filter(|one| !is_meant(one));
                repositories.iter().filter(is_meant).chain(others).collect()
            }
            Self::Legacy | Self::Lockfile if unnamed => repositories.iter().collect(),
            Self::Legacy | Self::Lockfile => repositories.iter().filter(is_meant).collect(),
        };
        if places.is_empty() {
            let words = [name.as_deref(), trimmed];
            let known: Vec<&str> = repositories.iter().map(|one| one.name.as_str()).collect();
            return Err(Refused {
                package: wanted.to_string(),
                named: words.into_iter().flatten().collect::<Vec<_>>().join(" "),
                known: known.join(", "),
            });
        }
        // Stable: within both kinds the order stays.
        places.sort_by_key(|one| !one.binary);
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resolution: &str, name: &str, url: &str, expected: &str) {
        let repository = |name: &str, binary: bool| Repository {
            name: name.into(),
            url: format!("https://{}.example", name.to_lowercase()),
            binary,
        };
        let all = [repository("CRAN", false), repository("internal", false), repository("internal", true)];
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let origin = Origin::Repository { name: some(name), url: some(url) };
        let wanted = Wanted { name: "glue".into(), version: Some("1.6.2".into()), origin };
        let got = match Resolution::parse(resolution).unwrap_or_default().places(&wanted, &all) {
            Ok(places) => places
                .iter()
                .map(|one| format!("{}{}", one.name, if one.binary { "+" } else { "" }))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expected), "{resolution} {name:?} {url:?}: {got:?} is not {expected:?}");
    }

    #[test]
    fn places() {
        check("lax", "CRAN", "https://mirror.example", "internal+ CRAN internal");
        check("lax", "INTERNAL", "", "internal+ internal CRAN");
        check("lax", "RSPM", "https://p.example", "internal+ CRAN internal");
        check("lax", "x", "https://internal.example/", "internal+ internal CRAN");
        check("", "", "", "internal+ CRAN internal");
        check("strict", "internal", "", "internal+ CRAN internal");
        check("legacy", "CRAN", "https://mirror.example", "CRAN");
        check("lockfile", "internal", "", "internal+ internal");
        check("legacy", "", "", "internal+ CRAN internal");
        check(
            "legacy",
            "RSPM",
            "https://p.example/",
            "the R package glue 1.6.2 comes from the repository RSPM https://p.example, which this server does not have (it has: CRAN, internal, internal)",
        );
    }
}
