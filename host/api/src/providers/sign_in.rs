//! A user signs in to a provider in the browser: sent there with a state, and back with a code (RFC 6749 §4.1, RFC 7636).
//!
//! The state counts once, for the user who began, in the browser that began: half of what it is looked up by is in a cookie, so
//! that an address with somebody else's code in it is worth nothing here.

use lectern_domain::access::Principal;
use lectern_domain::audit::Action;
use lectern_domain::integrations::provider::Provider;
use lectern_domain::integrations::tokens::{is_token, is_word};
use lectern_domain::integrations::way_back::is_way_back;
use lectern_domain::integrations::{AuthType, Place};
use lectern_domain::{IntegrationGuid, OAuthSessionGuid};
use lectern_metadata::integrations::sessions::{self, LoginRow};
use lectern_metadata::integrations::{self, IntegrationRow};
use lectern_metadata::{Client, Database, DbError};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::ask::{Grant, ask, authorization_address};
use super::kept::{Kept, end_of};
use super::{name, provider};
use crate::Backstage;
use crate::audit::record;
use crate::error::{ApiError, Code};
use crate::keys::ApiKeyText;

/// How long a provider may take with a user: to look for a second factor, and to read what is asked for.
const LIFETIME: Duration = Duration::minutes(15);
/// Ways to providers that a user has open: each is a page that was confirmed within the lifetime.
const MOST_OPEN: i64 = 20;
/// Longest query that a browser brings back, in bytes: codes of large providers come to two thousand.
const MAX_QUERY: usize = 12 << 10;
/// Most parameters in it: those of the RFCs, and some of a provider's own.
const MOST_PARAMETERS: usize = 32;

/// What every name of a cookie begins with.
const COOKIE: &str = "lectern-sign-in-";

/// An integration that somebody is about to sign in to.
pub struct Asked {
    /// What people call it.
    pub name: String,
    /// What an administrator says of it; may be empty.
    pub description: String,
    /// Scheme, host and port of the page to sign in at.
    pub provider: String,
}

/// A way to a provider that was begun.
pub struct Begun {
    /// Where the browser goes.
    pub location: String,
    /// Scheme, host and port of it.
    pub provider: String,
    /// The cookie that it must bring back to [`super::CALLBACK`].
    pub cookie: (String, Zeroizing<String>),
    /// How long that lasts, in seconds.
    pub lasts: i64,
}

/// A user who is signed in to an integration now.
pub struct Came {
    /// What people call it.
    pub integration: String,
    /// A page of this server.
    pub return_to: String,
    /// The cookie that is over.
    pub cookie: String,
}

/// Why somebody who came back is not signed in.
pub enum NotSignedIn {
    /// The address is not whole, or has something twice.
    Incomplete,
    /// Nothing waits for it: too late, a second time, or another browser's.
    Unknown,
    /// It was begun by another account.
    Another,
    /// The user, or the provider, said no; its word, and where to try again.
    Refused {
        /// The provider's word.
        word: String,
        /// What people call the integration.
        integration: String,
        /// Which.
        guid: IntegrationGuid,
    },
    /// The provider gave no tokens for the code, or we failed.
    Failed(ApiError),
}

impl From<DbError> for NotSignedIn {
    fn from(error: DbError) -> Self {
        Self::Failed(error.into())
    }
}

/// The integration of this GUID, if visitors sign in to it.
async fn found(client: &Client, guid: IntegrationGuid) -> Result<IntegrationRow, ApiError> {
    let integration = integrations::get(client, guid).await?;
    let integration = integration.filter(|one| one.fields.auth_type == AuthType::Viewer);
    integration.ok_or_else(|| ApiError::new(Code::Missing, "there is no such integration to sign in to"))
}

/// What to show to somebody who is about to sign in.
pub async fn look(database: &Database, backstage: &dyn Backstage, guid: IntegrationGuid) -> Result<Asked, ApiError> {
    let integration = found(&database.client().await?, guid).await?;
    let provider = origin(&provider(backstage, &integration)?);
    let description = integration.fields.description.clone().unwrap_or_default();
    Ok(Asked { name: name(&integration).to_owned(), description, provider })
}

fn origin(provider: &Provider) -> String {
    provider.authorization.as_ref().map(|address| address.origin().to_string()).unwrap_or_default()
}

/// Begins: notes who goes where, and says what the browser needs. `redirect_uri` is [`super::CALLBACK`] below the server's address.
pub async fn begin(
    database: &Database,
    backstage: &dyn Backstage,
    user: &Principal,
    guid: IntegrationGuid,
    return_to: &str,
    redirect_uri: &str,
) -> Result<Begun, ApiError> {
    if !is_way_back(return_to) {
        return Err(ApiError::new(Code::BadParameter, "next must be a path of this server"));
    }
    let client = database.client().await?;
    let integration = found(&client, guid).await?;
    let provider = provider(backstage, &integration)?;
    let (state, browser) = (ApiKeyText::random()?.into_text(), Zeroizing::new(ApiKeyText::random()?.into_text()));
    let verifier = Zeroizing::new(verifier()?);
    let location = authorization_address(&provider, redirect_uri, &state, &verifier)
        .ok_or_else(|| ApiError::new(Code::Missing, "there is no such integration to sign in to"))?;
    let login = Uuid::new_v4();
    let row = LoginRow {
        guid: login,
        user: user.user,
        integration: integration.id,
        integration_guid: integration.guid,
        sealed: backstage.seal_for(Place::Login(login), verifier.as_bytes()).map_err(ApiError::internal)?,
        return_to: return_to.to_owned(),
        expires_at: OffsetDateTime::now_utc() + LIFETIME,
    };
    if !sessions::begin_login(&client, &lookup(&state, &browser), &row, MOST_OPEN).await? {
        return Err(ApiError::busy("too many sign-ins of this account were begun; try again in a quarter of an hour"));
    }
    let provider = origin(&provider);
    Ok(Begun { location, provider, cookie: (cookie_name(&state), browser), lasts: LIFETIME.whole_seconds() })
}

/// Takes a browser that came back: `query` and `cookies` are its request's. What it brings counts once.
pub async fn finish(
    database: &Database,
    backstage: &dyn Backstage,
    user: &Principal,
    query: &str,
    cookies: &str,
    redirect_uri: &str,
) -> Result<Came, NotSignedIn> {
    let brought = Brought::read(query).ok_or(NotSignedIn::Incomplete)?;
    let cookie = cookie_name(&brought.state);
    let browser = value_of(cookies, &cookie).ok_or(NotSignedIn::Unknown)?;
    let client = database.client().await?;
    let login = sessions::take_login(&client, &lookup(&brought.state, browser)).await?.ok_or(NotSignedIn::Unknown)?;
    if login.user != user.user {
        return Err(NotSignedIn::Another);
    }
    let integration = found(&client, login.integration_guid).await.map_err(NotSignedIn::Failed)?;
    drop(client); // None is held while a provider is asked.
    let integration_name = name(&integration).to_owned();
    let code = match brought.outcome {
        Ok(code) => code,
        Err(word) => {
            let guid = integration.guid;
            return Err(NotSignedIn::Refused { word, integration: integration_name, guid });
        }
    };
    let failed = |error: ApiError| NotSignedIn::Failed(error);
    let verifier =
        backstage.open_for(Place::Login(login.guid), &login.sealed).map_err(ApiError::internal).map_err(failed)?;
    let verifier = String::from_utf8_lossy(&verifier);
    let provider = provider(backstage, &integration).map_err(failed)?;
    let grant = Grant::Code { code: &code, verifier: &verifier, redirect_uri };
    let tokens = ask(backstage, &provider, grant).await.map_err(|error| failed(error.told(&integration)))?;
    let expires_at = end_of(&tokens, OffsetDateTime::now_utc());
    keep(database, backstage, user, &integration, Kept::new(tokens, &provider), expires_at).await.map_err(failed)?;
    Ok(Came { integration: integration_name, return_to: login.return_to, cookie })
}

async fn keep(
    database: &Database,
    backstage: &dyn Backstage,
    user: &Principal,
    integration: &IntegrationRow,
    kept: Kept,
    expires_at: Option<OffsetDateTime>,
) -> Result<(), ApiError> {
    let session = OAuthSessionGuid(Uuid::new_v4());
    let sealed = kept.seal(backstage, session)?;
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let refreshes = kept.refresh_token.is_some();
    sessions::put(&tx, session, user.user, integration.id, &sealed, refreshes, expires_at).await?;
    record(&tx, user, &Action::IntegrationSignedIn { integration: &integration.guid.to_string() }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// Ends what a user got from an integration; `false`: there was nothing. Content gets no token for the user any more; the provider
/// is not told.
pub async fn sign_out(database: &Database, user: &Principal, guid: IntegrationGuid) -> Result<bool, ApiError> {
    let mut client = database.client().await?;
    let integration = found(&client, guid).await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !sessions::delete_of_user(&tx, user.user, integration.id).await? {
        return Ok(false);
    }
    let integration = integration.guid.to_string();
    let ended = Action::IntegrationSessionEnded { user: &user.username, integration: &integration };
    record(&tx, user, &ended).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(true)
}

/// What a browser brought back from a provider.
struct Brought {
    state: String,
    /// The code, or the provider's word for why there is none.
    outcome: Result<Zeroizing<String>, String>,
}

impl Brought {
    /// Reads the query of RFC 6749 §4.1.2; `None`: it is not whole, or a parameter is there twice.
    fn read(query: &str) -> Option<Self> {
        if query.len() > MAX_QUERY {
            return None;
        }
        let (mut state, mut code, mut error) = (None, None, None);
        for (count, (name, value)) in url::form_urlencoded::parse(query.as_bytes()).enumerate() {
            let place = match &*name {
                "state" => &mut state,
                "code" => &mut code,
                "error" => &mut error,
                _ if count < MOST_PARAMETERS => continue,
                _ => return None,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        let state = state.filter(|state| is_token(state))?;
        let outcome = match (code, error) {
            (Some(code), None) if is_token(&code) => Ok(Zeroizing::new(code)),
            (None, Some(word)) if is_word(&word) => Err(word),
            _ => return None,
        };
        Some(Self { state, outcome })
    }
}

/// What a way to a provider is looked up by: the provider has one half of it, and the browser the other.
fn lookup(state: &str, browser: &str) -> [u8; 32] {
    *blake3::hash(format!("{state}\0{browser}").as_bytes()).as_bytes()
}

/// Several ways may be open in one browser, so each has a cookie of its own.
fn cookie_name(state: &str) -> String {
    format!("{COOKIE}{}", &blake3::hash(state.as_bytes()).to_hex()[..16])
}

/// The value of a cookie, if it can be one of ours.
fn value_of<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    let of_name = |pair: &'a str| pair.trim().split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value);
    cookies.split(';').find_map(of_name).filter(|value| value.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// 43 to 128 characters (RFC 7636 §4.1): two keys' worth.
fn verifier() -> Result<String, ApiError> {
    Ok(format!("{}{}", ApiKeyText::random()?.into_text(), ApiKeyText::random()?.into_text()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_domain::oauth::is_verifier;

    #[test]
    fn what_comes_back_is_read_strictly() {
        let read = |query: &str| {
            Brought::read(query).map(|brought| (brought.state, brought.outcome.map(|code| code.to_string())))
        };
        assert_eq!(
            read("code=a%2Fb&state=s&iss=https%3A%2F%2Fidp&session_state=x"),
            Some(("s".into(), Ok("a/b".into())))
        );
        let denied = read("error=access_denied&error_description=no&state=s");
        assert_eq!(denied, Some(("s".into(), Err("access_denied".into()))));
        let many: String = (0..=MOST_PARAMETERS).map(|n| format!("&p{n}=1")).collect();
        for bad in [
            "",
            "state=s",
            "code=c",
            "state=&code=c",
            "state=s&code=",
            "state=s&code=c&code=d",
            "state=s&state=s&code=c",
            "state=s&code=c&error=access_denied",
            "state=s&error=<script>",
            "state=s&code=a%0Ab",
            &format!("code=c&state=s{many}"),
            &format!("state=s&code={}", "x".repeat(MAX_QUERY)),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_browser_has_its_own_half() {
        let name = cookie_name("state");
        assert!(name.starts_with(COOKIE) && name != cookie_name("other"));
        let cookies = format!("a=b; {name}=half; x{name}=no");
        assert_eq!(value_of(&cookies, &name), Some("half"));
        for bad in ["", &name, &format!("{name}=a b"), &format!("x{name}=half")] {
            assert_eq!(value_of(bad, &name), None, "{bad}");
        }
        assert_ne!(lookup("a", "b"), lookup("a", "c"));
        assert_ne!(lookup("a", "b"), lookup("c", "b"));
        assert!(is_verifier(&verifier().unwrap()));
    }
}
