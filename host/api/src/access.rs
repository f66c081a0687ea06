//! From an address to a content item that the caller may use: who is asking, which item, whether it exists, whether it
//! is allowed, in this order.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use lectern_domain::access::{
    AccessRules, AccessType, Action, AppRole, PermissionRole, Principal, Verdict, app_role, decide,
};
use lectern_domain::ids::{ContentGuid, ContentId, UserId};
use lectern_metadata::content::{self, ContentRow};
use lectern_metadata::groups::ListingRow;
use lectern_metadata::{Client, Database, GenericClient, permissions};

use crate::Services;
use crate::error::{ApiError, Code};
use crate::guard::Account;

/// A content item named in the address, with the caller's standing.
pub(crate) struct At<const CHANGE: bool> {
    /// The item.
    pub(crate) row: ContentRow,
    /// Who asks.
    pub(crate) caller: Principal,
    /// The caller's standing with it.
    pub(crate) role: AppRole,
    database: Database,
}

impl<const CHANGE: bool> At<CHANGE> {
    /// A connection for what follows. It is not kept from finding the item: the request's body may be slow to arrive.
    pub(crate) async fn client(&self) -> Result<Client, ApiError> {
        Ok(self.database.client().await?)
    }
}

/// An item whose settings the caller may read.
pub(crate) type Readable = At<false>;

/// An item that the caller may change. Also asked for where its inside is shown (variables, bundles, logs): those who
/// may only open an app have no business there.
pub(crate) type Changeable = At<true>;

/// How an address names an item: by GUID everywhere, also by number in the unversioned routes.
enum Named {
    Guid(ContentGuid),
    Number(ContentId),
}

impl Named {
    fn read(params: &RawPathParams) -> Result<Self, ApiError> {
        let find = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        if let Some(guid) = find("guid") {
            return Ok(Self::Guid(guid.parse()?));
        }
        let app = find("app").unwrap_or_default();
        if app.contains('-') { Ok(Self::Guid(app.parse()?)) } else { Ok(Self::Number(app.parse()?)) }
    }
}

impl<const CHANGE: bool> FromRequestParts<Services> for At<CHANGE> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let Account(caller) = Account::from_request_parts(parts, services).await?;
        let params = RawPathParams::from_request_parts(parts, services)
            .await
            .map_err(|_| ApiError::new(Code::BadId, "the address is not valid text"))?;
        let named = Named::read(&params)?;
        let client = services.database.client().await?;
        let row = match named {
            Named::Guid(guid) => content::get_by_guid(&client, guid).await?,
            Named::Number(id) => content::get(&client, id).await?,
        };
        let row = row.ok_or_else(|| ApiError::new(Code::Missing, "there is no such content"))?;
        let role = permit(&client, &caller, &row, if CHANGE { Action::Change } else { Action::Inspect }).await?;
        Ok(Self { row, caller, role, database: services.database.clone() })
    }
}

/// Decides about one item; the refusal tells "may not see" from "may not change".
pub(crate) async fn permit(
    client: &impl GenericClient,
    caller: &Principal,
    row: &ContentRow,
    action: Action,
) -> Result<AppRole, ApiError> {
    let entries = permissions::of_user(client, caller.user).await?;
    let rules = rules_of(row, caller, &entries);
    if let Verdict::Allowed(role) = decide(Some(caller), &rules, action) {
        return Ok(role);
    }
    Err(match decide(Some(caller), &rules, Action::Inspect) {
        Verdict::Allowed(_) => ApiError::new(Code::CannotChange, "you may not change this content"),
        Verdict::SignIn | Verdict::Refused => ApiError::new(Code::NoAccess, "you have no access to this content"),
    })
}

/// The caller's standing with an item, given what the caller's entries say.
pub(crate) fn standing(row: &ContentRow, caller: &Principal, entries: &Entries) -> AppRole {
    app_role(caller, &rules_of(row, caller, entries))
}

/// Whether the caller may see that an item exists.
pub(crate) fn visible(row: &ContentRow, caller: &Principal, entries: &Entries) -> bool {
    matches!(decide(Some(caller), &rules_of(row, caller, entries), Action::Inspect), Verdict::Allowed(_))
}

/// Whether the caller may see an item that a group's list names.
pub(crate) fn listed_visibly(row: &ListingRow, caller: &Principal, entries: &Entries) -> bool {
    let rules = rules(row.content, row.owner, row.access_type, caller, entries);
    matches!(decide(Some(caller), &rules, Action::Inspect), Verdict::Allowed(_))
}

/// What the permission entries of one user, and of the user's groups, give.
pub(crate) type Entries = HashMap<ContentId, PermissionRole>;

/// The rules of `row` as far as they concern `caller`: entries of others cannot change what is decided about them.
fn rules_of(row: &ContentRow, caller: &Principal, entries: &Entries) -> AccessRules {
    rules(row.id, row.owner.id, row.access_type, caller, entries)
}

fn rules(id: ContentId, owner: UserId, access_type: AccessType, caller: &Principal, entries: &Entries) -> AccessRules {
    let listed = |wanted| entries.get(&id).is_some_and(|role| *role == wanted).then_some(caller.user);
    AccessRules {
        owner,
        access_type,
        viewers: listed(PermissionRole::Viewer).into_iter().collect(),
        editors: listed(PermissionRole::Owner).into_iter().collect(),
        // The caller's groups are in the entries.
        groups: Vec::new(),
    }
}
