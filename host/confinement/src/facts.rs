//! What this host has for walls, as values.

use std::path::PathBuf;

use crate::places::Place;

/// Something that is not there, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// What is the matter.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Lacking {
    pub(crate) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

/// What was found. Made by [`crate::look`]; a test writes its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether processes can be given accounts of their own.
    pub root: bool,
    /// bubblewrap, tried with all namespaces that it is used with.
    pub bubblewrap: Result<PathBuf, Lacking>,
    /// Whether an account of content may make user namespaces. Where not, root sets up the others.
    pub user_namespaces: Result<(), Lacking>,
    /// Whether it bounds what its memory file systems hold.
    pub sizes: Result<(), Lacking>,
    /// Whether the kernel filters system calls.
    pub seccomp: Result<(), Lacking>,
    /// Which version of Landlock the kernel has.
    pub landlock: Result<u32, Lacking>,
    /// Control groups that limit memory.
    pub memory: Result<(), Lacking>,
    /// Control groups that limit processor time.
    pub cpu: Result<(), Lacking>,
    /// Control groups that limit tasks.
    pub tasks: Result<(), Lacking>,
    /// Whether the kernel counts the tasks of each user namespace by itself (5.14): then a limit of resources is one of a
    /// worker.
    pub counts_tasks: bool,
    /// The program that joins a network namespace to the host's network.
    pub uplink: Result<PathBuf, Lacking>,
    /// The system's directories, as they are to be shown.
    pub(crate) system: Vec<Place>,
    /// The `search` and `options` lines of the host's resolver.
    pub(crate) resolver: String,
    /// The host's `/etc/hosts`.
    pub(crate) hosts: String,
}
