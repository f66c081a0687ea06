//! From a number in the address to a variant, or to a variant's schedule, that the caller may use.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use lectern_domain::access::{Action, Principal};
use lectern_domain::{ScheduleId, VariantId};
use lectern_metadata::content::{self, ContentRow};
use lectern_metadata::schedules::{self, ScheduleRow};
use lectern_metadata::variants::{self, VariantRow};
use lectern_metadata::{Client, GenericClient};

use crate::Services;
use crate::access::permit;
use crate::error::{ApiError, Code};
use crate::guard::Account;

/// A variant named in the address, with its item.
pub(super) struct AtVariant<const CHANGE: bool> {
    /// The variant.
    pub(super) variant: VariantRow,
    /// Its item.
    pub(super) row: ContentRow,
    /// Who asks.
    pub(super) caller: Principal,
}

/// A variant of an item that the caller may see.
pub(super) type ReadableVariant = AtVariant<false>;

/// A variant of an item that the caller may change.
pub(super) type ChangeableVariant = AtVariant<true>;

/// A schedule named in the address, with its item.
pub(super) struct AtSchedule<const CHANGE: bool> {
    /// The schedule.
    pub(super) schedule: ScheduleRow,
    /// Its item.
    pub(super) row: ContentRow,
    /// Who asks.
    pub(super) caller: Principal,
}

/// The caller, the part of the address after the first name, and a connection.
async fn asked(parts: &mut Parts, services: &Services) -> Result<(Principal, String, Client), ApiError> {
    let Account(caller) = Account::from_request_parts(parts, services).await?;
    // Some addresses go on with the name of a subscriber.
    let named = Path::<Vec<(String, String)>>::from_request_parts(parts, services).await;
    let id = named.ok().and_then(|Path(named)| named.into_iter().find(|(name, _)| name == "id"));
    let (_, id) = id.ok_or_else(|| ApiError::new(Code::BadId, "the address is not valid text"))?;
    Ok((caller, id, services.database.client().await?))
}

/// The item that something belongs to, if the caller may do this with it.
async fn item_of(
    client: &impl GenericClient,
    caller: &Principal,
    id: lectern_domain::ContentId,
    change: bool,
) -> Result<ContentRow, ApiError> {
    let row = content::get(client, id).await?;
    let row = row.ok_or_else(|| ApiError::new(Code::Missing, "there is no such content"))?;
    permit(client, caller, &row, if change { Action::Change } else { Action::Inspect }).await?;
    Ok(row)
}

impl<const CHANGE: bool> AtVariant<CHANGE> {
    /// The variant of this number, for `caller`.
    pub(super) async fn find(client: &impl GenericClient, caller: Principal, id: VariantId) -> Result<Self, ApiError> {
        let variant = variants::get(client, id).await?;
        let variant = variant.ok_or_else(|| ApiError::new(Code::Missing, "there is no such variant"))?;
        let row = item_of(client, &caller, variant.content, CHANGE).await?;
        Ok(Self { variant, row, caller })
    }
}

impl<const CHANGE: bool> FromRequestParts<Services> for AtVariant<CHANGE> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let (caller, id, client) = asked(parts, services).await?;
        Self::find(&client, caller, id.parse()?).await
    }
}

impl<const CHANGE: bool> FromRequestParts<Services> for AtSchedule<CHANGE> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let (caller, id, client) = asked(parts, services).await?;
        let schedule = schedules::get(&client, id.parse::<ScheduleId>()?).await?;
        let schedule = schedule.ok_or_else(|| ApiError::new(Code::Missing, "there is no such schedule"))?;
        let row = item_of(&client, &caller, schedule.content, CHANGE).await?;
        Ok(Self { schedule, row, caller })
    }
}
