//! lectern-api.
