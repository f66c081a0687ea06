//! Starts, watches and reaps the native processes that serve content, from an OS process of its own.
//!
//! The supervisor is the parent of every content process and outlives the server: [`run`] is that process, [`Client`] is
//! how the server talks to it, over a Unix socket with lines of JSON ([`protocol`]). It decides nothing about content:
//! it is given a complete [`lectern_domain::launch::LaunchSpec`] and drives [`lectern_domain::worker::Worker`].
//!
//! What it promises, whoever dies:
//! - kill -9 of the server: workers run on, a new server lists them;
//! - kill -9 of the supervisor: its guardian (the parent that [`run`] forks it from) ends every process it left;
//! - another program in the supervisor's place ([`Client::upgrade`]): the process and all that it started are the same;
//! - the end of a worker: everything that the worker started ends too, and its private directory is gone.
//!
//! The socket answers root and the supervisor's own account. Content runs as the account it is given, without supplementary
//! groups, unable to gain privileges by `exec`, behind the walls that [`lectern_confinement`] puts up; the first process
//! inside is this program again, so a binary that supervises calls [`lectern_confinement::init::run_if_asked`] first, and then
//! [`run_if_asked`], by which it takes the place of another.

mod capture;
mod client;
mod config;
mod connection;
mod excess;
mod freeze;
mod guardian;
mod held;
mod identity;
mod inherit;
mod listen;
mod lock;
mod log;
mod passing;
mod private;
mod probe;
mod procs;
pub mod protocol;
mod reach;
mod reading;
mod reaper;
mod registry;
mod resume;
mod run;
mod spawn;
mod spec;
mod state;
mod sweep;
mod sys;
mod upgrade;
mod usage;
mod worker;
mod zygote;

pub use client::{Client, ClientError, Events, Keeping, Program, kept_sockets, release_sockets};
pub use config::SupervisorConfig;
pub use identity::identity;
pub use protocol::{Event, Exited, LogLine, Source, Started, Usage, WorkerState, WorkerStatus, ZygoteStatus};
pub use reach::{Obstacle, obstacle};
pub use reading::{Follower, read_tail};
pub use resume::run_if_asked;
pub use run::{RunError, run};
