//! What plugins may ask about accounts and content; the server answers from its snapshot.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lectern_domain::{ContentGuid, Principal};

/// Why a password was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordRefusal {
    /// Unknown user, wrong password or locked account. The caller must not be able to tell them apart, by time either.
    Wrong,
    /// Too many tries; the next may be made after this time.
    Throttled(Duration),
    /// The accounts cannot be read at present.
    Unavailable,
}

/// The accounts and the content that routing and authentication plugins may ask about.
///
/// All but [`Directory::check_password`] are called while a request is decided, on the thread that serves it: they answer
/// from memory and never block.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The content whose vanity path is the longest prefix of `path` (normalised, decoded), and how many segments of `path`
    /// that vanity path takes.
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)>;

    /// What an API key is known by. The gate remembers this in place of the key, so nobody may be able to compute the key from it.
    fn key_digest(&self, key: &str) -> [u8; 32];

    /// The principal behind the API key with this digest; `None` when it is unknown or revoked, or its user is locked.
    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal>;

    /// The user of this name, whatever the case of its letters; `None` when there is none, or the account is locked.
    fn find_user(&self, name: &str) -> Option<Principal>;

    /// The principal behind a session token, with the groups that the session was begun with; `None` when there is no such
    /// session now.
    fn find_session(&self, token: &str) -> Option<(Principal, Arc<[String]>)>;

    /// The principal with this name and password. May take long; hash on a blocking thread. `client` is who tries.
    async fn check_password(
        &self,
        client: std::net::IpAddr,
        username: &str,
        password: &str,
    ) -> Result<Principal, PasswordRefusal>;
}
