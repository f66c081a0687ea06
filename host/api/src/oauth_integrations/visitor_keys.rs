//! Keys by which content calls this server in a visitor's name: they give little, end within the hour, and are given again while they
//! last, so that an application that asks with every request does not pile them up.

use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use lectern_domain::integrations::template::max_role;
use lectern_metadata::DbError;
use lectern_metadata::content::ContentRow;
use lectern_metadata::integrations::IntegrationRow;
use lectern_metadata::integrations::visitor_keys::{self, VisitorKey};
use time::{Duration, OffsetDateTime};

use crate::Services;
use crate::error::ApiError;
use crate::keys::ApiKeyText;
use crate::services::Part;

/// How long a key lasts.
const LASTS: Duration = Duration::hours(1);

/// A key is given again while it lasts this long: whoever gets one can work with it for a while.
const LASTS_ENOUGH: Duration = Duration::minutes(30);

/// A visitor's key.
pub(super) struct Issued {
    /// Its text.
    pub(super) text: ApiKeyText,
    /// When it ends.
    pub(super) expires_at: OffsetDateTime,
}

/// The key of a visitor for content, by the association of that number: of the role that the visitor came with, and at most of the
/// integration's.
pub(super) async fn issue(
    services: &Services,
    content: &ContentRow,
    association: i64,
    integration: &IntegrationRow,
    visitor: &Principal,
) -> Result<Issued, ApiError> {
    let most = integration.fields.config.as_object().map_or(UserRole::Viewer, max_role);
    let role = visitor.role.min(most);
    let secret = services.backstage.visitor_key();
    let now = OffsetDateTime::now_utc();
    let mut client = services.database.client().await?;
    if let Some(issued) =
        known(visitor_keys::find(&client, association, visitor.user, role, now + LASTS_ENOUGH).await?, &secret)
    {
        return Ok(issued);
    }
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(ApiError::no_random)?;
    let text = ApiKeyText::derived(&secret, &seed);
    let tx = client.transaction().await.map_err(DbError::from)?;
    visitor_keys::lock(&tx, association, visitor.user).await?;
    // Another request of the same visitor may have made one meanwhile.
    let found = visitor_keys::find(&tx, association, visitor.user, role, now + LASTS_ENOUGH).await?;
    let issued = match known(found, &secret) {
        Some(issued) => issued,
        None => {
            let key = VisitorKey { seed, hash: text.hash(), expires_at: now + LASTS };
            let name = format!("visitor of {}", content.name);
            visitor_keys::create(&tx, association, visitor.user, role, &name, &key).await?;
            Issued { text, expires_at: key.expires_at }
        }
    };
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Keys).await;
    Ok(issued)
}

/// A stored key with its text; `None` when it was made with another secret, which a rotation of the sealing key brings.
fn known(found: Option<VisitorKey>, secret: &[u8; 32]) -> Option<Issued> {
    let found = found?;
    let text = ApiKeyText::derived(secret, &found.seed);
    (text.hash() == found.hash).then_some(Issued { text, expires_at: found.expires_at })
}
