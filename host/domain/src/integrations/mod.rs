//! Integrations: services that content reaches in a visitor's name or in its own, and what is decided about them.

pub mod exchange;
pub mod provider;
pub mod template;
pub mod tokens;
pub mod visitor;
pub mod way_back;

use std::fmt;

use uuid::Uuid;

use crate::ids::{IntegrationGuid, OAuthSessionGuid};

/// How an integration comes to the credentials it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// A visitor signs in to the provider in the browser (authorization code).
    Viewer,
    /// The content has an account of its own (client credentials).
    ServiceAccount,
    /// A key of the visitor for this server itself.
    VisitorApiKey,
}

impl AuthType {
    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "Viewer",
            Self::ServiceAccount => "Service Account",
            Self::VisitorApiKey => "Visitor API Key",
        }
    }

    /// Reads the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::ServiceAccount, Self::VisitorApiKey].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a sealed value of integrations belongs to: sealed for one place it opens at no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The secret part of an integration's configuration, a JSON object.
    Integration(IntegrationGuid),
    /// The tokens that a user got, a JSON object.
    Session(OAuthSessionGuid),
    /// The PKCE verifier of somebody who is signing in; named by its row's GUID.
    Login(Uuid),
}

impl Place {
    /// The bytes that are authenticated with the value. Never those of a variable of content, which begin with a GUID whose ninth
    /// byte is no ASCII, nor those of a plugin's secret, which begin with other words.
    pub fn bound_to(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integration(guid) => write!(f, "lectern integration {guid}"),
            Self::Session(guid) => write!(f, "lectern integration session {guid}"),
            Self::Login(guid) => write!(f, "lectern integration login {}", guid.hyphenated()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for kind in [AuthType::Viewer, AuthType::ServiceAccount, AuthType::VisitorApiKey] {
            assert_eq!(AuthType::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(AuthType::parse("viewer"), None);
    }

    #[test]
    fn no_two_places_are_one() {
        let guid = Uuid::from_u128(7);
        let places = [
            Place::Integration(IntegrationGuid(guid)),
            Place::Session(OAuthSessionGuid(guid)),
            Place::Login(guid),
            Place::Login(Uuid::from_u128(8)),
        ];
        for (at, one) in places.iter().enumerate() {
            assert!(places[at + 1..].iter().all(|other| other.bound_to() != one.bound_to()), "{one}");
        }
    }
}
