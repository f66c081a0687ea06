//! The supervisor's socket: who may connect, and how many.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::freeze::{frost, thaw};
use crate::protocol::{ErrorCode, Refusal};
use crate::registry::Registry;

/// Most connections at once: a server needs one, people a few; each may hold one line of 4 MiB.
const MAX_CONNECTIONS: usize = 64;

/// The pause after a failed accept, which is mostly for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Listens on `socket` (mode 0600) in place of what a dead supervisor left there. The caller holds the lock.
pub(crate) fn bind(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The umask is 077, so nobody else can connect before the mode is set.
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves clients until `stop`; `shutdown` is cancelled when one asks for it.
pub(crate) async fn accept(
    listener: UnixListener,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut freeze = registry.freeze.watch();
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // Those who come meanwhile wait in the socket's queue.
            () = frost(&mut freeze) => {
                thaw(&mut freeze).await;
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        if let Err(refusal) = admit(&stream, registry.own.uid) {
            tracing::warn!(reason = refusal.message, "connection refused");
            tokio::spawn(connection::refuse(stream, refusal));
            continue;
        }
        let (registry, shutdown) = (registry.clone(), shutdown.clone());
        match permits.clone().try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    connection::serve(stream, registry, shutdown).await;
                    drop(permit);
                });
            }
            Err(_) => {
                let text = format!("{MAX_CONNECTIONS} connections are open, and no more may be");
                // Closed without a word if it does not fit the socket's buffer: no task for what is too much already.
                let refusal = Refusal::new(ErrorCode::TooManyConnections, text);
                let _ = tokio::time::timeout(ACCEPT_RETRY, connection::refuse(stream, refusal)).await;
            }
        }
    }
}

/// Root and the supervisor's own account may talk to it.
fn admit(stream: &UnixStream, own: u32) -> Result<(), Refusal> {
    let refused = |text: String| Err(Refusal::new(ErrorCode::NotAllowed, text));
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == own => Ok(()),
        Ok(peer) => refused(format!("uid {} may not talk to this supervisor", peer.uid())),
        Err(error) => refused(format!("cannot tell who connects: {error}")),
    }
}
