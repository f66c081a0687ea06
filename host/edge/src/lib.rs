//! The edge: the listener, the way of a request, and the bridge to the processes that run content.
//!
//! [`Edge::bind`] takes an address and [`Edge::run`] serves it, with one thread per core. Each thread has a socket, a runtime and
//! upstream connections of its own and shares nothing that is written: a request is read, decided, carried and answered by one
//! task. Work that takes long (the API, unpacking, starting workers) runs elsewhere, behind the traits in [`Services`].
//!
//! The edge knows HTTP and the order of decisions. It does not know tables, how workers are started, or what the API does; who may
//! do what is decided by `lectern_domain::access`, and who is asking by the gate.

mod access_log;
mod admissions;
mod body;
mod bridge;
mod coarse;
mod config;
mod connection;
mod content;
mod failure;
mod health;
mod identify;
mod io;
mod listener;
mod notice;
mod origin;
mod outward;
mod plugin_page;
mod pool;
mod pulse;
mod queue;
mod request_id;
mod serve;
mod services;
mod session;
mod statics;
mod sticky;
mod strip;
mod system;
mod thread;
mod thumbnail;
mod tls;
mod watch;
mod worker;

pub use admissions::{Admissions, Refusal, WAIT_BUCKETS_MS};
pub use body::{BodyError, EdgeBody, RequestBody};
pub use config::{ContentTimeouts, EdgeConfig, HEADER_COUNT, Limits};
pub use failure::{NotAdmitted, StartFailure};
pub use listener::{BindError, Edge, RunError, Stopped, Stops};
pub use pool::Pool;
pub use request_id::RequestId;
pub use services::{
    Caller, Health, NewSession, Seen, Services, Sessions, SignIn, SystemService, Thumbnails, Trees, Unavailable, Use,
    Visits,
};
pub use strip::strip;
pub use tls::{KeyMismatch, PemError, TlsAuthorities, TlsChain, TlsConfig, TlsKey, TlsPolicy, TlsSlot, TlsVersion};
pub use worker::{InFlight, Worker, Workers};
