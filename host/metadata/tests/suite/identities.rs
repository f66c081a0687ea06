//! Accounts of people whom another directory vouches for.

use lectern_domain::{UserGuid, UserRole};
use lectern_metadata::identities::{self, Profile, SignIn};
use lectern_metadata::users::UserRow;
use lectern_metadata::{Database, DatabaseConfig, DbError, users};
use uuid::Uuid;

use super::bindings::committed;
use super::{open, user};

fn person(subject: &str, username: &str) -> SignIn {
    SignIn {
        issuer: "https://idp.example".to_owned(),
        subject: subject.to_owned(),
        profile: Profile {
            username: username.to_owned(),
            email: format!("{username}@idp.example"),
            first_name: "Grace".to_owned(),
            last_name: "Hopper".to_owned(),
        },
        role: Some(UserRole::Publisher),
        create: Some(UserGuid(Uuid::new_v4())),
    }
}

async fn sign_in(database: &Database, who: &SignIn) -> Result<UserRow, DbError> {
    let mut client = database.client().await.unwrap();
    committed(&mut client, async |tx| identities::sign_in(tx, who).await).await
}

pub async fn a_person_gets_one_account(config: DatabaseConfig) {
    let database = open(config).await;
    let grace = person("1", "grace");
    let unknown = sign_in(&database, &SignIn { create: None, ..grace.clone() }).await;
    assert!(matches!(unknown, Err(DbError::NotFound("user"))), "{unknown:?}");
    let made = sign_in(&database, &grace).await.unwrap();
    assert_eq!((Some(made.guid), made.username.as_str(), made.role), (grace.create, "grace", UserRole::Publisher));
    assert_eq!((made.email.as_str(), made.confirmed, made.locked), ("grace@idp.example", true, false));
    let client = database.client().await.unwrap();
    assert_eq!(users::password_hash_of(&client, "grace").await.unwrap().unwrap().1, None, "no password signs in");
    for create in [None, Some(UserGuid(Uuid::new_v4()))] {
        let again = sign_in(&database, &SignIn { create, ..grace.clone() }).await.unwrap();
        assert_eq!(again, made);
    }
    // The same subject elsewhere is somebody else.
    let elsewhere = SignIn { issuer: "https://other.example".to_owned(), ..person("1", "hopper") };
    assert_ne!(sign_in(&database, &elsewhere).await.unwrap().id, made.id);
    let plain = SignIn { role: None, ..person("2", "plain") };
    assert_eq!(sign_in(&database, &plain).await.unwrap().role, UserRole::Viewer);
    let links = identities::list(&client, made.id).await.unwrap();
    assert_eq!(links.len(), 1);
    assert!(links[0].made_account && links[0].signed_in_at.is_some());
}

pub async fn names_of_others_are_not_taken_over(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let claims = person("7", "ADA");
    let refused = sign_in(&database, &claims).await;
    assert!(matches!(refused, Err(DbError::UsernameTaken)), "{refused:?}");
    let client = database.client().await.unwrap();
    assert_eq!(identities::list(&client, ada.id).await.unwrap(), []);
    // Linked by somebody who may, it is hers; the directory does not say what she may do here, nor what she is called.
    let link = identities::link(&client, &claims.issuer, "7", ada.id).await.unwrap();
    assert!(!link.made_account && link.signed_in_at.is_none());
    let raised = SignIn { role: Some(UserRole::Administrator), ..claims.clone() };
    assert_eq!(sign_in(&database, &raised).await.unwrap(), ada);
    let twice = identities::link(&client, &claims.issuer, "7", ada.id).await;
    assert!(matches!(twice, Err(DbError::AlreadyLinked)), "{twice:?}");
    let nobody = identities::link(&client, &claims.issuer, "8", lectern_domain::UserId(i64::MAX)).await;
    assert!(matches!(nobody, Err(DbError::NotFound("user"))), "{nobody:?}");
    assert!(identities::unlink(&client, &claims.issuer, "7").await.unwrap());
    assert!(!identities::unlink(&client, &claims.issuer, "7").await.unwrap());
    assert!(matches!(sign_in(&database, &claims).await, Err(DbError::UsernameTaken)));
}

pub async fn the_directory_says_who_its_accounts_are(config: DatabaseConfig) {
    let database = open(config).await;
    let grace = person("1", "grace");
    let made = sign_in(&database, &grace).await.unwrap();
    let mut later = SignIn { role: Some(UserRole::Administrator), create: None, ..grace.clone() };
    later.profile.username = "hopper".to_owned();
    later.profile.email = "new@idp.example".to_owned();
    let changed = sign_in(&database, &later).await.unwrap();
    assert_eq!((changed.id, changed.username.as_str()), (made.id, "grace"), "a name stays");
    assert_eq!((changed.email.as_str(), changed.role), ("new@idp.example", UserRole::Administrator));
    let silent = SignIn { role: None, ..later.clone() };
    assert_eq!(sign_in(&database, &silent).await.unwrap().role, UserRole::Administrator);
    let lowered = SignIn { role: Some(UserRole::Viewer), ..later };
    assert_eq!(sign_in(&database, &lowered).await.unwrap().role, UserRole::Viewer);
}

pub async fn locked_accounts_stay_locked(config: DatabaseConfig) {
    let database = open(config).await;
    let grace = person("1", "grace");
    let made = sign_in(&database, &grace).await.unwrap();
    let client = database.client().await.unwrap();
    users::set_locked(&client, made.id, true).await.unwrap();
    let promoted = SignIn { role: Some(UserRole::Administrator), ..grace.clone() };
    for who in [&grace, &promoted] {
        let refused = sign_in(&database, who).await;
        assert!(matches!(refused, Err(DbError::AccountLocked)), "{refused:?}");
    }
    assert_eq!(users::get(&client, made.id).await.unwrap().unwrap().role, UserRole::Publisher);
    users::set_locked(&client, made.id, false).await.unwrap();
    assert_eq!(sign_in(&database, &grace).await.unwrap().id, made.id);
}

pub async fn first_visits_at_once_make_one_account(config: DatabaseConfig) {
    let database = open(config).await;
    let visits: Vec<_> = (0..20)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move { sign_in(&database, &person("1", "grace")).await.unwrap().id })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for visit in visits {
        ids.insert(visit.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), 1);
}
