//! Where git-managed content comes from, whose turn it is to look, and tasks that make a bundle first.

use std::time::Duration;

use lectern_domain::TaskId;
use lectern_domain::git::Commit;
use lectern_metadata::bundles;
use lectern_metadata::repositories::{self, Fetch, Look, NewFetch, Seen, Source};
use lectern_metadata::tasks::{self, TaskKind};
use lectern_metadata::{Database, DatabaseConfig, DbError, content};
use uuid::Uuid;

use super::{item, new_bundle, open, user};

const MINUTE: Duration = Duration::from_secs(60);

fn source(branch: &str) -> Source {
    Source { url: "https://git.example.org/a.git".into(), branch: branch.into(), directory: ".".into() }
}

fn commit(digit: &str) -> Commit {
    digit.repeat(40).parse().unwrap()
}

async fn claim(database: &Database) -> Option<Look> {
    repositories::claim(&database.client().await.unwrap(), Uuid::new_v4(), MINUTE).await.unwrap()
}

pub async fn one_look_at_a_time(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let (app, other) = (item(&database, &ada, "app").await, item(&database, &ada, "other").await);
    let client = database.client().await.unwrap();
    assert_eq!(repositories::get(&client, app.id).await.unwrap(), None);
    let set = async |content, branch: &str, polling, wait| {
        repositories::set(&client, content, &source(branch), polling, wait).await.unwrap()
    };
    set(app.id, "main", true, MINUTE).await;
    set(other.id, "main", false, Duration::ZERO).await;
    assert_eq!(claim(&database).await, None, "none is due, or followed");
    set(app.id, "main", true, Duration::ZERO).await;
    let look = claim(&database).await.unwrap();
    assert_eq!((look.guid, look.name.as_str(), look.is_deploying), (app.guid, "app", false));
    assert_eq!(claim(&database).await, None, "it is looked at already");

    let ended = repositories::looked(&client, &look, Seen::Failed("no\0 answer"), Duration::ZERO).await.unwrap();
    assert!(ended);
    let row = repositories::get(&client, app.id).await.unwrap().unwrap();
    assert_eq!((row.failures, row.last_error.as_deref()), (1, Some("no\u{fffd} answer")));
    assert!(!repositories::looked(&client, &look, Seen::Reached, MINUTE).await.unwrap(), "a look ends once");
    let look = claim(&database).await.unwrap();
    // A server that dies loses its turn.
    let sql = "UPDATE content_repositories SET lease_expires_at = now() - interval '1 s' WHERE lease_owner IS NOT NULL";
    client.execute(sql, &[]).await.unwrap();
    let again = claim(&database).await.unwrap();
    assert!(!repositories::looked(&client, &look, Seen::Taken(commit("a")), MINUTE).await.unwrap());
    assert!(repositories::looked(&client, &again, Seen::Taken(commit("b")), Duration::ZERO).await.unwrap());
    let row = repositories::get(&client, app.id).await.unwrap().unwrap();
    assert_eq!((row.failures, row.last_error, row.last_known_commit), (0, None, Some(commit("b"))));

    // What is set anew while it is looked at is not what was seen; another place begins anew, the same goes on.
    let look = claim(&database).await.unwrap();
    assert_eq!(set(app.id, "main", true, MINUTE).await.last_known_commit, Some(commit("b")));
    assert!(!repositories::looked(&client, &look, Seen::Taken(commit("c")), MINUTE).await.unwrap());
    assert_eq!(set(app.id, "next", true, MINUTE).await.last_known_commit, None);
    assert!(repositories::delete(&client, app.id).await.unwrap());
    assert!(!repositories::delete(&client, app.id).await.unwrap());
    content::delete(&client, other.id).await.unwrap();
    assert_eq!(repositories::get(&client, other.id).await.unwrap(), None);
}

pub async fn many_servers_look_once(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let client = database.client().await.unwrap();
    for number in 0..20 {
        let app = item(&database, &ada, &format!("app-{number}")).await;
        repositories::set(&client, app.id, &source("main"), true, Duration::ZERO).await.unwrap();
    }
    let servers: Vec<_> = (0..6)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Some(look) = claim(&database).await {
                    seen.push(look.guid);
                }
                seen
            })
        })
        .collect();
    let mut seen = Vec::new();
    for server in servers {
        seen.extend(server.await.unwrap());
    }
    // A server whose only candidate was locked at that moment stops asking.
    while let Some(look) = claim(&database).await {
        seen.push(look.guid);
    }
    let distinct: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (20, 20));
}

pub async fn a_bundle_has_its_number_before_it_is_there(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let mut client = database.client().await.unwrap();
    repositories::set(&client, app.id, &source("main"), true, Duration::ZERO).await.unwrap();
    let new = NewFetch {
        id: TaskId::from_random([7; 16]),
        kind: TaskKind::Deploy,
        content: app.id,
        source: source("main"),
        activate: true,
        is_all: false,
        requested_by: None,
    };
    let tx = client.transaction().await.unwrap();
    let number = repositories::queue(&tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bundles::get(&client, number).await.unwrap(), None);
    assert!(claim(&database).await.unwrap().is_deploying);
    let fetch = repositories::fetch_of(&client, &new.id).await.unwrap();
    assert_eq!(fetch, Some(Fetch { source: source("main"), bundle: number, is_all: false }));
    let other = bundles::create(&client, &new_bundle(app.id, &ada, 1)).await.unwrap();
    assert!(other.id > number, "nobody else gets the number");

    let claimed = tasks::claim_next(&client, Uuid::new_v4(), MINUTE).await.unwrap().unwrap();
    assert_eq!((claimed.task.bundle, claimed.task.requested_by), (None, None));
    let tx = client.transaction().await.unwrap();
    let made = bundles::create_as(&tx, &new_bundle(app.id, &ada, 2), Some(number)).await.unwrap();
    repositories::fetched(&tx, &claimed.lease, app.id, &fetch.unwrap(), commit("d")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(made.id, number);
    assert_eq!(tasks::get(&client, &new.id).await.unwrap().unwrap().bundle, Some(number));
    let known = async || repositories::get(&client, app.id).await.unwrap().unwrap();
    assert_eq!(known().await.last_known_commit, Some(commit("d")));
    repositories::ended(&client, app.id, &source("main"), Some("it does not start")).await.unwrap();
    assert_eq!(known().await.last_error.as_deref(), Some("it does not start"));
    repositories::ended(&client, app.id, &source("other"), None).await.unwrap();
    assert!(known().await.last_error.is_some(), "what was made of another place says nothing of this one");
    repositories::ended(&client, app.id, &source("main"), None).await.unwrap();
    assert_eq!(known().await.last_error, None);

    let gone = NewFetch { id: TaskId::from_random([8; 16]), content: lectern_domain::ContentId(i64::MAX), ..new };
    let tx = client.transaction().await.unwrap();
    assert!(matches!(repositories::queue(&tx, &gone).await, Err(DbError::NotFound("content"))));
}
