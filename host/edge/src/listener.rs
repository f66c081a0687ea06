//! The listener: one thread per core, each with a socket, a runtime and connections of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lectern_gate::Scheme;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::EdgeConfig;
use crate::connection::{self, Connection};
use crate::origin::Peer;
use crate::queue::Queues;
use crate::services::Services;
use crate::thread::Thread;
use crate::tls;

/// Clients that may wait in the kernel for being accepted, per thread; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 1_024;
/// Pause after a failed accept: out of descriptors or memory, trying at once would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Threads that read static files, per serving thread: they wait for a local disk, most often for its cache.
const FILE_THREADS: usize = 4;

/// Why the edge cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not of this host, or not allowed.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Why the edge stopped serving before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread or its runtime could not be started.
    #[error("start serving thread {index}")]
    Start {
        /// Which one.
        index: usize,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A thread ended by itself.
    #[error("serving thread {index} ended unexpectedly")]
    Died {
        /// Which one.
        index: usize,
    },
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were still busy when the grace was over.
    pub cut: usize,
}

/// A bound listener that does not serve yet.
#[derive(Debug)]
pub struct Edge {
    config: Arc<EdgeConfig>,
    sockets: Vec<TcpListener>,
    address: SocketAddr,
}

impl Edge {
    /// Binds one socket per thread, all to one address. Clients can connect from now on, and wait until [`Edge::run`].
    pub fn bind(config: EdgeConfig) -> Result<Self, BindError> {
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        let listen = |address| socket(address).map_err(|cause| BindError::Listen { address, cause });
        let first = listen(config.listen)?;
        let address = first.local_addr().map_err(|cause| BindError::Listen { address: config.listen, cause })?;
        let mut sockets = vec![first];
        for _ in 1..threads {
            sockets.push(listen(address)?);
        }
        Ok(Self { config: Arc::new(config), sockets, address })
    }

    /// The address bound, with the port that the system chose where it had to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then accepts nobody, lets what is in flight finish for `grace`, and cuts the rest.
    ///
    /// A thread that dies stops the others, since a process that serves on half its cores would look healthy.
    pub async fn run(self, services: Services, stop: CancellationToken, grace: Duration) -> Result<Stopped, RunError> {
        let queues = Arc::new(Queues::default());
        // Stops all threads when one dies, and when this future is dropped.
        let stop = stop.child_token();
        let _stop_all = stop.clone().drop_guard();
        let mut ends = Vec::new();
        for (index, socket) in self.sockets.into_iter().enumerate() {
            let (config, services, queues, stop) =
                (self.config.clone(), services.clone(), queues.clone(), stop.clone());
            let (tell, told) = oneshot::channel();
            let body = move || {
                let ended = serve(config, services, queues, socket, stop, grace);
                let _ = tell.send(ended);
            };
            let spawned = std::thread::Builder::new().name(format!("edge-{index}")).spawn(body);
            spawned.map_err(|cause| RunError::Start { index, cause })?;
            ends.push(told);
        }
        info!(address = %self.address, threads = ends.len(), "serving");
        let mut cut = 0;
        let mut failed = None;
        let ends = ends.into_iter().enumerate().map(|(index, told)| async move { (index, told.await) });
        let mut ends: futures_util::stream::FuturesUnordered<_> = ends.collect();
        while let Some((index, ended)) = futures_util::StreamExt::next(&mut ends).await {
            match ended {
                Ok(Ok(more)) => cut += more,
                Ok(Err(cause)) => failed = failed.or(Some(RunError::Start { index, cause })),
                Err(_) => failed = failed.or(Some(RunError::Died { index })),
            }
            // One that ended before it was told to takes the others along.
            stop.cancel();
        }
        failed.map_or(Ok(Stopped { cut }), Err)
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The life of one thread; returns how many connections were cut.
fn serve(
    config: Arc<EdgeConfig>,
    services: Services,
    queues: Arc<Queues>,
    socket: TcpListener,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<usize> {
    let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(FILE_THREADS).build()?;
    let tasks = LocalSet::new();
    let cut = runtime.block_on(tasks.run_until(async {
        let listener = tokio::net::TcpListener::from_std(socket)?;
        let thread = Rc::new(Thread::new(config, services, queues));
        let sweeper = tokio::task::spawn_local({
            let thread = thread.clone();
            async move { thread.sweep().await }
        });
        accept(&thread, listener, &stop).await;
        let cut = thread.drain(grace).await;
        sweeper.abort();
        io::Result::Ok(cut)
    }));
    drop(tasks);
    // File reads in flight belong to connections that are gone.
    runtime.shutdown_timeout(Duration::from_millis(100));
    cut
}

/// Accepts until told to stop; closes the listener then, after taking those who were already connected.
async fn accept(thread: &Rc<Thread>, listener: tokio::net::TcpListener, stop: &CancellationToken) {
    let mut complaints = Complaints::default();
    loop {
        if thread.is_full() {
            complaints.log("connection limit reached; further clients wait");
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(ACCEPT_RETRY) => continue,
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => take(thread, stream, peer),
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    complaints.log(&format!("accept: {error}"));
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    // The kernel has answered these already: closing on them would look like a crash.
    while !thread.is_full() {
        match futures_util::FutureExt::now_or_never(listener.accept()) {
            Some(Ok((stream, peer))) => take(thread, stream, peer),
            Some(Err(_)) | None => break,
        }
    }
}

fn take(thread: &Rc<Thread>, stream: TcpStream, peer: SocketAddr) {
    // Answers are written whole; waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        return error!(%error, client.ip = %peer.ip(), "set nodelay");
    }
    let tls = thread.config.tls.as_ref();
    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
    let peer = Peer::new(peer, scheme, &thread.config.trusted_proxies);
    let connection = Connection { thread: thread.clone(), peer, watch: thread.watch() };
    match tls {
        None => thread.spawn(connection::run(stream, connection, None)),
        Some(tls) => thread.spawn(tls::run(stream, connection, tls.current())),
    }
}

/// Whether a failed accept concerns one client that is already gone.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Logs trouble that comes in bursts now and then.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    fn log(&mut self, what: &str) {
        if self.last.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            self.last = Some(Instant::now());
            warn!("{what}");
        }
    }
}
