//! Tasks, leases, jobs.

use std::time::Duration;

use lectern_domain::{BundleId, ContentId, JobKey, TaskId};
use lectern_metadata::tasks::{Claimed, MAX_ATTEMPTS, NewTask, TaskKind, TaskState};
use lectern_metadata::{Database, DatabaseConfig, DbError, bundles, content, jobs, tasks};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{activate, bundle, item, open, prepared_bundle, task, user};

const MINUTE: Duration = Duration::from_secs(60);

async fn claim(database: &Database, server: Uuid, lease: Duration) -> Option<Claimed> {
    tasks::claim_next(&database.client().await.unwrap(), server, lease).await.unwrap()
}

/// Makes the leases of all running tasks end now.
async fn expire(database: &Database) {
    let sql = "UPDATE tasks SET lease_expires_at = now() - interval '1 s' WHERE state = 'running'";
    assert!(database.client().await.unwrap().execute(sql, &[]).await.unwrap() > 0);
}

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

pub async fn a_task_runs_from_queue_to_end(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let server = Uuid::new_v4();
    assert_eq!(claim(&database, server, MINUTE).await, None);
    let queued = task(&database, &version, &ada).await;
    assert_eq!((&queued.state, queued.bundle, queued.content_guid), (&TaskState::Queued, Some(version.id), app.guid));
    let Claimed { task: running, lease } = claim(&database, server, MINUTE).await.unwrap();
    assert_eq!((running.id.clone(), running.state, running.attempts), (queued.id.clone(), TaskState::Running, 1));
    assert_eq!(claim(&database, server, MINUTE).await, None, "taken");

    let client = database.client().await.unwrap();
    assert_eq!(tasks::append_output(&client, &lease, &lines(0..3)).await.unwrap(), 3);
    assert_eq!(tasks::append_output(&client, &lease, &[]).await.unwrap(), 3);
    assert_eq!(tasks::append_output(&client, &lease, &lines(3..5_000)).await.unwrap(), 5_000);
    assert_eq!(tasks::append_output(&client, &lease, &["a\0b".to_owned()]).await.unwrap(), 5_001);
    assert_eq!(tasks::output(&client, &queued.id, 4_999).await.unwrap(), ["line 4999", "a\u{fffd}b"]);
    assert_eq!(tasks::output(&client, &queued.id, 0).await.unwrap()[..5_000], lines(0..5_000));
    assert!(tasks::output(&client, &queued.id, 9_999).await.unwrap().is_empty());
    assert!(tasks::renew_lease(&client, &lease, MINUTE).await.unwrap());

    let result = json!({"type": "x", "data": [1]});
    tasks::finish(&client, &lease, 0, "", Some(&result)).await.unwrap();
    let done = tasks::get(&client, &queued.id).await.unwrap().unwrap();
    assert_eq!(done.output_lines, 5_001);
    let TaskState::Finished { code, error, result: stored, at } = &done.state else { panic!("{done:?}") };
    assert_eq!((*code, error.as_str(), stored), (0, "", &Some(result)));
    tasks::finish(&client, &lease, 7, "again", None).await.unwrap();
    let again = tasks::get(&client, &queued.id).await.unwrap().unwrap();
    assert!(
        matches!(&again.state, TaskState::Finished { code: 0, at: later, .. } if later == at),
        "the first end counts"
    );
    assert!(matches!(tasks::append_output(&client, &lease, &lines(0..1)).await, Err(DbError::LeaseLost)));
    assert!(!tasks::renew_lease(&client, &lease, MINUTE).await.unwrap());
    assert_eq!(tasks::list(&client, app.id, 10).await.unwrap(), [done]);

    let unknown = TaskId::from_random([9; 16]);
    assert_eq!(tasks::get(&client, &unknown).await.unwrap(), None);
    let new = NewTask {
        id: unknown,
        kind: TaskKind::Build,
        content: app.id,
        bundle: BundleId(i64::MAX),
        activate: false,
        requested_by: ada.id,
    };
    assert!(matches!(tasks::create(&client, &new).await, Err(DbError::NotFound("bundle"))));
}

pub async fn one_server_takes_a_task(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(task(&database, &version, &ada).await.id);
    }
    let servers: Vec<_> = (0..8)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move {
                let (server, mut taken) = (Uuid::new_v4(), Vec::new());
                while let Some(claimed) = claim(&database, server, MINUTE).await {
                    assert_eq!((claimed.lease.server, claimed.lease.attempt), (server, 1));
                    taken.push(claimed.task.id);
                }
                taken
            })
        })
        .collect();
    let mut taken = Vec::new();
    for server in servers {
        taken.extend(server.await.unwrap());
    }
    // A server whose only candidate was locked at that moment stops asking: what is left is asked for once more.
    while let Some(claimed) = claim(&database, Uuid::new_v4(), MINUTE).await {
        taken.push(claimed.task.id);
    }
    taken.sort();
    ids.sort();
    assert_eq!(taken, ids, "each once");
}

pub async fn an_expired_lease_goes_to_another(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let id = task(&database, &version, &ada).await.id;
    let (dead, alive) = (Uuid::new_v4(), Uuid::new_v4());
    let old = claim(&database, dead, MINUTE).await.unwrap().lease;
    let client = database.client().await.unwrap();
    tasks::append_output(&client, &old, &lines(0..2)).await.unwrap();
    assert_eq!(claim(&database, alive, MINUTE).await, None, "still leased");
    expire(&database).await;
    // Late is not lost: nobody took it yet.
    tasks::append_output(&client, &old, &lines(2..3)).await.unwrap();
    let new = claim(&database, alive, MINUTE).await.unwrap().lease;
    assert_eq!((new.task.clone(), new.attempt), (id.clone(), 2));
    assert!(matches!(tasks::append_output(&client, &old, &lines(0..9)).await, Err(DbError::LeaseLost)));
    assert!(matches!(tasks::finish(&client, &old, 0, "", None).await, Err(DbError::LeaseLost)));
    assert!(!tasks::renew_lease(&client, &old, MINUTE).await.unwrap());
    assert!(!tasks::release(&client, &old).await.unwrap());
    assert_eq!(tasks::append_output(&client, &new, &lines(3..4)).await.unwrap(), 4);
    assert_eq!(tasks::output(&client, &id, 0).await.unwrap(), lines(0..4));

    // The same server again, for a task it lost itself: the earlier attempt stays lost.
    expire(&database).await;
    let newer = claim(&database, alive, MINUTE).await.unwrap().lease;
    assert!(matches!(tasks::finish(&client, &new, 0, "", None).await, Err(DbError::LeaseLost)));
    tasks::finish(&client, &newer, 1, "it failed", None).await.unwrap();
    assert!(matches!(tasks::finish(&client, &new, 0, "", None).await, Err(DbError::LeaseLost)));
}

pub async fn a_task_that_kills_servers_is_given_up(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let id = task(&database, &version, &ada).await.id;
    for attempt in 1..=MAX_ATTEMPTS {
        let claimed = claim(&database, Uuid::new_v4(), MINUTE).await.unwrap();
        assert_eq!(claimed.lease.attempt, attempt);
        expire(&database).await;
    }
    assert_eq!(claim(&database, Uuid::new_v4(), MINUTE).await, None);
    let state = tasks::get(&database.client().await.unwrap(), &id).await.unwrap().unwrap().state;
    assert!(matches!(&state, TaskState::Finished { code: 1, error, .. } if error.contains("given up")), "{state:?}");
}

pub async fn a_released_task_is_taken_again(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let id = task(&database, &version, &ada).await.id;
    let client = database.client().await.unwrap();
    for _ in 0..MAX_ATTEMPTS * 2 {
        let lease = claim(&database, Uuid::new_v4(), MINUTE).await.unwrap().lease;
        assert_eq!((lease.task.clone(), lease.attempt), (id.clone(), 1), "giving back does not count");
        assert!(tasks::release(&client, &lease).await.unwrap());
    }
    assert_eq!(tasks::get(&client, &id).await.unwrap().unwrap().state, TaskState::Queued);
}

pub async fn activation_needs_the_lease(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = prepared_bundle(&database, app.id, &ada, 1).await;
    task(&database, &version, &ada).await;
    let old = claim(&database, Uuid::new_v4(), MINUTE).await.unwrap().lease;
    expire(&database).await;
    let new = claim(&database, Uuid::new_v4(), MINUTE).await.unwrap().lease;
    for (lease, expected) in [(&old, None), (&new, Some(version.id))] {
        let mut client = database.client().await.unwrap();
        let tx = client.transaction().await.unwrap();
        if tasks::verify_lease(&tx, lease).await.is_ok() {
            content::set_active_bundle(&tx, app.id, version.id).await.unwrap();
            tasks::finish(&tx, lease, 0, "", None).await.unwrap();
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        assert_eq!(content::get(&client, app.id).await.unwrap().unwrap().active_bundle, expected);
    }
}

pub async fn old_tasks_are_pruned(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let old = task(&database, &version, &ada).await.id;
    let client = database.client().await.unwrap();
    let lease = claim(&database, Uuid::new_v4(), MINUTE).await.unwrap().lease;
    tasks::append_output(&client, &lease, &lines(0..2)).await.unwrap();
    tasks::finish(&client, &lease, 0, "", None).await.unwrap();
    let young = task(&database, &version, &ada).await.id;
    assert_eq!(tasks::prune_finished(&client, MINUTE).await.unwrap(), 0);
    client
        .execute("UPDATE tasks SET finished_at = now() - interval '2 min' WHERE state = 'finished'", &[])
        .await
        .unwrap();
    assert_eq!(tasks::prune_finished(&client, MINUTE).await.unwrap(), 1);
    assert_eq!(tasks::get(&client, &old).await.unwrap(), None);
    assert!(tasks::output(&client, &old, 0).await.unwrap().is_empty());
    assert!(tasks::get(&client, &young).await.unwrap().is_some());
}

pub async fn a_deleted_bundle_leaves_its_task(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let id = task(&database, &version, &ada).await.id;
    let client = database.client().await.unwrap();
    assert!(bundles::delete(&client, version.id).await.unwrap());
    let left = tasks::get(&client, &id).await.unwrap().unwrap();
    assert_eq!((left.bundle, left.state), (None, TaskState::Queued));
    assert_eq!(claim(&database, Uuid::new_v4(), MINUTE).await.unwrap().task.bundle, None);
}

pub async fn jobs_end_once(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = prepared_bundle(&database, app.id, &ada, 1).await;
    activate(&database, app.id, &version).await.unwrap();
    let client = database.client().await.unwrap();
    let new = |byte: u8| jobs::NewJob {
        key: JobKey::from_random([byte; 16]),
        content: app.id,
        bundle: Some(version.id),
        tag: "run_fastapi_app".into(),
        server: Uuid::new_v4(),
        hostname: "here".into(),
        run_as: Some("200001".into()),
        log_path: Some("/data/jobs/x.log".into()),
        task: None,
    };
    let first = jobs::create(&client, &new(1)).await.unwrap();
    let second = jobs::create(&client, &new(2)).await.unwrap();
    assert_eq!((first.status, first.pid, first.bundle), (jobs::JobStatus::Active, None, Some(version.id)));
    assert!(jobs::set_pid(&client, &first.key, 77).await.unwrap());
    assert!(jobs::set_ready(&client, &first.key).await.unwrap());
    let open_keys = async || -> Vec<JobKey> {
        jobs::list_open(&client, "here").await.unwrap().into_iter().map(|job| job.key).collect()
    };
    assert_eq!(open_keys().await, [first.key.clone(), second.key.clone()]);
    assert!(jobs::list_open(&client, "elsewhere").await.unwrap().is_empty());
    assert!(jobs::set_stopped_by(&client, &first.key, "ada").await.unwrap());
    assert!(jobs::set_stopped_by(&client, &first.key, "bob").await.unwrap());
    let end = jobs::JobEnd {
        exit_code: Some(137),
        reason: Some("signal 9 ended it \0".into()),
        at: Some(OffsetDateTime::UNIX_EPOCH),
        cpu_seconds: Some(1.5),
        peak_memory_bytes: Some(1 << 40),
    };
    assert!(jobs::finish(&client, &first.key, &end).await.unwrap());
    assert!(!jobs::finish(&client, &first.key, &jobs::JobEnd::default()).await.unwrap(), "once");
    assert!(!jobs::set_pid(&client, &first.key, 78).await.unwrap());
    assert_eq!(open_keys().await, std::slice::from_ref(&second.key));
    let done = jobs::get(&client, &first.key).await.unwrap().unwrap();
    assert_eq!((done.status, done.exit_code, done.pid), (jobs::JobStatus::Finalized, Some(137), Some(77)));
    assert_eq!((done.cpu_seconds, done.peak_memory_bytes), (Some(1.5), Some(1 << 40)));
    assert_eq!((done.reason.as_deref(), done.stopped_by.as_deref()), (Some("signal 9 ended it \u{fffd}"), Some("ada")));
    assert_eq!(done.ended_at, Some(done.started_at), "never before it began, whatever the clock said");
    assert!(done.ready_at.is_some());
    let listed: Vec<i64> = jobs::list(&client, app.id, 10).await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(listed, [second.id, first.id]);
    assert_eq!(jobs::list(&client, app.id, 1).await.unwrap().len(), 1);
    let orphan = jobs::NewJob { content: ContentId(i64::MAX), ..new(3) };
    assert!(matches!(jobs::create(&client, &orphan).await, Err(DbError::NotFound("content"))));
}

pub async fn old_and_many_jobs_go(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let (app, other) = (item(&database, &ada, "app").await, item(&database, &ada, "other").await);
    let client = database.client().await.unwrap();
    let mut keys = Vec::new();
    for byte in 1..=6 {
        let content = if byte == 6 { other.id } else { app.id };
        let job = job(byte, content, None);
        keys.push(jobs::create(&client, &job).await.unwrap().key);
    }
    // The oldest still runs.
    for key in &keys[1..] {
        jobs::finish(&client, key, &jobs::JobEnd::default()).await.unwrap();
    }
    let expired = async |age, per_content, limit| jobs::expired(&client, age, per_content, limit).await.unwrap();
    assert!(expired(MINUTE, 5, 10).await.is_empty());
    assert_eq!(expired(MINUTE, 2, 10).await, &keys[1..3], "of five the newest two stay, and what runs");
    assert_eq!(expired(MINUTE, 2, 1).await, &keys[1..2]);
    client
        .execute(
            "UPDATE jobs SET started_at = now() - interval '1 h', ended_at = now() - interval '2 min' WHERE key = $1",
            &[&keys[5].as_str()],
        )
        .await
        .unwrap();
    assert_eq!(expired(MINUTE, 5, 10).await, &keys[5..]);
    assert_eq!(jobs::remove(&client, &keys[..2]).await.unwrap(), 1, "what runs keeps its record");
    let absent = JobKey::from_random([9; 16]);
    let known = jobs::known(&client, &[keys[0].clone(), keys[1].clone(), absent]).await.unwrap();
    assert_eq!(known, &keys[..1]);
}

pub async fn a_deployment_is_a_job(config: DatabaseConfig) {
    let database = open(config).await;
    let ada = user(&database, "ada").await;
    let app = item(&database, &ada, "app").await;
    let version = bundle(&database, app.id, &ada, 1).await;
    let client = database.client().await.unwrap();
    let server = Uuid::new_v4();
    for (byte, stopped) in [(1, false), (2, true)] {
        let queued = task(&database, &version, &ada).await;
        let made = jobs::create(&client, &job(byte, app.id, Some(queued.id.clone()))).await.unwrap();
        assert_eq!(made.task.as_ref(), Some(&queued.id));
        assert!(jobs::list_open(&client, "here").await.unwrap().is_empty(), "no process");
        let lease = claim(&database, server, MINUTE).await.unwrap().lease;
        jobs::set_server(&client, &queued.id, server, "there").await.unwrap();
        tasks::append_output(&client, &lease, &lines(0..3)).await.unwrap();
        let output = tasks::timed_output(&client, &queued.id, 1, 1).await.unwrap();
        assert_eq!((output.len(), output[0].number, output[0].text.as_str()), (1, 1, "line 1"));
        if stopped {
            assert!(tasks::stop(&client, &queued.id, "stopped by ada").await.unwrap());
            assert!(!tasks::stop(&client, &queued.id, "again").await.unwrap());
            assert!(matches!(tasks::finish(&client, &lease, 0, "", None).await, Err(DbError::LeaseLost)));
        } else {
            tasks::finish(&client, &lease, 0, "", None).await.unwrap();
        }
        let done = jobs::get(&client, &made.key).await.unwrap().unwrap();
        assert_eq!((done.status, done.hostname.as_str()), (jobs::JobStatus::Finalized, "there"));
        let want = if stopped { (Some(1), Some("stopped by ada")) } else { (Some(0), None) };
        assert_eq!((done.exit_code, done.reason.as_deref()), want);
        assert!(done.ended_at.is_some());
    }
    client.execute("UPDATE tasks SET finished_at = now() - interval '2 min'", &[]).await.unwrap();
    assert_eq!(tasks::prune_finished(&client, MINUTE).await.unwrap(), 2);
    assert!(jobs::list(&client, app.id, 10).await.unwrap().is_empty(), "with the log, the record goes");
}

fn job(byte: u8, content: ContentId, task: Option<TaskId>) -> jobs::NewJob {
    jobs::NewJob {
        key: JobKey::from_random([byte; 16]),
        content,
        bundle: None,
        tag: "run_api".into(),
        server: Uuid::nil(),
        hostname: "here".into(),
        run_as: None,
        log_path: None,
        task,
    }
}
