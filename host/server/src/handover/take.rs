//! The new server's side.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::message::{Ask, Done, Lent, Ready, VERSION, receive, receive_with, send};

/// How long a running server may take to answer: it does so from memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What the running server lent.
pub(crate) struct Taken {
    /// Its lock of the data directory.
    data_lock: OwnedFd,
    /// Its lock of the private database, where it has one.
    database_lock: Option<OwnedFd>,
    /// Its listening sockets.
    sockets: Vec<TcpListener>,
    /// Its process.
    pid: u32,
    stream: UnixStream,
}

/// The conversation after the sockets have been taken.
pub(crate) struct Predecessor {
    stream: UnixStream,
    pid: u32,
}

impl Taken {
    /// Asks the server that listens at `path`; `None`: none does.
    pub(crate) async fn ask(path: &Path) -> anyhow::Result<Option<Self>> {
        let mut stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("reach the running server at {}", path.display())),
        };
        send(&mut stream, &Ask { handover: VERSION }).await?;
        let answer = timeout(ANSWER_LIMIT, receive_with::<Lent>(&stream)).await;
        let (lent, descriptors) = answer.context("the running server does not answer")??;
        if lent.handover != VERSION {
            bail!(
                "the running server (process {}) hands over in version {}, this one takes in {VERSION}: stop it and start this one instead",
                lent.pid,
                lent.handover
            );
        }
        let mut descriptors = descriptors.into_iter();
        let data_lock = descriptors.next().context("the running server lent no lock")?;
        let database_lock = if lent.database_lock { descriptors.next() } else { None };
        let sockets: Vec<TcpListener> = descriptors.map(TcpListener::from).collect();
        if sockets.len() != lent.sockets || sockets.is_empty() {
            bail!("the running server announced {} listening sockets and lent {}", lent.sockets, sockets.len());
        }
        Ok(Some(Self { data_lock, database_lock, sockets, pid: lent.pid, stream }))
    }

    /// What is left when locks and sockets have been put to use.
    pub(crate) fn into_parts(self) -> (OwnedFd, Option<OwnedFd>, Vec<TcpListener>, Predecessor) {
        (self.data_lock, self.database_lock, self.sockets, Predecessor { stream: self.stream, pid: self.pid })
    }
}

impl Predecessor {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Says that this server accepts connections. The other one stops doing so.
    pub(crate) async fn relieve(&mut self) -> anyhow::Result<()> {
        send(&mut self.stream, &Ready { ready: true }).await
    }

    /// Waits until the other server has ended what it had begun.
    pub(crate) async fn gone(mut self) {
        match receive::<Done>(&mut self.stream).await {
            Ok(Some(done)) => tracing::info!(pid = self.pid, cut = done.cut, "the server before this one has ended"),
            Ok(None) => tracing::warn!(pid = self.pid, "the server before this one ended without a word"),
            Err(error) => {
                tracing::warn!(pid = self.pid, error = crate::cli::chain(error.as_ref()), "the server before this one");
            }
        }
    }
}
