//! lectern-tests.
