//! The listening sockets, kept by the supervisor for the server after this one, should this one be killed.

use std::os::fd::OwnedFd;
use std::time::Duration;

use lectern_supervisor::protocol::ErrorCode;
use lectern_supervisor::{ClientError, Keeping};

use super::{Crew, Fleet};

/// How long a server that stops waits for the supervisor to let go: it does so at once.
const RELEASE: Duration = Duration::from_secs(2);

/// Copies of the sockets, and the supervisor that keeps others of them.
#[derive(Debug)]
pub(super) struct Sockets {
    own: Vec<OwnedFd>,
    keeping: Option<Keeping>,
}

impl Fleet {
    /// Has the supervisor keep these.
    pub(crate) async fn keep_sockets(&self, sockets: Vec<OwnedFd>) {
        *self.crew.sockets.lock().await = Some(Sockets { own: sockets, keeping: None });
        self.crew.keep_sockets().await;
    }

    /// Has them let go: this server stops in order, and whoever comes is to be told so at once.
    pub(crate) async fn release_sockets(&self) {
        let Some(Sockets { keeping: Some(keeping), .. }) = self.crew.sockets.lock().await.take() else { return };
        match tokio::time::timeout(RELEASE, keeping.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = crate::cli::chain(&error), "let the listening sockets go"),
            Err(_) => {
                tracing::warn!("the supervisor does not let the listening sockets go; clients wait until it ends")
            }
        }
    }
}

impl Crew {
    /// Gives the sockets to the supervisor that runs now.
    pub(super) async fn keep_sockets(&self) {
        let mut sockets = self.sockets.lock().await;
        let Some(sockets) = &mut *sockets else { return };
        match Keeping::begin(&self.settings.supervisor_socket, &sockets.own).await {
            Ok(keeping) => sockets.keeping = Some(keeping),
            Err(ClientError::Refused { code: ErrorCode::Version, message }) => {
                tracing::debug!(message, "the supervisor is too old to keep listening sockets");
            }
            Err(error) => {
                tracing::warn!(
                    error = crate::cli::chain(&error),
                    "the supervisor does not keep the listening sockets: should this server be killed, clients are refused until the next has begun"
                );
            }
        }
    }
}
