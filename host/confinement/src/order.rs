//! What the first process inside is told, and what it answers: lines of JSON on a socket pair.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use lectern_domain::confinement::Profile;
use lectern_domain::launch::Account;

use crate::landlock_rules::Rule;
use crate::routes::Route;

/// The program that is to run inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The program and its arguments; the first is an absolute path.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its limits (soft, hard) of open files.
    pub open_files: (u64, u64),
    /// Most bytes of a file that it writes.
    pub file_bytes: u64,
    /// The permission bits that its new files do not get.
    pub umask: u32,
}

/// All that is to be done inside, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Networks to refuse or to allow.
    pub(crate) routes: Vec<Route>,
    /// Directories to give to `account`.
    pub(crate) hand_over: Vec<PathBuf>,
    /// The account to take, where the process does not have it already.
    pub(crate) account: Option<Account>,
    /// Rules for files, if the kernel knows them.
    pub(crate) landlock: Option<Vec<Rule>>,
    /// The filter to put on, where bubblewrap has not.
    pub(crate) seccomp: Option<Profile>,
    /// Most tasks in this user namespace.
    pub(crate) tasks: Option<u32>,
    pub(crate) launch: Launch,
}

/// What is said inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The first process inside is there: bubblewrap has done its part.
    Here,
    /// The program runs.
    Started,
    /// It does not.
    Failed { step: String, cause: String, not_found: bool },
    /// It has ended.
    Ended(Ended),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Sent to have the program asked to end.
pub(crate) const TERM: &str = "term";

/// Most bytes of a line: the kernel takes at most 2 MiB of arguments and environment, JSON may double that.
pub(crate) const MAX_LINE_BYTES: u64 = 8 << 20;
