//! Connections to workers: kept per thread, so that one is never handed between cores.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UnixStream;
use tokio_util::io::poll_read_buf;

use crate::coarse::now_ms;
use crate::worker::Worker;

/// Bytes asked for by the first read of an answer: most heads, and small answers whole.
const FIRST_READ: usize = 8 * 1024;
/// Bytes asked for by the reads of a large answer. Below 64 KiB it costs more system calls than nginx's.
const LARGE_READ: usize = 64 * 1024;

/// How often a full accept queue is tried again, and the pause between. The queue of a worker that is busy in its
/// interpreter empties within seconds or not at all.
const FULL_TRIES: u32 = 250;
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// One connection to a worker. Whoever uses it reads and writes in their own task; an idle one moves nothing.
pub(crate) struct Upstream {
    pub(super) stream: UnixStream,
    /// Bytes that have arrived and belong to nobody yet.
    pub(super) arrived: BytesMut,
    next_read: usize,
}

impl Upstream {
    /// Opens a new connection.
    pub(crate) async fn connect(worker: &Worker) -> io::Result<Box<Self>> {
        let mut tries = 0;
        let stream = loop {
            match UnixStream::connect(worker.socket()).await {
                // A Unix socket does not make its peer wait in line: a full accept queue is an error.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < FULL_TRIES => {
                    tries += 1;
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                result => break result?,
            }
        };
        check_peer(&stream, worker)?;
        Ok(Box::new(Self { stream, arrived: BytesMut::new(), next_read: FIRST_READ }))
    }

    /// Reads more behind what has arrived; zero: the worker closed its side. Reads grow while they are filled.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.arrived.reserve(self.next_read);
        let room = self.arrived.capacity() - self.arrived.len();
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.arrived);
        if matches!(read, Poll::Ready(Ok(read)) if read == room) {
            self.next_read = (self.next_read * 2).min(LARGE_READ);
        }
        read
    }

    /// Whether the connection is open and silent, as it must be between requests.
    fn is_usable(&self) -> bool {
        let silent = || self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.arrived.is_empty() && silent()
    }
}

/// Makes sure that it is the worker that answers: with a link in the place of its socket, content could otherwise have
/// the server's own privileges knock at the server's other sockets. The kernel keeps the account that called listen(2).
fn check_peer(stream: &UnixStream, worker: &Worker) -> io::Result<()> {
    let Some(expected) = worker.uid() else { return Ok(()) };
    let found = stream.peer_cred()?.uid();
    if found == expected {
        return Ok(());
    }
    tracing::error!(job.key = %worker.job(), expected, found, "another account answers at a worker's socket: not trusted");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "another account answers at the worker's socket"))
}

struct Idle {
    upstream: Box<Upstream>,
    since_ms: u64,
}

fn age(since_ms: u64) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(since_ms))
}

thread_local! {
    /// Idle connections by the worker's serial number; the last used at the back.
    static POOL: RefCell<HashMap<u64, VecDeque<Idle>>> = RefCell::new(HashMap::new());
}

/// Takes an idle connection to the worker that is still open, the last used first.
pub(crate) fn take(worker: &Worker, idle_timeout: Duration) -> Option<Box<Upstream>> {
    loop {
        let Idle { upstream, since_ms } =
            POOL.with_borrow_mut(|pool| pool.get_mut(&worker.serial()).and_then(VecDeque::pop_back))?;
        if age(since_ms) < idle_timeout && upstream.is_usable() {
            return Some(upstream);
        }
    }
}

/// Keeps a connection whose exchange is over, if nothing came behind it; `most` per worker. An idle connection wakes nobody:
/// whoever takes it looks at it first.
pub(crate) fn put(worker: &Worker, mut upstream: Box<Upstream>, most: usize) {
    if !upstream.arrived.is_empty() {
        return;
    }
    if upstream.next_read > FIRST_READ {
        // An idle connection keeps no large buffer.
        upstream.arrived = BytesMut::new();
        upstream.next_read = FIRST_READ;
    }
    POOL.with_borrow_mut(|pool| {
        let idle = pool.entry(worker.serial()).or_default();
        if idle.len() < most {
            idle.push_back(Idle { upstream, since_ms: now_ms() });
        }
    });
}

/// Closes connections that have been idle for too long.
pub(crate) fn sweep(idle_timeout: Duration) {
    POOL.with_borrow_mut(|pool| {
        pool.retain(|_, idle| {
            while idle.front().is_some_and(|first| age(first.since_ms) >= idle_timeout) {
                idle.pop_front();
            }
            !idle.is_empty()
        });
    });
}

/// Closes all idle connections of this thread.
pub(crate) fn clear() {
    POOL.with_borrow_mut(HashMap::clear);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_domain::JobKey;
    use std::os::unix::fs::MetadataExt as _;

    #[tokio::test]
    async fn only_the_workers_own_account_is_talked_to() {
        let dir = std::env::temp_dir().join(format!("lectern-peer-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // Somebody else's socket, and the link to it that content put where its own should be.
        let (theirs, linked) = (dir.join("theirs"), dir.join("s"));
        let _listener = tokio::net::UnixListener::bind(&theirs).unwrap();
        let _ = std::fs::remove_file(&linked);
        std::os::unix::fs::symlink(&theirs, &linked).unwrap();
        let own = std::fs::metadata(&dir).unwrap().uid();
        let worker = |uid| Worker::of_account(JobKey::from_random([1; 16]), linked.clone(), uid);
        let refused = Upstream::connect(&worker(Some(own + 1))).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::PermissionDenied));
        assert!(Upstream::connect(&worker(Some(own))).await.is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
