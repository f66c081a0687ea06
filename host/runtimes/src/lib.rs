//! lectern-runtimes.
