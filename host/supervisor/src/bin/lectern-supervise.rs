//! The supervisor by itself: `lectern-supervise SOCKET [MAX_WORKERS [SHUTDOWN_LIMIT_MS]]`, logging to stderr.
//!
//! `lectern supervise` is the same with a command line for people; this one is small enough for tests to start often.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use lectern_supervisor::{SupervisorConfig, run};

fn main() -> ExitCode {
    if let Some(code) = lectern_confinement::init::run_if_asked() {
        return code;
    }
    if let Some(code) = lectern_supervisor::run_if_asked(log) {
        return code;
    }
    log();
    match start(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = &*error, "cannot supervise");
            ExitCode::FAILURE
        }
    }
}

fn log() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
}

fn start(args: Vec<String>) -> Result<ExitCode, Box<dyn Error>> {
    let mut args = args.into_iter();
    let socket = args.next().ok_or("usage: lectern-supervise SOCKET [MAX_WORKERS [SHUTDOWN_LIMIT_MS]]")?;
    let mut config = SupervisorConfig::new(socket);
    if let Some(most) = args.next() {
        config.max_workers = most.parse()?;
    }
    if let Some(limit) = args.next() {
        config.shutdown_limit = Duration::from_millis(limit.parse()?);
    }
    Ok(run(config)?)
}
