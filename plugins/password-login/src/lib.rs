//! password-login.
