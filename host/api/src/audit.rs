//! `GET /v1/audit_logs`: who changed what. Also how routes write it down: as the last thing of the transaction that makes the
//! change, so that neither is ever without the other.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::Principal;
use lectern_domain::audit::{Action, Entry, Item};
use lectern_metadata::audit::{self, Way};
use lectern_metadata::content::ContentRow;
use lectern_metadata::{DbError, Transaction};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::cursor::{self, CursorPage, CursorQuery};
use crate::error::{ApiError, ErrorBody};
use crate::guard::{Administrator, Base};
use crate::query::Params;
use crate::stamp::Stamp;

const PATH: &str = "/__api__/v1/audit_logs";

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Writes down what `who` did. The last thing of its transaction: others who write wait for the end of it.
pub(crate) async fn record(tx: &Transaction<'_>, who: &Principal, action: &Action<'_>) -> Result<(), DbError> {
    audit::append(tx, who.into(), action).await.map(drop)
}

/// How entries name a content item.
pub(crate) fn item(row: &ContentRow) -> Item<'_> {
    Item { guid: row.guid, name: &row.name }
}

/// One entry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryView {
    id: String,
    time: Stamp,
    /// Null: no account did it.
    user_id: Option<String>,
    user_guid: Option<String>,
    /// The account's name at the time, or who else it was.
    user_description: String,
    /// What was done, as a word.
    #[schema(example = "lock_user")]
    action: String,
    /// The same as a sentence.
    event_description: String,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let (id, guid) = entry.actor.user.map(|(id, guid)| (id.to_string(), guid.to_string())).unzip();
        Self {
            id: entry.seq.to_string(),
            time: entry.at.into(),
            user_id: id,
            user_guid: guid,
            user_description: entry.actor.description,
            action: entry.action,
            event_description: entry.text,
        }
    }
}

/// Lists the audit log by pages; for administrators.
#[utoipa::path(get, path = "/v1/audit_logs", tag = "server",
    params(CursorQuery),
    responses((status = 200, body = CursorPage<EntryView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    _: Administrator,
    base: Base,
    Params(query): Params<CursorQuery>,
) -> Result<Json<CursorPage<EntryView>>, ApiError> {
    let slice = query.slice()?;
    let way = if slice.upwards() { Way::Up } else { Way::Down };
    let client = services.database.client().await?;
    let found = audit::list(&client, slice.from, way, slice.limit + 1).await?;
    Ok(Json(cursor::page(found, slice, |entry| entry.seq, EntryView::from, (&base, PATH, ""))))
}
