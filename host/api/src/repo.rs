//! `/repo/…`: looks at repositories before anything is published from them. What takes a while is told as a task, which is over
//! when the request is answered.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::Principal;
use lectern_domain::git::Branch;
use lectern_domain::ids::TaskId;
use lectern_metadata::short_tasks::{self, ShortTask};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Publisher;
use crate::query::Params;
use crate::remote::{check_url, git};

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(account)).routes(routes!(branches)).routes(routes!(manifest_dirs))
}

/// Which repository.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RepoQuery {
    /// Its URL, or its host's.
    url: Option<String>,
    /// A branch; `main` when absent.
    branch: Option<String>,
}

impl RepoQuery {
    fn url(&self) -> Result<&str, ApiError> {
        let url = self.url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        url.ok_or_else(|| ApiError::new(Code::MissingParameter, "say which repository: url"))
    }
}

/// As whom this server fetches.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// Empty: as nobody in particular.
    username: String,
}

/// The task to follow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepoTask {
    id: String,
}

/// As whom this server fetches from a host.
#[utoipa::path(get, path = "/repo/account", tag = "content", params(RepoQuery),
    responses((status = 200, body = AccountView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "git is switched off", body = ErrorBody)))]
async fn account(
    State(services): State<Services>,
    _: Publisher,
    Params(query): Params<RepoQuery>,
) -> Result<Json<AccountView>, ApiError> {
    let (remote, url) = (git(&services)?, query.url()?);
    check_url(&*remote, url)?;
    Ok(Json(AccountView { username: remote.username(url).unwrap_or_default() }))
}

/// The branches of a repository: a task whose result lists them with their commits.
#[utoipa::path(get, path = "/repo/branches", tag = "content", params(RepoQuery),
    responses((status = 200, body = RepoTask), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "git is switched off", body = ErrorBody)))]
async fn branches(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    Params(query): Params<RepoQuery>,
) -> Result<Json<RepoTask>, ApiError> {
    let (remote, url) = (git(&services)?, query.url()?);
    check_url(&*remote, url)?;
    let found = remote.branches(url).await.map(|branches| {
        let each = branches.iter().map(|(branch, commit)| json!({"branch": branch, "ref": commit.to_string()}));
        json!({"type": "git-repo-ref-branch-array", "data": each.collect::<Vec<_>>()})
    });
    keep(&services, &caller, found).await
}

/// The directories of a branch that can be published: a task whose result lists them.
#[utoipa::path(get, path = "/repo/manifest-dirs", tag = "content", params(RepoQuery),
    responses((status = 200, body = RepoTask), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "git is switched off", body = ErrorBody)))]
async fn manifest_dirs(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    Params(query): Params<RepoQuery>,
) -> Result<Json<RepoTask>, ApiError> {
    let (remote, url) = (git(&services)?, query.url()?);
    check_url(&*remote, url)?;
    let branch = query.branch.as_deref().filter(|name| !name.is_empty()).map(str::parse::<Branch>).transpose();
    let branch = branch.map_err(|bad| ApiError::new(Code::BadParameter, bad.to_string()))?.unwrap_or_default();
    let found = remote.manifest_directories(url, &branch).await;
    let found = found.map(|found| json!({"type": "git-repo-branch-manifest-dirs-array", "data": found}));
    keep(&services, &caller, found).await
}

/// Keeps what was found, or why nothing was, for the polls that follow.
async fn keep(
    services: &Services,
    caller: &Principal,
    found: Result<Value, String>,
) -> Result<Json<RepoTask>, ApiError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(ApiError::no_random)?;
    let id = TaskId::from_random(random);
    let (code, error, result) = match found {
        Ok(result) => (0, String::new(), Some(result)),
        Err(error) => (1, error, None),
    };
    let task = ShortTask { id: id.clone(), requested_by: Some(caller.user), output: Vec::new(), code, error, result };
    short_tasks::keep(&services.database.client().await?, &task).await?;
    Ok(Json(RepoTask { id: id.to_string() }))
}
