//! Removes records of jobs with their logs: old ones, the oldest of content that has too many, and the oldest of all where logs
//! take more room than they may.
//!
//! A log goes before its record. Whoever is killed in between leaves a record without a log, which the next round removes.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lectern_domain::JobKey;
use lectern_domain::job::{KeptLog, surplus};
use lectern_metadata::{Database, jobs};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::config::Jobs;
use crate::fleet::Fleet;
use crate::paths::Paths;

/// How often: between two rounds an app that keeps crashing fills some hundred logs at most.
const ROUND: Duration = Duration::from_secs(600);
/// Records removed at a time: a short statement, and few files whose record is there without them.
const BATCH: usize = 500;
/// How long a log without a record is kept: records are written late while the database is away, logs are not.
const GRACE: Duration = Duration::from_secs(3600);

/// The task that keeps records and logs within their bounds.
pub(crate) struct Keeping {
    pub(crate) database: Database,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) paths: Paths,
    pub(crate) rules: Jobs,
}

impl Keeping {
    /// Works until `stop`. Stopped in the middle it leaves nothing half done: each removal is one step.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let rounds = async {
            loop {
                match self.round().await {
                    Ok(0) => {}
                    Ok(removed) => tracing::info!(removed, "removed old records of jobs, with their logs"),
                    Err(error) => tracing::warn!(
                        error = crate::cli::chain(error.as_ref()),
                        "remove old records of jobs; tried again later"
                    ),
                }
                tokio::time::sleep(ROUND).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    }

    /// Removes what has to go now; answers how many records and logs without one.
    async fn round(&self) -> anyhow::Result<usize> {
        let mut removed = 0;
        let (age, most) = (self.rules.keep_for, i64::from(self.rules.keep_per_content));
        loop {
            let client = self.database.client().await.context("read old jobs")?;
            let expired = jobs::expired(&client, age, most, BATCH as i64).await.context("read old jobs")?;
            drop(client);
            removed += expired.len();
            let last = expired.len() < BATCH;
            self.remove(expired).await?;
            if last {
                break;
            }
        }
        let (directory, before) = (self.paths.jobs(), SystemTime::now() - GRACE);
        let fleet = Arc::clone(&self.fleet);
        let listing = tokio::task::spawn_blocking(move || list(&directory, |job| fleet.runs(job)));
        let logs = listing.await?.context("list the logs of jobs")?;
        let strays = self.strays(&logs, before).await?;
        removed += strays.len();
        let kept: Vec<KeptLog> = logs.into_iter().filter(|log| !strays.contains(&log.job)).collect();
        self.remove_logs(strays.into_iter().collect()).await?;
        let surplus = surplus(kept, self.rules.keep_bytes);
        removed += surplus.len();
        for batch in surplus.chunks(BATCH) {
            self.remove(batch.to_vec()).await?;
        }
        Ok(removed)
    }

    /// Logs whose record is gone, with its content for instance.
    async fn strays(&self, logs: &[KeptLog], before: SystemTime) -> anyhow::Result<HashSet<JobKey>> {
        let old = |log: &&KeptLog| !log.in_use && SystemTime::from(log.written_at) < before;
        let mut strays: HashSet<JobKey> = logs.iter().filter(old).map(|log| log.job.clone()).collect();
        let asked: Vec<JobKey> = strays.iter().cloned().collect();
        for keys in asked.chunks(BATCH) {
            let client = self.database.client().await.context("look for the records of logs")?;
            for known in jobs::known(&client, keys).await.context("look for the records of logs")? {
                strays.remove(&known);
            }
        }
        Ok(strays)
    }

    async fn remove(&self, jobs: Vec<JobKey>) -> anyhow::Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.remove_logs(jobs.clone()).await?;
        let client = self.database.client().await.context("remove the records of jobs")?;
        jobs::remove(&client, &jobs).await.context("remove the records of jobs")?;
        Ok(())
    }

    async fn remove_logs(&self, jobs: Vec<JobKey>) -> anyhow::Result<()> {
        let paths: Vec<PathBuf> = jobs.iter().map(|job| self.paths.job_log(job)).collect();
        tokio::task::spawn_blocking(move || paths.iter().try_for_each(|path| remove_log(path))).await?
    }
}

/// Removes a log, and what a crash in the middle of its shortening left. One that is not there is removed. Blocking.
fn remove_log(path: &Path) -> anyhow::Result<()> {
    for path in [path, &path.with_extension("log.new")] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.with_context(|| format!("remove {}", path.display()))?,
        }
    }
    Ok(())
}

/// The logs in a directory; files of other names are nobody's business here. Blocking.
fn list(directory: &Path, runs: impl Fn(&JobKey) -> bool) -> io::Result<Vec<KeptLog>> {
    let mut logs = Vec::new();
    let entries = match directory.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(logs),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let key = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|key| key.parse::<JobKey>().ok());
        let Some(job) = key else { continue };
        // One may be removed or replaced between the listing and the look.
        let Ok(meta) = entry.metadata() else { continue };
        let in_use = runs(&job);
        logs.push(KeptLog { job, bytes: meta.len(), written_at: OffsetDateTime::from(meta.modified()?), in_use });
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn logs_are_listed_and_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let job = |n| JobKey::from_random([n; 16]);
        let path = |job: &JobKey| dir.path().join(format!("{job}.log"));
        std::fs::write(path(&job(1)), "12345").unwrap();
        std::fs::write(path(&job(2)), "1").unwrap();
        std::fs::write(path(&job(2)).with_extension("log.new"), "half").unwrap();
        std::fs::write(dir.path().join("notes.log"), "mine").unwrap();
        let mut logs = list(dir.path(), |running| *running == job(1)).unwrap();
        logs.sort_by_key(|log| log.bytes);
        let seen: Vec<_> = logs.iter().map(|log| (log.job.clone(), log.bytes, log.in_use)).collect();
        assert_eq!(seen, [(job(2), 1, false), (job(1), 5, true)]);
        remove_log(&path(&job(2))).unwrap();
        remove_log(&path(&job(2))).unwrap();
        let left = dir.path().read_dir().unwrap().count();
        assert_eq!(left, 2);
        assert!(list(&dir.path().join("absent"), |_| false).unwrap().is_empty());
        std::fs::create_dir(path(&job(3))).unwrap();
        let error = remove_log(&path(&job(3))).unwrap_err();
        assert!(error.to_string().starts_with("remove "), "{error}");
    }
}
