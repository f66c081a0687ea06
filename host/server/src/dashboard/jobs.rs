//! Gathers what the pages show of jobs: the list of an item, and one with its log.

use lectern_domain::JobKey;
use lectern_metadata::content::ContentRow;
use lectern_metadata::jobs::{self, JobRow};
use lectern_metadata::{Client, DbError, tasks};
use time::OffsetDateTime;
use time::macros::format_description;

use super::load::{LINES, size_words};
use super::pages::{Job, JobLog, LogLine};
use super::{Dashboard, Visit};
use crate::joblog;
use crate::moment;

/// Jobs listed on a page; the API lists more.
const LISTED: i64 = 25;

/// The newest jobs of an item, and the newest process among them.
pub(super) async fn of_item(client: &Client, row: &ContentRow) -> Result<(Vec<Job>, Option<JobRow>), DbError> {
    let rows = jobs::list(client, row.id, LISTED).await?;
    let newest = rows.iter().find(|job| job.task.is_none()).cloned();
    Ok((rows.iter().map(shown).collect(), newest))
}

/// One job of an item.
pub(super) async fn one(client: &Client, row: &ContentRow, key: &JobKey) -> Result<Option<JobRow>, DbError> {
    Ok(jobs::get(client, key).await?.filter(|job| job.content == row.id))
}

/// A job as pages show it.
pub(super) fn shown(job: &JobRow) -> Job {
    let (state, chip) = match (job.ended_at, job.exit_code, job.ready_at, &job.task) {
        (None, _, None, None) => ("starting", "warn"),
        (None, ..) => ("running", "good"),
        (Some(_), Some(0), _, Some(_)) => ("done", "good"),
        (Some(_), Some(0), ..) => ("ended", "soft"),
        // A process ends by a signal each time it is let go.
        (Some(_), _, Some(_), None) if job.reason.as_ref().is_some_and(|why| why.starts_with("stopped")) => {
            ("ended", "soft")
        }
        (Some(_), None, ..) => ("ended", "soft"),
        (Some(_), Some(_), ..) => ("failed", "bad"),
    };
    let why = match (&job.stopped_by, &job.reason) {
        (Some(name), _) => format!("stopped by {name}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => String::new(),
    };
    Job {
        key: job.key.to_string(),
        what: what(job),
        bundle: job.bundle.map(|bundle| bundle.to_string()),
        active: job.ended_at.is_none(),
        state,
        chip,
        started: moment::show(job.started_at),
        ended: job.ended_at.map(moment::show),
        cpu: job.cpu_seconds.map(|seconds| format!("{seconds:.1} s")),
        memory: job.peak_memory_bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(size_words),
        why,
    }
}

fn what(job: &JobRow) -> &'static str {
    if job.task.is_some() { "Deployment" } else { "Process" }
}

/// The end of a job's log, and where the rest comes from while it runs.
pub(super) async fn log(
    dashboard: &Dashboard,
    visit: &Visit,
    client: &Client,
    guid: &str,
    job: &JobRow,
) -> Result<JobLog, DbError> {
    let lines: Vec<(u64, LogLine)> = match &job.task {
        Some(task) => output(client, task).await?,
        None => {
            let path = dashboard.paths.job_log(&job.key);
            let lines = tokio::task::spawn_blocking(move || joblog::tail(&path, LINES)).await;
            let lines = lines.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(|line| {
                let shown = LogLine { source: joblog::source(line.source), time: clock(line.time), text: line.data };
                (line.n, shown)
            });
            lines.collect()
        }
    };
    let last = lines.last().map_or(0, |(number, _)| *number);
    let log = format!("{}/__api__/v1/content/{guid}/jobs/{}", visit.base, job.key);
    Ok(JobLog {
        key: job.key.to_string(),
        follow: job.ended_at.is_none().then(|| format!("{log}/tail?after={last}")),
        download: format!("{log}/download"),
        lines: lines.into_iter().map(|(_, line)| line).collect(),
    })
}

async fn output(client: &Client, task: &lectern_domain::TaskId) -> Result<Vec<(u64, LogLine)>, DbError> {
    let Some(row) = tasks::get(client, task).await? else { return Ok(Vec::new()) };
    let first = (row.output_lines - LINES as i64).max(0);
    let lines = tasks::timed_output(client, task, first, LINES as i64).await?;
    let shown = lines.into_iter().map(|line| {
        let number = u64::try_from(line.number).unwrap_or(0) + 1;
        (number, LogLine { source: "stdout", time: clock(line.at), text: line.text })
    });
    Ok(shown.collect())
}

fn clock(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(format_description!("[hour]:[minute]:[second].[subsecond digits:3]"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_domain::{ContentId, TaskId};
    use lectern_metadata::jobs::JobStatus;

    fn row(change: impl FnOnce(&mut JobRow)) -> JobRow {
        let mut row = JobRow {
            key: JobKey::from_random([1; 16]),
            id: 1,
            content: ContentId(1),
            bundle: None,
            tag: "run_api".into(),
            server: uuid::Uuid::nil(),
            hostname: "here".into(),
            run_as: None,
            log_path: None,
            pid: None,
            status: JobStatus::Active,
            exit_code: None,
            started_at: OffsetDateTime::UNIX_EPOCH,
            ready_at: None,
            ended_at: None,
            task: None,
            reason: None,
            stopped_by: None,
            cpu_seconds: None,
            peak_memory_bytes: None,
        };
        change(&mut row);
        row
    }

    #[test]
    fn states_are_words() {
        let now = Some(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(shown(&row(|_| {})).state, "starting");
        assert_eq!(shown(&row(|job| job.ready_at = now)).state, "running");
        assert_eq!(shown(&row(|job| job.task = Some(TaskId::from_random([2; 16])))).state, "running");
        let ended = |code, reason: &str, ready: bool| {
            let job = shown(&row(|job| {
                job.ended_at = now;
                job.exit_code = code;
                job.reason = Some(reason.to_owned());
                job.ready_at = now.filter(|_| ready);
            }));
            (job.state, job.chip)
        };
        assert_eq!(ended(Some(0), "it exited with status 0 while it was serving", true), ("ended", "soft"));
        assert_eq!(ended(Some(143), "stopped by the server: signal 15 ended it", true), ("ended", "soft"));
        assert_eq!(ended(Some(1), "it exited with status 1 while it was serving", true), ("failed", "bad"));
        assert_eq!(ended(None, "it ended while no server was looking", true), ("ended", "soft"));
    }
}
