//! Who is asking, as far as plugins may know.

/// The visitor that calls with a known visitor are told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The subject; for users in the directory, the user GUID.
    pub subject: String,
    /// Groups the visitor belongs to.
    pub groups: Vec<String>,
    /// Statements of the plugin that identified the visitor.
    pub claims: Vec<(String, String)>,
}
