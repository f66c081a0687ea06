//! The edge against real sockets: real clients' bytes on one side, real HTTP servers on Unix sockets on the other, and the real
//! gate with the shipped components between them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod access;
mod admission;
mod authority;
mod bodies;
mod bridge;
mod harness;
mod hostile;
mod limits;
mod load;
mod sessions;
mod smuggling;
mod sticky;
mod stop;
mod system;
mod tls;
mod websocket;
