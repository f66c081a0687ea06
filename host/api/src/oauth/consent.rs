//! What the pages ask where a user consents: what is asked for, and the codes that a yes makes.

use lectern_domain::access::Principal;
use lectern_domain::oauth::{
    CODE_LIFETIME, GUESS_WINDOW, MOST_GUESSES, Redirect, UserCode, granted, is_challenge, scope,
};
use lectern_domain::user::UserRole;
use lectern_metadata::oauth::{self, CodeRow, DeviceRow};
use lectern_metadata::{Client, users};
use time::OffsetDateTime;
use url::form_urlencoded::Serializer;

use super::error::Word;
use super::form::Form;
use super::{AUTHORIZATION_CODE, secret};
use crate::error::ApiError;
use crate::users::Standing;

/// Codes of one account that have not ended: each is a page that was confirmed within ten minutes.
const MOST_CODES: i64 = 50;

/// A program that asks for a user's consent, and may.
pub struct Asked {
    /// As it calls itself.
    pub name: String,
    /// When and from where it was registered.
    pub registered: (OffsetDateTime, String),
    /// The most that it asks for; `None`: all that its user may.
    pub scope: Option<UserRole>,
    client: String,
    redirect: Redirect,
    challenge: String,
    state: Option<String>,
}

/// Why nobody is asked for consent.
pub enum Declined {
    /// Shown in place of the question: nothing is known to be the program's address.
    Page(&'static str),
    /// The program learns it, at its own registered address.
    Program(String),
    /// A failure of ours.
    Failed(ApiError),
}

impl From<lectern_metadata::DbError> for Declined {
    fn from(error: lectern_metadata::DbError) -> Self {
        Self::Failed(error.into())
    }
}

impl Asked {
    /// Reads the query of an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).
    pub async fn read(database: &Client, query: &str) -> Result<Self, Declined> {
        let form = Form::parse(query.as_bytes()).map_err(|_| {
            Declined::Page("The address is not complete, or was changed: a part is there twice, or too long.")
        })?;
        let client = match form.get("client_id") {
            Some(id) => oauth::get_client(database, id).await?,
            None => None,
        };
        let client = client.ok_or(Declined::Page(
            "The program is not registered here (any more). Sign out in the program, and begin again.",
        ))?;
        let redirect = form.get("redirect_uri").and_then(|uri| Redirect::parse(uri).ok());
        let registered = |redirect: &Redirect| {
            client.redirect_uris.iter().filter_map(|uri| Redirect::parse(uri).ok()).any(|known| redirect.is(&known))
        };
        let redirect = redirect.filter(registered).ok_or(Declined::Page(
            "The address to go back to is not one that the program registered, so nothing is sent there.",
        ))?;
        let state = form.get("state").map(str::to_owned);
        let tell = |word: Word, text: &str| Err(Declined::Program(back(&redirect, state.as_deref(), word, text)));
        if !client.grant_types.iter().any(|grant| grant == AUTHORIZATION_CODE) {
            return tell(Word::UnauthorizedClient, "the client did not register for authorization_code");
        }
        if form.get("response_type") != Some("code") {
            let word =
                if form.get("response_type").is_some() { Word::UnsupportedResponseType } else { Word::InvalidRequest };
            return tell(word, "response_type must be code");
        }
        if form.get("code_challenge_method") != Some("S256") {
            return tell(Word::InvalidRequest, "code_challenge_method must be S256");
        }
        let Some(challenge) = form.get("code_challenge").filter(|challenge| is_challenge(challenge)) else {
            return tell(Word::InvalidRequest, "code_challenge must be 43 characters of base64url");
        };
        let scope = match scope(form.get("scope")) {
            Ok(scope) => scope,
            Err(why) => return tell(Word::InvalidScope, &why.to_string()),
        };
        Ok(Self {
            name: client.name,
            registered: (client.created_at, client.asked_from),
            scope,
            challenge: challenge.to_owned(),
            client: client.id,
            state,
            redirect,
        })
    }

    /// Scheme, host and port that the browser will be sent to.
    pub fn origin(&self) -> String {
        self.redirect.origin()
    }

    /// Where the browser goes when the user says no.
    pub fn denied(&self) -> String {
        back(&self.redirect, self.state.as_deref(), Word::AccessDenied, "the user did not allow it")
    }
}

/// The program's address, with what it is told.
fn back(redirect: &Redirect, state: Option<&str>, word: Word, text: &str) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("error", word.text()).append_pair("error_description", text);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    redirect.with(&query.finish())
}

/// Allows what a program asks for, in the name of `user`; answers where the browser goes with the code.
pub async fn allow(database: &Client, user: &Principal, asked: &Asked) -> Result<String, ApiError> {
    standing(database, user).await?;
    let (code, hash) = secret::code()?;
    let row = CodeRow {
        client: asked.client.clone(),
        user: user.user,
        role: granted(asked.scope, user.role),
        redirect_uri: asked.redirect.to_string(),
        challenge: asked.challenge.clone(),
        expires_at: OffsetDateTime::now_utc() + CODE_LIFETIME,
    };
    if !oauth::create_code(database, &hash, &row, MOST_CODES).await? {
        return Err(ApiError::busy("too many codes of this account wait to be redeemed; try again in ten minutes"));
    }
    tracing::info!(
        user.name = user.username,
        oauth.client = asked.client,
        role = row.role.as_str(),
        "a program was allowed"
    );
    let mut query = Serializer::new(String::new());
    query.append_pair("code", &code);
    if let Some(state) = &asked.state {
        query.append_pair("state", state);
    }
    Ok(asked.redirect.with(&query.finish()))
}

async fn standing(database: &Client, user: &Principal) -> Result<(), ApiError> {
    let account = users::get(database, user.user).await?;
    let account = account.ok_or_else(|| ApiError::new(crate::Code::UserMissing, "there is no such user"))?;
    Standing::check(&account)
}

/// A program without a browser, which waits for its user's answer.
pub struct DeviceAsked {
    /// As it calls itself.
    pub name: String,
    /// From where it asked.
    pub asked_from: String,
    /// When.
    pub asked_at: OffsetDateTime,
    /// The most that it asks for; `None`: all that its user may.
    pub scope: Option<UserRole>,
}

/// Why a code leads to no program.
pub enum DeviceRefusal {
    /// No program waits with this code.
    Unknown,
    /// This user has entered too many that were none.
    TooMany,
    /// A failure of ours.
    Failed(ApiError),
}

impl From<lectern_metadata::DbError> for DeviceRefusal {
    fn from(error: lectern_metadata::DbError) -> Self {
        Self::Failed(error.into())
    }
}

/// The program that waits with the code that `user` enters. Wrong ones are counted against the account.
pub async fn device_waiting(database: &Client, user: &Principal, code: &str) -> Result<DeviceAsked, DeviceRefusal> {
    let now = OffsetDateTime::now_utc();
    if oauth::count_guess(database, user.user, now - GUESS_WINDOW).await? > MOST_GUESSES {
        return Err(DeviceRefusal::TooMany);
    }
    let code = UserCode::parse(code).ok_or(DeviceRefusal::Unknown)?;
    let device: DeviceRow =
        oauth::device_of_code(database, &secret::hash(code.letters())).await?.ok_or(DeviceRefusal::Unknown)?;
    oauth::uncount_guess(database, user.user).await?;
    let client = oauth::get_client(database, &device.client).await?.ok_or(DeviceRefusal::Unknown)?;
    Ok(DeviceAsked {
        name: client.name,
        asked_from: device.asked_from,
        asked_at: device.created_at,
        scope: device.asked,
    })
}

/// Says yes or no to the program that waits with this code; `false`: it waits no more. The caller has seen it by
/// [`device_waiting`], which counts.
pub async fn answer_device(
    database: &Client,
    user: &Principal,
    code: &str,
    asked: &DeviceAsked,
    yes: bool,
) -> Result<bool, ApiError> {
    standing(database, user).await?;
    let Some(code) = UserCode::parse(code) else { return Ok(false) };
    let allowed = yes.then(|| (user.user, granted(asked.scope, user.role)));
    let answered = oauth::answer_device(database, &secret::hash(code.letters()), allowed).await?;
    if answered {
        tracing::info!(user.name = user.username, allowed = yes, "a program that waited has its answer");
    }
    Ok(answered)
}
