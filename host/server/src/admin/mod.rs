//! The admin socket: accounts, keys and packages for whoever owns this server's process, without credentials of their own.
//!
//! Only the peer's user id opens it: root's or the server's own (`SO_PEERCRED`, unix(7)).

mod audit;
mod packages;
pub(crate) mod protocol;
mod server;

pub(crate) use server::serve;
