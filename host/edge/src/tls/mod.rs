//! TLS of the listener: keys and authorities out of PEM, the handshake of one connection, and what certificates say.
//!
//! Reading files is not done here: whoever has the bytes makes a [`TlsChain`], a [`TlsKey`] and perhaps [`TlsAuthorities`] of them,
//! learns what is wrong with each, and puts them together to a [`TlsConfig`]. The listener takes it from a [`TlsSlot`] for each new
//! connection, so certificates can be renewed while it serves.

mod certificate;
mod config;
mod handshake;
mod name;
mod pem;

pub use config::{KeyMismatch, TlsConfig, TlsPolicy, TlsSlot, TlsVersion};
pub(crate) use handshake::run;
pub use pem::{PemError, TlsAuthorities, TlsChain, TlsKey};
