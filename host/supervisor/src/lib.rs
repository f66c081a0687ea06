//! lectern-supervisor.
