//! lectern-plugin.
