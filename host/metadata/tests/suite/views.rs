//! The in-memory view, and the news about it.

use lectern_domain::access::PermissionRole;
use lectern_domain::{UserRole, snapshot::Snapshot};
use lectern_metadata::content::ContentPatch;
use lectern_metadata::permissions::Grantee;
use lectern_metadata::{
    Changes, Database, DatabaseConfig, Part, content, keys, listen, permissions, sessions, snapshots, tasks, users,
    vanities, variables,
};
use time::{Duration, OffsetDateTime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{SOON, activate, bundle, item, open, prepared, prepared_bundle, task, user};

pub async fn the_view_holds_everything(config: DatabaseConfig) {
    let database = open(config).await;
    assert!(snapshots::load_snapshot(&database).await.unwrap().content.is_empty());
    let (ada, bob, carl) = (user(&database, "ada").await, user(&database, "bob").await, user(&database, "carl").await);
    let app = item(&database, &ada, "app").await;
    let bare = item(&database, &ada, "bare").await;
    let live = prepared_bundle(&database, app.id, &ada, 1).await;
    let draft = prepared_bundle(&database, app.id, &ada, 2).await;
    bundle(&database, app.id, &ada, 3).await;
    activate(&database, app.id, &live).await.unwrap();
    let mut client = database.client().await.unwrap();
    permissions::add(&client, app.id, &Grantee::User(bob.id, bob.guid), PermissionRole::Viewer).await.unwrap();
    permissions::add(&client, app.id, &Grantee::User(carl.id, carl.guid), PermissionRole::Owner).await.unwrap();
    let key = keys::create(&client, ada.id, "k", UserRole::Viewer, &[5; 32], None).await.unwrap();
    let gone = keys::create(&client, ada.id, "gone", UserRole::Viewer, &[6; 32], None).await.unwrap();
    keys::revoke(&client, ada.id, gone.id).await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::HOUR;
    sessions::create(&client, &[8; 32], bob.id, later, &[], None).await.unwrap();
    users::set_locked(&client, carl.id, true).await.unwrap();
    let tx = client.transaction().await.unwrap();
    vanities::set(&tx, app.id, "/my/app/", &[]).await.unwrap();
    variables::replace_all(&tx, app.id, &[("B".into(), vec![2]), ("A".into(), vec![1])]).await.unwrap();
    let patch = ContentPatch {
        locked: Some(true),
        locked_message: Some("closed".into()),
        max_processes: Some(Some(2)),
        ..ContentPatch::default()
    };
    content::update(&tx, app.id, &patch).await.unwrap();
    tx.commit().await.unwrap();

    let groups = "INSERT INTO groups (guid, name) VALUES (gen_random_uuid(), 'plan'), (gen_random_uuid(), 'Ops'); \
                  INSERT INTO group_members (group_id, user_id) SELECT g.id, u.id FROM groups g, users u WHERE u.username = 'bob'";
    database.client().await.unwrap().batch_execute(groups).await.unwrap();

    let view = snapshots::load_snapshot(&database).await.unwrap();
    assert_eq!(*view.groups, [(bob.id, ["Ops".to_owned(), "plan".to_owned()].into())].into());
    let entry = &view.content[&app.guid];
    assert_eq!((entry.id, entry.name.as_str(), entry.mode), (app.id, "app", live.app_mode));
    assert_eq!(
        entry.active_bundle().map(|bundle| (bundle.hash, bundle.prepared.clone())),
        Some((live.hash, prepared()))
    );
    assert_eq!(entry.bundles.keys().copied().collect::<Vec<_>>(), [live.id, draft.id], "prepared ones only");
    assert_eq!(entry.access.owner, ada.id);
    assert_eq!(entry.access.viewers, [bob.id].into());
    assert_eq!(entry.access.editors, [carl.id].into());
    assert_eq!(entry.locked_message.as_deref(), Some("closed"));
    assert_eq!(entry.processes.max_processes, Some(2));
    assert_eq!(entry.sealed_variables, [("A".to_owned(), vec![1]), ("B".to_owned(), vec![2])]);
    assert_eq!(entry.vanity.as_deref(), Some("/my/app/"));
    assert_eq!(view.find_vanity("/my/app/x"), Some((app.guid, 2)));
    let bare = &view.content[&bare.guid];
    assert_eq!((bare.active, bare.bundles.len(), bare.locked_message.as_deref()), (None, 0, None));
    assert_eq!(view.users.len(), 3);
    assert_eq!(
        view.principal_of_key(&[5; 32], time::OffsetDateTime::now_utc()).map(|who| (who.user, who.role)),
        Some((ada.id, UserRole::Viewer))
    );
    assert_eq!(view.keys[&[5; 32]].id, key.id);
    assert!(view.principal_of_key(&[6; 32], time::OffsetDateTime::now_utc()).is_none(), "revoked");
    assert_eq!(view.principal_of_session(&[8; 32], OffsetDateTime::now_utc()).map(|who| who.user), Some(bob.id));
    assert!(view.users[&carl.id].locked);

    // The parts are the whole.
    let (content, vanities, groups) = snapshots::load_content(&database).await.unwrap();
    assert_eq!((&content, &vanities, &groups), (&*view.content, &*view.vanities, &*view.groups));
    assert_eq!(snapshots::load_users(&database).await.unwrap(), *view.users);
    assert_eq!(snapshots::load_keys(&database).await.unwrap(), *view.keys);
    assert_eq!(snapshots::load_sessions(&database).await.unwrap(), *view.sessions);
}

/// How many statements the server ran for one load: each prepared statement of the pool's one connection counts once.
pub async fn statements(database: &Database) -> i64 {
    let client = database.client().await.unwrap();
    let sql = "SELECT coalesce(sum(generic_plans + custom_plans), 0)::bigint FROM pg_prepared_statements";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

pub async fn loading_takes_the_same_number_of_queries(config: DatabaseConfig) {
    let writer = open(config.clone()).await;
    let reader = Database::connect(DatabaseConfig { pool_size: 1, ..config }).await.unwrap();
    let measure = async || {
        snapshots::load_snapshot(&reader).await.unwrap();
        let before = statements(&reader).await;
        let view: Snapshot = snapshots::load_snapshot(&reader).await.unwrap();
        (statements(&reader).await - before, view.content.len())
    };
    let (few, none) = measure().await;
    let ada = user(&writer, "ada").await;
    for number in 0..30 {
        let app = item(&writer, &ada, &format!("app{number}")).await;
        prepared_bundle(&writer, app.id, &ada, number).await;
    }
    let (many, thirty) = measure().await;
    assert_eq!((none, thirty), (0, 30));
    assert!(few > 0);
    assert_eq!(few, many);
}

pub async fn what_is_not_understood_is_left_out(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let (good, bad) = (item(&database, &ada, "good").await, item(&database, &ada, "bad").await);
    let version = prepared_bundle(&database, good.id, &ada, 1).await;
    let client = database.client().await.unwrap();
    client.execute("UPDATE content SET app_mode = 'from-the-future' WHERE id = $1", &[&bad.id.0]).await.unwrap();
    client.execute("UPDATE bundles SET prepared = '{\"new\": 1}' WHERE id = $1", &[&version.id.0]).await.unwrap();
    let (view, ..) = snapshots::load_content(&database).await.unwrap();
    assert_eq!(view.len(), 1);
    assert!(view[&good.guid].bundles.is_empty());
    let error = content::get(&client, bad.id).await.unwrap_err();
    assert!(error.to_string().contains("from-the-future"), "{error}");
}

pub async fn next(changes: &mut Changes) -> Option<Part> {
    timeout(SOON, changes.next()).await.expect("news in time")
}

pub async fn changes_are_told(config: DatabaseConfig) {
    let database = open(config.clone()).await;
    let stop = CancellationToken::new();
    let mut changes = listen(&config, &stop).unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Everything), "first of all");

    let ada = user(&database, "ada").await;
    assert_eq!(next(&mut changes).await, Some(Part::Users));
    let app = item(&database, &ada, "app").await;
    assert_eq!(next(&mut changes).await, Some(Part::Content));
    let version = prepared_bundle(&database, app.id, &ada, 1).await;
    assert_eq!(next(&mut changes).await, Some(Part::Content));
    activate(&database, app.id, &version).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Content));
    let mut client = database.client().await.unwrap();
    let key = keys::create(&client, ada.id, "k", UserRole::Viewer, &[5; 32], None).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Keys));
    keys::revoke(&client, ada.id, key.id).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Keys));
    sessions::create(&client, &[1; 32], ada.id, OffsetDateTime::now_utc() + Duration::HOUR, &[], None).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Sessions));
    users::set_locked(&client, ada.id, true).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Users));
    let tx = client.transaction().await.unwrap();
    vanities::set(&tx, app.id, "/a/", &[]).await.unwrap();
    variables::replace_all(&tx, app.id, &[("A".into(), vec![1])]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Content));
    task(&database, &version, &ada).await;
    assert_eq!(next(&mut changes).await, Some(Part::Tasks));
    let lease = tasks::claim_next(&client, Uuid::new_v4(), SOON).await.unwrap().unwrap().lease;
    assert_eq!(next(&mut changes).await, Some(Part::Tasks));
    tasks::append_output(&client, &lease, &["x".to_owned()]).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Tasks));
    content::delete(&client, app.id).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Content));
    assert_eq!(next(&mut changes).await, Some(Part::Tasks), "gone with its content");
}

pub async fn what_changes_nothing_is_not_told(config: DatabaseConfig) {
    let database = open(config.clone()).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    task(&database, &version, &ada).await;
    let mut client = database.client().await.unwrap();
    let lease = tasks::claim_next(&client, Uuid::new_v4(), SOON).await.unwrap().unwrap().lease;
    let stop = CancellationToken::new();
    let mut changes = listen(&config, &stop).unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Everything));

    tasks::renew_lease(&client, &lease, SOON).await.unwrap();
    assert_eq!(tasks::claim_next(&client, Uuid::new_v4(), SOON).await.unwrap(), None);
    users::touch_active(&client, ada.id).await.unwrap();
    sessions::delete_expired(&client).await.unwrap();
    // Raw uploads are not in the view; nor is what a transaction took back.
    bundle(&database, app.id, &ada, 2).await;
    let tx = client.transaction().await.unwrap();
    content::delete(&tx, app.id).await.unwrap();
    tx.rollback().await.unwrap();
    // Told in the order of commits: had any of those been told, it would come before this.
    users::set_role(&client, ada.id, UserRole::Viewer).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Users));
    users::set_role(&client, ada.id, UserRole::Publisher).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Users));
}

/// The number of connections that listen for changes of this database.
async fn listeners(database: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    database.client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

pub async fn the_listener_stops(config: DatabaseConfig) {
    let database = open(config.clone()).await;
    let stop = CancellationToken::new();
    let mut told = listen(&config, &stop).unwrap();
    let mut dropped = listen(&config, &stop).unwrap();
    assert_eq!(next(&mut told).await, Some(Part::Everything));
    assert_eq!(next(&mut dropped).await, Some(Part::Everything));
    assert_eq!(listeners(&database).await, 2);
    drop(dropped);
    let left = async |expected: i64| {
        while listeners(&database).await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, left(1)).await.expect("the dropped one ends");
    stop.cancel();
    assert_eq!(next(&mut told).await, None);
    timeout(SOON, left(0)).await.expect("the stopped one ends");
}
