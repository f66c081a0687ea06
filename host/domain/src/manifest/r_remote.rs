//! The commit that an R package was built from, as remotes, pak, renv and packrat write it.

/// A commit of a source repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RRemote {
    /// `github`, `gitlab`, `bitbucket`; other words for places that are not fetched from.
    pub kind: String,
    /// The owner.
    pub user: String,
    /// The repository.
    pub repo: String,
    /// The whole hash of the commit: 40 or 64 hexadecimal digits.
    pub sha: String,
    /// Where the package is inside the repository; `None`: at its root.
    pub subdir: Option<String>,
}

impl RRemote {
    /// Reads the fields of a DESCRIPTION, or of packrat beside it: `Remote…`, or the older `Github…`. `None` when they name
    /// no whole commit, or anything that must not stand in a URL.
    pub(crate) fn read<'t>(text: &dyn Fn(&str) -> Option<&'t str>) -> Option<Self> {
        let either = |new: &str, old: &str| text(new).or_else(|| text(old));
        let kind = match text("RemoteType") {
            // Written by pak for packages of repositories.
            Some("standard" | "cran" | "bioc") => return None,
            Some(kind) => kind.to_ascii_lowercase(),
            None => text("GithubSHA1").map(|_| "github".to_owned())?,
        };
        let word = |value: Option<&str>| value.filter(|value| is_word(value)).map(str::to_owned);
        let sha = either("RemoteSha", "GithubSHA1")?;
        let is_hash = matches!(sha.len(), 40 | 64) && sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        let subdir = either("RemoteSubdir", "GithubSubdir").map(|path| path.trim_matches('/').to_owned());
        let subdir = subdir.filter(|path| !path.is_empty());
        if !is_hash || subdir.as_deref().is_some_and(|path| !path.split('/').all(is_word)) {
            return None;
        }
        Some(Self {
            kind,
            user: word(either("RemoteUsername", "GithubUsername"))?,
            repo: word(either("RemoteRepo", "GithubRepo"))?,
            sha: sha.to_owned(),
            subdir,
        })
    }
}

/// A part of a path that leads nowhere else.
fn is_word(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= 200 && text.bytes().all(known) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commits() {
        let sha = "a".repeat(40);
        let read = |fields: &[(&str, &str)]| {
            RRemote::read(&|key: &str| {
                let found = fields.iter().find(|(name, _)| *name == key)?;
                Some(if found.1 == "SHA" {
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                } else {
                    Box::leak(found.1.to_owned().into_boxed_str())
                })
            })
        };
        let github =
            [("RemoteType", "github"), ("RemoteUsername", "ada"), ("RemoteRepo", "mine"), ("RemoteSha", "SHA")];
        let found = read(&github).unwrap();
        assert_eq!((found.user.as_str(), found.repo.as_str(), found.sha.as_str()), ("ada", "mine", sha.as_str()));
        let old = [("GithubUsername", "ada"), ("GithubRepo", "mine"), ("GithubSHA1", "SHA"), ("GithubSubdir", "r/pkg")];
        assert_eq!(read(&old).unwrap().subdir.as_deref(), Some("r/pkg"));
        for bad in [
            [("RemoteType", "standard"), ("RemoteUsername", "a"), ("RemoteRepo", "b"), ("RemoteSha", "SHA")],
            [("RemoteType", "github"), ("RemoteUsername", "../a"), ("RemoteRepo", "b"), ("RemoteSha", "SHA")],
            [("RemoteType", "github"), ("RemoteUsername", "a"), ("RemoteRepo", "b?x"), ("RemoteSha", "SHA")],
            [("RemoteType", "github"), ("RemoteUsername", "a"), ("RemoteRepo", "b"), ("RemoteSha", "main")],
        ] {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }
}
