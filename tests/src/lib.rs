//! What the end-to-end tests share: the real `lectern` on a port of its own, the publishers' own tools, and archives.
//!
//! A test says what it does to a server and what must then be seen; how a server is started, asked and cleaned up is
//! here. Nothing here replaces a part of Lectern. Where something goes wrong, these tools panic with all they know: a
//! failure here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod apps;
pub mod authority;
pub mod browser;
pub mod bundle;
pub mod client;
pub mod cran;
pub mod events;
pub mod forger;
pub mod git_server;
pub mod guardian;
pub mod http;
pub mod idp;
pub mod node;
pub mod plugins;
pub mod postgres;
pub mod processes;
pub mod publisher;
pub mod scratch;
pub mod server;
pub mod unprivileged;
pub mod visitor;
pub mod wait;

/// Whether the tests run as root: content then has accounts of its own, and a few faults can be made only so.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
