//! What a server begins with: nothing, sockets of the service manager, or what the server before it lent.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use lectern_supervisor::{kept_sockets, release_sockets};
use listenfd::ListenFd;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::parts::Parts;
use crate::config::Config;
use crate::handover::{Predecessor, Taken};
use crate::host::DirectoryLock;
use crate::paths::Paths;

/// Locks and sockets, whoever had them before.
pub(super) struct Beginning {
    pub(super) lock: DirectoryLock,
    /// The private database's, lent.
    pub(super) database_lock: Option<OwnedFd>,
    /// Sockets that listen already.
    pub(super) sockets: Option<Vec<TcpListener>>,
    /// They are the service manager's, which keeps them by itself.
    pub(super) activated: bool,
    predecessor: Option<Predecessor>,
    /// Another server lives from the same locks, workers and database, and is the one that serves: this one must leave them alone when
    /// it ends.
    pub(super) shared: bool,
}

impl Beginning {
    /// Takes over from the server that runs, if it shall and one does; takes the lock otherwise.
    pub(super) async fn of(config: &Config, paths: &Paths, take_over: bool) -> anyhow::Result<Self> {
        let taken = if take_over { Taken::ask(&paths.handover_socket()).await? } else { None };
        let Some(taken) = taken else {
            if take_over {
                tracing::info!("no server runs on this data directory: there is nothing to take over");
            }
            let mut sockets = activated()?;
            let activated = sockets.is_some();
            if activated {
                tracing::info!("serving on the sockets of the service manager; server.listen is not looked at");
            }
            let lock = DirectoryLock::take(paths)?;
            if !activated {
                sockets = left(&paths.supervisor_socket(), config.server.listen).await;
            }
            return Ok(Self { lock, database_lock: None, sockets, activated, predecessor: None, shared: false });
        };
        let (data_lock, database_lock, sockets, predecessor) = taken.into_parts();
        tracing::info!(pid = predecessor.pid(), sockets = sockets.len(), "taking over from the running server");
        let address = sockets.first().and_then(|socket| socket.local_addr().ok());
        if address.is_some_and(|address| config.server.listen.port() != 0 && address != config.server.listen) {
            let (now, asked) = (address.map(|address| address.to_string()).unwrap_or_default(), config.server.listen);
            tracing::warn!("the address stays {now}: {asked} of the configuration counts after a stop and a start");
        }
        Ok(Self {
            lock: DirectoryLock::lent(data_lock),
            database_lock,
            sockets: Some(sockets),
            activated: false,
            predecessor: Some(predecessor),
            shared: true,
        })
    }

    /// Relieves the server before this one, now that this one serves. Its requests go on; when the last has ended, a task lets
    /// workers go that are not needed.
    pub(super) async fn succeed(
        &mut self,
        parts: &Arc<Parts>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Some(mut predecessor) = self.predecessor.take() else { return Ok(()) };
        predecessor.relieve().await.context("relieve the server before this one")?;
        self.shared = false;
        let (parts, stop) = (Arc::clone(parts), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = predecessor.gone() => parts.alone(),
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }
}

/// Sockets that the supervisor kept when the last server was killed, if they listen where this one shall; others are let go.
async fn left(supervisor: &Path, listen: SocketAddr) -> Option<Vec<TcpListener>> {
    let kept = match kept_sockets(supervisor).await {
        Ok(kept) => kept,
        Err(error) => {
            let error = crate::cli::chain(&error);
            tracing::warn!(error, "ask the supervisor for the listening sockets of the server before");
            return None;
        }
    };
    let kept: Vec<TcpListener> = kept.into_iter().map(TcpListener::from).collect();
    if kept.is_empty() {
        return None;
    }
    if kept.iter().all(|socket| socket.local_addr().is_ok_and(|address| serves(listen, address))) {
        tracing::info!(
            sockets = kept.len(),
            "the server before this one was killed: its clients have waited for this one"
        );
        return Some(kept);
    }
    if let Err(error) = release_sockets(supervisor).await {
        tracing::warn!(error = crate::cli::chain(&error), "let the listening sockets of the server before go");
    }
    None
}

/// Whether a socket at `address` is one that `listen` asks for; port 0 asks for any.
fn serves(listen: SocketAddr, address: SocketAddr) -> bool {
    listen.ip() == address.ip() && (listen.port() == 0 || listen.port() == address.port())
}

/// Sockets of systemd's socket activation (sd_listen_fds(3)); `None`: there are none.
fn activated() -> anyhow::Result<Option<Vec<TcpListener>>> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let socket = given.take_tcp_listener(index).context("use a socket of the service manager")?;
        sockets.extend(socket);
    }
    Ok((!sockets.is_empty()).then_some(sockets))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_sockets_at_the_configured_address_are_taken() {
        let check = |listen: &str, address: &str, fits| {
            assert_eq!(serves(listen.parse().unwrap(), address.parse().unwrap()), fits, "{listen} {address}");
        };
        check("127.0.0.1:3939", "127.0.0.1:3939", true);
        check("127.0.0.1:0", "127.0.0.1:40123", true);
        check("127.0.0.1:3939", "127.0.0.1:3940", false);
        check("0.0.0.0:3939", "127.0.0.1:3939", false);
        check("[::]:3939", "[::]:3939", true);
    }
}
