//! The small store that each plugin has.

use std::time::Duration;

use lectern_domain::plugin::PluginName;
use lectern_metadata::plugins::PluginRefusal;
use lectern_metadata::plugins::values::{self, MOST_KEY_BYTES, MOST_VALUE_BYTES, Usage};
use lectern_metadata::{Database, DatabaseConfig, DbError};

use super::open;

fn plugin() -> PluginName {
    "login".parse().unwrap()
}

fn is_full<T: std::fmt::Debug>(done: &Result<T, DbError>) -> bool {
    matches!(done, Err(DbError::Plugin(PluginRefusal::StoreFull)))
}

/// Makes the time of a key be over.
async fn expire(database: &Database, pattern: &str) {
    let sql = "UPDATE plugin_values SET expires_at = now() - interval '1 s' WHERE plugin = 'login' AND key LIKE $1";
    database.client().await.unwrap().execute(sql, &[&pattern]).await.unwrap();
}

/// The counter is what counting would give.
async fn counted(database: &Database) -> Usage {
    let client = database.client().await.unwrap();
    let sql = "SELECT count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint FROM plugin_values WHERE plugin = $1";
    let row = client.query_one(sql, &[&plugin().as_str()]).await.unwrap();
    let usage = values::usage(&client, &plugin()).await.unwrap();
    assert_eq!(usage, Usage { keys: row.get(0), bytes: row.get(1) });
    usage
}

pub async fn values_live_until_they_expire(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let (login, other) = (plugin(), "other".parse().unwrap());
    assert_eq!(values::get(&client, &login, "k").await.unwrap(), None);
    assert!(!values::delete(&client, &login, "k").await.unwrap());
    assert_eq!(counted(&database).await, Usage::default());
    let first = values::set(&client, &login, "k", b"one", None).await.unwrap();
    let second = values::set(&client, &login, "k", b"", Some(Duration::from_secs(3600))).await.unwrap();
    assert!(second > first);
    let found = values::get(&client, &login, "k").await.unwrap().unwrap();
    assert_eq!((found.bytes.as_slice(), found.version, found.expires_at.is_some()), (&b""[..], second, true));
    assert_eq!(values::get(&client, &other, "k").await.unwrap(), None, "each plugin has its own");
    values::set(&client, &other, "k", b"secret", None).await.unwrap();
    let found = values::get(&client, &other, "k").await.unwrap().unwrap();
    assert!(!format!("{found:?}").contains(&format!("{:?}", found.bytes)), "{found:?}");
    assert_eq!(counted(&database).await, Usage { keys: 1, bytes: 1 });

    expire(&database, "k").await;
    assert_eq!(values::get(&client, &login, "k").await.unwrap(), None);
    assert!(!values::delete(&client, &login, "k").await.unwrap(), "it was absent");
    let third = values::set(&client, &login, "k", b"two", None).await.unwrap();
    assert!(third > second, "a version is never used again");
    assert!(values::delete(&client, &login, "k").await.unwrap());

    values::set(&client, &login, "a", b"1", Some(Duration::ZERO)).await.unwrap();
    values::set(&client, &login, "b", b"2", None).await.unwrap();
    values::set(&client, &other, "a", b"1", Some(Duration::ZERO)).await.unwrap();
    assert_eq!(values::sweep(&client).await.unwrap(), 2);
    assert_eq!(values::sweep(&client).await.unwrap(), 0);
    assert_eq!(counted(&database).await, Usage { keys: 1, bytes: 2 });
    assert_eq!(values::clear(&client, &login).await.unwrap(), 1);
    assert_eq!(counted(&database).await, Usage::default());

    let (long, large) = ("ü".repeat(MOST_KEY_BYTES / 2), vec![7; MOST_VALUE_BYTES]);
    values::set(&client, &login, &long, &large, None).await.unwrap();
    for (key, value) in [("", &large[..1]), (&format!("{long}x"), &[]), ("x", &[large.as_slice(), &[1]].concat())] {
        let refused = values::set(&client, &login, key, value, None).await;
        assert!(matches!(refused, Err(DbError::Refused { .. })), "{refused:?}");
    }
    assert!(
        client.execute("UPDATE plugin_values SET key = 'moved'", &[]).await.is_err(),
        "rows are counted where they are"
    );
}

pub async fn a_swap_compares(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let login = plugin();
    let swap = async |expected: Option<&str>, value: Option<&str>| {
        let (expected, value) = (expected.map(str::as_bytes), value.map(str::as_bytes));
        values::swap(&client, &login, "k", expected, value, Some(Duration::from_secs(3600))).await.unwrap()
    };
    for (expected, value, done) in [
        (Some("a"), Some("b"), false),
        (Some("a"), None, false),
        (None, None, true),
        (None, Some("a"), true),
        (None, Some("b"), false),
        (None, None, false),
        (Some("b"), Some("c"), false),
        (Some("a"), Some("b"), true),
        (Some("a"), None, false),
        (Some("b"), None, true),
        (None, Some(""), true),
        (Some(""), Some("c"), true),
    ] {
        assert_eq!(swap(expected, value).await, done, "{expected:?} {value:?}");
    }
    expire(&database, "k").await;
    assert!(!swap(Some("c"), Some("d")).await, "expired is absent");
    assert!(!swap(Some("c"), None).await);
    assert!(swap(None, None).await);
    assert!(swap(None, Some("d")).await);
    assert_eq!(values::get(&client, &login, "k").await.unwrap().unwrap().bytes, b"d");
    assert_eq!(counted(&database).await, Usage { keys: 1, bytes: 2 });
}

pub async fn of_many_swaps_one_wins(config: DatabaseConfig) {
    let database = open(config).await;
    for expired in [false, true] {
        if expired {
            values::set(&database.client().await.unwrap(), &plugin(), "k", b"old", Some(Duration::ZERO)).await.unwrap();
        }
        let racing: Vec<_> = (0..50u8)
            .map(|number| {
                let database = database.clone();
                tokio::spawn(async move {
                    let client = database.client().await.unwrap();
                    values::swap(&client, &plugin(), "k", None, Some(&[number]), None).await.unwrap().then_some(number)
                })
            })
            .collect();
        let mut won = Vec::new();
        for race in racing {
            won.extend(race.await.unwrap());
        }
        assert_eq!(won.len(), 1, "expired: {expired}");
        let client = database.client().await.unwrap();
        assert_eq!(values::get(&client, &plugin(), "k").await.unwrap().unwrap().bytes, won);
        values::delete(&client, &plugin(), "k").await.unwrap();
    }
}

/// Many tasks that each count up by reading, adding and swapping until it succeeds, while others delete and set beside it.
pub async fn counters_lose_nothing(config: DatabaseConfig) {
    let database = open(config).await;
    let counting: Vec<_> = (0..8)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move {
                let (login, beside) = (plugin(), format!("beside {}", number % 3));
                for round in 0..25 {
                    let client = database.client().await.unwrap();
                    loop {
                        let found = values::get(&client, &login, "count").await.unwrap().map(|found| found.bytes);
                        let count: u32 =
                            found.as_ref().map_or(0, |text| String::from_utf8_lossy(text).parse().unwrap());
                        let next = (count + 1).to_string();
                        let swapped =
                            values::swap(&client, &login, "count", found.as_deref(), Some(next.as_bytes()), None);
                        if swapped.await.unwrap() {
                            break;
                        }
                    }
                    if round % 2 == 0 {
                        values::set(&client, &login, &beside, &vec![0; number * 10 + round], None).await.unwrap();
                    } else {
                        values::delete(&client, &login, &beside).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in counting {
        task.await.unwrap();
    }
    let client = database.client().await.unwrap();
    assert_eq!(values::get(&client, &plugin(), "count").await.unwrap().unwrap().bytes, b"200");
    counted(&database).await;
}

pub async fn stores_are_bounded(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let login = plugin();
    // 8 MiB of keys and values: 127 of 64 KiB with their keys, and what is left.
    let large = vec![1; MOST_VALUE_BYTES];
    for number in 0..127 {
        values::set(&client, &login, &format!("{number:03}"), &large, None).await.unwrap();
    }
    let left = 8_388_608 - 127 * (65_536 + 3) - 1;
    let refused = values::set(&client, &login, "x", &large[..left + 1], None).await;
    assert!(is_full(&refused), "{refused:?}");
    values::set(&client, &login, "x", &large[..left], None).await.unwrap();
    assert_eq!(counted(&database).await, Usage { keys: 128, bytes: 8_388_608 });
    for full in [
        values::set(&client, &login, "y", b"", None).await.map(|_| true),
        values::set(&client, &login, "x", &large[..left + 1], None).await.map(|_| true),
        values::swap(&client, &login, "y", None, Some(b""), None).await,
        values::swap(&client, &login, "x", Some(&large[..left]), Some(&large[..left + 1]), None).await,
    ] {
        assert!(is_full(&full), "{full:?}");
    }
    // What changes no size, or makes it less, goes.
    values::set(&client, &login, "x", &vec![2; left], None).await.unwrap();
    values::set(&client, &login, "x", b"", None).await.unwrap();
    assert!(values::delete(&client, &login, "000").await.unwrap());
    values::set(&client, &"other".parse().unwrap(), "x", b"", None).await.unwrap();
    values::clear(&client, &login).await.unwrap();

    let sql =
        "INSERT INTO plugin_values (plugin, key, value) SELECT 'login', n::text, '' FROM generate_series(1, 10000) n";
    client.execute(sql, &[]).await.unwrap();
    let refused = values::set(&client, &login, "one more", b"", None).await;
    assert!(is_full(&refused), "{refused:?}");
    values::set(&client, &login, "7", b"other", None).await.unwrap();
    assert_eq!(counted(&database).await.keys, 10_000);
}

pub async fn bounds_hold_under_a_crowd(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let sql =
        "INSERT INTO plugin_values (plugin, key, value) SELECT 'login', n::text, '' FROM generate_series(1, 9990) n";
    client.execute(sql, &[]).await.unwrap();
    drop(client);
    let crowd: Vec<_> = (0..60)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move {
                let client = database.client().await.unwrap();
                let done = values::set(&client, &plugin(), &format!("new {number}"), b"x", None).await;
                assert!(done.is_ok() || is_full(&done), "{done:?}");
                done.is_ok()
            })
        })
        .collect();
    let mut stored = 0;
    for one in crowd {
        stored += usize::from(one.await.unwrap());
    }
    assert_eq!(stored, 10);
    assert_eq!(counted(&database).await.keys, 10_000);
}

pub async fn expired_values_make_room(config: DatabaseConfig) {
    let database = open(config).await;
    let client = database.client().await.unwrap();
    let sql =
        "INSERT INTO plugin_values (plugin, key, value) SELECT 'login', n::text, '' FROM generate_series(1, 10000) n";
    client.execute(sql, &[]).await.unwrap();
    expire(&database, "99%").await;
    // A crowd finds them at once, none waits for another, and everybody has room.
    let crowd: Vec<_> = (0..40)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move {
                let client = database.client().await.unwrap();
                if number % 10 == 0 {
                    values::sweep(&client).await.unwrap();
                }
                values::set(&client, &plugin(), &format!("new {number}"), b"x", None).await.unwrap();
            })
        })
        .collect();
    for one in crowd {
        one.await.unwrap();
    }
    let usage = counted(&database).await;
    assert_eq!(usage.keys, 10_000 - 111 + 40);
    // One that has expired is set anew itself.
    expire(&database, "5").await;
    values::set(&client, &plugin(), "5", b"again", None).await.unwrap();
    assert_eq!(counted(&database).await.keys, usage.keys);
}
