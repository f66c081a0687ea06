//! The running server's side: who asks is lent what it needs, and told when it is alone.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::message::{Ask, Done, Lent, MOST_DESCRIPTORS, Ready, VERSION, receive, send, send_with};
use crate::owned_socket::OwnedSocket;

/// How long the other server may take to say what it wants.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to start: a database to bring up to date, plugins to compile, content to load.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Lends sockets and locks to a server that comes after this one.
pub(crate) struct Giver {
    socket: OwnedSocket,
    listener: UnixListener,
    /// Closed when this server stops by itself: a socket that is open but not accepted from would keep clients waiting for nobody.
    lent: Mutex<Option<Descriptors>>,
}

struct Descriptors {
    data_lock: OwnedFd,
    database_lock: Option<OwnedFd>,
    sockets: Vec<OwnedFd>,
}

/// Another server is ready and accepts connections now.
pub(crate) struct Handed(UnixStream);

impl Giver {
    /// Listens for the next server at `path`.
    pub(crate) fn bind(
        path: &Path,
        data_lock: OwnedFd,
        database_lock: Option<OwnedFd>,
        sockets: Vec<OwnedFd>,
    ) -> anyhow::Result<Self> {
        if sockets.len() + 2 > MOST_DESCRIPTORS {
            bail!("{} listening sockets are more than can be handed over", sockets.len());
        }
        let (listener, socket) = OwnedSocket::bind(path)?;
        Ok(Self { socket, listener, lent: Mutex::new(Some(Descriptors { data_lock, database_lock, sockets })) })
    }

    /// Waits for a server that takes over. One that fails on its way leaves everything as it was; one at a time is served.
    /// Never returns after [`Giver::close`].
    pub(crate) async fn wait(&self) -> Handed {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept on the handover socket");
                    // Out of descriptors, most likely: the next try a moment later costs nothing.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            if let Err(error) = self.socket.allows(&stream) {
                tracing::warn!(%error, "handover: refused");
                continue;
            }
            match self.serve(stream).await {
                Ok(handed) => return handed,
                Err(error) => {
                    let error = crate::cli::chain(error.as_ref());
                    tracing::error!(error, "another server began to take over and did not; this one goes on");
                }
            }
        }
    }

    async fn serve(&self, mut stream: UnixStream) -> anyhow::Result<Handed> {
        let ask: Option<Ask> = timeout(ASK_LIMIT, receive(&mut stream)).await.context("it asked for nothing")??;
        match ask {
            None => bail!("it asked for nothing"),
            Some(Ask { handover }) if handover != VERSION => {
                // It reads the version out of the answer, and says what to do.
                let lent = Lent { handover: VERSION, pid: std::process::id(), sockets: 0, database_lock: false };
                send(&mut stream, &lent).await?;
                bail!("it speaks version {handover} of the handover, this server {VERSION}");
            }
            Some(_) => {}
        }
        let descriptors = self.descriptors()?;
        let (sockets, database_lock) = {
            let lent = self.lent.lock();
            let lent = lent.as_ref().context("this server is stopping")?;
            (lent.sockets.len(), lent.database_lock.is_some())
        };
        let lent = Lent { handover: VERSION, pid: std::process::id(), sockets, database_lock };
        send_with(&stream, &lent, &descriptors).await?;
        tracing::info!(sockets, "another server is taking over");
        match timeout(START_LIMIT, receive::<Ready>(&mut stream)).await.context("it did not become ready")?? {
            Some(Ready { ready: true }) => Ok(Handed(stream)),
            Some(Ready { ready: false }) | None => bail!("it ended before it was ready"),
        }
    }

    /// Copies of all, in the order of the protocol.
    fn descriptors(&self) -> anyhow::Result<Vec<OwnedFd>> {
        let lent = self.lent.lock();
        let lent = lent.as_ref().context("this server is stopping")?;
        let all = std::iter::once(&lent.data_lock).chain(&lent.database_lock).chain(&lent.sockets);
        all.map(OwnedFd::try_clone).collect::<std::io::Result<_>>().context("copy the listening sockets")
    }

    /// Lends nothing any more. Before the listener is told to stop.
    pub(crate) fn close(&self) {
        *self.lent.lock() = None;
    }
}

impl Handed {
    /// Tells the other server that this one has nothing in flight any more.
    pub(crate) async fn done(mut self, cut: usize) {
        if let Err(error) = send(&mut self.0, &Done { done: true, cut }).await {
            tracing::debug!(error = crate::cli::chain(error.as_ref()), "tell the new server");
        }
    }
}
