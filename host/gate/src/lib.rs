//! lectern-gate.
