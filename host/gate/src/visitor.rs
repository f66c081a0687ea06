//! Who is asking and where the request goes, as far as plugins may know.

use std::sync::Arc;

use lectern_domain::snapshot::ContentEntry;

use crate::answer::Target;

/// The visitor that calls with a known visitor are told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The subject; for users in the directory, the user GUID.
    pub subject: String,
    /// The user name, where the subject is in the directory.
    pub username: Option<String>,
    /// Groups the visitor belongs to.
    pub groups: Vec<String>,
    /// Statements of the plugin that identified the visitor.
    pub claims: Vec<(String, String)>,
}

/// Where a request goes, with what plugins may ask about it.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// The target.
    pub target: Target,
    /// The content item, where it is one that exists.
    pub content: Option<Arc<ContentEntry>>,
}
