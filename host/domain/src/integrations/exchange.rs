//! Which integration of a content item a token is exchanged at.

use super::AuthType;
use crate::ids::IntegrationGuid;

/// Who the credentials are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A visitor of the content.
    Visitor,
    /// The content itself.
    Content,
}

/// What kind of credentials is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever the integration gives.
    Any,
    /// A key for this server's API.
    ApiKey,
    /// An access token of the provider.
    AccessToken,
}

/// Why no integration was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// The content uses none that could give it.
    #[error("the content uses no integration that gives such credentials; add one to it")]
    None,
    /// The content does not use the one that was named.
    #[error("the content does not use the integration that audience names; add it to the content")]
    NotUsed,
    /// The one that was named gives other credentials.
    #[error("the integration that audience names gives no such credentials for this kind of token")]
    OtherKind,
    /// There are several that could.
    #[error("the content uses several integrations that could give this; say which by its GUID as audience")]
    Several,
}

/// Chooses among the integrations that a content item uses; the answer is the place in `used`.
///
/// Without `audience` there must be one that fits, and one only.
pub fn choose(
    used: &[(IntegrationGuid, AuthType)],
    whom: For,
    wanted: Wanted,
    audience: Option<IntegrationGuid>,
) -> Result<usize, NoChoice> {
    let fits = |kind: AuthType| match (whom, kind) {
        (For::Visitor, AuthType::VisitorApiKey) => wanted != Wanted::AccessToken,
        (For::Visitor, AuthType::Viewer) | (For::Content, AuthType::ServiceAccount) => wanted != Wanted::ApiKey,
        (For::Visitor, AuthType::ServiceAccount) | (For::Content, AuthType::Viewer | AuthType::VisitorApiKey) => false,
    };
    if let Some(audience) = audience {
        let at = used.iter().position(|(guid, _)| *guid == audience).ok_or(NoChoice::NotUsed)?;
        return if fits(used[at].1) { Ok(at) } else { Err(NoChoice::OtherKind) };
    }
    let mut fitting = used.iter().enumerate().filter(|(_, (_, kind))| fits(*kind)).map(|(at, _)| at);
    match (fitting.next(), fitting.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(NoChoice::Several),
        (None, _) => Err(NoChoice::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn guid(n: u128) -> IntegrationGuid {
        IntegrationGuid(Uuid::from_u128(n))
    }

    #[test]
    fn one_is_chosen_or_none() {
        use AuthType::{ServiceAccount, Viewer, VisitorApiKey};
        let one = [(guid(1), VisitorApiKey), (guid(2), Viewer), (guid(3), ServiceAccount)];
        let two = [(guid(1), Viewer), (guid(2), Viewer)];
        let cases = [
            (&one[..], For::Visitor, Wanted::ApiKey, None, Ok(0)),
            (&one, For::Visitor, Wanted::AccessToken, None, Ok(1)),
            (&one, For::Visitor, Wanted::Any, None, Err(NoChoice::Several)),
            (&one, For::Visitor, Wanted::Any, Some(guid(2)), Ok(1)),
            (&one, For::Content, Wanted::Any, None, Ok(2)),
            (&one, For::Content, Wanted::AccessToken, Some(guid(3)), Ok(2)),
            (&one, For::Content, Wanted::ApiKey, None, Err(NoChoice::None)),
            (&one, For::Content, Wanted::Any, Some(guid(1)), Err(NoChoice::OtherKind)),
            (&one, For::Visitor, Wanted::Any, Some(guid(3)), Err(NoChoice::OtherKind)),
            (&one, For::Visitor, Wanted::AccessToken, Some(guid(1)), Err(NoChoice::OtherKind)),
            (&one, For::Visitor, Wanted::Any, Some(guid(9)), Err(NoChoice::NotUsed)),
            (&one[..1], For::Visitor, Wanted::Any, None, Ok(0)),
            (&two, For::Visitor, Wanted::Any, None, Err(NoChoice::Several)),
            (&two, For::Visitor, Wanted::Any, Some(guid(2)), Ok(1)),
            (&[], For::Visitor, Wanted::Any, None, Err(NoChoice::None)),
            (&[], For::Visitor, Wanted::Any, Some(guid(1)), Err(NoChoice::NotUsed)),
        ];
        for (used, whom, wanted, audience, expected) in cases {
            assert_eq!(choose(used, whom, wanted, audience), expected, "{whom:?} {wanted:?} {audience:?}");
        }
    }
}
