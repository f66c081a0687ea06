//! The words of the history: who did something, and what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum Actor {
    /// An account, by its name at the time.
    User(String),
    /// Whoever may use the admin socket of the host.
    AdminSocket,
    /// The server, because a release failed.
    Automatic,
    /// The server, when it brought what it ships.
    Server,
}

impl Actor {
    /// The text in tables and hashes. A user of any name is never taken for the others.
    pub fn to_stored(&self) -> String {
        match self {
            Self::User(name) => format!("user:{name}"),
            Self::AdminSocket => "admin socket".to_owned(),
            Self::Automatic => "automatic".to_owned(),
            Self::Server => "server".to_owned(),
        }
    }

    /// Reads that text.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "admin socket" => Some(Self::AdminSocket),
            "automatic" => Some(Self::Automatic),
            "server" => Some(Self::Server),
            _ => text.strip_prefix("user:").map(|name| Self::User(name.to_owned())),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User(name) => name,
            Self::AdminSocket => "the admin socket",
            Self::Automatic => "the server, automatically",
            Self::Server => "the server",
        })
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A package was installed.
    Install,
    /// A package was removed.
    Remove,
    /// A binding was made.
    Bind,
    /// A binding's settings were changed.
    Configure,
    /// A binding was removed.
    Unbind,
    /// A release became live.
    Swap,
    /// The previous release became live again.
    Rollback,
    /// A candidate was put in the shadow.
    Shadow,
    /// A candidate was given a share.
    Canary,
    /// A trial ended.
    Withdraw,
    /// A candidate became live.
    Promote,
    /// A key was trusted.
    Trust,
    /// A key is no longer trusted.
    Untrust,
    /// A secret was set.
    Secret,
    /// A secret was removed.
    Forget,
    /// A release was found not to be deterministic: nothing more is learned of it.
    LearningOff,
}

impl Action {
    const ALL: [Self; 16] = [
        Self::Install,
        Self::Remove,
        Self::Bind,
        Self::Configure,
        Self::Unbind,
        Self::Swap,
        Self::Rollback,
        Self::Shadow,
        Self::Canary,
        Self::Withdraw,
        Self::Promote,
        Self::Trust,
        Self::Untrust,
        Self::Secret,
        Self::Forget,
        Self::LearningOff,
    ];

    /// The word in tables, hashes and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Remove => "remove",
            Self::Bind => "bind",
            Self::Configure => "configure",
            Self::Unbind => "unbind",
            Self::Swap => "swap",
            Self::Rollback => "rollback",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Withdraw => "withdraw",
            Self::Promote => "promote",
            Self::Trust => "trust",
            Self::Untrust => "untrust",
            Self::Secret => "secret",
            Self::Forget => "forget",
            Self::LearningOff => "learning-off",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn actors_and_actions_are_words() {
        let user = |name: &str| Actor::User(name.to_owned());
        let actors = [Actor::AdminSocket, Actor::Automatic, Actor::Server, user("automatic"), user(""), user("user:x")];
        for actor in &actors {
            assert_eq!(Actor::parse(&actor.to_stored()).as_ref(), Some(actor));
            let json = serde_json::to_string(actor).unwrap();
            assert_eq!(&serde_json::from_str::<Actor>(&json).unwrap(), actor, "{json}");
        }
        assert_eq!(Actor::parse("ada"), None);
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!(Action::parse("shrug"), None);
    }
}
