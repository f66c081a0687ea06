//! Landlock: the rules for files once more, so that a mistake in the mounts, or a hole in them, opens nothing.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// What may be done below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Right {
    /// List names.
    List,
    /// Read and execute.
    Read,
    /// Read, and write what is there.
    Update,
    /// Everything.
    Write,
    /// Make sockets and remove them: nothing that takes room.
    Sockets,
}

/// A right below a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) path: PathBuf,
    pub(crate) right: Right,
}

/// The newest version that is made use of; on older kernels what they do not know is left out.
const WANTED: ABI = ABI::V6;

fn rights(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::List => AccessFs::ReadDir.into(),
        Right::Read => AccessFs::from_read(WANTED),
        Right::Update => AccessFs::ReadDir | AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
        Right::Write => AccessFs::from_all(WANTED),
        Right::Sockets => AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile,
    }
}

/// Puts the rules on this process and all that it will start. Paths that are not there are left out.
pub(crate) fn restrict(rules: &[Rule]) -> Result<(), RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    let mut created = ruleset.create()?;
    for rule in rules {
        created = created.add_rules(path_beneath_rules([&rule.path], rights(rule.right)))?;
    }
    created.restrict_self().map(drop)
}
