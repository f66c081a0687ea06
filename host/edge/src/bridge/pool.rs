//! Connections to workers: kept per thread, so that one is never handed between cores.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::body::RequestBody;
use crate::worker::Worker;

/// Largest read buffer of a connection. Large answers are read in pieces of this size; below 64 KiB they cost more system
/// calls than nginx's.
const BUFFER_BYTES: usize = 64 * 1024;

/// How often a full accept queue is tried again, and the pause between. The queue of a worker that is busy in its
/// interpreter empties within seconds or not at all.
const FULL_TRIES: u32 = 250;
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// One connection to a worker, with the future that moves its bytes. The future is polled by whoever uses the
/// connection, in its own task; an idle one moves nothing.
pub(crate) struct Upstream {
    pub(crate) send: SendRequest<RequestBody>,
    pub(crate) connection: Connection<TokioIo<UnixStream>, RequestBody>,
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
        let (send, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Self { send, connection }))
    }

    /// Whether the connection is open and waits for a request. Notices a worker that closed it.
    fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.connection).poll(cx).is_pending() && self.send.is_ready()
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
    since: Instant,
}

thread_local! {
    /// Idle connections by the worker's serial number; the last used at the back.
    static POOL: RefCell<HashMap<u64, VecDeque<Idle>>> = RefCell::new(HashMap::new());
}

/// Takes an idle connection to the worker that is still open, the last used first.
pub(crate) fn take(worker: &Worker, cx: &mut Context<'_>, idle_timeout: Duration) -> Option<Box<Upstream>> {
    loop {
        let Idle { mut upstream, since } =
            POOL.with_borrow_mut(|pool| pool.get_mut(&worker.serial()).and_then(VecDeque::pop_back))?;
        if since.elapsed() < idle_timeout && upstream.is_usable(cx) {
            return Some(upstream);
        }
    }
}

/// Keeps a connection whose exchange is over, if it can be used again; `most` per worker.
pub(crate) fn put(worker: &Worker, mut upstream: Box<Upstream>, most: usize) {
    // An idle connection wakes nobody: whoever takes it looks at it first.
    if !upstream.send.is_ready() && !upstream.is_usable(&mut Context::from_waker(Waker::noop())) {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        let idle = pool.entry(worker.serial()).or_default();
        if idle.len() < most {
            idle.push_back(Idle { upstream, since: Instant::now() });
        }
    });
}

/// Closes connections that have been idle for too long.
pub(crate) fn sweep(idle_timeout: Duration) {
    POOL.with_borrow_mut(|pool| {
        pool.retain(|_, idle| {
            while idle.front().is_some_and(|first| first.since.elapsed() >= idle_timeout) {
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
