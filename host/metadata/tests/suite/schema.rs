//! Migrations, and rules that hold for all statements.

use std::time::{Duration, Instant};

use lectern_domain::plugin::GateState;
use lectern_metadata::migrate::known;
use lectern_metadata::plugins::gate::load_gate;
use lectern_metadata::testing::migrate_to;
use lectern_metadata::{
    Database, DatabaseConfig, DbError, MigrateError, content, is_transient, migrate, pending, snapshots, variants,
};

use super::bindings::bound;
use super::{activate, item, open, prepared, prepared_bundle, user};

pub async fn migrations_run_once(config: DatabaseConfig) {
    let database = Database::connect(config).await.unwrap();
    assert_eq!(pending(&database).await.unwrap(), known());
    assert!(known().len() >= 4);
    assert_eq!(migrate(&database).await.unwrap(), known());
    assert_eq!(pending(&database).await.unwrap(), []);
    assert_eq!(migrate(&database).await.unwrap(), []);
}

pub async fn two_servers_migrate_at_once(config: DatabaseConfig) {
    let servers: Vec<_> = (0..4)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move { migrate(&Database::connect(config).await.unwrap()).await.unwrap().len() })
        })
        .collect();
    let mut applied = Vec::new();
    for server in servers {
        applied.push(server.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, known().len()], "one does it, the others wait and find it done");
}

pub async fn a_newer_schema_is_refused(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let sql = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
               VALUES (9999, 'future', '2030-01-01T00:00:00Z', '1')";
    client.execute(sql, &[]).await.unwrap();
    let newest = known().last().unwrap().version;
    for refused in [migrate(&database).await.map(drop), pending(&database).await.map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, MigrateError::Newer { found: 9999, known } if known == newest), "{error:?}");
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}

pub async fn an_edited_migration_is_refused(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    client.execute("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2", &[]).await.unwrap();
    for refused in [migrate(&database).await.map(drop), pending(&database).await.map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, MigrateError::Divergent(text) if text.contains("V2__content")), "{error:?}");
    }
}

pub async fn a_filled_database_stays_as_it_is(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = prepared_bundle(&database, app.id, &ada, 1).await;
    activate(&database, app.id, &version).await.unwrap();
    let before = snapshots::load_snapshot(&database).await.unwrap();
    migrate(&database).await.unwrap();
    let after = snapshots::load_snapshot(&database).await.unwrap();
    assert_eq!((before.content, before.users), (after.content, after.users));
}

/// What V0004 left is there after the newer migrations, and takes what they bring.
pub async fn an_older_schema_is_brought_up_to_date(config: DatabaseConfig) {
    let database = Database::connect(config).await.unwrap();
    migrate_to(&database, 4).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = prepared_bundle(&database, app.id, &ada, 1).await;
    activate(&database, app.id, &version).await.unwrap();
    let client = database.client().await.unwrap();
    // As an older server writes it, before and after.
    let sql = "INSERT INTO sessions (hash, user_id, expires_at) VALUES ($1, $2, now() + interval '1 h')";
    client.execute(sql, &[&[1u8; 32].as_slice(), &ada.id.0]).await.unwrap();

    let applied = migrate(&database).await.unwrap();
    assert_eq!(applied, known()[4..]);
    client.execute(sql, &[&[2u8; 32].as_slice(), &ada.id.0]).await.unwrap();
    // Items from before, and those that an older server makes now, have a default variant.
    let later = item(&database, &ada, "later").await;
    for content in [app.id, later.id] {
        let variants = variants::of_content(&client, content).await.unwrap();
        assert_eq!(variants.iter().map(|one| (one.is_default, &*one.name)).collect::<Vec<_>>(), [(true, "default")]);
    }
    content::delete(&client, later.id).await.unwrap();
    let view = snapshots::load_snapshot(&database).await.unwrap();
    let kept = &view.content[&app.guid];
    assert_eq!((kept.id, &kept.name, kept.mode, kept.active), (app.id, &app.name, version.app_mode, Some(version.id)));
    assert_eq!((kept.bundles[&version.id].hash, &kept.bundles[&version.id].prepared), (version.hash, &prepared()));
    assert_eq!((view.content.len(), kept.thumbnail, &kept.vanity), (1, None, &None));
    let groups: Vec<usize> = view.sessions.values().map(|session| session.groups.len()).collect();
    assert_eq!(groups, [0, 0]);
    let gate = load_gate(&database).await.unwrap();
    assert_eq!(gate, GateState::default());
    let mut client = database.client().await.unwrap();
    let (from, _) = bound(&mut client, "login", 1).await;
    assert_eq!(from.revision, 1);
    assert_eq!(load_gate(&database).await.unwrap().bindings, [from]);
}

/// A foreign key without an index makes each deletion on the other side read the whole table.
pub async fn every_reference_has_an_index(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let sql = "SELECT c.conname::text FROM pg_constraint c WHERE c.contype = 'f' AND NOT EXISTS ( \
               SELECT 1 FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL \
               AND i.indkey[0] = ANY (c.conkey))";
    let missing: Vec<String> =
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)).collect();
    // Accounts are not deleted, so what only names who did something is not looked up from there.
    let who_did_it = [
        "bundles_created_by_fkey",
        "tasks_requested_by_fkey",
        "oauth_devices_user_fkey",
        "hits_user_fkey",
        "shiny_usage_user_fkey",
    ];
    assert_eq!(missing, who_did_it);
}

pub async fn slow_statements_are_cut(config: DatabaseConfig) {
    let database =
        Database::connect(DatabaseConfig { statement_timeout: Duration::from_millis(100), ..config }).await.unwrap();
    let client = database.client().await.unwrap();
    let begun = Instant::now();
    let error = DbError::from(client.execute("SELECT pg_sleep(60)", &[]).await.unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(matches!(error, DbError::Unavailable(_)) && is_transient(&error), "{error:?}");
    // A migration may take longer than any query.
    assert_eq!(migrate(&database).await.unwrap(), known());
}

pub async fn a_full_pool_is_not_waited_for_forever(config: DatabaseConfig) {
    let small = DatabaseConfig { pool_size: 1, wait_timeout: Duration::from_millis(50), ..config };
    let database = open(small).await;
    let held = database.client().await.unwrap();
    let error = database.client().await.err().unwrap();
    assert!(matches!(error, DbError::Unavailable(_)) && is_transient(&error), "{error:?}");
    drop(held);
    let client = database.client().await.unwrap();
    assert_eq!(content::list(&client, &content::ContentFilter::default()).await.unwrap(), []);
}
