//! Sign-ins with a real database.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_domain::UserRole;
use lectern_metadata::testing::TestCluster;
use lectern_metadata::users;
use tokio::runtime::Handle;

use super::*;

async fn server(database: &Database) -> LinkedAccounts {
    let view = Arc::new(View::load(database.clone()).await.unwrap());
    LinkedAccounts::new(view, database.clone(), Handle::current())
}

fn profile(subject: &str, username: &str) -> Profile {
    Profile {
        issuer: "https://issuer.example".into(),
        subject: subject.into(),
        username: username.into(),
        email: format!("{subject}@example.org"),
        first_name: String::new(),
        last_name: String::new(),
        role: None,
        create: true,
    }
}

#[tokio::test]
async fn a_first_visit_makes_an_account_and_the_next_asks_nobody() {
    let database = TestCluster::shared().await.migrated().await;
    let accounts = server(&database).await;
    let ada = profile("1", "ada");
    let unknown = Profile { create: false, ..ada.clone() };
    assert_eq!(accounts.sign_in(unknown).await, Err(SignInRefusal::Unknown));
    let principal = accounts.sign_in(ada.clone()).await.unwrap();
    assert_eq!((principal.username.as_str(), principal.role), ("ada", UserRole::Viewer));
    assert_eq!(accounts.0.view.current().principal_of_user(principal.user).as_ref(), Some(&principal), "it is shown");

    database.close();
    assert_eq!(accounts.sign_in(ada.clone()).await, Ok(principal));
    for other in [
        Profile { issuer: "https://other.example".into(), ..ada.clone() },
        Profile { subject: "2".into(), ..ada.clone() },
        Profile { role: Some(UserRole::Publisher), ..ada.clone() },
        Profile { email: String::new(), ..ada.clone() },
        Profile { create: false, ..ada.clone() },
    ] {
        assert_eq!(accounts.sign_in(other.clone()).await, Err(SignInRefusal::Unavailable), "{other:?}");
    }
}

#[tokio::test]
async fn many_first_visits_at_once_make_one_account() {
    let database = TestCluster::shared().await.migrated().await;
    let servers = [server(&database).await, server(&database).await];
    let visits: Vec<_> = (0..30)
        .map(|n| {
            let server = servers[n % 2].clone();
            tokio::spawn(async move { server.sign_in(profile("1", "ada")).await.unwrap() })
        })
        .collect();
    let mut guids = std::collections::BTreeSet::new();
    for visit in visits {
        guids.insert(visit.await.unwrap().guid);
    }
    assert_eq!(guids.len(), 1);
    assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), 1);
}

#[tokio::test]
async fn profiles_and_roles_follow() {
    let database = TestCluster::shared().await.migrated().await;
    let accounts = server(&database).await;
    let made = accounts.sign_in(profile("1", "ada")).await.unwrap();
    let promoted = Profile { role: Some(UserRole::Publisher), last_name: "L".into(), ..profile("1", "renamed") };
    let principal = accounts.sign_in(promoted.clone()).await.unwrap();
    assert_eq!((principal.guid, principal.role), (made.guid, UserRole::Publisher));
    assert_eq!(principal.username, "ada", "who is known here keeps the name");
    let row = users::get(&database.client().await.unwrap(), made.user).await.unwrap().unwrap();
    assert_eq!((row.last_name.as_str(), row.role), ("L", UserRole::Publisher));
    // What was remembered of the former description is not used.
    let back = Profile { role: Some(UserRole::Viewer), ..promoted };
    assert_eq!(accounts.sign_in(back).await.unwrap().role, UserRole::Viewer);
}

#[tokio::test]
async fn locked_accounts_are_locked_at_once() {
    let database = TestCluster::shared().await.migrated().await;
    let accounts = server(&database).await;
    let principal = accounts.sign_in(profile("1", "ada")).await.unwrap();
    users::set_locked(&database.client().await.unwrap(), principal.user, true).await.unwrap();
    accounts.0.view.refresh(Part::Users).await.unwrap();
    assert_eq!(accounts.sign_in(profile("1", "ada")).await, Err(SignInRefusal::Locked));
    users::set_locked(&database.client().await.unwrap(), principal.user, false).await.unwrap();
    assert!(accounts.sign_in(profile("1", "ada")).await.is_ok(), "the database knows before the snapshot");
}

#[tokio::test]
async fn profiles_that_cannot_be() {
    let database = TestCluster::shared().await.migrated().await;
    let accounts = server(&database).await;
    accounts.sign_in(profile("1", "ada")).await.unwrap();
    for (name, refused) in [
        ("ada", SignInRefusal::NameTaken),
        ("ADA", SignInRefusal::NameTaken),
        ("a", SignInRefusal::Invalid("user name \"a\" must be 3 to 64 characters long".into())),
    ] {
        assert_eq!(accounts.sign_in(profile("2", name)).await, Err(refused), "{name}");
    }
    for bad in [
        Profile { email: "nul\0".into(), ..profile("2", "bob") },
        Profile { subject: "nul\0".into(), ..profile("2", "bob") },
        profile("2", "../x"),
    ] {
        let outcome = accounts.sign_in(bad.clone()).await;
        assert!(matches!(outcome, Err(SignInRefusal::Invalid(_))), "{bad:?}: {outcome:?}");
    }
    // Whose account is there needs no name for it.
    assert!(accounts.sign_in(profile("1", "?")).await.is_ok());
    assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), 1);
}

#[test]
fn people_are_bounded_and_forgotten() {
    let now = Instant::now();
    let mut recent = Recent::default();
    for n in 0..PEOPLE * 2 {
        recent.remember(profile(&n.to_string(), "ada"), UserId(1), now + MOMENT);
        assert!(recent.young.len() + recent.old.len() <= PEOPLE);
    }
    let last = profile(&(PEOPLE * 2 - 1).to_string(), "ada");
    assert_eq!(recent.find(&last, now), Some(UserId(1)));
    assert_eq!(recent.find(&last, now + MOMENT), None);
    assert_eq!(recent.find(&profile("0", "ada"), now), None);
}
