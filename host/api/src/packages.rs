//! `/v1/packages`, `/v1/content/{guid}/packages` and `…/lockfile`: what content runs with.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use lectern_domain::access::PermissionRole;
use lectern_domain::packages::{Package, lockfile};
use lectern_domain::user::UserRole;
use lectern_metadata::packages::{self, PackageFilter, UsedPackage};
use lectern_metadata::permissions;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::Changeable;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::page::{Page, PageQuery, Place};
use crate::query::Params;

/// Most packages on a page: clients ask for all at once, and this many are some 20 MB.
const MAX_PAGE: i64 = 100_000;

const GENERATED_BY: HeaderName = HeaderName::from_static("generated-by");

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(of_content)).routes(routes!(lock))
}

/// A package of one content item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PackageView {
    /// `python` or `r`.
    language: &'static str,
    /// Python's are in lower case.
    name: String,
    version: String,
    hash: Option<String>,
}

impl From<Package> for PackageView {
    fn from(package: Package) -> Self {
        Self { language: package.language.as_str(), name: package.name, version: package.version, hash: None }
    }
}

/// A package, with where it is used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsedPackageView {
    language: &'static str,
    /// Of the interpreter that the content runs with.
    language_version: Option<String>,
    name: String,
    version: String,
    hash: Option<String>,
    bundle_id: String,
    app_id: String,
    app_guid: String,
}

impl From<UsedPackage> for UsedPackageView {
    fn from(used: UsedPackage) -> Self {
        Self {
            language: used.package.language.as_str(),
            language_version: used.language_version,
            name: used.package.name,
            version: used.package.version,
            hash: used.hash,
            bundle_id: used.bundle.to_string(),
            app_id: used.content.to_string(),
            app_guid: used.content_guid.to_string(),
        }
    }
}

/// Which packages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct PackageQuery {
    /// Exactly this name; letter case does not matter.
    name: Option<String>,
}

/// Lists the packages that active bundles run with, by name: of content that the caller may change; administrators see all.
#[utoipa::path(get, path = "/v1/packages", tag = "packages", params(PackageQuery, PageQuery),
    responses((status = 200, body = Page<UsedPackageView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    Params(query): Params<PackageQuery>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<UsedPackageView>>, ApiError> {
    let Place { number: current_page, offset, size: limit } = page.place(MAX_PAGE);
    if caller.role < UserRole::Publisher {
        // A viewer's account changes nothing.
        return Ok(Json(Page { results: Vec::new(), current_page, total: 0 }));
    }
    let client = services.database.client().await?;
    let mut filter = PackageFilter { name: query.name.filter(|name| !name.is_empty()), ..PackageFilter::default() };
    if caller.role < UserRole::Administrator {
        let entries = permissions::of_user(&client, caller.user).await?.into_iter();
        filter.edited =
            entries.filter(|(_, role)| *role == PermissionRole::Owner).map(|(content, _)| content).collect();
        filter.changed_by = Some(caller.user);
    }
    let found = packages::list(&client, &filter, offset, limit).await?;
    let results = found.packages.into_iter().map(UsedPackageView::from).collect();
    Ok(Json(Page { results, current_page, total: found.total }))
}

async fn active(at: &Changeable) -> Result<Vec<Package>, ApiError> {
    match at.row.active_bundle {
        Some(bundle) => Ok(packages::of_bundle(&at.client().await?, bundle).await?),
        None => Ok(Vec::new()),
    }
}

/// Lists the packages that the active bundle runs with.
#[utoipa::path(get, path = "/v1/content/{guid}/packages", tag = "packages", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<PackageView>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn of_content(at: Changeable) -> Result<Json<Vec<PackageView>>, ApiError> {
    Ok(Json(active(&at).await?.into_iter().map(PackageView::from).collect()))
}

/// The Python packages of the active bundle as a requirements file that pins each; `Generated-By` names the interpreter.
#[utoipa::path(get, path = "/v1/content/{guid}/lockfile", tag = "packages", params(("guid" = String, Path,)),
    responses((status = 200, body = String, content_type = "text/plain",
            headers(("Generated-By" = String, description = "what made it: `lectern; python=3.11.2`"))),
        (status = 403, body = ErrorBody),
        (status = 404, description = "no such content, or nothing of Python is deployed", body = ErrorBody)))]
async fn lock(at: Changeable) -> Result<Response, ApiError> {
    let none = || ApiError::new(Code::Missing, "no Python packages are deployed with this content");
    let text = lockfile(&active(&at).await?).ok_or_else(none)?;
    let python = at.row.traits.py_version.as_deref().ok_or_else(none)?;
    let by = HeaderValue::from_str(&format!("lectern; python={python}")).map_err(ApiError::internal)?;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind), (GENERATED_BY, by)], text).into_response())
}
