//! What servers report of candidates and of themselves.

use std::time::Duration;

use lectern_domain::plugin::{
    Binding, Candidate, CandidateMode, Change, MOST_FINGERPRINTS, NodeReport, OTHER_FINGERPRINT, Release,
    RunningRelease, ShadowBatch, ShadowDifference,
};
use lectern_metadata::database::Client;
use lectern_metadata::plugins::{nodes, shadow};
use lectern_metadata::{Database, DatabaseConfig};
use uuid::Uuid;

use super::bindings::{bound, change, committed, release};
use super::open;

fn difference(fingerprint: &str, count: u32) -> ShadowDifference {
    ShadowDifference {
        fingerprint: fingerprint.to_owned(),
        kind: "target".to_owned(),
        count,
        example: format!(r#"{{"first": "{fingerprint}"}}"#).parse().unwrap(),
    }
}

fn batch(binding: &Binding, candidate: &Release, differences: Vec<ShadowDifference>) -> ShadowBatch {
    ShadowBatch {
        binding: binding.spec.name.clone(),
        candidate: candidate.hash,
        compared: 10,
        differing: 2,
        failures: 1,
        differences,
    }
}

async fn record(database: &Database, batch: &ShadowBatch) -> bool {
    let mut client = database.client().await.unwrap();
    committed(&mut client, async |tx| shadow::record(tx, batch).await).await.unwrap()
}

async fn on_trial(client: &mut Client) -> (Binding, Release) {
    let (binding, _) = bound(client, "login", 1).await;
    let candidate = release(client, "login", 2).await;
    let offer = Change::Offer(Candidate { release: candidate.hash, mode: CandidateMode::Shadow });
    (change(client, &binding, offer).await.unwrap(), candidate)
}

pub async fn differences_are_counted_together(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, candidate) = on_trial(&mut client).await;
    assert_eq!(shadow::report(&client, &binding.spec.name, candidate.hash).await.unwrap(), None);
    let servers: Vec<_> = (0..20)
        .map(|_| {
            let (database, batch) =
                (database.clone(), batch(&binding, &candidate, vec![difference("a", 1), difference("b", 2)]));
            tokio::spawn(async move { record(&database, &batch).await })
        })
        .collect();
    for server in servers {
        assert!(server.await.unwrap());
    }
    assert!(record(&database, &batch(&binding, &candidate, Vec::new())).await);
    let report = shadow::report(&client, &binding.spec.name, candidate.hash).await.unwrap().unwrap();
    assert_eq!((report.compared, report.differing, report.failures), (210, 42, 21));
    let rows: Vec<_> = report.differences.iter().map(|row| (row.fingerprint.as_str(), row.count)).collect();
    assert_eq!(rows, [("b", 40), ("a", 20)]);
    assert_eq!(report.differences[1].example.as_str(), r#"{"first":"a"}"#);
    assert!(report.differences[0].first_seen_at <= report.differences[0].last_seen_at);
    assert!(report.since_at <= report.updated_at);
}

pub async fn differences_are_bounded(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, candidate) = on_trial(&mut client).await;
    // Each server sees others, all at once.
    let servers: Vec<_> = (0..10)
        .map(|server| {
            let differences = (0..50).map(|n| difference(&format!("{server} {n}"), 1)).collect();
            let (database, batch) = (database.clone(), batch(&binding, &candidate, differences));
            tokio::spawn(async move { record(&database, &batch).await })
        })
        .collect();
    for server in servers {
        assert!(server.await.unwrap());
    }
    let report = shadow::report(&client, &binding.spec.name, candidate.hash).await.unwrap().unwrap();
    assert_eq!(report.differences.len(), MOST_FINGERPRINTS + 1);
    let other = &report.differences[0];
    assert_eq!((other.fingerprint.as_str(), other.count), (OTHER_FINGERPRINT, 300));
    assert_eq!(report.differences.iter().map(|row| row.count).sum::<u64>(), 500, "none is lost");
}

pub async fn late_reports_count_nowhere(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, candidate) = on_trial(&mut client).await;
    let one = batch(&binding, &candidate, vec![difference("a", 1)]);
    assert!(record(&database, &one).await);
    let name = binding.spec.name.clone();
    let seen = async |client: &Client| {
        shadow::report(client, &name, candidate.hash).await.unwrap().map(|report| report.compared)
    };
    let binding = change(&mut client, &binding, Change::Withdraw).await.unwrap();
    assert!(!record(&database, &one).await);
    assert_eq!(seen(&client).await, Some(10), "kept after the trial");
    // The next trial begins at nothing.
    let offer = Change::Offer(Candidate { release: candidate.hash, mode: CandidateMode::Shadow });
    let binding = change(&mut client, &binding, offer).await.unwrap();
    assert_eq!(seen(&client).await, None);
    assert!(record(&database, &one).await);
    let three = release(&mut client, "login", 3).await;
    let offer = Change::Offer(Candidate { release: three.hash, mode: CandidateMode::Shadow });
    let binding = change(&mut client, &binding, offer).await.unwrap();
    assert!(!record(&database, &one).await, "another is on trial");
    assert!(record(&database, &batch(&binding, &three, Vec::new())).await);
    let (note, revision) = (super::packages::note(), binding.revision);
    committed(&mut client, async |tx| lectern_metadata::plugins::bindings::unbind(tx, &name, revision, &note).await)
        .await
        .unwrap();
    assert!(!record(&database, &batch(&binding, &three, Vec::new())).await);
}

pub async fn servers_report_what_they_run(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, release) = bound(&mut client, "login", 1).await;
    let running = RunningRelease { release: release.hash, state: "live".to_owned() };
    let node = |hostname: &str, generation| NodeReport {
        server: Uuid::new_v4(),
        hostname: hostname.to_owned(),
        generation,
        releases: [(binding.spec.name.clone(), running.clone())].into(),
    };
    let (mut b, a) = (node("b", 1), node("a", 2));
    nodes::report(&client, &b).await.unwrap();
    nodes::report(&client, &a).await.unwrap();
    b.generation = 2;
    nodes::report(&client, &b).await.unwrap();
    let listed = nodes::list(&client).await.unwrap();
    assert_eq!(listed.iter().map(|node| &node.report).collect::<Vec<_>>(), [&a, &b]);
    client
        .execute("UPDATE node_reports SET reported_at = now() - interval '2 h' WHERE hostname = 'a'", &[])
        .await
        .unwrap();
    let age = nodes::list(&client).await.unwrap()[0].age;
    assert!((7200..7300).contains(&age.as_secs()), "{age:?}");
    assert_eq!(nodes::sweep(&client, Duration::from_secs(3 * 3600)).await.unwrap(), 0);
    assert_eq!(nodes::sweep(&client, Duration::from_secs(3600)).await.unwrap(), 1);
    nodes::forget(&client, b.server).await.unwrap();
    assert_eq!(nodes::list(&client).await.unwrap(), []);
}
