//! Why a change of the gate was refused: one variant for each thing that its operator would do differently.

use lectern_domain::plugin::{
    Action, Actor, BadBinding, BindingName, ChangeRefused, PackageDigest, PluginName, ReleaseHash,
};
use time::OffsetDateTime;

/// A refused change of the gate, or of what a plugin keeps.
#[derive(Debug, thiserror::Error)]
pub enum PluginRefusal {
    /// This version of the plugin is another file.
    #[error("version {version} of {plugin} is installed with other bytes ({}): give the new build another version", installed.short())]
    VersionTaken {
        /// The plugin.
        plugin: PluginName,
        /// The version.
        version: String,
        /// The file that has it.
        installed: PackageDigest,
    },
    /// Bindings name releases of the package.
    #[error(
        "the package is needed by what is bound as {}, as the live release, the one before or a candidate: unbind it or swap it \
         away first (`lectern plugin show` says which it is)",
        names(bindings)
    )]
    PackageInUse {
        /// Which: as live, previous or candidate release.
        bindings: Vec<BindingName>,
    },
    /// There is a binding of this name.
    #[error(
        "there is a binding of this name: change it with `lectern plugin swap` or `set`, or give another with --name"
    )]
    BindingTaken,
    /// The binding was changed since the caller looked.
    #[error(transparent)]
    Stale(Box<Stale>),
    /// The change has nothing to work on.
    #[error(transparent)]
    Change(#[from] ChangeRefused),
    /// The settings cannot be meant.
    #[error(transparent)]
    Settings(#[from] BadBinding),
    /// The key is trusted already.
    #[error("the key is trusted already")]
    AlreadyTrusted,
    /// The plugin's store has no room for the value.
    #[error("the plugin's store is full")]
    StoreFull,
    /// One more would be too many.
    #[error("there are {most} {what}, which is the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: i64,
    },
}

/// Of two changes at once one won; this is what the other is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{changed_by} changed the binding meanwhile: it has revision {revision}, and release {} is live", live.short())]
pub struct Stale {
    /// The binding's revision now.
    pub revision: i64,
    /// Who made it.
    pub changed_by: Actor,
    /// When.
    pub changed_at: OffsetDateTime,
    /// The live release now.
    pub live: ReleaseHash,
    /// What they did; `None`: it was done by hand in the database.
    pub action: Option<Action>,
    /// Why, in their words.
    pub reason: String,
}

fn names(bindings: &[BindingName]) -> String {
    bindings.iter().map(BindingName::as_str).collect::<Vec<_>>().join(", ")
}
