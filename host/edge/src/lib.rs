//! lectern-edge.
