//! Tags, searching, thumbnails and sealing anew: what the queries themselves promise.

use std::collections::BTreeSet;

use lectern_domain::access::{AccessRules, Action, PermissionRole, Principal, PrincipalVia, Verdict, decide};
use lectern_domain::picture::Kind;
use lectern_domain::search::Search;
use lectern_domain::{AccessType, TagId, UserRole};
use lectern_metadata::content::{ContentFilter, ContentPatch, SeenBy, Slice, SortKey};
use lectern_metadata::permissions::Grantee;
use lectern_metadata::sealing::{begin_write, lock_rotation, replace_variables, variables_after, wait_for_writers};
use lectern_metadata::thumbnails::{self, Thumbnail};
use lectern_metadata::{DatabaseConfig, DbError, content, permissions, tags, variables};

use super::{item, open, user};

/// Lists and searches leave out exactly what the rules refuse, whoever looks.
pub async fn queries_and_rules_agree_on_who_sees_what(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let people = [user(&database, "ada").await, user(&database, "bob").await, user(&database, "eve").await];
    let mut made = 0;
    for owner in &people {
        for access in [AccessType::All, AccessType::LoggedIn, AccessType::Acl] {
            for listed in [None, Some(PermissionRole::Viewer), Some(PermissionRole::Owner)] {
                made += 1;
                let row = item(&database, owner, &format!("item-{made}")).await;
                let tx = client.transaction().await.unwrap();
                let patch = ContentPatch { access_type: Some(access), ..ContentPatch::default() };
                content::update(&tx, row.id, &patch).await.unwrap();
                if let Some(role) = listed.filter(|_| owner.id != people[1].id) {
                    let bob = Grantee::User(people[1].id, people[1].guid);
                    permissions::add(&tx, row.id, &bob, role).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
        }
    }
    let all = content::list(&client, &ContentFilter::default()).await.unwrap();
    assert_eq!(all.len(), made);
    for who in &people {
        let entries = permissions::of_user(&client, who.id).await.unwrap();
        let principal = Principal {
            user: who.id,
            guid: who.guid,
            username: who.username.clone(),
            role: UserRole::Publisher,
            via: PrincipalVia::Session,
        };
        let allowed = |row: &&content::ContentRow| {
            let listed = |role| -> BTreeSet<_> {
                entries.get(&row.id).filter(|has| **has == role).map(|_| who.id).into_iter().collect()
            };
            let rules = AccessRules {
                owner: row.owner.id,
                access_type: row.access_type,
                viewers: listed(PermissionRole::Viewer),
                editors: listed(PermissionRole::Owner),
                groups: Vec::new(),
            };
            matches!(decide(Some(&principal), &rules, Action::Inspect), Verdict::Allowed(_))
        };
        let expected: Vec<_> = all.iter().filter(allowed).map(|row| row.id).collect();
        let seen_by = SeenBy { user: who.id, listed: entries.keys().copied().collect() };
        let filter = ContentFilter { seen_by: Some(seen_by.clone()), ..ContentFilter::default() };
        let listed: Vec<_> = content::list(&client, &filter).await.unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(listed, expected, "{}", who.username);
        let slice = Slice { by: SortKey::Created, descending: false, offset: 0, limit: 1000 };
        let found = content::search(&client, &Search::default(), Some(&seen_by), slice).await.unwrap();
        assert_eq!(found.rows.into_iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{}", who.username);
        assert_eq!(found.total, i64::try_from(expected.len()).unwrap());
        assert!(expected.len() < made, "somebody's items are hidden from everybody");
    }
}

pub async fn tags_go_with_what_is_above_them(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let category = tags::create(&client, "Teams", None).await.unwrap();
    let tag = tags::create(&client, "Sales", Some(category.tag.id)).await.unwrap();
    let taken = tags::create(&client, "SALES", Some(category.tag.id)).await;
    assert!(matches!(taken, Err(DbError::TagTaken)), "{taken:?}");
    assert!(matches!(tags::create(&client, "teams", None).await, Err(DbError::TagTaken)));
    assert!(matches!(tags::create(&client, "x", Some(TagId(99))).await, Err(DbError::NotFound("tag"))));
    tags::give(&client, app.id, &[tag.tag.id]).await.unwrap();
    assert!(matches!(tags::give(&client, app.id, &[TagId(99)]).await, Err(DbError::NotFound("tag"))));
    assert!(tags::delete(&client, category.tag.id).await.unwrap());
    assert!(tags::all(&client).await.unwrap().is_empty());
    assert!(tags::of_content(&client, &[app.id]).await.unwrap().is_empty());
}

pub async fn a_thumbnail_goes_with_its_item(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let picture = |byte| Thumbnail { kind: Kind::Png, hash: [byte; 32], bytes: vec![byte; 100] };
    assert_eq!(thumbnails::get(&client, app.id).await.unwrap(), None);
    for byte in [1, 2] {
        thumbnails::set(&client, app.id, &picture(byte)).await.unwrap();
        assert_eq!(thumbnails::get(&client, app.id).await.unwrap(), Some(picture(byte)));
    }
    assert!(content::delete(&client, app.id).await.unwrap());
    assert_eq!(thumbnails::get(&client, app.id).await.unwrap(), None);
    let gone = thumbnails::set(&client, app.id, &picture(3)).await;
    assert!(matches!(gone, Err(DbError::NotFound("content"))), "{gone:?}");
}

/// A value that changed since it was read is not replaced, and writers are waited for.
pub async fn values_are_sealed_anew_around_writers(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let tx = client.transaction().await.unwrap();
    let set: Vec<_> = (0..5).map(|n| (format!("N{n}"), vec![n])).collect();
    variables::replace_all(&tx, app.id, &set).await.unwrap();
    tx.commit().await.unwrap();
    let first = variables_after(&client, None, 2).await.unwrap();
    let last = first.last().unwrap();
    let rest = variables_after(&client, Some((last.content, &last.name)), 100).await.unwrap();
    let names: Vec<&str> = first.iter().chain(&rest).map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["N0", "N1", "N2", "N3", "N4"]);
    assert_eq!(first[0].guid, app.guid);

    let tx = client.transaction().await.unwrap();
    variables::patch(&tx, app.id, &[("N1".into(), vec![100])], &[]).await.unwrap();
    tx.commit().await.unwrap();
    let new: Vec<_> = first.into_iter().map(|variable| (variable, vec![200])).collect();
    assert_eq!(replace_variables(&client, &new).await.unwrap(), 1, "the publisher's change counts");
    let sealed = variables::all_sealed(&client, app.id).await.unwrap();
    assert_eq!((&sealed[0].1, &sealed[1].1), (&vec![200], &vec![100]));

    let mut writer = database.client().await.unwrap();
    let writing = writer.transaction().await.unwrap();
    begin_write(&writing).await.unwrap();
    let mut waiting = tokio::spawn(async move { wait_for_writers(&mut client).await });
    let mut other = database.client().await.unwrap();
    // It waits: PostgreSQL says so.
    loop {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let count: i64 = other.query_one(sql, &[]).await.unwrap().get(0);
        if count == 1 {
            break;
        }
        assert!(!waiting.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    writing.commit().await.unwrap();
    (&mut waiting).await.unwrap().unwrap();
    wait_for_writers(&mut other).await.unwrap();

    let right = lock_rotation(&database).await.unwrap();
    assert!(right.is_some());
    assert!(lock_rotation(&database).await.unwrap().is_none(), "one at a time");
    drop(right);
    loop {
        if lock_rotation(&database).await.unwrap().is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
}
