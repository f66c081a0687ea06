//! api-key.
