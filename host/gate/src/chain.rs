//! The plugins that a request passes, in order. Immutable: a change is another chain.

use std::sync::Arc;

use crate::release::Release;

/// A chain that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A routing place for a plugin that does not route.
    #[error("plugin {0} stands among the routers but does not export routing")]
    NoRouter(Arc<str>),
    /// An authentication place for a plugin that does not authenticate.
    #[error("plugin {0} stands among the authenticators but does not export auth")]
    NoAuthenticator(Arc<str>),
    /// Two plugins of one name, or one listed twice.
    #[error("plugin {0} is listed twice")]
    Twice(Arc<str>),
}

/// Routers and authenticators, each in the order in which they are asked. One release may be both.
#[derive(Debug, Default)]
pub struct Chain {
    routers: Vec<Arc<Release>>,
    authenticators: Vec<Arc<Release>>,
}

impl Chain {
    /// Puts a chain together.
    pub fn new(routers: Vec<Arc<Release>>, authenticators: Vec<Arc<Release>>) -> Result<Self, ChainError> {
        if let Some(release) = routers.iter().find(|release| !release.routes()) {
            return Err(ChainError::NoRouter(Arc::clone(release.name())));
        }
        if let Some(release) = authenticators.iter().find(|release| !release.authenticates()) {
            return Err(ChainError::NoAuthenticator(Arc::clone(release.name())));
        }
        for list in [&routers, &authenticators] {
            for (at, release) in list.iter().enumerate() {
                if list[..at].iter().any(|other| other.name() == release.name()) {
                    return Err(ChainError::Twice(Arc::clone(release.name())));
                }
            }
        }
        // The same name in both lists is fine when it is the same release.
        let clash = authenticators
            .iter()
            .find(|release| routers.iter().any(|other| other.name() == release.name() && other.id() != release.id()));
        match clash {
            Some(release) => Err(ChainError::Twice(Arc::clone(release.name()))),
            None => Ok(Self { routers, authenticators }),
        }
    }

    /// The routers.
    pub fn routers(&self) -> &[Arc<Release>] {
        &self.routers
    }

    /// The authenticators.
    pub fn authenticators(&self) -> &[Arc<Release>] {
        &self.authenticators
    }

    /// The plugin of this name that has pages.
    pub(crate) fn with_pages(&self, name: &str) -> Option<&Arc<Release>> {
        self.authenticators.iter().find(|release| &**release.name() == name && release.pages.is_some())
    }
}
