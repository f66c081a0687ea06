//! `renv.lock`: the packages of a project as renv writes them.

use serde_json::Value;

use super::{Wanted, is_package_name, is_version, origin};
use crate::manifest::RRemote;

/// Longest lock file that is read: one of 600 packages has about 1 MiB.
pub const MAX_LOCKFILE_BYTES: usize = 16 << 20;

/// A lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockfileError {
    /// Larger than [`MAX_LOCKFILE_BYTES`].
    #[error("it is {0} bytes long, more than {MAX_LOCKFILE_BYTES}")]
    TooLarge(usize),
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// JSON, but not what renv writes.
    #[error("it has no object \"Packages\"")]
    NoPackages,
    /// A package without what it takes.
    #[error("its package {0:?} has no usable name or version")]
    BadPackage(String),
}

/// Reads a lock file. The name of each package's repository is kept, its URL comes from the lock file's own list.
pub fn read_lockfile(bytes: &[u8]) -> Result<Vec<Wanted>, LockfileError> {
    if bytes.len() > MAX_LOCKFILE_BYTES {
        return Err(LockfileError::TooLarge(bytes.len()));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(LockfileError::NotJson)?;
    let packages = value.get("Packages").and_then(Value::as_object).ok_or(LockfileError::NoPackages)?;
    let repositories = value.pointer("/R/Repositories").and_then(Value::as_array);
    let url_of = |name: &str| {
        let named = |one: &&Value| one.get("Name").and_then(Value::as_str) == Some(name);
        repositories?.iter().find(named)?.get("URL")?.as_str()
    };
    let read = |(name, package): (&String, &Value)| {
        let text = |key: &str| package.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let version = text("Version").map(str::to_owned);
        if !is_package_name(name) || !version.as_deref().is_some_and(is_version) {
            return Err(LockfileError::BadPackage(name.chars().take(120).collect()));
        }
        // `Source` is the kind of place; `Repository` its name, or its URL.
        let place = text("Repository");
        let (source, url) = match (text("Source"), place) {
            (None | Some("Repository" | "CRAN"), Some(place)) if place.contains("://") => (None, Some(place)),
            (None | Some("Repository" | "CRAN"), Some(place)) => (Some(place), url_of(place)),
            (None | Some("Repository"), None) => (None, None),
            (Some(source), _) => (Some(source), None),
        };
        let remote = RRemote::read(&text);
        Ok(Wanted { name: name.clone(), version, origin: origin(source, url, remote.as_ref()) })
    };
    packages.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::r_packages::Origin;

    #[test]
    fn as_renv_writes_it() {
        let text = r#"{"R":{"Version":"4.2.2","Repositories":[{"Name":"CRAN","URL":"https://cran.example"}]},"Packages":{
            "R6":{"Package":"R6","Version":"2.5.1","Source":"Repository","Repository":"CRAN","Hash":"470"},
            "glue":{"Package":"glue","Version":"1.6.2","Source":"Repository","Repository":"https://other.example"},
            "mine":{"Package":"mine","Version":"0.1.0","Source":"GitHub","RemoteType":"github","RemoteHost":"api.github.com",
                "RemoteUsername":"ada","RemoteRepo":"mine","RemoteSha":"0123456789abcdef0123456789abcdef01234567"},
            "BiocGenerics":{"Package":"BiocGenerics","Version":"0.44.0","Source":"Bioconductor"},
            "here":{"Package":"here","Version":"1.0","Source":"Local"}}}"#;
        let all = read_lockfile(text.as_bytes()).unwrap();
        let shown: Vec<String> = all
            .iter()
            .map(|one| match &one.origin {
                Origin::Repository { name, url } => format!("{one} {name:?} {url:?}"),
                Origin::Remote(remote) => {
                    format!("{one} {} {}/{} {}", remote.kind, remote.user, remote.repo, remote.sha.len())
                }
                Origin::Elsewhere(word) => format!("{one} elsewhere {word}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "R6 2.5.1 Some(\"CRAN\") Some(\"https://cran.example\")",
                "glue 1.6.2 None Some(\"https://other.example\")",
                "mine 0.1.0 github ada/mine 40",
                "BiocGenerics 0.44.0 Some(\"Bioconductor\") None",
                "here 1.0 elsewhere local",
            ]
        );
    }

    #[test]
    fn what_is_none() {
        for (text, expected) in [
            ("{", "not JSON"),
            ("{}", "no object \"Packages\""),
            (r#"{"Packages":{"../x":{"Version":"1"}}}"#, "\"../x\""),
            (r#"{"Packages":{"glue":{}}}"#, "\"glue\" has no usable"),
        ] {
            let error = read_lockfile(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
