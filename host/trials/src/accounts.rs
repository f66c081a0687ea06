//! People whom another directory vouches for, signed in in memory.

use std::sync::Arc;

use crate::people::principal;
use async_trait::async_trait;
use lectern_domain::{Principal, PrincipalVia, UserGuid, UserId, UserRole};
use lectern_gate::{Accounts, Profile, SignInRefusal};
use lectern_packages::cases::{Linked, World};

/// Signs in the users of the world of a case; what is made lasts as long as the call.
pub(crate) struct SignIn(pub(crate) Arc<World>);

/// The GUID of an account that a case makes: always the same for one person.
fn made(profile: &Profile) -> UserGuid {
    let person = format!("{}\n{}", profile.issuer, profile.subject);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(person.as_bytes()).as_bytes()[..16]);
    UserGuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[async_trait]
impl Accounts for SignIn {
    async fn sign_in(&self, profile: Profile) -> Result<Principal, SignInRefusal> {
        let person = Linked { issuer: profile.issuer.clone(), subject: profile.subject.clone() };
        let linked = self.0.users.iter().find(|user| user.linked.as_ref() == Some(&person));
        let named = self.0.users.iter().find(|user| user.name.eq_ignore_ascii_case(&profile.username));
        let user = match (linked, named) {
            (Some(user), _) => user,
            (None, Some(user)) if user.linked.is_none() => user,
            (None, Some(_)) => return Err(SignInRefusal::NameTaken),
            (None, None) if !profile.create => return Err(SignInRefusal::Unknown),
            (None, None) => {
                return Ok(Principal {
                    user: UserId(i64::try_from(self.0.users.len()).unwrap_or(i64::MAX - 1) + 1),
                    guid: made(&profile),
                    username: profile.username,
                    role: profile.role.unwrap_or(UserRole::Viewer),
                    via: PrincipalVia::Session,
                });
            }
        };
        if user.locked {
            return Err(SignInRefusal::Locked);
        }
        let known = principal(&self.0, user, PrincipalVia::Session);
        Ok(Principal { role: profile.role.unwrap_or(known.role), ..known })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lectern_packages::cases::User;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn people_are_found_made_and_refused() {
        let user = |name: &str, linked: Option<&str>, locked| User {
            name: name.into(),
            guid: UserGuid(Uuid::from_u128(name.len() as u128)),
            display_name: None,
            groups: Vec::new(),
            role: UserRole::Viewer,
            locked,
            linked: linked.map(|subject| Linked { issuer: "idp".into(), subject: subject.into() }),
        };
        let users = vec![user("ada", None, false), user("bobby", Some("7"), false), user("locked", None, true)];
        let accounts = SignIn(Arc::new(World { users, ..World::default() }));
        let sign_in = async |username: &str, subject: &str, create| {
            let profile = Profile {
                issuer: "idp".into(),
                subject: subject.into(),
                username: username.into(),
                email: String::new(),
                first_name: String::new(),
                last_name: String::new(),
                role: Some(UserRole::Publisher),
                create,
            };
            accounts.sign_in(profile).await.map(|principal| (principal.username, principal.role))
        };
        let is = |name: &str| Ok((name.to_owned(), UserRole::Publisher));
        assert_eq!(sign_in("ada", "1", false).await, is("ada"));
        assert_eq!(sign_in("renamed", "7", false).await, is("bobby"));
        assert_eq!(sign_in("bobby", "8", true).await, Err(SignInRefusal::NameTaken));
        assert_eq!(sign_in("eve", "9", false).await, Err(SignInRefusal::Unknown));
        assert_eq!(sign_in("eve", "9", true).await, is("eve"));
        assert_eq!(sign_in("locked", "1", true).await, Err(SignInRefusal::Locked));
    }
}
