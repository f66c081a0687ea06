//! `PATCH /v1/content/{guid}`.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::{AppRole, Principal};
use lectern_domain::audit::Action;
use lectern_domain::ids::{UserGuid, UserId};
use lectern_domain::user::UserRole;
use lectern_metadata::content::{self, ContentPatch, ContentRow};
use lectern_metadata::{DbError, GenericClient, Transaction, permissions, users};

use super::fields::{Fields, check_result};
use super::view::{ContentView, Include};
use crate::Services;
use crate::access::{Changeable, standing};
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Base;
use crate::services::Part;
use crate::users::Standing;

/// Changes settings; `{}` changes nothing and answers the item.
#[utoipa::path(patch, path = "/v1/content/{guid}", tag = "content", params(("guid" = String, Path,)),
    request_body = Fields,
    responses((status = 200, body = ContentView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn update(
    State(services): State<Services>,
    at: Changeable,
    base: Base,
    Object(fields): Object<Fields>,
) -> Result<Json<ContentView>, ApiError> {
    let new_owner = fields.owner_guid.clone().filter(|guid| !guid.is_empty());
    let mut patch = fields.patch()?;
    let mut client = at.client().await?;
    let caller = at.caller;
    if let Some(guid) = new_owner {
        patch.owner = new_owner_of(&client, &at.row, &guid, at.role, &caller).await?;
    }
    if patch.is_empty() {
        return Ok(Json(ContentView::of(&at.row, at.role, &base, Include::default())));
    }
    let tx = client.transaction().await.map_err(DbError::from)?;
    let now = content::lock(&tx, at.row.id).await?;
    check_result(&now, &patch, &services.settings.scheduler)?;
    check_run_as(&now, &patch, &caller)?;
    let row = content::update(&tx, at.row.id, &patch).await?;
    record_changes(&tx, &caller, &now, &row, &patch).await?;
    tx.commit().await.map_err(DbError::from)?;
    let role = standing(&row, &caller, &permissions::of_user(&client, caller.user).await?);
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(row.guid)).await;
    Ok(Json(ContentView::of(&row, role, &base, Include::default())))
}

/// Writes down what became of the item: who may open it and whose it is, by name.
async fn record_changes(
    tx: &Transaction<'_>,
    caller: &Principal,
    old: &ContentRow,
    new: &ContentRow,
    patch: &ContentPatch,
) -> Result<(), DbError> {
    let item = item(new);
    if old.access_type != new.access_type {
        record(tx, caller, &Action::ContentAccessSet { item, access: new.access_type }).await?;
    }
    if old.owner.id != new.owner.id {
        record(tx, caller, &Action::ContentOwnerSet { item, owner: &new.owner.username }).await?;
    }
    if !(ContentPatch { access_type: None, owner: None, ..patch.clone() }).is_empty() {
        record(tx, caller, &Action::ContentChanged { item }).await?;
    }
    Ok(())
}

/// Who shall own the item: `None` when the owner stays. Giving it away is for the owner and administrators.
async fn new_owner_of(
    client: &impl GenericClient,
    row: &ContentRow,
    guid: &str,
    role: AppRole,
    caller: &Principal,
) -> Result<Option<UserId>, ApiError> {
    let guid: UserGuid = guid.parse()?;
    if guid == row.owner.guid {
        return Ok(None);
    }
    if role != AppRole::Owner && caller.role != UserRole::Administrator {
        return Err(ApiError::new(Code::CannotChange, "only the owner and administrators may give content away"));
    }
    let user = users::get_by_guid(client, guid).await?;
    let user = user.ok_or_else(|| ApiError::new(Code::UserMissing, "the new owner does not exist"))?;
    if user.role < UserRole::Publisher {
        return Err(ApiError::new(Code::CannotOwn, "the new owner's account is a viewer's and cannot own content"));
    }
    Standing::check(&user)?;
    Ok(Some(user.id))
}

/// Which account content runs as is an administrator's choice.
pub(crate) fn check_run_as(row: &ContentRow, patch: &ContentPatch, caller: &Principal) -> Result<(), ApiError> {
    let other_account = patch.run_as.as_ref().is_some_and(|account| *account != row.run_as);
    let other_way = patch.run_as_current_user.is_some_and(|current| current != row.run_as_current_user);
    if (other_account || other_way) && caller.role != UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "only administrators choose the account that content runs as"));
    }
    Ok(())
}
