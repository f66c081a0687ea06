//! The store with a real database, from one server and from two.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_metadata::testing::TestCluster;
use tokio::runtime::Handle;

use super::*;

async fn database() -> Database {
    TestCluster::shared().await.migrated().await
}

fn server(database: &Database) -> DatabaseValues {
    DatabaseValues::new(database.clone(), Handle::current())
}

fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[tokio::test]
async fn values_are_each_plugins_own() {
    let store = server(&database().await);
    assert_eq!(store.get("a", "k").await, Ok(None));
    store.set("a", "k", b"1".to_vec(), None).await.unwrap();
    store.set("b", "k", b"2".to_vec(), Some(Duration::from_secs(3600))).await.unwrap();
    assert_eq!((store.get("a", "k").await, store.get("b", "k").await), (Ok(some("1")), Ok(some("2"))));
    store.delete("a", "k").await.unwrap();
    store.delete("a", "k").await.unwrap();
    assert_eq!((store.get("a", "k").await, store.get("b", "k").await), (Ok(None), Ok(some("2"))));
    for ttl in [Duration::ZERO, Duration::from_micros(1)] {
        store.set("a", "short", b"x".to_vec(), Some(ttl)).await.unwrap();
        assert_eq!(store.get("a", "short").await, Ok(None), "its time is over");
    }
}

#[tokio::test]
async fn own_writes_show_at_once() {
    let store = server(&database().await);
    for n in 0..50 {
        let value = n.to_string();
        if n % 3 == 0 {
            let before = store.get("p", "k").await.unwrap();
            assert!(store.swap("p", "k", before, some(&value), None).await.unwrap());
        } else {
            store.set("p", "k", value.clone().into_bytes(), None).await.unwrap();
        }
        assert_eq!(store.get("p", "k").await, Ok(some(&value)));
        assert_eq!(store.get("p", "k").await, Ok(some(&value)), "from memory");
    }
    assert_eq!(store.memory.lock().young.len(), 1);
}

/// What may be used once is, whatever each server remembers.
#[tokio::test]
async fn of_many_servers_one_wins() {
    let database = database().await;
    let servers = [server(&database), server(&database), server(&database)];
    servers[0].set("p", "state", b"nonce".to_vec(), None).await.unwrap();
    for server in &servers {
        assert_eq!(server.get("p", "state").await, Ok(some("nonce")), "all remember it");
    }
    let tries = (0..30).map(|n| {
        let server = servers[n % servers.len()].clone();
        tokio::spawn(async move { server.swap("p", "state", some("nonce"), None, None).await.unwrap() })
    });
    let mut won = 0;
    for one in tries.collect::<Vec<_>>() {
        won += usize::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
    for server in &servers {
        assert!(!server.swap("p", "state", some("nonce"), some("again"), None).await.unwrap());
        assert_eq!(server.get("p", "state").await, Ok(None));
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let store = server(&database().await);
    let large = vec![0; values::MOST_VALUE_BYTES];
    assert_eq!(store.set("p", &"k".repeat(257), Vec::new(), None).await, Err(StoreError::TooLarge));
    assert_eq!(store.set("p", "", Vec::new(), None).await, Err(StoreError::TooLarge));
    assert_eq!(store.set("p", "k", vec![0; large.len() + 1], None).await, Err(StoreError::TooLarge));
    for (plugin, key) in [("Not a name", "k"), ("", "k"), ("p", "nul\0")] {
        let outcome = store.set(plugin, key, Vec::new(), None).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{plugin:?} {key:?}: {outcome:?}");
    }
    let mut outcomes = Vec::new();
    for n in 0..128 {
        outcomes.push(store.set("p", &n.to_string(), large.clone(), None).await);
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 127);
    assert_eq!(outcomes.last(), Some(&Err(StoreError::Quota)));
    assert_eq!(store.set("q", "k", large, None).await, Ok(()), "others have their own share");
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable() {
    let cluster = TestCluster::start().await;
    let store = server(&cluster.migrated().await);
    store.set("p", "k", b"1".to_vec(), None).await.unwrap();
    cluster.cluster().stop().await.unwrap();
    let unavailable = |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::Unavailable(_)));
    assert!(unavailable(&store.get("p", "k").await.map(drop)));
    assert!(unavailable(&store.set("p", "k", Vec::new(), None).await));
    assert!(unavailable(&store.delete("p", "k").await));
    assert!(unavailable(&store.swap("p", "k", None, None, None).await.map(drop)));
}

#[tokio::test]
async fn a_database_that_hangs_is_not_waited_for() {
    let database = database().await;
    let store = server(&database);
    let mut client = database.client().await.unwrap();
    let holding = client.transaction().await.unwrap();
    holding.batch_execute("LOCK TABLE plugin_values IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // More than may ask at a time: those behind wait no longer than those in front.
    let asked: Vec<_> = (0..40)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.get("p", &n.to_string()).await })
        })
        .collect();
    for one in asked {
        let outcome = one.await.unwrap();
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    holding.rollback().await.unwrap();
    assert_eq!(store.get("p", "k").await, Ok(None), "and then it goes on");
}

#[test]
fn memory_is_short_and_bounded() {
    let now = Instant::now();
    let mut memory = Memory::default();
    memory.remember("k".into(), some("1"), now + FRESH, 0);
    assert_eq!(memory.find("k", now), Some(some("1")));
    assert_eq!(memory.find("k", now + FRESH), None);
    memory.forget("k");
    assert_eq!(memory.find("k", now), None);
    memory.remember("k".into(), some("1"), now + FRESH, 0);
    assert_eq!(memory.find("k", now), None, "read before the write");
    memory.remember("k".into(), None, now + FRESH, 1);
    assert_eq!(memory.find("k", now), Some(None), "that there is none is remembered too");
    for n in 0..3_000 {
        memory.remember(n.to_string(), Some(vec![0; 16 << 10]), now + FRESH, 1);
    }
    let kept: usize =
        memory.young.values().chain(memory.old.values()).filter_map(|one| one.value.as_ref()).map(Vec::len).sum();
    assert!(kept <= MEMORY_BYTES, "{kept}");
    assert_eq!(memory.find("2999", now).map(|value| value.is_some()), Some(true));
}
