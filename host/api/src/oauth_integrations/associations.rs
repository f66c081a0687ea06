//! Which content uses which integrations: `/v1/content/{guid}/oauth/integrations/associations` for its collaborators, and
//! `/v1/oauth/integrations/{guid}/associations` for administrators.

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::UserRole;
use lectern_domain::audit::Action;
use lectern_domain::ids::IntegrationGuid;
use lectern_metadata::integrations::associations::{self, AssociationRow, MOST_OF_ONE};
use lectern_metadata::{DbError, content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::named;
use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::body::List;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Administrator;
use crate::services::Part;
use crate::stamp::Stamp;

/// That a content item uses an integration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssociationView {
    /// The same as `content_guid`.
    app_guid: String,
    content_guid: String,
    oauth_integration_guid: String,
    oauth_integration_name: Option<String>,
    oauth_integration_description: Option<String>,
    oauth_integration_template: String,
    oauth_integration_auth_type: &'static str,
    created_time: Stamp,
}

impl From<AssociationRow> for AssociationView {
    fn from(row: AssociationRow) -> Self {
        Self {
            app_guid: row.content.to_string(),
            content_guid: row.content.to_string(),
            oauth_integration_guid: row.integration_guid.to_string(),
            oauth_integration_name: row.name,
            oauth_integration_description: row.description,
            oauth_integration_template: row.template,
            oauth_integration_auth_type: row.auth_type.as_str(),
            created_time: row.created_at.into(),
        }
    }
}

/// An integration to use.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewAssociation {
    oauth_integration_guid: String,
}

/// Lists the content that uses an integration. For administrators.
#[utoipa::path(get, path = "/v1/oauth/integrations/{guid}/associations", tag = "integrations",
    params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<AssociationView>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn of_integration(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Path(guid): Path<String>,
) -> Result<Json<Vec<AssociationView>>, ApiError> {
    let client = services.database.client().await?;
    let row = named(&client, &caller, &guid).await?;
    let rows = associations::of_integration(&client, row.id).await?;
    Ok(Json(rows.into_iter().map(AssociationView::from).collect()))
}

/// Lists the integrations that content uses, in the order they were chosen.
#[utoipa::path(get, path = "/v1/content/{guid}/oauth/integrations/associations", tag = "integrations",
    params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<AssociationView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn of_content(at: Changeable) -> Result<Json<Vec<AssociationView>>, ApiError> {
    let rows = associations::of_content(&at.client().await?, at.row.guid).await?;
    Ok(Json(rows.into_iter().map(AssociationView::from).collect()))
}

/// Makes the integrations given the only ones that content uses; `[]` removes all. Those that stay go on as they are.
#[utoipa::path(put, path = "/v1/content/{guid}/oauth/integrations/associations", tag = "integrations",
    params(("guid" = String, Path,)), request_body = Vec<NewAssociation>,
    responses((status = 200, body = Vec<AssociationView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)))]
pub(super) async fn replace(
    State(services): State<Services>,
    at: Changeable,
    List(given): List<NewAssociation>,
) -> Result<Json<Vec<AssociationView>>, ApiError> {
    if given.len() > MOST_OF_ONE {
        let message = format!("content uses at most {MOST_OF_ONE} integrations; {} were given", given.len());
        return Err(ApiError::new(Code::BadField, message));
    }
    let mut wanted: Vec<IntegrationGuid> = Vec::new();
    for one in given {
        let guid = one.oauth_integration_guid.parse()?;
        if wanted.contains(&guid) {
            return Err(ApiError::new(Code::BadField, format!("the integration {guid} is named twice")));
        }
        wanted.push(guid);
    }
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    content::lock(&tx, at.row.id).await?;
    let usable_by = (at.caller.role < UserRole::Administrator).then_some(at.caller.user);
    associations::replace(&tx, at.row.id, &wanted, usable_by).await?;
    let rows = associations::of_content(&tx, at.row.guid).await?;
    let names: Vec<String> =
        rows.iter().map(|row| row.name.clone().unwrap_or_else(|| row.integration_guid.to_string())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    record(&tx, &at.caller, &Action::IntegrationsSet { item: item(&at.row), integrations: &names }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    services.backstage.refresh(Part::Keys).await;
    Ok(Json(rows.into_iter().map(AssociationView::from).collect()))
}
