//! How the server talks to the supervisor.

mod error;
mod events;
mod launch;
mod sockets;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lectern_domain::JobKey;
use lectern_domain::launch::{LaunchSpec, ZygoteName};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use error::ClientError;
pub use events::Events;
pub use launch::Program;
pub use sockets::{Keeping, kept_sockets, release_sockets};

use crate::connection::write_line;
use crate::protocol::{
    Command, ErrorCode, Event, Greeting, Line, MAX_LINE_BYTES, OLDEST, Refusal, Request, Started, VERSION, WorkerState,
    WorkerStatus, ZygoteStatus,
};

/// How long the supervisor may take to answer. It decides at once; only starting a process may hold it for a moment.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the supervisor may take to be replaced: it waits for a quiet moment, and bounds each step by itself.
const UPGRADE: Duration = Duration::from_secs(60);

/// Requests of one client that may wait for their answers.
const MAX_PENDING: usize = 1024;

/// Requests that may wait to be written.
const OUTBOX: usize = 64;

/// Events that a slow reader may lag behind before it is told that it missed some.
const EVENT_BACKLOG: usize = 1024;

/// One connection to the supervisor, shared by its clones; closed when the last is dropped.
///
/// Its requests may be dropped at any time; what was asked for may then happen all the same. Once the supervisor is gone
/// every request fails with [`ClientError::Gone`]: connect again, subscribe, list.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    socket: PathBuf,
    greeting: Greeting,
    wire: Wire,
    events: broadcast::WeakSender<Event>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// What requests and the reading task share.
struct Wire {
    lines: mpsc::Sender<String>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

type Answer = Result<Value, Refusal>;

struct Shared {
    /// Requests without an answer; `None` once the connection is closed.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
    closed: CancellationToken,
}

impl Client {
    /// Connects to the supervisor on `socket`; fails with [`ClientError::NotRunning`] when none answers there, and with
    /// [`crate::protocol::ErrorCode::Version`] when it speaks another version: see [`Client::shutdown_any`].
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let (wire, events, tasks) = open(socket).await?;
        let hello = wire.request(Command::Hello { version: VERSION, oldest: Some(OLDEST) }).await;
        let greeting: Greeting = match hello {
            // It knows one version only, and not that there is more to say.
            Err(ClientError::Refused { code: ErrorCode::Version, .. }) => {
                wire.request(Command::Hello { version: OLDEST, oldest: None }).await?
            }
            done => done?,
        };
        let _: Value = wire.request(Command::Watch).await?;
        Ok(Self { inner: Arc::new(Inner { socket: socket.to_owned(), greeting, wire, events, _tasks: tasks }) })
    }

    /// Ends the supervisor on `socket`, whatever version it speaks, with all its workers, and waits up to `limit` until
    /// it is gone.
    pub async fn shutdown_any(socket: &Path, limit: Duration) -> Result<(), ClientError> {
        let (wire, _events, _tasks) = open(socket).await?;
        wire.shutdown(limit).await
    }

    /// Has `program` take the place of the supervisor on `socket`, which keeps its process, its workers and its clients: who
    /// it is afterwards. [`ErrorCode::Busy`] means that another moment may do, [`ErrorCode::NotUpgraded`] that it will not;
    /// [`ErrorCode::UnknownCommand`] is said by one that is older than this.
    pub async fn upgrade(socket: &Path, program: &Path) -> Result<Greeting, ClientError> {
        let (wire, _events, _tasks) = open(socket).await?;
        wire.request_within(Command::Upgrade { program: program.to_owned() }, UPGRADE).await
    }

    /// Connects, or starts a supervisor that outlives this process when none answers, and waits until it does: mostly
    /// milliseconds, at most 90 seconds while an older one is ending.
    pub async fn connect_or_spawn(socket: &Path, program: &Program) -> Result<Self, ClientError> {
        launch::connect_or_spawn(socket, program).await
    }

    /// The socket it is connected to.
    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// Who answered: version, process id, start.
    pub fn greeting(&self) -> &Greeting {
        &self.inner.greeting
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.inner.wire.request::<Value>(Command::Ping).await.map(drop)
    }

    /// Starts a worker, or says how the job of that name stands. Answers before the worker is ready; what fails later, as
    /// a program that does not exist, is told by the worker's state.
    pub async fn start(&self, spec: LaunchSpec) -> Result<Started, ClientError> {
        self.inner.wire.request(Command::Start { spec: Box::new(spec) }).await
    }

    /// Asks a worker to end, with its own grace unless another is given, and answers at once. One that has ended already
    /// stays so.
    pub async fn stop(&self, job: &JobKey, grace: Option<Duration>) -> Result<WorkerStatus, ClientError> {
        self.inner.wire.request(Command::Stop { job: job.clone(), grace }).await
    }

    /// How a worker stands. Ended ones are remembered for a while (the last thousand).
    pub async fn status(&self, job: &JobKey) -> Result<WorkerStatus, ClientError> {
        self.inner.wire.request(Command::Status { job: job.clone() }).await
    }

    /// All workers that run or are remembered, oldest first.
    pub async fn list(&self) -> Result<Vec<WorkerStatus>, ClientError> {
        self.inner.wire.request(Command::List).await
    }

    /// All zygotes that run, oldest first.
    pub async fn zygotes(&self) -> Result<Vec<ZygoteStatus>, ClientError> {
        self.inner.wire.request(Command::Zygotes).await
    }

    /// Has a zygote fork no more; its cell ends with its last worker, at once when it has none. How many of that name ran.
    pub async fn end_zygote(&self, name: &ZygoteName) -> Result<usize, ClientError> {
        self.inner.wire.request(Command::EndZygote { name: name.clone() }).await
    }

    /// Changes from now on. Subscribe first, then [`Client::list`]; of two statuses of a job the one with the higher
    /// revision counts.
    pub fn events(&self) -> Result<Events, ClientError> {
        let events = self.inner.events.upgrade().ok_or(ClientError::Gone)?;
        Ok(Events::new(events.subscribe()))
    }

    /// Waits up to `limit` until the worker accepts connections; fails with [`ClientError::Ended`] when it does not come
    /// to that.
    pub async fn wait_ready(&self, job: &JobKey, limit: Duration) -> Result<WorkerStatus, ClientError> {
        let status = self.wait(job, limit, "wait until a worker is ready", |state| match state {
            WorkerState::Starting => false,
            WorkerState::Ready | WorkerState::Draining | WorkerState::Exited(_) => true,
        });
        let status = status.await?;
        match status.state {
            WorkerState::Ready => Ok(status),
            WorkerState::Starting | WorkerState::Draining => {
                // It is ending: the report says why.
                let status = self.wait_exited(job, limit).await?;
                Err(ClientError::Ended { status: Box::new(status) })
            }
            WorkerState::Exited(_) => Err(ClientError::Ended { status: Box::new(status) }),
        }
    }

    /// Waits up to `limit` until the worker has ended and nothing is left of it.
    pub async fn wait_exited(&self, job: &JobKey, limit: Duration) -> Result<WorkerStatus, ClientError> {
        self.wait(job, limit, "wait until a worker has ended", |state| matches!(state, WorkerState::Exited(_))).await
    }

    /// Ends the supervisor with all its workers, and waits up to `limit` until it is gone.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), ClientError> {
        self.inner.wire.shutdown(limit).await
    }

    /// Returns when the supervisor is gone.
    pub async fn closed(&self) {
        self.inner.wire.shared.closed.cancelled().await;
    }

    async fn wait(
        &self,
        job: &JobKey,
        limit: Duration,
        what: &'static str,
        done: impl Fn(&WorkerState) -> bool,
    ) -> Result<WorkerStatus, ClientError> {
        let mut events = self.events()?;
        let wait = async {
            let status = self.status(job).await?;
            if done(&status.state) {
                return Ok(status);
            }
            loop {
                let status = match events.next().await? {
                    Event::Changed { worker } if worker.job == *job => *worker,
                    Event::Changed { .. } => continue,
                    Event::Lagged { .. } => self.status(job).await?,
                };
                if done(&status.state) {
                    return Ok(status);
                }
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| ClientError::Timeout { what, limit })?
    }
}

type Opened = (Wire, broadcast::WeakSender<Event>, [AbortOnDropHandle<()>; 2]);

/// Connects, and checks who listens; nothing is said yet.
async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    let stream = match tokio::time::timeout(ANSWER, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => return Err(ClientError::connect(socket, cause)),
        Err(_) => return Err(ClientError::Timeout { what: "connect", limit: ANSWER }),
    };
    let peer = stream.peer_cred().map_err(|cause| ClientError::connect(socket, cause))?.uid();
    let own = nix::unistd::geteuid().as_raw();
    if peer != 0 && peer != own {
        return Err(ClientError::Untrusted { socket: socket.to_owned(), uid: peer });
    }
    Ok(stream)
}

/// The same, with tasks that read and write.
async fn open(socket: &Path) -> Result<Opened, ClientError> {
    let (reader, writer) = connect(socket).await?.into_split();
    let shared = Arc::new(Shared { pending: Mutex::new(Some(HashMap::new())), closed: CancellationToken::new() });
    let (events, _) = broadcast::channel(EVENT_BACKLOG);
    let weak = events.downgrade();
    let (lines, outbox) = mpsc::channel(OUTBOX);
    let tasks = [
        AbortOnDropHandle::new(tokio::spawn(read_lines(reader, shared.clone(), events))),
        AbortOnDropHandle::new(tokio::spawn(write_lines(writer, shared.clone(), outbox))),
    ];
    Ok((Wire { lines, shared, next_id: AtomicU64::new(1) }, weak, tasks))
}

impl Wire {
    async fn shutdown(&self, limit: Duration) -> Result<(), ClientError> {
        self.request::<Value>(Command::Shutdown).await?;
        let gone = tokio::time::timeout(limit, self.shared.closed.cancelled()).await;
        gone.map_err(|_| ClientError::Timeout { what: "wait until the supervisor has ended", limit })
    }

    async fn request<T: DeserializeOwned>(&self, command: Command) -> Result<T, ClientError> {
        self.request_within(command, ANSWER).await
    }

    async fn request_within<T: DeserializeOwned>(&self, command: Command, limit: Duration) -> Result<T, ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = serde_json::to_string(&Request { id, command }).map_err(ClientError::Protocol)?;
        if line.len() > MAX_LINE_BYTES {
            return Err(ClientError::TooLong { bytes: line.len() });
        }
        let (answer, answered) = oneshot::channel();
        self.shared.expect(id, answer)?;
        let _forget = Forget { shared: &self.shared, id };
        let exchange = async {
            self.lines.send(line).await.map_err(|_| ClientError::Gone)?;
            answered.await.map_err(|_| ClientError::Gone)
        };
        let answer = tokio::time::timeout(limit, exchange).await;
        let answer = answer.map_err(|_| ClientError::Timeout { what: "wait for an answer", limit })??;
        let value = answer.map_err(|refusal| ClientError::Refused { code: refusal.code, message: refusal.message })?;
        serde_json::from_value(value).map_err(ClientError::Protocol)
    }
}

/// Forgets a request that is dropped or done.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(pending) = &mut *self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner) {
            pending.remove(&self.id);
        }
    }
}

impl Shared {
    /// Lets every request fail, now and later.
    fn close(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.closed.cancel();
    }

    fn expect(&self, id: u64, answer: oneshot::Sender<Answer>) -> Result<(), ClientError> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = pending.as_mut().ok_or(ClientError::Gone)?;
        if pending.len() >= MAX_PENDING {
            return Err(ClientError::Busy { most: MAX_PENDING });
        }
        pending.insert(id, answer);
        Ok(())
    }

    fn answer(&self, line: Line) {
        let Some(id) = line.id else {
            if let Some(refusal) = line.error {
                tracing::warn!(code = ?refusal.code, message = refusal.message, "the supervisor refuses the connection");
            }
            return;
        };
        let waiting = self.pending.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|p| p.remove(&id));
        if let Some(waiting) = waiting {
            // Nobody may wait any more.
            let _ = waiting.send(line.error.map_or_else(|| Ok(line.ok.unwrap_or_default()), Err));
        }
    }
}

/// Reads until the supervisor is gone; then every request that waits fails, and `events` ends.
async fn read_lines(reader: OwnedReadHalf, shared: Arc<Shared>, events: broadcast::Sender<Event>) {
    let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(2 * MAX_LINE_BYTES));
    while let Some(Some(line)) = shared.closed.run_until_cancelled(lines.next()).await {
        let line: Line = match line.map_err(io::Error::other).and_then(|line| Ok(serde_json::from_str(&line)?)) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "the supervisor's line cannot be read; closing the connection");
                break;
            }
        };
        match line.event {
            // It fails when nobody listens.
            Some(event) => drop(events.send(event)),
            None => shared.answer(line),
        }
    }
    shared.close();
}

/// Writes whole lines: a request that is dropped must not leave half of one.
async fn write_lines(mut writer: OwnedWriteHalf, shared: Arc<Shared>, mut outbox: mpsc::Receiver<String>) {
    while let Some(line) = outbox.recv().await {
        if let Err(error) = write_line(&mut writer, &line).await {
            tracing::warn!(%error, "cannot write to the supervisor");
            break;
        }
    }
    shared.close();
}
