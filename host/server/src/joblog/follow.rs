//! Gives logs out as they grow, to those who follow them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use lectern_supervisor::{Follower, LogLine};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a log that is followed is looked at: lines come this much later at most, and a look is two system calls.
const ROUND: Duration = Duration::from_millis(200);
/// Bytes of the log in one piece.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for a slow reader; then the log is not read on, which keeps nobody from writing it.
const PIECES: usize = 2;

/// Starts and ends those who follow logs.
#[derive(Clone)]
pub(crate) struct LogFollowers {
    tasks: TaskTracker,
    /// The server is closing: who follows asks the next one.
    closing: CancellationToken,
}

impl LogFollowers {
    /// Ends all that it starts when `closing` is cancelled.
    pub(crate) fn new(tasks: TaskTracker, closing: CancellationToken) -> Self {
        Self { tasks, closing }
    }

    /// The lines of the log at `path` after number `after`, and those that come until `runs` says no. Must be called on a
    /// runtime; dropping the stream ends the reading.
    pub(crate) fn follow(
        &self,
        path: PathBuf,
        after: u64,
        runs: impl Fn() -> bool + Send + 'static,
    ) -> BoxStream<'static, io::Result<Vec<LogLine>>> {
        let (pieces, mut receiver) = mpsc::channel(PIECES);
        let (follower, closing) = (Follower::new(path, after), self.closing.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = pieces.closed() => {}
                () = read_on(follower, runs, &pieces) => {}
            }
        });
        stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
    }
}

async fn read_on(mut follower: Follower, runs: impl Fn() -> bool, pieces: &mpsc::Sender<io::Result<Vec<LogLine>>>) {
    loop {
        // Asked before the log is read: what was written before the end is then in it.
        let running = runs();
        let reading = tokio::task::spawn_blocking(move || {
            let read = follower.read(PIECE_BYTES);
            (follower, read)
        });
        let piece = match reading.await {
            Ok((back, read)) => {
                follower = back;
                read
            }
            Err(error) => return drop(pieces.send(Err(io::Error::other(error))).await),
        };
        let failed = piece.is_err();
        match piece {
            Ok(lines) if lines.is_empty() && running => tokio::time::sleep(ROUND).await,
            Ok(lines) if lines.is_empty() => return,
            piece => {
                if pieces.send(piece).await.is_err() || failed {
                    return;
                }
            }
        }
    }
}
