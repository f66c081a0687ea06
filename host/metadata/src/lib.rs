//! lectern-metadata.
