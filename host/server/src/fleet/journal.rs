//! Writes the record of jobs without keeping anybody waiting: the database may be away while content is served.

use std::time::Duration;

use lectern_domain::JobKey;
use lectern_domain::job::reason;
use lectern_domain::worker::{Ending, ExitStatus};
use lectern_metadata::jobs::{JobEnd, NewJob};
use lectern_metadata::{Database, DbError, is_transient, jobs};
use lectern_supervisor::Exited;
use tokio::sync::{mpsc, oneshot};

/// Notes kept while the database is away; beyond, the newest are lost (a job then misses its end or its row, never a
/// worker). A thousand workers starting and ending once fit.
const NOTES: usize = 4096;
/// Between tries while the database is away.
const RETRY: Duration = Duration::from_secs(2);

/// Something about a job.
#[derive(Debug)]
pub(super) enum Note {
    Created(NewJob),
    Running {
        job: JobKey,
        pid: i32,
    },
    Ready {
        job: JobKey,
    },
    Ended {
        job: JobKey,
        end: JobEnd,
    },
    /// A user wants it to end.
    Stopped {
        job: JobKey,
        username: String,
    },
    /// Everything before it has been written, or given up.
    Flush(oneshot::Sender<()>),
}

/// Takes notes.
#[derive(Clone)]
pub(super) struct Journal(mpsc::Sender<Note>);

impl Journal {
    /// A journal and the task that writes it; the task ends when the journal is dropped.
    pub(super) fn new(database: Database) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(NOTES);
        (Self(sender), write(database, receiver))
    }

    pub(super) fn note(&self, note: Note) {
        if let Err(mpsc::error::TrySendError::Full(note)) = self.0.try_send(note) {
            tracing::warn!(?note, "the record of jobs is behind; a note is lost");
        }
    }
}

impl Journal {
    /// Returns when the notes so far are written, at the latest after `limit`.
    pub(super) async fn flush(&self, limit: Duration) {
        let (done, written) = oneshot::channel();
        let flushing = async {
            if self.0.send(Note::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if tokio::time::timeout(limit, flushing).await.is_err() {
            tracing::warn!("the record of jobs is not complete: the database does not answer");
        }
    }
}

/// What the record keeps of an end that the supervisor reports.
pub(super) fn end_of(exited: &Exited) -> JobEnd {
    let usage = exited.usage.as_ref();
    let reason = match exited.ending {
        // Only the supervisor knows what was in the way.
        Ending::NotStarted => exited.message.clone(),
        ending => reason(ending, exited.status, &exited.excess),
    };
    JobEnd {
        exit_code: exited.status.map(exit_code),
        reason: Some(reason),
        at: Some(exited.at),
        cpu_seconds: usage.map(|usage| usage.cpu.as_secs_f64()),
        peak_memory_bytes: usage.and_then(|usage| i64::try_from(usage.peak_memory_bytes).ok()),
    }
}

/// An end that is known for nothing but this reason.
pub(super) fn end_because(reason: &str) -> JobEnd {
    JobEnd { reason: Some(reason.to_owned()), ..JobEnd::default() }
}

/// The protocol has one number for the end: a signal counts as 128 and its number, as in a shell.
fn exit_code(status: ExitStatus) -> i32 {
    match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
    }
}

async fn write(database: Database, mut notes: mpsc::Receiver<Note>) {
    while let Some(note) = notes.recv().await {
        let note = match note {
            Note::Flush(done) => {
                let _ = done.send(());
                continue;
            }
            note => note,
        };
        let closed = loop {
            match put(&database, &note).await {
                Err(error) if is_transient(&error) && !notes.is_closed() => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    tracing::warn!(error = crate::cli::chain(&error), ?note, "the record of jobs misses a note");
                    break notes.is_closed();
                }
                Ok(()) => break false,
            }
        };
        // The server is stopping and the database is away: the rest would fail the same way.
        if closed {
            return;
        }
    }
}

async fn put(database: &Database, note: &Note) -> Result<(), DbError> {
    let client = database.client().await?;
    match note {
        Note::Created(job) => jobs::create(&client, job).await.map(drop),
        Note::Running { job, pid } => jobs::set_pid(&client, job, *pid).await.map(drop),
        Note::Ready { job } => jobs::set_ready(&client, job).await.map(drop),
        Note::Ended { job, end } => jobs::finish(&client, job, end).await.map(drop),
        Note::Stopped { job, username } => jobs::set_stopped_by(&client, job, username).await.map(drop),
        Note::Flush(_) => Ok(()),
    }
}
