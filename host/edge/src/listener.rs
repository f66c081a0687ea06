//! The listener: one thread per core, each with a socket, a runtime and connections of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lectern_gate::Scheme;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::EdgeConfig;
use crate::connection::{self, Connection};
use crate::origin::Peer;
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
    /// Sockets that were handed to this process cannot be served.
    #[error("serve on the sockets given to this process")]
    Given {
        /// Why.
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

/// How a listener is told to end.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// Accept nobody, finish what is in flight, close what is idle.
    pub stop: CancellationToken,
    /// The same for a listener whose sockets another process serves by now: idle connections may ask once more, so that no
    /// request is lost on its way.
    pub handed_over: CancellationToken,
}

impl Stops {
    async fn told(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.handed_over.cancelled() => {}
        }
    }

    fn child(&self) -> Self {
        Self { stop: self.stop.child_token(), handed_over: self.handed_over.child_token() }
    }
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
    /// By thread.
    sockets: Vec<Vec<TcpListener>>,
    /// Where content of this host comes in, without TLS.
    inside: Option<UnixListener>,
    address: SocketAddr,
}

impl Edge {
    /// Binds one socket per thread, all to one address. Clients can connect from now on, and wait until [`Edge::run`].
    pub fn bind(config: EdgeConfig) -> Result<Self, BindError> {
        let threads = threads(&config);
        let listen = |address| socket(address).map_err(|cause| BindError::Listen { address, cause });
        let first = listen(config.listen)?;
        let address = first.local_addr().map_err(|cause| BindError::Listen { address: config.listen, cause })?;
        let mut sockets = vec![vec![first]];
        for _ in 1..threads {
            sockets.push(vec![listen(address)?]);
        }
        Ok(Self { config: Arc::new(config), sockets, inside: None, address })
    }

    /// Serves on sockets that listen already: another process's, or the system's. Every socket is accepted from, whatever the number
    /// of threads: the kernel spreads clients over all of them. `config.listen` is not looked at.
    pub fn over(config: EdgeConfig, given: Vec<TcpListener>) -> Result<Self, BindError> {
        let refused = |cause| BindError::Given { cause };
        let first = given.first().ok_or_else(|| refused(io::Error::other("there is none")))?;
        let address = first.local_addr().map_err(refused)?;
        for socket in &given {
            socket.set_nonblocking(true).map_err(refused)?;
            if socket.local_addr().map_err(refused)? != address {
                return Err(refused(io::Error::other("they listen at different addresses")));
            }
        }
        let threads = threads(&config);
        let mut sockets: Vec<Vec<TcpListener>> = (0..threads).map(|_| Vec::new()).collect();
        let fewer = given.len() < threads;
        for (index, socket) in given.into_iter().enumerate() {
            if fewer {
                // Each thread waits on all of them: whoever is free takes the next client.
                for thread in &mut sockets {
                    thread.push(socket.try_clone().map_err(refused)?);
                }
            } else {
                sockets[index % threads].push(socket);
            }
        }
        Ok(Self { config: Arc::new(config), sockets, inside: None, address })
    }

    /// Also serves content of this host at `socket`, by the first thread. It speaks plain HTTP there; its address is
    /// 198.18.0.100, and no proxy is trusted behind it.
    #[must_use]
    pub fn also_inside(mut self, socket: UnixListener) -> Self {
        self.inside = Some(socket);
        self
    }

    /// The sockets once more, for a process that is to serve them after this one.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        // Clones that `over` made for other threads are the same socket; one of each is enough.
        let mut seen = BTreeSet::new();
        let mut distinct = Vec::new();
        for socket in self.sockets.iter().flatten() {
            if seen.insert(inode(socket)?) {
                distinct.push(OwnedFd::from(socket.try_clone()?));
            }
        }
        Ok(distinct)
    }

    /// The address bound, with the port that the system chose where it had to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then accepts nobody, lets what is in flight finish for `grace`, and cuts the rest.
    ///
    /// A thread that dies stops the others, since a process that serves on half its cores would look healthy.
    pub async fn run(self, services: Services, stops: Stops, grace: Duration) -> Result<Stopped, RunError> {
        // Stops all threads when one dies, and when this future is dropped.
        let stops = stops.child();
        let _stop_all = stops.stop.clone().drop_guard();
        let mut ends = Vec::new();
        let mut inside = self.inside;
        for (index, sockets) in self.sockets.into_iter().enumerate() {
            let inside = inside.take();
            let (config, services, stops) = (self.config.clone(), services.clone(), stops.clone());
            let (tell, told) = oneshot::channel();
            let body = move || {
                let ended = serve(config, services, sockets, inside, stops, grace);
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
            if !stops.handed_over.is_cancelled() {
                stops.stop.cancel();
            }
        }
        failed.map_or(Ok(Stopped { cut }), Err)
    }
}

fn threads(config: &EdgeConfig) -> usize {
    match config.threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    }
}

/// What tells one socket from another, whatever descriptors it has.
fn inode(socket: &TcpListener) -> io::Result<u64> {
    nix::sys::stat::fstat(socket).map(|stat| stat.st_ino).map_err(io::Error::from)
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
    sockets: Vec<TcpListener>,
    inside: Option<UnixListener>,
    stops: Stops,
    grace: Duration,
) -> io::Result<usize> {
    let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(FILE_THREADS).build()?;
    let tasks = LocalSet::new();
    let cut = runtime.block_on(tasks.run_until(async {
        let outside = sockets.into_iter().map(|socket| tokio::net::TcpListener::from_std(socket).map(Door::Outside));
        let inside = inside.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(socket).map(Door::Inside)
        });
        let doors = outside.chain(inside).collect::<io::Result<Vec<_>>>()?;
        let thread = Rc::new(Thread::new(config, services));
        let sweeper = tokio::task::spawn_local({
            let thread = thread.clone();
            async move { thread.sweep().await }
        });
        futures_util::future::join_all(doors.into_iter().map(|door| accept(&thread, door, &stops))).await;
        let lingering = stops.handed_over.is_cancelled() && !stops.stop.is_cancelled();
        let cut = thread.drain(grace, lingering).await;
        sweeper.abort();
        io::Result::Ok(cut)
    }));
    drop(tasks);
    // File reads in flight belong to connections that are gone.
    runtime.shutdown_timeout(Duration::from_millis(100));
    cut
}

/// Where clients come in.
enum Door {
    Outside(tokio::net::TcpListener),
    Inside(tokio::net::UnixListener),
}

/// Somebody who has come in.
enum Client {
    Outside(TcpStream, SocketAddr),
    Inside(UnixStream),
}

impl Door {
    /// May be dropped: nobody is lost.
    async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Outside(listener) => listener.accept().await.map(|(stream, peer)| Client::Outside(stream, peer)),
            Self::Inside(listener) => listener.accept().await.map(|(stream, _)| Client::Inside(stream)),
        }
    }
}

/// Accepts until told to stop; closes the listener then, after taking those who were already connected.
async fn accept(thread: &Rc<Thread>, door: Door, stops: &Stops) {
    let mut complaints = Complaints::default();
    loop {
        if thread.is_full() {
            complaints.log("connection limit reached; further clients wait");
            tokio::select! {
                () = stops.told() => break,
                () = tokio::time::sleep(ACCEPT_RETRY) => continue,
            }
        }
        tokio::select! {
            biased;
            () = stops.told() => break,
            accepted = door.accept() => match accepted {
                Ok(client) => take(thread, client),
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    complaints.log(&format!("accept: {error}"));
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    // Whoever has the socket now takes them; the one inside is nobody else's.
    if stops.handed_over.is_cancelled() && matches!(door, Door::Outside(_)) {
        return;
    }
    // The kernel has answered these already: closing on them would look like a crash.
    while !thread.is_full() {
        match futures_util::FutureExt::now_or_never(door.accept()) {
            Some(Ok(client)) => take(thread, client),
            Some(Err(_)) | None => break,
        }
    }
}

fn take(thread: &Rc<Thread>, client: Client) {
    let (stream, peer) = match client {
        Client::Outside(stream, peer) => (stream, peer),
        Client::Inside(stream) => {
            let connection = Connection { thread: thread.clone(), peer: Peer::inside(), watch: thread.watch() };
            return thread.spawn(connection::run(stream, connection, None));
        }
    };
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
