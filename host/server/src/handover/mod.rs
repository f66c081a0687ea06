//! One server takes over from another on the same data directory, without refusing a connection: `lectern serve --take-over`.
//!
//! The running server lends its listening sockets and its locks to the new one over `run/handover.sock`, and goes on serving until
//! the new one says that it is ready. From then on the new one accepts; the old one answers what it has begun, leaves workers,
//! supervisor and database alone, and ends. A new server that fails before it is ready changes nothing.
//!
//! ```text
//! new → old   {"handover":1}
//! old → new   {"handover":1,"pid":…,"sockets":…,"database_lock":…}   with the descriptors: data lock, database lock, sockets
//! new → old   {"ready":true}
//! old → new   {"done":true,"cut":…}
//! ```

mod give;
mod message;
mod take;

pub(crate) use give::Giver;
pub(crate) use take::{Predecessor, Taken};
