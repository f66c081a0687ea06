//! Content items and what belongs to them.

use std::collections::BTreeSet;

use lectern_domain::access::PermissionRole;
use lectern_domain::{AccessType, AppMode, BundleHash, BundleId, ContentGuid, ContentId, JobKey, TagId, UserId};
use lectern_metadata::bundles::NewBundle;
use lectern_metadata::content::{ContentFilter, ContentPatch, ContentRow, NewContent, SeenBy};
use lectern_metadata::permissions::Grantee;
use lectern_metadata::{
    Database, DatabaseConfig, DbError, bundles, content, jobs, permissions, tasks, vanities, variables,
};
use serde_json::json;
use uuid::Uuid;

use super::{activate, bundle, item, new_bundle, open, prepared, prepared_bundle, task, user};

async fn update(database: &Database, id: ContentId, patch: ContentPatch) -> Result<ContentRow, DbError> {
    let mut client = database.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    let row = content::update(&tx, id, &patch).await?;
    tx.commit().await.unwrap();
    Ok(row)
}

pub async fn content_is_created_once_per_name(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let first = item(&database, &ada, "My-App").await;
    assert_eq!((first.name.as_str(), first.owner.guid, first.access_type), ("My-App", ada.guid, AccessType::Acl));
    assert_eq!((first.app_mode, first.active_bundle, first.title.as_deref()), (AppMode::Unknown, None, None));
    let client = database.client().await.unwrap();
    let new = NewContent { guid: ContentGuid(Uuid::new_v4()), name: "my-app".into(), owner: ada.id };
    assert!(matches!(content::create(&client, &new).await, Err(DbError::NameTaken)));
    let others = item(&database, &bob, "my-app").await;

    assert_eq!(content::get(&client, first.id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(content::get_by_guid(&client, first.guid).await.unwrap().as_ref(), Some(&first));
    let all = ContentFilter::default();
    let cases = [
        (all.clone(), vec![first.id, others.id]),
        (ContentFilter { name: Some("MY-APP".into()), ..all.clone() }, vec![first.id, others.id]),
        (ContentFilter { owner: Some(bob.guid), ..all.clone() }, vec![others.id]),
        (ContentFilter { name: Some("my".into()), ..all.clone() }, vec![]),
        (ContentFilter { tag: Some(TagId(1)), ..all.clone() }, vec![]),
        (ContentFilter { seen_by: Some(SeenBy { user: ada.id, listed: vec![] }), ..all.clone() }, vec![first.id]),
        (
            ContentFilter { seen_by: Some(SeenBy { user: ada.id, listed: vec![others.id] }), ..all.clone() },
            vec![first.id, others.id],
        ),
    ];
    for (filter, expected) in cases {
        let found: Vec<ContentId> = content::list(&client, &filter).await.unwrap().iter().map(|row| row.id).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let orphan = NewContent { owner: UserId(i64::MAX), ..new };
    let orphan = content::create(&client, &orphan).await;
    assert!(matches!(orphan, Err(DbError::NotFound("user"))), "{orphan:?}");
}

pub async fn a_taken_name_uses_no_number_up(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let first = item(&database, &ada, "app").await;
    let client = database.client().await.unwrap();
    for _ in 0..10 {
        let new = NewContent { guid: ContentGuid(Uuid::new_v4()), name: "App".into(), owner: ada.id };
        assert!(matches!(content::create(&client, &new).await, Err(DbError::NameTaken)));
    }
    assert_eq!(item(&database, &ada, "other").await.id.0, first.id.0 + 1);
}

pub async fn settings_change_and_clear(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let before = item(&database, &ada, "app").await;
    let patch = ContentPatch {
        title: Some(Some("A title".into())),
        description: Some("what it does".into()),
        access_type: Some(AccessType::All),
        locked: Some(true),
        locked_message: Some("*closed*".into()),
        idle_timeout: Some(Some(0)),
        max_processes: Some(Some(3)),
        min_processes: Some(Some(1)),
        load_factor: Some(Some(0.5)),
        run_as: Some(Some("rstudio".into())),
        kept_settings: serde_json::Map::from_iter([
            ("memory_limit".to_owned(), json!(1_073_741_824_i64)),
            ("cpu_limit".to_owned(), json!(1.5)),
        ]),
        ..ContentPatch::default()
    };
    let changed = update(&database, before.id, patch.clone()).await.unwrap();
    let mut expected = before.clone();
    patch.apply(&mut expected);
    expected.updated_at = changed.updated_at;
    assert_eq!(changed, expected);
    assert!(changed.updated_at > before.updated_at);
    assert_eq!(changed.last_deployed_at, before.last_deployed_at, "a setting is no deployment");
    assert_eq!(changed.kept_settings["memory_limit"], json!(1_073_741_824_i64));

    let clear = ContentPatch {
        title: Some(None),
        idle_timeout: Some(None),
        min_processes: Some(None),
        kept_settings: serde_json::Map::from_iter([("cpu_limit".to_owned(), json!(null))]),
        ..ContentPatch::default()
    };
    let cleared = update(&database, before.id, clear).await.unwrap();
    assert_eq!(
        (cleared.title.as_deref(), cleared.processes.idle_timeout, cleared.processes.max_processes),
        (None, None, Some(3))
    );
    assert_eq!(cleared.kept_settings["cpu_limit"], json!(null));
    assert_eq!(cleared.kept_settings["memory_limit"], json!(1_073_741_824_i64));
    assert!(ContentPatch::default().is_empty());
    let same = update(&database, before.id, ContentPatch::default()).await.unwrap();
    assert_eq!(same.description, "what it does");

    let other = item(&database, &ada, "other").await;
    let rename = |name: &str| ContentPatch { name: Some(name.into()), ..ContentPatch::default() };
    assert!(matches!(update(&database, other.id, rename("APP")).await, Err(DbError::NameTaken)));
    assert_eq!(update(&database, before.id, rename("App")).await.unwrap().name, "App");
    let upside_down = ContentPatch { min_processes: Some(Some(9)), ..ContentPatch::default() };
    let refused = update(&database, before.id, upside_down).await;
    assert!(matches!(&refused, Err(DbError::Refused { rule }) if rule == "content_processes_check"), "{refused:?}");
    let nothing = update(&database, ContentId(i64::MAX), ContentPatch::default()).await;
    assert!(matches!(nothing, Err(DbError::NotFound("content"))));
}

pub async fn a_new_owner_is_not_listed(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let app = item(&database, &ada, "app").await;
    let client = database.client().await.unwrap();
    permissions::add(&client, app.id, &Grantee::User(bob.id, bob.guid), PermissionRole::Owner).await.unwrap();
    let give = ContentPatch { owner: Some(bob.id), ..ContentPatch::default() };
    assert_eq!(update(&database, app.id, give).await.unwrap().owner.guid, bob.guid);
    assert_eq!(permissions::list(&client, app.id).await.unwrap(), []);
    let nobody = ContentPatch { owner: Some(UserId(i64::MAX)), ..ContentPatch::default() };
    assert!(matches!(update(&database, app.id, nobody).await, Err(DbError::NotFound("user"))));
    item(&database, &ada, "app").await;
    let back = ContentPatch { owner: Some(ada.id), ..ContentPatch::default() };
    assert!(matches!(update(&database, app.id, back).await, Err(DbError::NameTaken)));
}

pub async fn permissions_are_kept_in_order(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let client = database.client().await.unwrap();
    let (carl, bob) = (user(&database, "carl").await, user(&database, "bob").await);
    let first =
        permissions::add(&client, app.id, &Grantee::User(carl.id, carl.guid), PermissionRole::Viewer).await.unwrap();
    let second =
        permissions::add(&client, app.id, &Grantee::User(bob.id, bob.guid), PermissionRole::Owner).await.unwrap();
    assert_eq!((first.grantee.guid(), first.name.as_str(), first.role), (carl.guid.0, "carl", PermissionRole::Viewer));
    assert_eq!(permissions::list(&client, app.id).await.unwrap(), [first.clone(), second.clone()]);
    let twice = permissions::add(&client, app.id, &Grantee::User(carl.id, carl.guid), PermissionRole::Owner).await;
    assert!(matches!(twice, Err(DbError::AlreadyListed)), "{twice:?}");
    let nobody =
        permissions::add(&client, app.id, &Grantee::User(UserId(i64::MAX), bob.guid), PermissionRole::Owner).await;
    assert!(matches!(nobody, Err(DbError::NotFound("user"))), "{nobody:?}");
    let nothing =
        permissions::add(&client, ContentId(i64::MAX), &Grantee::User(carl.id, carl.guid), PermissionRole::Owner).await;
    assert!(matches!(nothing, Err(DbError::NotFound("content"))), "{nothing:?}");

    let raised = permissions::set_role(&client, app.id, first.id, PermissionRole::Owner).await.unwrap();
    assert_eq!(permissions::get(&client, app.id, first.id).await.unwrap(), Some(raised));
    let other = item(&database, &ada, "other").await;
    assert_eq!(permissions::get(&client, other.id, first.id).await.unwrap(), None, "another item's");
    assert!(!permissions::remove(&client, other.id, first.id).await.unwrap());
    assert!(matches!(
        permissions::set_role(&client, other.id, first.id, PermissionRole::Viewer).await,
        Err(DbError::NotFound("permission"))
    ));
    assert!(permissions::remove(&client, app.id, first.id).await.unwrap());
    assert_eq!(permissions::list(&client, app.id).await.unwrap(), [second]);
}

pub async fn vanity_paths_are_unique_unless_forced(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let (one, two) = (item(&database, &ada, "one").await, item(&database, &ada, "two").await);
    let set = async |content: &ContentRow, path: &str, force: bool| {
        let mut client = database.client().await.unwrap();
        let tx = client.transaction().await.unwrap();
        let losers = if force { vec![one.id, two.id] } else { Vec::new() };
        let row = vanities::set(&tx, content.id, path, &losers).await?;
        tx.commit().await.unwrap();
        Ok::<_, DbError>(row)
    };
    let client = database.client().await.unwrap();
    assert_eq!(vanities::get(&client, one.id).await.unwrap(), None);
    assert_eq!(set(&one, "/app/", false).await.unwrap().content_guid, one.guid);
    assert!(matches!(set(&two, "/app/", false).await, Err(DbError::VanityTaken)));
    set(&one, "/app/", false).await.unwrap();
    set(&two, "/two/", false).await.unwrap();
    let paths = async || -> Vec<(String, ContentGuid)> {
        vanities::list(&client).await.unwrap().into_iter().map(|row| (row.path, row.content_guid)).collect()
    };
    assert_eq!(paths().await, [("/app/".to_owned(), one.guid), ("/two/".to_owned(), two.guid)]);
    let around = vanities::around(&client, "/APP/below/").await.unwrap();
    assert_eq!(around.into_iter().map(|row| row.path).collect::<Vec<_>>(), ["/app/"]);
    set(&two, "/app/", true).await.unwrap();
    assert_eq!(paths().await, [("/app/".to_owned(), two.guid)], "taken from the other, which has none then");
    assert_eq!(content::get(&client, two.id).await.unwrap().unwrap().vanity.as_deref(), Some("/app/"));
    assert!(vanities::delete(&client, two.id).await.unwrap());
    assert!(!vanities::delete(&client, two.id).await.unwrap());
    assert!(matches!(set(&one, "no-slash", false).await, Err(DbError::Refused { .. })));
}

pub async fn bundles_keep_what_was_sent(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let client = database.client().await.unwrap();
    assert_eq!(bundles::current(&client, app.id).await.unwrap(), None);
    // Order, doubles and characters that jsonb would change or refuse.
    let manifest: serde_json::Value =
        serde_json::from_str(r#"{"z": 1, "a": {"text": "a\u0000b"}, "n": 1.10}"#).unwrap();
    let new = NewBundle { manifest: Some(manifest.clone()), ..new_bundle(app.id, &ada, 1) };
    let first = bundles::create(&client, &new).await.unwrap();
    assert_eq!((first.hash, first.size_bytes, first.active), (BundleHash([1; 32]), 5_000_000_000, false));
    assert_eq!((first.metadata["source"].as_str(), first.app_mode), (Some("git"), AppMode::PythonFastapi));
    assert_eq!(first.created_by.as_ref().map(|creator| creator.username.as_str()), Some("ada"));
    assert_eq!(first.prepared, None);
    assert_eq!(bundles::manifest_of(&client, first.id).await.unwrap(), Some(Some(manifest)));
    assert_eq!(bundles::manifest_of(&client, BundleId(i64::MAX)).await.unwrap(), None);

    let unread = NewBundle { manifest: None, app_mode: AppMode::Unknown, ..new_bundle(app.id, &ada, 1) };
    let second = bundles::create(&client, &unread).await.unwrap();
    assert_eq!(bundles::manifest_of(&client, second.id).await.unwrap(), Some(None));
    let listed: Vec<BundleId> = bundles::list(&client, app.id).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(listed, [second.id, first.id], "newest first");
    assert_eq!(bundles::current(&client, app.id).await.unwrap().map(|row| row.id), Some(second.id));
    bundle(&database, app.id, &ada, 2).await;
    let hashes: BTreeSet<BundleHash> = bundles::referenced_hashes(&client).await.unwrap().into_iter().collect();
    assert_eq!(hashes, BTreeSet::from([BundleHash([1; 32]), BundleHash([2; 32])]));
    let orphan = bundles::create(&client, &new_bundle(ContentId(i64::MAX), &ada, 1)).await;
    assert!(matches!(orphan, Err(DbError::NotFound("content"))), "{orphan:?}");
    let nothing = bundles::set_prepared(&client, BundleId(i64::MAX), &prepared(), &first.traits).await;
    assert!(matches!(nothing, Err(DbError::NotFound("bundle"))), "{nothing:?}");
}

pub async fn the_active_bundle_fixes_the_mode(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let (app, other) = (item(&database, &ada, "app").await, item(&database, &ada, "other").await);
    let raw = bundle(&database, app.id, &ada, 1).await;
    assert!(matches!(activate(&database, app.id, &raw).await, Err(DbError::NotPrepared)));
    let good = prepared_bundle(&database, app.id, &ada, 2).await;
    assert_eq!(good.prepared, Some(prepared()));
    assert!(matches!(activate(&database, other.id, &good).await, Err(DbError::NotFound("bundle"))));
    let live = activate(&database, app.id, &good).await.unwrap();
    assert_eq!((live.active_bundle, live.app_mode), (Some(good.id), AppMode::PythonFastapi));
    assert_eq!(live.traits.py_version.as_deref(), Some("3.11.2"), "the version chosen, not the manifest's");
    assert!(live.last_deployed_at > app.last_deployed_at);

    let client = database.client().await.unwrap();
    let mode = NewBundle { app_mode: AppMode::Static, ..new_bundle(app.id, &ada, 3) };
    let category = NewBundle { category: "site".into(), ..new_bundle(app.id, &ada, 4) };
    let parameters = NewBundle { parameterized: true, ..new_bundle(app.id, &ada, 5) };
    for (new, expected) in [(mode, "ModeFixed"), (category, "CategoryFixed"), (parameters, "ParametersFixed")] {
        let made = bundles::create(&client, &new).await.unwrap();
        bundles::set_prepared(&client, made.id, &prepared(), &new.traits).await.unwrap();
        let error = activate(&database, app.id, &made).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
    let unchanged = content::get(&client, app.id).await.unwrap().unwrap();
    assert_eq!(unchanged.active_bundle, Some(good.id));
    assert!(bundles::get(&client, good.id).await.unwrap().unwrap().active);
    assert_eq!(
        bundles::current(&client, app.id).await.unwrap().map(|row| row.id),
        Some(good.id),
        "the active, not the newest"
    );
}

pub async fn the_active_bundle_stays(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let (old, new) =
        (prepared_bundle(&database, app.id, &ada, 1).await, prepared_bundle(&database, app.id, &ada, 2).await);
    activate(&database, app.id, &new).await.unwrap();
    let client = database.client().await.unwrap();
    assert!(matches!(bundles::delete(&client, new.id).await, Err(DbError::ActiveBundle)));
    assert!(bundles::delete(&client, old.id).await.unwrap());
    assert!(!bundles::delete(&client, old.id).await.unwrap());
}

pub async fn deleting_content_takes_everything(config: DatabaseConfig) {
    let database = open(config).await;
    let (ada, bob) = (user(&database, "ada").await, user(&database, "bob").await);
    let app = item(&database, &ada, "app").await;
    let live = prepared_bundle(&database, app.id, &ada, 1).await;
    activate(&database, app.id, &live).await.unwrap();
    let work = task(&database, &live, &ada).await;
    let mut client = database.client().await.unwrap();
    permissions::add(&client, app.id, &Grantee::User(bob.id, bob.guid), PermissionRole::Viewer).await.unwrap();
    let tx = client.transaction().await.unwrap();
    vanities::set(&tx, app.id, "/app/", &[]).await.unwrap();
    variables::replace_all(&tx, app.id, &[("A".into(), vec![1])]).await.unwrap();
    tx.commit().await.unwrap();
    let key = JobKey::from_random([1; 16]);
    let job = jobs::NewJob {
        key: key.clone(),
        content: app.id,
        bundle: Some(live.id),
        tag: "run_fastapi_app".into(),
        server: Uuid::new_v4(),
        hostname: "here".into(),
        run_as: None,
        log_path: None,
        task: None,
    };
    jobs::create(&client, &job).await.unwrap();

    assert!(content::delete(&client, app.id).await.unwrap());
    assert!(!content::delete(&client, app.id).await.unwrap());
    assert_eq!(content::get(&client, app.id).await.unwrap(), None);
    assert_eq!(bundles::get(&client, live.id).await.unwrap(), None);
    assert_eq!(tasks::get(&client, &work.id).await.unwrap(), None);
    assert_eq!(jobs::get(&client, &key).await.unwrap(), None);
    assert_eq!(vanities::list(&client).await.unwrap(), []);
    for table in ["bundles", "permissions", "vanities", "content_variables", "tasks", "task_output", "jobs"] {
        let row = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{table}");
    }
}

pub async fn variables_are_patched_and_replaced(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let mut client = database.client().await.unwrap();
    let pair = |name: &str, byte: u8| (name.to_owned(), vec![byte; 40]);
    let tx = client.transaction().await.unwrap();
    variables::patch(&tx, app.id, &[pair("b", 1), pair("A", 2), pair("C", 3)], &[]).await.unwrap();
    variables::patch(&tx, app.id, &[pair("A", 9)], &["C".into(), "absent".into()]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(variables::names(&client, app.id).await.unwrap(), ["A", "b"]);
    assert_eq!(variables::all_sealed(&client, app.id).await.unwrap(), [pair("A", 9), pair("b", 1)]);
    let tx = client.transaction().await.unwrap();
    variables::replace_all(&tx, app.id, &[pair("D", 4)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(variables::all_sealed(&client, app.id).await.unwrap(), [pair("D", 4)]);
    let tx = client.transaction().await.unwrap();
    variables::replace_all(&tx, app.id, &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(variables::names(&client, app.id).await.unwrap().is_empty());
    let tx = client.transaction().await.unwrap();
    let lost = variables::patch(&tx, ContentId(i64::MAX), &[pair("A", 1)], &[]).await;
    assert!(matches!(lost, Err(DbError::NotFound("content"))), "{lost:?}");
}

pub async fn what_cannot_be_stored_is_refused(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let patch = ContentPatch { title: Some(Some("a\0b".into())), ..ContentPatch::default() };
    assert!(matches!(update(&database, app.id, patch).await, Err(DbError::BadText)));
    let client = database.client().await.unwrap();
    let found = content::list(&client, &ContentFilter { name: Some("a\0".into()), ..ContentFilter::default() }).await;
    assert!(matches!(found, Err(DbError::BadText)), "{found:?}");
}

pub async fn old_bundles_are_pruned(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let mut rows = Vec::new();
    for number in 1..=5 {
        rows.push(prepared_bundle(&database, app.id, &ada, number).await);
    }
    let ids: Vec<BundleId> = rows.iter().map(|row| row.id).collect();
    let other = item(&database, &ada, "other").await;
    prepared_bundle(&database, other.id, &ada, 9).await;
    task(&database, &rows[1], &ada).await;
    let mut client = database.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    assert_eq!(bundles::prune(&tx, app.id, 1).await.unwrap(), [], "nothing is active");
    content::set_active_bundle(&tx, app.id, ids[3]).await.unwrap();
    assert_eq!(bundles::prune(&tx, app.id, 0).await.unwrap(), []);
    assert_eq!(
        bundles::prune(&tx, app.id, 2).await.unwrap(),
        [ids[0], ids[2]],
        "not the active, the wanted, the newer"
    );
    tx.commit().await.unwrap();
    let left: Vec<BundleId> = bundles::list(&client, app.id).await.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, [ids[4], ids[3], ids[1]]);
    assert_eq!(bundles::list(&client, other.id).await.unwrap().len(), 1);
}
