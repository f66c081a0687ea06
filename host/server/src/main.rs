//! The binary `lectern`.

mod admin;
mod backstage;
mod bootstrap;
mod cli;
mod config;
mod content_keys;
mod credentials;
mod dashboard;
mod deploy;
mod directory;
mod fleet;
mod git;
mod grants;
mod handover;
mod health;
mod hits;
mod host;
mod id_tokens;
mod joblog;
mod life;
mod logging;
mod moment;
mod outbound;
mod owned_socket;
mod paths;
mod plugins;
mod rotation;
mod runtimes;
mod seal;
mod sessions;
mod store;
mod system;
mod thumbnails;
mod tidy;
mod tls;
mod trees;
mod uses;
mod view;

/// A request takes some sixty small allocations, which glibc's allocator serves in twice the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Started again inside a worker's walls, or in the place of a supervisor, it is something else.
    lectern_confinement::init::run_if_asked()
        .or_else(|| lectern_supervisor::run_if_asked(logging::start_of_supervisor))
        .unwrap_or_else(cli::run)
}
