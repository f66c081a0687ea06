//! `lectern serve`.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, failed};

/// Threads of the runtime that does everything but serve requests: the API, deployments, the fleet. Two at least, so that one
/// slow query stops nobody; beyond the cores they would only take time from the apps.
const LEAST_THREADS: usize = 2;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take over from the server that runs on the same data directory: its address, its apps, its database. It finishes what
    /// it has begun; no connection is refused. Without one, start as usual.
    #[arg(long)]
    take_over: bool,
}

pub(super) fn run(args: &ServeArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(status) => return status,
    };
    if let Err(error) = crate::logging::start(&config.log) {
        return failed(&error);
    }
    let threads = std::thread::available_parallelism().map_or(LEAST_THREADS, usize::from).max(LEAST_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("lectern-control")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("start the runtime")),
    };
    let outcome = runtime.block_on(crate::life::run(config, args.take_over));
    // What still waits for a disk or a child process does not keep a stopped server.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = super::chain(error.as_ref()), "the server ends");
            failed(&error)
        }
    }
}
