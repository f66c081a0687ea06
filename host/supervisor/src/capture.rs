//! Carries a worker's output from its pipes to its log.
//!
//! Files are written by blocking threads, so that a slow disk delays nobody but the worker whose log it is; and that one
//! only for [`STALL`]: from then on its output is read and dropped, for a worker must never hang on a full pipe.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::freeze::thaw;
use crate::log::LogFile;
use crate::protocol::Source;
use crate::state::CaptureRest;

/// Bytes of one read: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// Bytes read ahead of a write under way. Enough to keep the disk busy, small for a thousand workers.
const AHEAD_BYTES: usize = 256 * 1024;

/// How long a write may take before output is dropped.
const STALL: Duration = Duration::from_secs(2);

/// How often it is looked whether a frozen task has come to rest: once, mostly.
const SETTLE: Duration = Duration::from_millis(1);

/// How long the last write may take after the streams have ended.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The task that carries one worker's output.
pub(crate) struct Capture {
    task: JoinHandle<()>,
    hurry: CancellationToken,
    rest: Slot,
}

/// Where the task says how it stands while it is frozen.
type Slot = Arc<Mutex<Option<CaptureRest>>>;

struct Chunk {
    source: Source,
    at: OffsetDateTime,
    bytes: Vec<u8>,
}

impl Capture {
    /// Starts carrying.
    pub(crate) fn start(
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        log: LogFile,
        freeze: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let stdout = stdout.map(Receiver::from_owned_fd).transpose()?;
        let stderr = stderr.map(Receiver::from_owned_fd).transpose()?;
        let (hurry, rest) = (CancellationToken::new(), Slot::default());
        let task = tokio::spawn(carry(stdout, stderr, log, hurry.clone(), freeze, rest.clone()));
        Ok(Self { task, hurry, rest })
    }

    /// Of a worker whose streams have ended.
    pub(crate) fn ended() -> Self {
        Self { task: tokio::spawn(async {}), hurry: CancellationToken::new(), rest: Slot::default() }
    }

    /// How it stands while all is frozen: nothing read is unwritten. `None` when the streams have ended; waits until one or the
    /// other is so. May be dropped.
    pub(crate) async fn rest(&self) -> Option<CaptureRest> {
        loop {
            if let Some(rest) = self.rest.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Some(rest);
            }
            if self.task.is_finished() {
                return None;
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Waits up to `patience` for both streams to end, then takes what they hold now and closes them.
    pub(crate) async fn finish(self, patience: Duration) {
        let Self { mut task, hurry, .. } = self;
        if tokio::time::timeout(patience, &mut task).await.is_ok() {
            return;
        }
        hurry.cancel();
        if tokio::time::timeout(LAST_WRITE, &mut task).await.is_err() {
            // The thread that writes cannot be stopped; it holds nothing but the file.
            task.abort();
        }
    }
}

async fn carry(
    mut stdout: Option<Receiver>,
    mut stderr: Option<Receiver>,
    log: LogFile,
    hurry: CancellationToken,
    mut freeze: watch::Receiver<bool>,
    rest: Slot,
) {
    let mut log = Some(log);
    let mut writing: Option<(JoinHandle<LogFile>, Instant)> = None;
    let mut pending: Vec<Chunk> = Vec::new();
    let (mut ahead, mut lost, mut stalled) = (0, 0, false);
    loop {
        if log.is_some() && !(pending.is_empty() && lost == 0) {
            let (chunks, lost_now) = (std::mem::take(&mut pending), std::mem::take(&mut lost));
            ahead = 0;
            writing = log.take().map(|log| (write(log, chunks, lost_now), Instant::now() + STALL));
        }
        if stdout.is_none() && stderr.is_none() && writing.is_none() {
            break;
        }
        let frozen = *freeze.borrow_and_update();
        if frozen && let Some(log) = &log {
            let (stdout, stderr) = (stdout.as_ref().map(Receiver::as_raw_fd), stderr.as_ref().map(Receiver::as_raw_fd));
            let now = CaptureRest { stdout, stderr, log: log.rest() };
            *rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            thaw(&mut freeze).await;
            *rest.lock().unwrap_or_else(PoisonError::into_inner) = None;
            continue;
        }
        let room = (ahead < AHEAD_BYTES || stalled) && !frozen;
        let due = writing.as_ref().map(|(_, due)| *due);
        let chunk = tokio::select! {
            chunk = next(Source::Stdout, &stdout), if stdout.is_some() && room => chunk,
            chunk = next(Source::Stderr, &stderr), if stderr.is_some() && room => chunk,
            done = written(&mut writing), if writing.is_some() => {
                let Some(done) = done else {
                    // It panicked, and the file is gone with it. The pipes close, the worker sees EPIPE.
                    return;
                };
                (log, writing, stalled) = (Some(done), None, false);
                continue;
            }
            () = until(due), if due.is_some() && !stalled => {
                stalled = true;
                continue;
            }
            Ok(()) = freeze.changed() => continue,
            () = hurry.cancelled(), if stdout.is_some() || stderr.is_some() => {
                // One read each: a pipe holds no more than that.
                for (source, stream) in [(Source::Stdout, stdout.take()), (Source::Stderr, stderr.take())] {
                    pending.extend(stream.and_then(|stream| read(source, &stream).ok()).flatten());
                }
                continue;
            }
        };
        match chunk {
            (_, Ok(Some(chunk))) if stalled => lost += chunk.bytes.len() as u64,
            (_, Ok(Some(chunk))) => {
                ahead += chunk.bytes.capacity();
                pending.push(chunk);
            }
            (Source::Stdout, Ok(None) | Err(_)) => stdout = None,
            (Source::Stderr, Ok(None) | Err(_)) => stderr = None,
        }
    }
    if let Some(mut log) = log {
        let last = tokio::task::spawn_blocking(move || log.finish(OffsetDateTime::now_utc()));
        if let Err(error) = last.await {
            tracing::error!(%error, "writing a worker's log panicked");
        }
    }
}

fn write(mut log: LogFile, chunks: Vec<Chunk>, lost: u64) -> JoinHandle<LogFile> {
    tokio::task::spawn_blocking(move || {
        log.lose(lost);
        for chunk in chunks {
            log.absorb(chunk.source, &chunk.bytes, chunk.at);
        }
        log
    })
}

async fn written(writing: &mut Option<(JoinHandle<LogFile>, Instant)>) -> Option<LogFile> {
    match writing {
        Some((task, _)) => task.await.inspect_err(|error| tracing::error!(%error, "writing a log panicked")).ok(),
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The next bytes of a stream; `None` at its end. May be dropped: nothing is read before it returns.
async fn next(source: Source, stream: &Option<Receiver>) -> (Source, io::Result<Option<Chunk>>) {
    let Some(stream) = stream else { return std::future::pending().await };
    loop {
        if let Err(error) = stream.readable().await {
            return (source, Err(error));
        }
        match read(source, stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return (source, done),
        }
    }
}

fn read(source: Source, stream: &Receiver) -> io::Result<Option<Chunk>> {
    // Allocated for each read: an idle worker, as most are, holds no buffer.
    let mut bytes = Vec::with_capacity(READ_BYTES);
    if stream.try_read_buf(&mut bytes)? == 0 {
        return Ok(None);
    }
    bytes.shrink_to_fit();
    Ok(Some(Chunk { source, at: OffsetDateTime::now_utc(), bytes }))
}
