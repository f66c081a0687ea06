//! Git repositories elsewhere, as the API needs them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lectern_domain::git::{Branch, Commit};
use lectern_metadata::repositories::Source;

use crate::Services;
use crate::error::{ApiError, Code};

/// Why a URL is not fetched from; the text is for whoever gave it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGitUrl {
    /// It is not the URL of a repository.
    #[error("{0}")]
    Malformed(String),
    /// It leads where this server does not go.
    #[error("{0}")]
    Refused(String),
}

/// Reaches repositories. Errors are sentences for whoever asked, without secrets.
#[async_trait]
pub trait GitRemote: Send + Sync {
    /// Whether this server fetches from `url`, as far as the URL itself tells. Reaches nothing.
    fn check(&self, url: &str) -> Result<(), BadGitUrl>;

    /// The account that is used at the host of `url`; `None`: nobody in particular.
    fn username(&self, url: &str) -> Option<String>;

    /// How often repositories are looked at.
    fn interval(&self) -> Duration;

    /// The branches of a repository and their commits. Takes as long as a client waits for an answer, at most.
    async fn branches(&self, url: &str) -> Result<Vec<(String, Commit)>, String>;

    /// The directories of a branch that have a manifest. Takes as long as a client waits for an answer, at most.
    async fn manifest_directories(&self, url: &str, branch: &Branch) -> Result<Vec<String>, String>;
}

/// The repositories, unless git is switched off here.
pub(crate) fn git(services: &Services) -> Result<Arc<dyn GitRemote>, ApiError> {
    services.backstage.git().map_err(|why| ApiError::new(Code::GitDisabled, why))
}

/// Checks a place as a client gives it; a branch or a directory that is absent is the usual one.
pub(crate) fn source(
    remote: &dyn GitRemote,
    url: &str,
    branch: Option<&str>,
    directory: Option<&str>,
) -> Result<Source, ApiError> {
    let url = url.trim();
    check_url(remote, url)?;
    let bad = |bad: lectern_domain::git::BadLocation| ApiError::new(Code::BadField, bad.to_string());
    let branch: Branch =
        branch.filter(|name| !name.is_empty()).map(str::parse).transpose().map_err(bad)?.unwrap_or_default();
    let directory: lectern_domain::git::Directory = directory.unwrap_or_default().parse().map_err(bad)?;
    Ok(Source { url: url.to_owned(), branch: branch.to_string(), directory: directory.to_string() })
}

/// Checks a URL as a client gives it.
pub(crate) fn check_url(remote: &dyn GitRemote, url: &str) -> Result<(), ApiError> {
    remote.check(url).map_err(|bad| match bad {
        BadGitUrl::Malformed(why) => ApiError::new(Code::GitUrl, format!("this is not the URL of a repository: {why}")),
        BadGitUrl::Refused(why) => {
            ApiError::new(Code::GitRefused, format!("this repository is not fetched from: {why}"))
        }
    })
}
