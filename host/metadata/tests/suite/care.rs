//! Looking after accounts: keys that end, sessions, links, signed tokens, groups.

use lectern_domain::access::AppRole;
use lectern_domain::access::{PermissionRole, app_role};
use lectern_domain::{GroupGuid, UserRole};
use lectern_metadata::groups::{self, GroupRow, NewGroup};
use lectern_metadata::permissions::Grantee;
use lectern_metadata::{
    Database, DatabaseConfig, DbError, keys, password_links, permissions, sessions, signed_tokens, snapshots, users,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{item, open, user};

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

async fn group(database: &Database, name: &str, unique_id: Option<&str>) -> GroupRow {
    let client = database.client().await.unwrap();
    let new = NewGroup {
        guid: GroupGuid(Uuid::new_v4()),
        name: name.into(),
        owner: None,
        unique_id: unique_id.map(str::to_owned),
    };
    groups::create(&client, &new).await.unwrap()
}

pub async fn keys_have_names_and_ends(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let make = async |who, name, byte, end| keys::create(&client, who, name, UserRole::Viewer, &[byte; 32], end).await;
    let key = make(ada.id, "laptop", 1, None).await.unwrap();
    assert!(matches!(make(ada.id, "LAPTOP", 2, None).await, Err(DbError::KeyNameTaken)));
    make(bob.id, "laptop", 3, None).await.unwrap();
    keys::revoke(&client, ada.id, key.id).await.unwrap();
    assert_eq!(keys::get(&client, ada.id, key.id).await.unwrap(), None);
    let end = now() + Duration::HOUR;
    let again = make(ada.id, "laptop", 4, Some(end)).await.unwrap();
    assert_eq!(keys::get(&client, ada.id, again.id).await.unwrap(), Some(again));
    make(ada.id, "over", 5, Some(now() - Duration::SECOND)).await.unwrap();
    let view = snapshots::load_snapshot(&database).await.unwrap();
    assert!(view.principal_of_key(&[4; 32], now()).is_some());
    assert!(view.principal_of_key(&[4; 32], end).is_none(), "it ends without a change of the record");
    assert!(!view.keys.contains_key(&[5; 32]), "what has ended is not kept in memory");
}

pub async fn uses_of_keys_are_no_news(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let mut client = database.client().await.unwrap();
    let key = keys::create(&client, ada.id, "k", UserRole::Viewer, &[1; 32], None).await.unwrap();
    assert_eq!((key.last_used_at, ada.active_at), (None, None));
    // The trigger would refuse what is told: it is replaced by one that fails.
    client
        .batch_execute(
            "CREATE OR REPLACE FUNCTION lectern_notify() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'told'; END $$",
        )
        .await
        .unwrap();
    let tx = client.transaction().await.unwrap();
    keys::note_uses(&tx, &[key.id]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(keys::get(&client, ada.id, key.id).await.unwrap().unwrap().last_used_at.is_some());
    assert!(users::get(&client, ada.id).await.unwrap().unwrap().active_at.is_some());
    assert!(keys::revoke(&client, ada.id, key.id).await.is_err(), "a revocation is told");
}

pub async fn sessions_are_named_without_their_secret(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let later = now() + Duration::HOUR;
    for byte in 1..=3 {
        sessions::create(&client, &[byte; 32], ada.id, later, &[], None).await.unwrap();
    }
    let listed = sessions::list(&client, ada.id, 10).await.unwrap();
    assert_eq!((listed.len(), sessions::list(&client, bob.id, 10).await.unwrap().len()), (3, 0));
    assert!(!sessions::delete_by_guid(&client, bob.id, listed[0].guid).await.unwrap(), "another's");
    assert!(sessions::delete_by_guid(&client, ada.id, listed[0].guid).await.unwrap());
    assert_eq!(sessions::list(&client, ada.id, 10).await.unwrap(), listed[1..]);

    sessions::set_xsrf_hash(&client, &[1; 32], &[9; 32]).await.unwrap();
    assert!(sessions::knows_xsrf(&client, ada.id, &[9; 32]).await.unwrap());
    assert!(!sessions::knows_xsrf(&client, bob.id, &[9; 32]).await.unwrap());
    assert!(!sessions::knows_xsrf(&client, ada.id, &[8; 32]).await.unwrap());
}

pub async fn links_are_used_once(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let mut client = database.client().await.unwrap();
    let later = now() + Duration::HOUR;
    password_links::create(&client, &[1; 32], ada.id, later).await.unwrap();
    password_links::create(&client, &[2; 32], ada.id, later).await.unwrap();
    assert_eq!(password_links::find(&client, &[1; 32]).await.unwrap(), None, "a new link ends the one before");
    assert_eq!(password_links::find(&client, &[2; 32]).await.unwrap().map(|user| user.id), Some(ada.id));
    for expected in [Some(ada.id), None] {
        let tx = client.transaction().await.unwrap();
        assert_eq!(password_links::take(&tx, &[2; 32]).await.unwrap(), expected);
        tx.commit().await.unwrap();
    }
    password_links::create(&client, &[3; 32], ada.id, later).await.unwrap();
    let sql = "UPDATE password_links SET created_at = now() - interval '2 h', expires_at = now() - interval '1 s'";
    client.execute(sql, &[]).await.unwrap();
    assert_eq!(password_links::find(&client, &[3; 32]).await.unwrap(), None, "late");
    let tx = client.transaction().await.unwrap();
    assert_eq!(password_links::take(&tx, &[3; 32]).await.unwrap(), None, "late");
}

pub async fn tokens_are_claimed_once_and_in_time(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let (later, past) = (now() + Duration::HOUR, now() - Duration::SECOND);
    let make = async |id, end| signed_tokens::create(&client, id, b"key", "192.0.2.1", end).await;
    make("T1", later).await.unwrap();
    assert!(matches!(make("T1", later).await, Err(DbError::TokenTaken)));
    make("T2", past).await.unwrap();
    let waiting = signed_tokens::waiting(&client, "192.0.2.1").await.unwrap();
    assert_eq!((waiting.total, waiting.from_here), (1, 1));
    assert_eq!(signed_tokens::waiting(&client, "192.0.2.2").await.unwrap().from_here, 0);
    assert!(!signed_tokens::claim(&client, "T2", ada.id).await.unwrap(), "late");
    assert!(signed_tokens::claim(&client, "T1", ada.id).await.unwrap());
    assert!(!signed_tokens::claim(&client, "T1", bob.id).await.unwrap(), "once");
    signed_tokens::touch(&client, "T1").await.unwrap();
    let token = signed_tokens::get(&client, "T1").await.unwrap().unwrap();
    assert_eq!((token.user, token.late, token.last_used_at.is_some()), (Some(ada.id), false, true));
    assert!(users::get(&client, ada.id).await.unwrap().unwrap().active_at.is_some());
    assert_eq!(signed_tokens::list(&client, ada.id, 9).await.unwrap(), [token]);
    assert!(!signed_tokens::delete(&client, bob.id, "T1").await.unwrap());
    assert!(signed_tokens::delete(&client, ada.id, "T1").await.unwrap());
    assert_eq!(signed_tokens::get(&client, "T1").await.unwrap(), None);
}

pub async fn signatures_are_used_once(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let later = now() + Duration::HOUR;
    assert!(signed_tokens::use_signature(&client, &[1; 32], later).await.unwrap());
    assert!(!signed_tokens::use_signature(&client, &[1; 32], later).await.unwrap());
    assert!(signed_tokens::use_signature(&client, &[2; 32], now() - Duration::SECOND).await.unwrap());
    assert!(signed_tokens::use_signature(&client, &[3; 32], later).await.unwrap());
    let kept: i64 = client.query_one("SELECT count(*) FROM used_signatures", &[]).await.unwrap().get(0);
    assert_eq!(kept, 2, "what is over is forgotten");
}

pub async fn groups_have_members_in_order(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let client = database.client().await.unwrap();
    let staff = group(&database, "Staff", None).await;
    let new = |name: &str, unique_id: Option<&str>| NewGroup {
        guid: GroupGuid(Uuid::new_v4()),
        name: name.into(),
        owner: Some(ada.id),
        unique_id: unique_id.map(str::to_owned),
    };
    assert!(matches!(groups::create(&client, &new("sTAFF", None)).await, Err(DbError::GroupNameTaken)));
    let other = groups::create(&client, &new("other", Some("ou=x"))).await.unwrap();
    assert_eq!(other.owner, Some((ada.id, ada.guid)));
    assert!(matches!(groups::create(&client, &new("third", Some("ou=x"))).await, Err(DbError::GroupNameTaken)));
    assert_eq!(groups::get_by_unique_id(&client, "ou=x").await.unwrap(), Some(other.clone()));
    let all = groups::list(&client, None, 0, 9).await.unwrap();
    assert_eq!((all.groups, all.total), (vec![other, staff.clone()], 2));
    let found = groups::list(&client, Some("ST"), 0, 9).await.unwrap();
    assert_eq!((found.groups, found.total), (vec![staff.clone()], 1));
    for who in [&bob, &ada] {
        groups::add_member(&client, staff.id, who.id).await.unwrap();
    }
    assert!(matches!(groups::add_member(&client, staff.id, ada.id).await, Err(DbError::AlreadyMember)));
    let members = groups::members(&client, staff.id, 0, 9).await.unwrap();
    assert_eq!(members.users.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["bob", "ada"]);
    assert_eq!(groups::members(&client, staff.id, 1, 1).await.unwrap().total, 2);
    assert!(groups::remove_member(&client, staff.id, bob.id).await.unwrap());
    assert!(!groups::remove_member(&client, staff.id, bob.id).await.unwrap());
    assert!(groups::delete(&client, staff.id).await.unwrap());
    assert_eq!(groups::get_by_guid(&client, staff.guid).await.unwrap(), None);
}

pub async fn groups_of_another_directory_follow_it(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let (local, old, new) = (
        group(&database, "local", None).await,
        group(&database, "old", Some("Old")).await,
        group(&database, "new", Some("New")).await,
    );
    let mut client = database.client().await.unwrap();
    for group in [&local, &old] {
        groups::add_member(&client, group.id, ada.id).await.unwrap();
    }
    let names = ["New".to_owned(), "local".to_owned(), "unknown".to_owned()];
    for changed in [true, false] {
        let tx = client.transaction().await.unwrap();
        assert_eq!(groups::follow(&tx, ada.id, &names).await.unwrap(), changed);
        tx.commit().await.unwrap();
    }
    for (group, members) in [(&local, 1), (&old, 0), (&new, 1)] {
        assert_eq!(groups::members(&client, group.id, 0, 9).await.unwrap().total, members, "{}", group.name);
    }
}

pub async fn groups_give_access(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let (app, other) = (item(&database, &ada, "app").await, item(&database, &ada, "other").await);
    let (staff, empty) = (group(&database, "staff", None).await, group(&database, "empty", None).await);
    let client = database.client().await.unwrap();
    groups::add_member(&client, staff.id, bob.id).await.unwrap();
    let listed = Grantee::Group(staff.id, staff.guid);
    let entry = permissions::add(&client, app.id, &listed, PermissionRole::Owner).await.unwrap();
    assert_eq!((entry.grantee, entry.name.as_str()), (listed, "staff"));
    let twice = permissions::add(&client, app.id, &listed, PermissionRole::Viewer).await;
    assert!(matches!(twice, Err(DbError::GroupAlreadyListed)), "{twice:?}");
    let nothing = Grantee::Group(lectern_domain::GroupId(i64::MAX), staff.guid);
    let nothing = permissions::add(&client, app.id, &nothing, PermissionRole::Viewer).await;
    assert!(matches!(nothing, Err(DbError::NotFound("group"))), "{nothing:?}");
    permissions::add(&client, app.id, &Grantee::User(bob.id, bob.guid), PermissionRole::Viewer).await.unwrap();
    permissions::add(&client, app.id, &Grantee::Group(empty.id, empty.guid), PermissionRole::Viewer).await.unwrap();
    permissions::add(&client, other.id, &Grantee::Group(staff.id, staff.guid), PermissionRole::Viewer).await.unwrap();

    let mine = permissions::of_user(&client, bob.id).await.unwrap();
    assert_eq!((mine[&app.id], mine[&other.id]), (PermissionRole::Owner, PermissionRole::Viewer), "the stronger one");
    users::set_role(&client, bob.id, UserRole::Publisher).await.unwrap();
    let standing = async || {
        let view = snapshots::load_snapshot(&database).await.unwrap();
        let who = view.principal_of_user(bob.id).unwrap();
        [&app, &other].map(|item| app_role(&who, &view.content[&item.guid].access))
    };
    assert_eq!(standing().await, [AppRole::Editor, AppRole::Viewer]);
    let names: Vec<String> =
        groups::content(&client, staff.id).await.unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["app", "other"]);
    groups::delete(&client, staff.id).await.unwrap();
    assert_eq!(standing().await, [AppRole::Viewer, AppRole::None]);
}

pub async fn the_last_administrator_is_seen(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let mut client = database.client().await.unwrap();
    users::set_role(&client, ada.id, UserRole::Administrator).await.unwrap();
    for (locked, expected) in [(false, true), (true, false)] {
        users::set_role(&client, bob.id, UserRole::Administrator).await.unwrap();
        users::set_locked(&client, bob.id, locked).await.unwrap();
        let tx = client.transaction().await.unwrap();
        assert_eq!(users::another_administrator(&tx, ada.id).await.unwrap(), expected);
    }
}
