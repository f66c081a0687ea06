//! Starts a supervisor that outlives whoever started it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::{Client, ClientError};
use crate::protocol::ErrorCode;

/// How often a supervisor that is starting is tried.
const RETRY: Duration = Duration::from_millis(10);

/// How long it may take. An older one that is ending holds the lock for up to a minute.
const START: Duration = Duration::from_secs(90);

/// How long after the program's end another supervisor, that was faster, may take to answer.
const OTHER: Duration = Duration::from_secs(3);

/// Variables that a supervisor gets of this process's environment. No more: the server's may hold secrets.
const ENVIRONMENT: [&str; 5] = ["PATH", "LANG", "TZ", "RUST_LOG", "RUST_BACKTRACE"];

/// The program that becomes the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its arguments, as `supervise --socket …`.
    pub args: Vec<OsString>,
    /// Where its stdout and stderr are appended (mode 0600).
    pub log: PathBuf,
}

pub(super) async fn connect_or_spawn(socket: &Path, program: &Program) -> Result<Client, ClientError> {
    match Client::connect(socket).await {
        Err(ClientError::NotRunning { .. }) => {}
        Err(ClientError::Refused { code: ErrorCode::Version, message }) => {
            // Left by a server before an upgrade.
            match Client::upgrade(socket, &program.path).await {
                Ok(_) => return Client::connect(socket).await,
                Err(error) => {
                    // Its workers end with it and are started again on demand.
                    tracing::warn!(message, %error, "ending a supervisor of another version");
                    Client::shutdown_any(socket, START).await?;
                }
            }
        }
        done => return done,
    }
    let mut ended = spawn(program)?;
    let deadline = Instant::now() + START;
    let mut status: Option<(ExitStatus, Instant)> = None;
    loop {
        match Client::connect(socket).await {
            // Gone: an older one was ending as we came.
            Err(ClientError::NotRunning { .. } | ClientError::Gone) => {}
            done => return done,
        }
        if status.is_none()
            && let Ok(ended) = ended.try_recv()
        {
            status = Some((ended, Instant::now() + OTHER));
        }
        match status {
            Some((status, until)) if Instant::now() > until => {
                return Err(ClientError::SpawnEnded { status, log: program.log.clone() });
            }
            _ if Instant::now() > deadline => {
                return Err(ClientError::Timeout { what: "start the supervisor", limit: START });
            }
            _ => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Starts the program, which leaves our session by itself. The receiver is told when it has ended.
fn spawn(program: &Program) -> Result<oneshot::Receiver<ExitStatus>, ClientError> {
    let failed = |cause| ClientError::Spawn { program: program.path.clone(), log: program.log.clone(), cause };
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&program.log);
    let log = open().and_then(|log| Ok((log.try_clone()?, log))).map_err(failed)?;
    let mut child = Command::new(&program.path)
        .args(&program.args)
        .env_clear()
        .envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::null())
        .stdout(log.0)
        .stderr(log.1)
        .kill_on_drop(false)
        .spawn()
        .map_err(failed)?;
    let (tell, ended) = oneshot::channel();
    // Reaps it, should it end before us; it does not end with this task.
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            tracing::info!(%status, "the supervisor ended");
            let _ = tell.send(status);
        }
    });
    Ok(ended)
}
