//! lectern-server.
