//! Why an operator's command was not carried out: every refusal is an answer to the command and says what to change.

use lectern_gate::LoadError;
use lectern_metadata::DbError;
use lectern_metadata::plugins::PluginRefusal;
use lectern_packages::{ConfigError, PackageError, SignatureError};

/// A refusal. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The package is no package, or not one that this server takes.
    #[error("{0}")]
    Package(String),
    /// Its signature is missing or not good.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The component does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its own tests fail here.
    #[error("{} of the package's {total} cases fail here: {}", failed.len(), failed.join("; "))]
    Cases {
        /// How many there are.
        total: usize,
        /// Which fail, and how.
        failed: Vec<String>,
    },
    /// The configuration does not fit.
    #[error("the configuration does not fit: {0}")]
    Config(#[from] ConfigError),
    /// What was asked cannot be done so.
    #[error("{0}")]
    Request(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else was quicker, or the thing is in use.
    #[error("{0}")]
    Conflict(String),
    /// The database or the store is away.
    #[error("{0}")]
    Unavailable(String),
}

impl Refused {
    /// A word for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Package(_) => "package",
            Self::Signature(_) => "signature",
            Self::Load(_) => "component",
            Self::Cases { .. } => "cases",
            Self::Config(_) => "configuration",
            Self::Request(_) => "request",
            Self::NotFound(_) => "not-found",
            Self::Conflict(_) => "conflict",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl From<PackageError> for Refused {
    fn from(error: PackageError) -> Self {
        Self::Package(crate::cli::chain(&error))
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Unavailable(crate::cli::chain(error.as_ref()))
    }
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Self {
        let text = crate::cli::chain(&error);
        match error {
            DbError::NotFound(what) => Self::NotFound(format!("there is no such {what}")),
            DbError::Plugin(refusal) => match refusal {
                PluginRefusal::VersionTaken { .. }
                | PluginRefusal::PackageInUse { .. }
                | PluginRefusal::BindingTaken
                | PluginRefusal::Stale(_)
                | PluginRefusal::AlreadyTrusted => Self::Conflict(text),
                PluginRefusal::Change(_)
                | PluginRefusal::Settings(_)
                | PluginRefusal::StoreFull
                | PluginRefusal::TooMany { .. } => Self::Request(text),
            },
            _ => Self::Unavailable(text),
        }
    }
}
