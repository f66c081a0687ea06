//! Users, keys, sessions, settings.

use lectern_domain::UserRole;
use lectern_metadata::users::{AccountStatus, PasswordHash, ProfilePatch, UserFilter};
use lectern_metadata::{Database, DatabaseConfig, DbError, keys, sessions, settings, users};
use time::{Duration, OffsetDateTime};

use super::{new_user, open, user};

pub async fn a_user_is_found_by_each_name(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    assert_eq!(users::count(&client).await.unwrap(), 0);
    let new = new_user("Ada", UserRole::Publisher);
    let ada = users::create(&client, &new).await.unwrap();
    assert_eq!((ada.guid, ada.username.as_str(), ada.role, ada.locked), (new.guid, "Ada", UserRole::Publisher, false));
    assert_eq!(users::get(&client, ada.id).await.unwrap().as_ref(), Some(&ada));
    assert_eq!(users::get_by_guid(&client, ada.guid).await.unwrap().as_ref(), Some(&ada));
    for name in ["ada", "ADA", "Ada"] {
        assert_eq!(users::get_by_username(&client, name).await.unwrap().as_ref(), Some(&ada), "{name}");
    }
    assert_eq!(users::get_by_username(&client, "ad").await.unwrap(), None);
    assert_eq!(users::get_many(&client, &[ada.guid]).await.unwrap(), [ada]);
    assert_eq!(users::count(&client).await.unwrap(), 1);
}

pub async fn names_of_users_are_unique_without_case(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let again = users::create(&client, &new_user("ADA", UserRole::Viewer)).await;
    assert!(matches!(again, Err(DbError::UsernameTaken)), "{again:?}");
    let rename = ProfilePatch { username: Some("Ada".into()), ..ProfilePatch::default() };
    let taken = users::update_profile(&client, bob.id, &rename).await;
    assert!(matches!(taken, Err(DbError::UsernameTaken)), "{taken:?}");
    assert_eq!(users::update_profile(&client, ada.id, &rename).await.unwrap().username, "Ada");
}

pub async fn users_are_listed_in_pages(config: DatabaseConfig) {
    let database = open(config).await;
    for name in ["carl", "Ada", "bob"] {
        user(&database, name).await;
    }
    let client = database.client().await.unwrap();
    let carl = users::get_by_username(&client, "carl").await.unwrap().unwrap();
    users::set_role(&client, carl.id, UserRole::Viewer).await.unwrap();
    users::set_locked(&client, carl.id, true).await.unwrap();
    let all = UserFilter::default();
    let cases = [
        (all.clone(), 0, 500, &["Ada", "bob", "carl"][..], 3),
        (all.clone(), 1, 1, &["bob"][..], 3),
        (all.clone(), 9, 9, &[][..], 3),
        (UserFilter { prefix: Some("BO".into()), ..all.clone() }, 0, 9, &["bob"][..], 1),
        (UserFilter { prefix: Some("love".into()), ..all.clone() }, 0, 9, &["Ada", "bob", "carl"][..], 3),
        (UserFilter { prefix: Some("%".into()), ..all.clone() }, 0, 9, &[][..], 0),
        (UserFilter { roles: vec![UserRole::Viewer], ..all.clone() }, 0, 9, &["carl"][..], 1),
        (
            UserFilter { statuses: vec![AccountStatus::Licensed, AccountStatus::Inactive], ..all.clone() },
            0,
            9,
            &["Ada", "bob"][..],
            2,
        ),
    ];
    for (filter, offset, limit, expected, total) in cases {
        let page = users::list(&client, &filter, offset, limit).await.unwrap();
        let names: Vec<&str> = page.users.iter().map(|user| user.username.as_str()).collect();
        assert_eq!((names.as_slice(), page.total), (expected, total), "{filter:?} {offset} {limit}");
    }
}

pub async fn users_change(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let client = database.client().await.unwrap();
    let patch =
        ProfilePatch { email: Some("a@b.c".into()), first_name: Some(String::new()), ..ProfilePatch::default() };
    let changed = users::update_profile(&client, ada.id, &patch).await.unwrap();
    assert_eq!(
        (changed.email.as_str(), changed.first_name.as_str(), changed.last_name.as_str()),
        ("a@b.c", "", "Lovelace")
    );
    assert!(changed.updated_at > ada.updated_at);
    assert_eq!(users::set_role(&client, ada.id, UserRole::Administrator).await.unwrap().role, UserRole::Administrator);
    assert!(users::set_locked(&client, ada.id, true).await.unwrap().locked);
    users::touch_active(&client, ada.id).await.unwrap();
    assert!(users::get(&client, ada.id).await.unwrap().unwrap().active_at.is_some());

    assert_eq!(users::password_hash_of(&client, "ADA").await.unwrap().unwrap().1, None);
    let hash = PasswordHash("$argon2id$v=19$hunter2".into());
    users::set_password_hash(&client, ada.id, Some(&hash)).await.unwrap();
    let (row, found) = users::password_hash_of(&client, "ADA").await.unwrap().unwrap();
    assert_eq!((row.id, found), (ada.id, Some(hash)));
    users::set_password_hash(&client, ada.id, None).await.unwrap();
    assert_eq!(users::password_hash_of(&client, "ada").await.unwrap().unwrap().1, None);
    assert!(users::password_hash_of(&client, "bob").await.unwrap().is_none());

    let nobody = lectern_domain::UserId(ada.id.0 + 1);
    assert!(matches!(users::set_role(&client, nobody, UserRole::Viewer).await, Err(DbError::NotFound("user"))));
    assert!(matches!(users::set_locked(&client, nobody, true).await, Err(DbError::NotFound("user"))));
}

pub async fn the_first_administrator_is_one(config: DatabaseConfig) {
    let database = open(config).await;
    let attempt = |name: &'static str, database: Database| async move {
        let mut client = database.client().await.unwrap();
        let tx = client.transaction().await.unwrap();
        let made = users::create_first_administrator(&tx, &new_user(name, UserRole::Viewer)).await;
        if made.is_ok() {
            tx.commit().await.unwrap();
        }
        made
    };
    let racing: Vec<_> =
        ["ada", "bob", "carl", "dora"].map(|name| tokio::spawn(attempt(name, database.clone()))).into_iter().collect();
    let mut made = Vec::new();
    for race in racing {
        match race.await.unwrap() {
            Ok(user) => made.push(user),
            Err(error) => assert!(matches!(error, DbError::UsersExist), "{error:?}"),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].role, UserRole::Administrator);
    assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), 1);
    assert!(matches!(attempt("eve", database).await, Err(DbError::UsersExist)));
}

pub async fn keys_live_until_revoked(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let key = keys::create(&client, ada.id, "laptop", UserRole::Viewer, &[7; 32], None).await.unwrap();
    assert_eq!((key.user, key.name.as_str(), key.role), (ada.id, "laptop", UserRole::Viewer));
    assert_eq!(keys::list(&client, ada.id).await.unwrap(), std::slice::from_ref(&key));
    assert!(!keys::revoke(&client, bob.id, key.id).await.unwrap(), "only the user's own");
    assert!(keys::revoke(&client, ada.id, key.id).await.unwrap());
    assert!(!keys::revoke(&client, ada.id, key.id).await.unwrap(), "once");
    assert_eq!(keys::list(&client, ada.id).await.unwrap(), []);
    assert!(
        keys::create(&client, ada.id, "again", UserRole::Viewer, &[7; 32], None).await.is_err(),
        "never used again"
    );
    let nobody = lectern_domain::UserId(i64::MAX);
    let lost = keys::create(&client, nobody, "x", UserRole::Viewer, &[8; 32], None).await;
    assert!(matches!(lost, Err(DbError::NotFound("user"))), "{lost:?}");
}

pub async fn sessions_live_until_they_end(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::HOUR;
    for (byte, user) in [(1, &ada), (2, &ada), (3, &ada), (4, &bob)] {
        sessions::create(&client, &[byte; 32], user.id, later, &[], None).await.unwrap();
    }
    let held = async |expected: &[u8]| {
        let mut held: Vec<u8> =
            lectern_metadata::snapshots::load_sessions(&database).await.unwrap().keys().map(|hash| hash[0]).collect();
        held.sort_unstable();
        assert_eq!(held, expected);
    };
    held(&[1, 2, 3, 4]).await;
    assert!(sessions::delete(&client, &[1; 32]).await.unwrap());
    assert!(!sessions::delete(&client, &[1; 32]).await.unwrap());
    held(&[2, 3, 4]).await;
    client
        .execute("UPDATE sessions SET created_at = now() - interval '2 h', expires_at = now() - interval '1 s' WHERE hash = $1", &[&[2u8; 32].as_slice()])
        .await
        .unwrap();
    held(&[3, 4]).await;
    assert_eq!(sessions::delete_expired(&client).await.unwrap(), 1);
    assert_eq!(sessions::delete_of_user(&client, ada.id).await.unwrap(), 1);
    held(&[4]).await;
    // Groups are kept as they were given, and bounded.
    let groups = ["staff".to_owned(), "ü, \"x\"".to_owned()];
    let oidc = "oidc-login".parse().unwrap();
    sessions::create(&client, &[6; 32], ada.id, later, &groups, Some(&oidc)).await.unwrap();
    let view = lectern_metadata::snapshots::load_sessions(&database).await.unwrap();
    assert_eq!((view[&[6; 32]].groups.as_ref(), view[&[4; 32]].groups.len()), (groups.as_slice(), 0));
    let many = vec![String::new(); sessions::MOST_GROUPS + 1];
    let crowd = sessions::create(&client, &[7; 32], ada.id, later, &many, None).await;
    assert!(matches!(crowd, Err(DbError::Refused { .. })), "{crowd:?}");
    sessions::create(&client, &[7; 32], ada.id, later, &many[1..], None).await.unwrap();
    let past = sessions::create(&client, &[5; 32], ada.id, OffsetDateTime::UNIX_EPOCH, &[], None).await;
    assert!(matches!(past, Err(DbError::Refused { .. })), "{past:?}");
}

pub async fn secrets_are_not_printed(config: DatabaseConfig) {
    let database = open(config).await;
    let secret = PasswordHash("$argon2id$hunter2".into());
    let new =
        lectern_metadata::users::NewUser { password_hash: Some(secret.clone()), ..new_user("ada", UserRole::Viewer) };
    assert!(!format!("{new:?} {database:?}").contains("hunter2"));
    let client = database.client().await.unwrap();
    let ada = users::create(&client, &new).await.unwrap();
    let read = users::password_hash_of(&client, "ada").await.unwrap();
    assert!(!format!("{read:?}").contains("hunter2"));
    // PostgreSQL's own report of a broken rule repeats the whole row.
    let error =
        users::create(&client, &lectern_metadata::users::NewUser { username: String::new(), ..new.clone() }).await;
    let error = error.unwrap_err();
    assert!(matches!(&error, DbError::Refused { rule } if rule == "users_username_check"), "{error:?}");
    let taken = users::create(&client, &new).await.unwrap_err();
    let told = format!(
        "{error:?} {} {taken:?} {}",
        lectern_metadata::testing::chain(&error),
        lectern_metadata::testing::chain(&taken)
    );
    assert!(!told.contains("hunter2"), "{told}");
    assert!(ada.id.0 > 0);
}

pub async fn settings_are_first_come(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    assert_eq!(settings::get(&client, "id").await.unwrap(), None);
    assert_eq!(settings::get_or_insert(&client, "id", "one").await.unwrap(), "one");
    assert_eq!(settings::get_or_insert(&client, "id", "two").await.unwrap(), "one");
    settings::put(&client, "id", "three").await.unwrap();
    assert_eq!(settings::get(&client, "id").await.unwrap().as_deref(), Some("three"));
}
