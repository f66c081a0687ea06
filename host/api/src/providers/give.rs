//! Gives content a token: its visitor's, renewed where it ends, or its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration as Wait;

use lectern_domain::integrations::provider::Provider;
use lectern_domain::integrations::tokens::{Freshness, Tokens, freshness};
use lectern_domain::{IntegrationGuid, UserId};
use lectern_metadata::Database;
use lectern_metadata::integrations::sessions::{self, SessionRow};
use lectern_metadata::integrations::{IntegrationRow, MOST_INTEGRATIONS, renewals};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::ask::{Grant, NotGiven, ask};
use super::kept::{Kept, end_of};
use super::{name, provider, sign_in_path};
use crate::Backstage;
use crate::error::{ApiError, Code};

/// How long nobody else asks a provider after one has begun to: longer than any exchange, so that it ends before.
const LEASE: Duration = Duration::minutes(1);
/// Between looks at a session that another renews: a provider answers within a second or so.
const LOOK_AGAIN: Wait = Wait::from_millis(150);
/// Looks before a client is told to come again: fifteen seconds, less than clients wait for an answer.
const LOOKS: usize = 100;

/// A token for content.
pub struct Given {
    /// Its text.
    pub access_token: Zeroizing<String>,
    /// When it ends; `None`: the provider did not say.
    pub expires_at: Option<OffsetDateTime>,
}

impl Given {
    fn of(kept: Kept, expires_at: Option<OffsetDateTime>) -> Self {
        Self { access_token: Zeroizing::new(kept.access_token), expires_at }
    }
}

/// The token of a visitor who has signed in to an integration of the kind `Viewer`.
///
/// `server` is the server's address outside, for the text that says where to sign in. A token that ends soon is renewed first, by one
/// asker at a time. Not to be dropped: what a provider gave for a refresh token would be lost.
pub async fn viewer_token(
    database: &Database,
    backstage: &dyn Backstage,
    integration: &IntegrationRow,
    user: UserId,
    server: &str,
) -> Result<Given, ApiError> {
    let provider = provider(backstage, integration)?;
    for _ in 0..LOOKS {
        let session = sessions::of_user(&database.client().await?, user, integration.id).await?;
        let Some(session) = session else { return Err(sign_in_first(integration, server, "has not signed in")) };
        let kept = Kept::open(backstage, session.guid, &session.sealed)?;
        if !kept.is_of(&provider) {
            return Err(over(database, integration, &session, server).await?);
        }
        let now = OffsetDateTime::now_utc();
        let usable = match freshness(session.updated_at, session.expires_at, session.has_refresh_token, now) {
            Freshness::Good => return Ok(Given::of(kept, session.expires_at)),
            Freshness::Ended => return Err(sign_in_first(integration, server, "signed in too long ago")),
            Freshness::Renew { usable } => usable,
        };
        let client = database.client().await?;
        let ours = renewals::claim(&client, session.guid, session.updated_at, now, now + LEASE).await?;
        drop(client); // None is held while a provider is asked.
        if ours {
            let refresh = kept.refresh_token.clone().unwrap_or_default();
            match ask(backstage, &provider, Grant::Refresh(&refresh)).await {
                Ok(tokens) => {
                    if let Some(given) = store(database, backstage, &session, kept, &provider, tokens).await? {
                        return Ok(given);
                    }
                }
                Err(error) if error.is_over() => return Err(over(database, integration, &session, server).await?),
                Err(error) => {
                    renewals::release(&database.client().await?, session.guid).await?;
                    let goes_on = usable && error.may_pass();
                    return if goes_on {
                        Ok(Given::of(kept, session.expires_at))
                    } else {
                        Err(error.told(integration))
                    };
                }
            }
        } else if usable {
            return Ok(Given::of(kept, session.expires_at));
        } else {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Err(ApiError::busy("the visitor's token is being renewed, which takes long; try again"))
}

/// Stores renewed tokens and gives the lease back; `None`: the session is another one by now, or none.
async fn store(
    database: &Database,
    backstage: &dyn Backstage,
    session: &SessionRow,
    before: Kept,
    provider: &Provider,
    tokens: Tokens,
) -> Result<Option<Given>, ApiError> {
    let expires_at = end_of(&tokens, OffsetDateTime::now_utc());
    let mut renewed = Kept::new(tokens, provider);
    // A provider that sends none goes on taking the one before (RFC 6749 §6).
    renewed.refresh_token = renewed.refresh_token.or(before.refresh_token);
    let sealed = renewed.seal(backstage, session.guid)?;
    let there = renewals::finish(&database.client().await?, session.guid, &sealed, true, expires_at).await?;
    Ok(there.then(|| Given::of(renewed, expires_at)))
}

/// Ends a session that is worth nothing any more: the user or the provider took the grant back, or the integration leads to
/// another provider by now.
async fn over(
    database: &Database,
    integration: &IntegrationRow,
    session: &SessionRow,
    server: &str,
) -> Result<ApiError, ApiError> {
    sessions::delete(&database.client().await?, session.guid).await?;
    tracing::info!(integration.guid = %integration.guid, user.id = session.user.0, "a session with a provider is over");
    Ok(sign_in_first(integration, server, "is no longer signed in"))
}

fn sign_in_first(integration: &IntegrationRow, server: &str, what: &str) -> ApiError {
    let text = format!(
        "the visitor {what} to the integration {:?}: the page to do so is {server}{}",
        name(integration),
        sign_in_path(integration.guid)
    );
    ApiError::new(Code::SignInNeeded, text)
}

/// Tokens of content's own accounts, in memory: each server has its own, and a lost one is only asked for again.
#[derive(Clone, Default)]
pub struct ServiceTokens(Arc<Mutex<HashMap<IntegrationGuid, Place>>>);

/// Held by who asks first, and others wait for what comes of it.
type Place = Arc<tokio::sync::Mutex<Option<Cached>>>;

struct Cached {
    /// When the integration had changed last.
    of: OffsetDateTime,
    got_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    access_token: Zeroizing<String>,
}

impl ServiceTokens {
    fn place(&self, guid: IntegrationGuid) -> Place {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than there are integrations, unless many were deleted.
        if places.len() > usize::try_from(MOST_INTEGRATIONS).unwrap_or(usize::MAX) {
            places.clear();
        }
        Arc::clone(places.entry(guid).or_default())
    }
}

/// The token of an integration of the kind `Service Account`. One that says when it ends is given again until then.
pub async fn service_token(
    tokens: &ServiceTokens,
    backstage: &dyn Backstage,
    integration: &IntegrationRow,
) -> Result<Given, ApiError> {
    let place = tokens.place(integration.guid);
    // Held while the provider is asked: others want the same token.
    let mut cached = place.lock().await;
    let now = OffsetDateTime::now_utc();
    if let Some(one) = cached.as_ref().filter(|one| one.of == integration.updated_at)
        && freshness(one.got_at, Some(one.ends_at), true, now) == Freshness::Good
    {
        return Ok(Given { access_token: one.access_token.clone(), expires_at: Some(one.ends_at) });
    }
    let asked = ask(backstage, &provider(backstage, integration)?, Grant::Client).await;
    let tokens = asked.map_err(|error: NotGiven| error.told(integration))?;
    let access_token = Zeroizing::new(tokens.access_token);
    let ends_at = tokens.lasts.map(|lasts| now + lasts);
    *cached = ends_at.map(|ends_at| Cached {
        of: integration.updated_at,
        got_at: now,
        ends_at,
        access_token: access_token.clone(),
    });
    Ok(Given { access_token, expires_at: ends_at })
}
