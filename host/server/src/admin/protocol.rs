//! What the command line and a running server say to each other over the admin socket.

use serde::{Deserialize, Serialize};

/// `/users/add`.
#[derive(Serialize, Deserialize)]
pub(crate) struct AddUser {
    pub(crate) username: String,
    pub(crate) role: String,
    pub(crate) email: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) password: Option<String>,
}

/// `/users/change`: what is `None` stays.
#[derive(Serialize, Deserialize)]
pub(crate) struct ChangeUser {
    pub(crate) username: String,
    pub(crate) role: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) locked: Option<bool>,
}

impl ChangeUser {
    /// No change yet.
    pub(crate) fn of(username: &str) -> Self {
        Self { username: username.to_owned(), role: None, password: None, locked: None }
    }
}

/// An account as printed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserView {
    pub(crate) guid: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) role: String,
    pub(crate) locked: bool,
}

/// `/keys/create`.
#[derive(Serialize, Deserialize)]
pub(crate) struct CreateKey {
    pub(crate) username: String,
    pub(crate) name: String,
    pub(crate) role: String,
}

/// The answer: the only time the key's text is seen.
#[derive(Serialize, Deserialize)]
pub(crate) struct CreatedKey {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) key: String,
}

/// `/keys/list`.
#[derive(Serialize, Deserialize)]
pub(crate) struct ListKeys {
    pub(crate) username: String,
}

/// A key as printed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyView {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) created_at: String,
}

/// `/audit/verify`: what the chain of the audit log is found to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditView {
    /// Whether each entry is as it was written.
    pub(crate) whole: bool,
    /// Entries that are as they were written, counted from the first.
    pub(crate) entries: i64,
    /// The newest entry's hash; only of a whole log.
    pub(crate) hash: Option<String>,
    /// The number of the first entry that is changed or missing.
    pub(crate) broken_at: Option<i64>,
}

/// A built R package as printed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackageView {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) key: String,
    pub(crate) archive: String,
    pub(crate) from: String,
    pub(crate) binary: bool,
    pub(crate) r_version: String,
    pub(crate) platform: String,
    pub(crate) built_at: String,
}

/// `/packages/evict`: without a version, all of them.
#[derive(Serialize, Deserialize)]
pub(crate) struct EvictPackage {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EvictedView {
    pub(crate) packages: Vec<PackageView>,
    pub(crate) archives: u64,
}

/// `/keys/revoke`.
#[derive(Serialize, Deserialize)]
pub(crate) struct RevokeKey {
    pub(crate) username: String,
    pub(crate) id: i64,
}
