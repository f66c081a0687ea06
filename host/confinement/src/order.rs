//! What the first process inside is told, and what it answers: lines of JSON on a socket pair.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use lectern_domain::confinement::{Profile, Relay};
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
    /// Descriptors that the program keeps, each with the variable that names it.
    pub(crate) passed: Vec<(String, i32)>,
    /// Whether the program is a zygote: workers that it forks may outlive it, and are told of one by one.
    pub(crate) forks: bool,
    /// The way to the server, if there is one.
    #[serde(default)]
    pub(crate) relay: Option<Relay>,
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
    /// What a forked worker left is gone, unless it is not `clean`.
    Swept { clean: bool },
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

/// What is told inside after the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Word {
    /// Have the program asked to end.
    Term,
    /// This process, by its number inside, keeps a forked worker: it may be there without its zygote.
    Keep { pid: i32 },
    /// It does not any more, and ended or is to end: kill what is nobody's, remove these directories. Answered by
    /// [`Report::Swept`].
    Sweep { pid: i32, homes: Vec<PathBuf> },
}

/// Most bytes of a line: the kernel takes at most 2 MiB of arguments and environment, JSON may double that.
pub(crate) const MAX_LINE_BYTES: u64 = 8 << 20;
