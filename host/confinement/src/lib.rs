//! Walls around the processes of content and of package builds.
//!
//! [`plan()`] decides, from what is wanted ([`lectern_domain::confinement::Walls`]) and what the host has ([`Facts`]), how a
//! process is kept in; it is a function of values. [`Cell`] makes the process: bubblewrap sets up the namespaces and starts
//! [`init`], this crate's own first process, which puts on what bubblewrap does not know (Landlock, limits, refused
//! networks), starts the program and reports how it ended. [`Warden`] is the other end of that conversation.
//!
//! Whoever depends on this calls [`init::run_if_asked`] first in its `main`: the program itself is started again inside.

mod bubblewrap;
mod cell;
pub mod cgroup;
mod facts;
pub mod init;
mod landlock_rules;
mod order;
mod places;
mod plan;
mod probe;
mod relay;
mod routes;
mod seccomp;
mod standing;
mod strays;
mod sys;
mod uplink;
mod warden;

pub use cell::Cell;
pub use facts::{Facts, Lacking};
pub use order::{Ended, Launch};
pub use plan::{Limits, Missing, Plan, Subject, plan};
pub use probe::look;
pub use seccomp::{DENIED, DENIED_STRICT};
pub use standing::{Standing, State, standings};
pub use warden::{EnterError, News, Reports, Rest, UplinkRest, Warden, Words};
