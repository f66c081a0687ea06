//! Structured logs: text for people or JSON for machines, to stderr. stdout keeps what scripts read.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// What a supervisor says: trouble, and when it begins, ends or becomes another program. Its file is not rotated, and each
/// worker would leave three lines more.
const OF_SUPERVISOR: &str = "warn,lectern_supervisor::run=info,lectern_supervisor::upgrade=info";

/// Starts logging for a supervisor, which gets no configuration: `RUST_LOG`, or what matters.
pub(crate) fn start_of_supervisor() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(OF_SUPERVISOR));
    // Not twice in one process.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

/// Starts logging for the whole process. Called once, by the verbs that run something.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start logging: {error}"))
}
