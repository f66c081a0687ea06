//! `/v1/content/{guid}/repository`: content whose bundles are made of a git repository.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use lectern_domain::audit::Action;
use lectern_metadata::repositories::{self, RepositoryRow, Source};
use lectern_metadata::tasks::TaskKind;
use lectern_metadata::{Client, DbError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::body::Object;
use crate::deploy::{Fetching, start_fetch};
use crate::error::{ApiError, Code, ErrorBody};
use crate::remote::{git, source};

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get, set, change, remove)).routes(routes!(bundle))
}

/// Where an item comes from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepositoryView {
    /// URL.
    repository: String,
    branch: String,
    /// Directory that holds the manifest; `.`: the root.
    directory: String,
    /// Whether new commits are looked for and deployed.
    polling: bool,
    /// Why the last look or deployment failed.
    last_error: Option<String>,
    /// The last commit that was taken.
    last_known_commit: Option<String>,
}

impl From<RepositoryRow> for RepositoryView {
    fn from(row: RepositoryRow) -> Self {
        Self {
            repository: row.source.url,
            branch: row.source.branch,
            directory: row.source.directory,
            polling: row.polling,
            last_error: row.last_error,
            last_known_commit: row.last_known_commit.map(|commit| commit.to_string()),
        }
    }
}

/// Where an item is to come from.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct RepositoryRequest {
    /// An `https` URL, or `http`.
    repository: Option<String>,
    /// A branch, a tag, or a commit. Absent: `main`, or what it was.
    branch: Option<String>,
    /// Absent: the root, or what it was.
    directory: Option<String>,
    /// Absent: no, or what it was.
    polling: Option<bool>,
}

fn not_managed() -> ApiError {
    ApiError::new(Code::NotGitManaged, "this content is not managed by git")
}

async fn repository_of(client: &Client, at: &Changeable) -> Result<RepositoryRow, ApiError> {
    repositories::get(client, at.row.id).await?.ok_or_else(not_managed)
}

/// Where an item comes from; 404 when it is not managed by git.
#[utoipa::path(get, path = "/v1/content/{guid}/repository", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = RepositoryView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: Changeable) -> Result<Json<RepositoryView>, ApiError> {
    let found = repository_of(&at.client().await?, &at).await;
    let row = found.map_err(|error| {
        if error.code() == Code::NotGitManaged.number() { error.with_status(StatusCode::NOT_FOUND) } else { error }
    })?;
    Ok(Json(row.into()))
}

/// Clients take 404 here for "no git on this server".
fn unless_off<T>(found: Result<T, ApiError>) -> Result<T, ApiError> {
    found.map_err(|off| off.with_status(StatusCode::NOT_FOUND))
}

/// Has an item's bundles made of a repository. Nothing is fetched yet. With `If-None-Match: *` an item that is managed by git
/// already is left as it is.
#[utoipa::path(put, path = "/v1/content/{guid}/repository", tag = "content",
    params(("guid" = String, Path,), ("If-None-Match" = Option<String>, Header, description = "`*`: only if it has none")),
    request_body = RepositoryRequest,
    responses((status = 200, body = RepositoryView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, description = "no such content, or git is switched off", body = ErrorBody),
        (status = 409, description = "it is managed by git already", body = ErrorBody)))]
async fn set(
    State(services): State<Services>,
    at: Changeable,
    headers: HeaderMap,
    Object(wanted): Object<RepositoryRequest>,
) -> Result<Json<RepositoryView>, ApiError> {
    let remote = unless_off(git(&services))?;
    let url = wanted.repository.as_deref().filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| ApiError::new(Code::MissingParameter, "say which repository: its URL"))?;
    let source = source(&*remote, url, wanted.branch.as_deref(), wanted.directory.as_deref())?;
    let only_new = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == b"*");
    store(&at, &source, wanted.polling.unwrap_or(false), remote.interval(), only_new).await
}

/// Changes where an item comes from, as far as the fields say that are given. Nothing is fetched yet.
#[utoipa::path(patch, path = "/v1/content/{guid}/repository", tag = "content", params(("guid" = String, Path,)),
    request_body = RepositoryRequest,
    responses((status = 200, body = RepositoryView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, description = "no such content, or git is switched off", body = ErrorBody),
        (status = 409, description = "it is not managed by git", body = ErrorBody)))]
async fn change(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<RepositoryRequest>,
) -> Result<Json<RepositoryView>, ApiError> {
    let remote = unless_off(git(&services))?;
    let row = repository_of(&at.client().await?, &at).await?;
    let before = row.source;
    let source = source(
        &*remote,
        wanted.repository.as_deref().filter(|url| !url.is_empty()).unwrap_or(&before.url),
        Some(wanted.branch.as_deref().unwrap_or(&before.branch)),
        Some(wanted.directory.as_deref().unwrap_or(&before.directory)),
    )?;
    store(&at, &source, wanted.polling.unwrap_or(row.polling), remote.interval(), false).await
}

async fn store(
    at: &Changeable,
    source: &Source,
    polling: bool,
    first_look: std::time::Duration,
    only_new: bool,
) -> Result<Json<RepositoryView>, ApiError> {
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    // Who sets it at the same time waits here.
    lectern_metadata::content::lock(&tx, at.row.id).await?;
    if only_new && repositories::get(&tx, at.row.id).await?.is_some() {
        return Err(ApiError::new(Code::GitManaged, "this content is managed by git already"));
    }
    let row = repositories::set(&tx, at.row.id, source, polling, first_look).await?;
    let Source { url, branch, directory } = source;
    record(&tx, &at.caller, &Action::RepositorySet { item: item(&at.row), url, branch, directory }).await?;
    tx.commit().await.map_err(DbError::from)?;
    tracing::info!(content.guid = %at.row.guid, git.url = url, git.branch = branch, polling, user.name = at.caller.username, "repository set");
    Ok(Json(row.into()))
}

/// Has an item be managed by git no more. What is deployed stays.
#[utoipa::path(delete, path = "/v1/content/{guid}/repository", tag = "content", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "it is not managed by git", body = ErrorBody)))]
async fn remove(at: Changeable) -> Result<StatusCode, ApiError> {
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !repositories::delete(&tx, at.row.id).await? {
        return Err(not_managed());
    }
    record(&tx, &at.caller, &Action::RepositoryRemoved { item: item(&at.row) }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a bundle is to be made of; what is absent is as the item's repository says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct BundleRequest {
    repository: Option<String>,
    /// A branch, a tag, or a commit.
    #[serde(rename = "ref")]
    reference: Option<String>,
    directory: Option<String>,
}

/// A bundle that is being made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BundleStarted {
    /// The number that it has when the task is done.
    bundle_id: String,
    task_id: String,
    location: Location,
}

/// What a bundle is made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Location {
    repository: String,
    #[serde(rename = "ref")]
    reference: String,
    directory: String,
}

/// Makes a bundle of a repository, without deploying it.
#[utoipa::path(post, path = "/v1/content/{guid}/repository/bundle", tag = "bundles", params(("guid" = String, Path,)),
    request_body = BundleRequest,
    responses((status = 202, body = BundleStarted), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, description = "it is not managed by git, or git is switched off", body = ErrorBody)))]
async fn bundle(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<BundleRequest>,
) -> Result<(StatusCode, Json<BundleStarted>), ApiError> {
    let remote = git(&services)?;
    let known = repositories::get(&at.client().await?, at.row.id).await?.map(|row| row.source);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let old = |of: fn(Source) -> String| known.clone().map(of);
    let url = given(&wanted.repository).or_else(|| old(|source| source.url)).ok_or_else(not_managed)?;
    let branch = given(&wanted.reference).or_else(|| old(|source| source.branch));
    let directory = given(&wanted.directory).or_else(|| old(|source| source.directory));
    let source = source(&*remote, &url, branch.as_deref(), directory.as_deref())?;
    let fetching = Fetching { source: source.clone(), kind: TaskKind::Build, activate: false, is_all: true };
    let (task, bundle) = start_fetch(&services, &at, fetching).await?;
    let location = Location { repository: source.url, reference: source.branch, directory: source.directory };
    let started = BundleStarted { bundle_id: bundle.to_string(), task_id: task.to_string(), location };
    Ok((StatusCode::ACCEPTED, Json(started)))
}
