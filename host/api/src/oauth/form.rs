//! Parameters in form encoding: each at most once (RFC 6749 §3.1), an empty one as if it were absent.

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use lectern_metadata::GenericClient;
use lectern_metadata::oauth::{self, ClientRow};

use super::error::{OAuthError, Word};
use crate::body;

/// Most parameters read: requests have seven.
const MOST: usize = 32;
/// Longest value, in bytes: an address, a state of a client's own, or an identity token, which may list somebody's groups.
const MAX_VALUE: usize = 16 << 10;

/// What was sent.
pub(crate) struct Form(HashMap<String, String>);

impl Form {
    /// Reads a query or a body. The text says what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut all = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            if value.len() > MAX_VALUE || name.len() > MAX_VALUE || all.len() >= MOST {
                return Err("there are too many parameters, or one is too long".into());
            }
            if all.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err("a parameter is sent more than once".into());
            }
        }
        Ok(Self(all))
    }

    /// A parameter, unless it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::new(Word::InvalidRequest, format!("the parameter {name} is missing")))
    }

    /// The program that asks. It proves nothing by its name: what it redeems must be its own.
    pub(crate) async fn client(&self, database: &impl GenericClient) -> Result<ClientRow, OAuthError> {
        let known = oauth::get_client(database, self.need("client_id")?).await?;
        known.ok_or_else(|| OAuthError::new(Word::InvalidClient, "there is no such client: register again"))
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = OAuthError;
    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        let bytes = body::collect(request.into_body()).await?;
        Self::parse(&bytes).map_err(|text| OAuthError::new(Word::InvalidRequest, text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_are_sent_once() {
        let form = Form::parse(b"a=1&b=&c=%20x").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c"), form.get("d")), (Some("1"), None, Some(" x"), None));
        let long = format!("a={}", "x".repeat(MAX_VALUE + 1));
        let many: String = (0..=MOST).map(|n| format!("p{n}=1&")).collect();
        for bad in ["a=1&a=1", "a=1&a=", &long, &many] {
            assert!(Form::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
