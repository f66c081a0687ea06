//! The audit log: one chain whoever appends, and not to be changed unnoticed.

use lectern_domain::audit::{Action, Actor, Head};
use lectern_metadata::audit::{self, Chain, Way};
use lectern_metadata::{Database, DatabaseConfig, DbError, is_transient};

use super::open;

async fn append(database: &Database, tag: &str) {
    let mut client = database.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    audit::append(&tx, Actor::server(), &Action::TagMade { tag }).await.unwrap();
    tx.commit().await.unwrap();
}

pub async fn appends_at_once_make_one_log(config: DatabaseConfig) {
    let database = open(config).await;
    assert_eq!(audit::verify(&database.client().await.unwrap()).await.unwrap(), Chain::Whole(Head::EMPTY));
    let writers: Vec<_> = (0..200)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut client = database.client().await.unwrap();
                let tx = client.transaction().await.unwrap();
                let tag = number.to_string();
                let entry = audit::append(&tx, Actor::server(), &Action::TagMade { tag: &tag }).await.unwrap();
                // Every tenth takes back what it did: no number may be used up by it.
                if number % 10 == 0 {
                    tx.rollback().await.unwrap();
                    return None;
                }
                tx.commit().await.unwrap();
                Some(entry)
            })
        })
        .collect();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    written.sort_by_key(|entry| entry.seq);
    assert_eq!(written.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=180).collect::<Vec<_>>());
    assert!(written.is_sorted_by_key(|entry| entry.at), "times have the order of numbers");
    let client = database.client().await.unwrap();
    assert_eq!(audit::verify(&client).await.unwrap(), Chain::Whole(written.last().unwrap().head()));
    assert_eq!(audit::list(&client, None, Way::Up, 500).await.unwrap(), written, "read as it was written");
    let numbers = async |from, way, limit| {
        let found = audit::list(&client, from, way, limit).await.unwrap();
        found.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None, Way::Down, 2).await, [180, 179]);
    assert_eq!(numbers(Some(5), Way::Down, 2).await, [4, 3]);
    assert_eq!(numbers(Some(178), Way::Up, 9).await, [179, 180]);
    assert_eq!(numbers(None, Way::Up, -1).await, [0_i64; 0]);
}

pub async fn the_audit_log_is_only_appended_to(config: DatabaseConfig) {
    let database = open(config).await;
    append(&database, "one").await;
    append(&database, "two").await;
    let mut client = database.client().await.unwrap();
    for sql in [
        "UPDATE audit_log SET description = 'x' WHERE seq = 1",
        "DELETE FROM audit_log WHERE seq = 2",
        "TRUNCATE audit_log",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
    ] {
        let error = client.execute(sql, &[]).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("only appended to"), "{sql}: {error}");
    }
    // Nor can an entry be put anywhere but to the end.
    for (seq, prev) in [(2, 1u8), (4, 1), (3, 1), (1, 0)] {
        let sql = "INSERT INTO audit_log (seq, made_at, actor, action, description, prev_hash, hash) \
                   VALUES ($1, now(), 'x y', 'x', '', $2, $2)";
        let tx = client.transaction().await.unwrap();
        let error = DbError::from(tx.execute(sql, &[&i64::from(seq), &[prev; 32].as_slice()]).await.unwrap_err());
        assert!(is_transient(&error), "{seq}: {error:?}");
    }
    assert!(matches!(audit::verify(&client).await.unwrap(), Chain::Whole(head) if head.seq == 2));
}

/// By somebody who may do anything in the database, short of computing the whole chain anew.
pub async fn the_first_bent_entry_is_named(config: DatabaseConfig) {
    let database = open(config).await;
    // More than one page of the check.
    for number in 0..520 {
        append(&database, &number.to_string()).await;
    }
    let mut client = database.client().await.unwrap();
    let whole = audit::verify(&client).await.unwrap();
    assert!(matches!(whole, Chain::Whole(head) if head.seq == 520), "{whole:?}");
    let cases = [
        ("UPDATE audit_log SET description = 'x' WHERE seq = 7", 7),
        ("UPDATE audit_log SET made_at = made_at + interval '1 microsecond' WHERE seq = 510", 510),
        ("UPDATE audit_log SET user_id = 1, user_guid = gen_random_uuid() WHERE seq = 1", 1),
        ("UPDATE audit_log SET actor = 'somebody else' WHERE seq = 9", 9),
        ("UPDATE audit_log SET action = 'remove_tag' WHERE seq = 9", 9),
        ("UPDATE audit_log SET made_at = 'infinity' WHERE seq = 520", 520),
        ("UPDATE audit_log SET hash = prev_hash WHERE seq = 100", 100),
        ("UPDATE audit_log SET prev_hash = '\\x00' WHERE seq = 100", 100),
        ("DELETE FROM audit_log WHERE seq = 1", 1),
        ("DELETE FROM audit_log WHERE seq = 300", 300),
        ("DELETE FROM audit_log WHERE seq > 400", 401),
        ("DELETE FROM audit_log", 1),
        ("DELETE FROM audit_log WHERE seq = 520; UPDATE audit_head SET seq = 519", 519),
        ("UPDATE audit_head SET hash = decode(repeat('11', 32), 'hex')", 520),
        (
            "INSERT INTO audit_log SELECT 521, made_at, user_id, user_guid, actor, action, description, prev_hash, hash \
             FROM audit_log WHERE seq = 520",
            521,
        ),
    ];
    for (sql, seq) in cases {
        let tx = client.transaction().await.unwrap();
        tx.batch_execute("ALTER TABLE audit_log DISABLE TRIGGER ALL").await.unwrap();
        tx.batch_execute(sql).await.unwrap();
        assert_eq!(audit::verify(&tx).await.unwrap(), Chain::Broken { seq }, "{sql}");
        tx.rollback().await.unwrap();
    }
    assert_eq!(audit::verify(&client).await.unwrap(), whole);
}
