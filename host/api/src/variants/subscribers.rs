//! `/variants/{id}/subscribers`: who wants what is rendered by mail. The list is kept; mail is not sent yet.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::access::Action as Access;
use lectern_domain::audit::Action;
use lectern_domain::ids::UserGuid;
use lectern_metadata::users::UserRow;
use lectern_metadata::variants::{self, Subscriber};
use lectern_metadata::{DbError, users};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::at::{ChangeableVariant, ReadableVariant};
use crate::Services;
use crate::access::permit;
use crate::audit::{item, record};
use crate::body::List;
use crate::error::{ApiError, Code, ErrorBody};

/// Most subscribers of one request: everybody in a large department.
const MOST: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

/// Somebody who wants what is rendered by mail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriberView {
    guid: String,
    username: String,
    first_name: String,
    last_name: String,
}

impl From<Subscriber> for SubscriberView {
    fn from(row: Subscriber) -> Self {
        let Subscriber { guid, username, first_name, last_name, .. } = row;
        Self { guid: guid.to_string(), username, first_name, last_name }
    }
}

/// Lists the subscribers, in the order they were added. For collaborators.
#[utoipa::path(get, path = "/variants/{id}/subscribers", tag = "variants", params(("id" = i64, Path,)),
    responses((status = 200, body = Vec<SubscriberView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn list(State(services): State<Services>, at: ChangeableVariant) -> Result<Json<Vec<SubscriberView>>, ApiError> {
    let rows = variants::subscribers(&services.database.client().await?, at.variant.id).await?;
    Ok(Json(rows.into_iter().map(SubscriberView::from).collect()))
}

/// Adds subscribers: a list of GUIDs of users. For collaborators, and for whoever may see the item and names only themselves.
#[utoipa::path(post, path = "/variants/{id}/subscribers", tag = "variants", params(("id" = i64, Path,)),
    request_body = Vec<String>,
    responses((status = 200, body = Vec<SubscriberView>, description = "those who were named"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn add(
    State(services): State<Services>,
    at: ReadableVariant,
    List(named): List<String>,
) -> Result<Json<Vec<SubscriberView>>, ApiError> {
    if named.len() > MOST {
        return Err(ApiError::new(Code::BadField, format!("at most {MOST} subscribers can be added at a time")));
    }
    let guids = named.iter().map(|guid| guid.parse()).collect::<Result<Vec<UserGuid>, _>>()?;
    let mut client = services.database.client().await?;
    if guids.iter().any(|guid| *guid != at.caller.guid) {
        permit(&client, &at.caller, &at.row, Access::Change).await?;
    }
    let found = users::get_many(&client, &guids).await?;
    let named = |guid: &UserGuid| found.iter().find(|user| user.guid == *guid);
    let missing = || ApiError::new(Code::UserMissing, "there is no such user");
    let chosen = guids.iter().map(|guid| named(guid).ok_or_else(missing)).collect::<Result<Vec<&UserRow>, _>>()?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let mut new = Vec::new();
    for user in &chosen {
        if variants::subscribe(&tx, at.variant.id, user.id).await? {
            new.push(*user);
        }
    }
    for user in new {
        record(&tx, &at.caller, &Action::SubscriberAdded { item: item(&at.row), user: &user.username }).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    let view = |user: &&UserRow| SubscriberView {
        guid: user.guid.to_string(),
        username: user.username.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
    };
    Ok(Json(chosen.iter().map(view).collect()))
}

/// Takes a subscriber off. For collaborators, and for the subscriber.
#[utoipa::path(delete, path = "/variants/{id}/subscribers/{guid}", tag = "variants",
    params(("id" = i64, Path,), ("guid" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove(
    State(services): State<Services>,
    at: ReadableVariant,
    Path((_id, guid)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let guid: UserGuid = guid.parse()?;
    let mut client = services.database.client().await?;
    if guid != at.caller.guid {
        permit(&client, &at.caller, &at.row, Access::Change).await?;
    }
    let missing = || ApiError::new(Code::CannotRemove, "this user is no subscriber");
    let user = users::get_by_guid(&client, guid).await?.ok_or_else(missing)?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !variants::unsubscribe(&tx, at.variant.id, user.id).await? {
        return Err(missing());
    }
    record(&tx, &at.caller, &Action::SubscriberRemoved { item: item(&at.row), user: &user.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}
