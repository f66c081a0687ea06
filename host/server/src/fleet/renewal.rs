//! Has the supervisor become the program that the server is, after an upgrade. Its workers stay.

use std::time::Duration;

use lectern_supervisor::protocol::ErrorCode;
use lectern_supervisor::{Client, ClientError, identity};

use super::Fleet;

/// The first version of the protocol in which a supervisor can be replaced.
const REPLACEABLE: u32 = 3;

/// How often it is tried while workers are being started or end, and the pause between: two minutes and what the supervisor
/// itself waits. It is as well replaced at the next start of a server.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);

impl Fleet {
    /// Replaces a supervisor of another build, if it can be; says so in the log if it cannot. May be dropped.
    pub(crate) async fn renew_supervisor(&self) {
        let client = self.crew.client();
        let (greeting, own) = (client.greeting(), identity());
        if greeting.program.as_deref() == Some(own.as_str()) {
            return;
        }
        if greeting.version < REPLACEABLE {
            tracing::warn!(
                version = greeting.version,
                "the supervisor is older than this server and cannot be replaced without ending its workers: it stays until the server is stopped and started"
            );
            return;
        }
        let settings = &self.crew.settings;
        for _ in 0..TRIES {
            match Client::upgrade(&settings.supervisor_socket, &settings.supervisor.path).await {
                Ok(now) => {
                    tracing::info!(
                        pid = now.pid,
                        program = now.program,
                        "the supervisor goes on with this server's program"
                    );
                    return;
                }
                Err(ClientError::Refused { code: ErrorCode::Busy, message }) => {
                    tracing::debug!(message, "the supervisor is busy; it is tried again");
                }
                Err(error) => {
                    tracing::error!(
                        error = crate::cli::chain(&error),
                        "the supervisor stays the program that it is, and serves this server as before"
                    );
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(
            "the supervisor was busy all the time and stays the program that it is: `lectern supervisor upgrade` tries again"
        );
    }
}
