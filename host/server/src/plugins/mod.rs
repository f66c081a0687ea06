//! What stands behind the imports of the gate's plugins: network, store, secrets and accounts of this server.

mod address;
mod connect;
mod outbound;

pub(crate) use address::Allowed;
