//! The history: complete, in one chain, and not to be changed unnoticed.

use lectern_domain::plugin::{
    Action, Actor, BindingSettings, Candidate, CandidateMode, Change, Document, HistoryEvent, HistoryHead, Share,
};
use lectern_metadata::plugins::history::{self, Chain, HistoryFilter};
use lectern_metadata::plugins::{Note, bindings, packages, secrets, trusted_keys};
use lectern_metadata::{Database, DatabaseConfig, DbError, is_transient};
use serde_json::json;

use super::bindings::{bound, change, committed, release, settings};
use super::open;
use super::packages::note;

fn event(reason: String) -> HistoryEvent {
    HistoryEvent {
        actor: Actor::Server,
        action: Action::Install,
        binding: None,
        plugin: None,
        from_release: None,
        to_release: None,
        package: None,
        reason,
        details: Document::default(),
    }
}

async fn append(database: &Database, reason: &str) -> lectern_domain::plugin::HistoryEntry {
    let mut client = database.client().await.unwrap();
    committed(&mut client, async |tx| history::append(tx, event(reason.to_owned())).await).await.unwrap()
}

pub async fn every_change_leaves_an_entry(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, one) = bound(&mut client, "login", 1).await;
    let (two, three) = (release(&mut client, "login", 2).await, release(&mut client, "login", 3).await);
    let name = binding.spec.name.clone();
    let settings = BindingSettings { position: 3, ..settings() };
    let candidate = |mode| Change::Offer(Candidate { release: three.hash, mode });
    let mut at = binding;
    for step in [
        Change::Settings(settings),
        Change::Swap(two.hash),
        Change::Rollback,
        candidate(CandidateMode::Shadow),
        candidate(CandidateMode::Canary(Share { per_ten_thousand: 100, ..Share::default() })),
        Change::Withdraw,
        candidate(CandidateMode::Shadow),
        Change::Promote,
    ] {
        at = change(&mut client, &at, step).await.unwrap();
    }
    let failed = Note { details: json!({"failed": 7}).as_object().unwrap().clone(), ..note() };
    committed(&mut client, async |tx| bindings::give_up(tx, &name, three.hash, &failed).await).await.unwrap();
    committed(&mut client, async |tx| bindings::give_up(tx, &name, three.hash, &failed).await).await.unwrap();
    let revision = bindings::get(&client, &name).await.unwrap().unwrap().revision;
    committed(&mut client, async |tx| bindings::unbind(tx, &name, revision, &note()).await).await.unwrap();
    committed(&mut client, async |tx| packages::remove(tx, one.spec.package, &note()).await).await.unwrap();
    let plugin = one.plugin.clone();
    committed(&mut client, async |tx| trusted_keys::add(tx, "k", "text", "c", &note()).await).await.unwrap();
    committed(&mut client, async |tx| trusted_keys::remove(tx, "k", &note()).await).await.unwrap();
    committed(&mut client, async |tx| secrets::set(tx, &plugin, "s", b"hunter2", &note()).await).await.unwrap();
    committed(&mut client, async |tx| secrets::remove(tx, &plugin, "s", &note()).await).await.unwrap();

    let mut entries = history::list(&client, &HistoryFilter::default(), 100).await.unwrap();
    entries.reverse();
    let (h1, h2, h3) = (Some(one.hash), Some(two.hash), Some(three.hash));
    let expected = [
        (Action::Install, None, None, r#"{"signed_by":"key","version":"1.0.0"}"#),
        (Action::Bind, None, h1, ""),
        (Action::Configure, None, None, r#"{"changes":{"position":{"from":10,"to":3}}}"#),
        (Action::Swap, h1, h2, "{}"),
        (Action::Rollback, h2, h1, "{}"),
        (Action::Shadow, None, h3, "{}"),
        (Action::Canary, h3, h3, r#"{"share":{"per_ten_thousand":100,"users":[]}}"#),
        (Action::Withdraw, h3, None, "{}"),
        (Action::Shadow, None, h3, "{}"),
        (Action::Promote, h1, h3, "{}"),
        (Action::Rollback, h3, h1, r#"{"failed":7}"#),
        (Action::Unbind, h1, None, ""),
        (Action::Remove, None, None, r#"{"signed_by":"key","version":"1.0.0"}"#),
        (Action::Trust, None, None, r#"{"comment":"c","key":"k","public_key":"text"}"#),
        (Action::Untrust, None, None, r#"{"comment":"c","key":"k","public_key":"text"}"#),
        (Action::Secret, None, None, r#"{"secret":"s"}"#),
        (Action::Forget, None, None, r#"{"secret":"s"}"#),
    ];
    assert_eq!(entries.len(), expected.len(), "{entries:#?}");
    let mut head = HistoryHead::EMPTY;
    for (entry, (action, from, to, details)) in entries.iter().zip(expected) {
        let event = &entry.event;
        assert_eq!((event.action, event.from_release, event.to_release), (action, from, to), "{entry:?}");
        assert!(details.is_empty() || event.details.as_str() == details, "{entry:?}");
        let automatic = event.details.as_str().contains("failed");
        assert_eq!(event.actor == Actor::Automatic, automatic, "{entry:?}");
        assert_eq!(event.reason, "because");
        let of_package = from.or(to).is_some() || matches!(action, Action::Install | Action::Remove);
        assert_eq!(event.package, of_package.then_some(one.spec.package), "{entry:?}");
        let keys = matches!(action, Action::Trust | Action::Untrust);
        assert_eq!(event.plugin.as_ref(), (!keys).then_some(&plugin), "{entry:?}");
        assert!(entry.follows(head), "{entry:?}");
        head = entry.head();
    }
    assert_eq!(history::verify_chain(&client).await.unwrap(), Chain::Whole(head));
    let text = format!("{entries:?}");
    assert!(!text.contains("hunter2") && !text.contains(&format!("{:?}", b"hunter2")));
}

pub async fn the_history_is_listed_in_parts(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    assert_eq!(history::verify_chain(&client).await.unwrap(), Chain::Whole(HistoryHead::EMPTY));
    bound(&mut client, "login", 1).await;
    bound(&mut client, "other", 1).await;
    let all = HistoryFilter::default();
    let cases = [
        (all.clone(), 9, &[4, 3, 2, 1][..]),
        (all.clone(), 2, &[4, 3]),
        (HistoryFilter { before: Some(3), ..all.clone() }, 9, &[2, 1]),
        (HistoryFilter { binding: Some("login".parse().unwrap()), ..all.clone() }, 9, &[2]),
        (HistoryFilter { plugin: Some("other".parse().unwrap()), ..all.clone() }, 9, &[4, 3]),
        (all, -1, &[]),
    ];
    for (filter, limit, expected) in cases {
        let found = history::list(&client, &filter, limit).await.unwrap();
        assert_eq!(found.iter().map(|entry| entry.seq).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

pub async fn appends_at_once_make_one_chain(config: DatabaseConfig) {
    let database = open(config).await;
    let writers: Vec<_> = (0..200)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut client = database.client().await.unwrap();
                let tx = client.transaction().await.unwrap();
                let entry = history::append(&tx, event(format!("number {number}"))).await.unwrap();
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
    let head = written.last().unwrap().head();
    assert_eq!(history::verify_chain(&client).await.unwrap(), Chain::Whole(head));
    let mut read = history::list(&client, &HistoryFilter::default(), 500).await.unwrap();
    read.reverse();
    assert_eq!(read, written, "read as it was written, times to the microsecond");
}

pub async fn what_was_written_cannot_be_changed(config: DatabaseConfig) {
    let database = open(config).await;
    append(&database, "one").await;
    append(&database, "two").await;
    let mut client = database.client().await.unwrap();
    for sql in [
        "UPDATE plugin_history SET reason = 'x' WHERE seq = 1",
        "DELETE FROM plugin_history WHERE seq = 2",
        "TRUNCATE plugin_history",
    ] {
        let error = client.execute(sql, &[]).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("only appended to"), "{sql}: {error}");
    }
    // Nor can an entry be put anywhere but to the end.
    for (seq, prev) in [(2, 1u8), (4, 1), (3, 1), (1, 0)] {
        let sql = "INSERT INTO plugin_history (seq, made_at, actor, action, reason, details, prev_hash, hash) \
                   VALUES ($1, now(), 'server', 'install', '', '{}', $2, $2)";
        let tx = client.transaction().await.unwrap();
        let error = DbError::from(tx.execute(sql, &[&i64::from(seq), &[prev; 32].as_slice()]).await.unwrap_err());
        assert!(is_transient(&error), "{seq}: {error:?}");
    }
    let Chain::Whole(head) = history::verify_chain(&client).await.unwrap() else { panic!("it is whole") };
    assert_eq!(head.seq, 2);
}

/// By somebody who may do anything in the database, short of computing the whole chain anew.
pub async fn tampering_is_found(config: DatabaseConfig) {
    let database = open(config).await;
    // More than one page of the check.
    for number in 0..520 {
        append(&database, &format!("number {number}")).await;
    }
    let mut client = database.client().await.unwrap();
    let whole = history::verify_chain(&client).await.unwrap();
    assert!(matches!(whole, Chain::Whole(head) if head.seq == 520), "{whole:?}");
    let cases = [
        ("UPDATE plugin_history SET reason = 'x' WHERE seq = 7", 7),
        ("UPDATE plugin_history SET made_at = made_at + interval '1 microsecond' WHERE seq = 510", 510),
        ("UPDATE plugin_history SET actor = 'user:server' WHERE seq = 1", 1),
        ("UPDATE plugin_history SET actor = '' WHERE seq = 9", 9),
        ("UPDATE plugin_history SET action = 'remove' WHERE seq = 9", 9),
        ("UPDATE plugin_history SET details = '{ }' WHERE seq = 8", 8),
        ("UPDATE plugin_history SET plugin = 'x' WHERE seq = 8", 8),
        ("UPDATE plugin_history SET package = '\\x00' WHERE seq = 8", 8),
        ("UPDATE plugin_history SET made_at = 'infinity' WHERE seq = 520", 520),
        ("UPDATE plugin_history SET hash = prev_hash WHERE seq = 100", 100),
        ("DELETE FROM plugin_history WHERE seq = 1", 1),
        ("DELETE FROM plugin_history WHERE seq = 300", 300),
        ("DELETE FROM plugin_history WHERE seq > 400", 401),
        ("DELETE FROM plugin_history WHERE seq = 520", 520),
        ("DELETE FROM plugin_history", 1),
        ("DELETE FROM plugin_history WHERE seq = 520; UPDATE gate SET history_seq = 519", 519),
        ("UPDATE gate SET history_hash = decode(repeat('11', 32), 'hex')", 520),
        (
            "INSERT INTO plugin_history SELECT 521, made_at, actor, action, binding, plugin, from_release, to_release, \
             package, reason, details, prev_hash, hash FROM plugin_history WHERE seq = 520",
            521,
        ),
        (
            "UPDATE plugin_history a SET seq = -a.seq WHERE seq IN (5, 6); \
             UPDATE plugin_history SET seq = 11 + seq WHERE seq < 0",
            5,
        ),
    ];
    for (sql, seq) in cases {
        let tx = client.transaction().await.unwrap();
        tx.batch_execute(
            "ALTER TABLE plugin_history DISABLE TRIGGER ALL; \
             ALTER TABLE plugin_history DROP CONSTRAINT plugin_history_seq_check",
        )
        .await
        .unwrap();
        tx.batch_execute(sql).await.unwrap();
        assert_eq!(history::verify_chain(&tx).await.unwrap(), Chain::Broken { seq }, "{sql}");
        tx.rollback().await.unwrap();
    }
    assert_eq!(history::verify_chain(&client).await.unwrap(), whole);
}
