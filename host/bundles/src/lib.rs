//! lectern-bundles.
