//! The words between server and supervisor: one JSON object per line, over a Unix socket.
//!
//! A request is `{"id":7,"do":"start",…}`; its answer `{"id":7,"ok":…}` or `{"id":7,"error":{"code":…,"message":…}}`. The
//! first request of a connection is `hello` with the versions that the client speaks; the highest that both speak is spoken.
//! After `watch`, lines `{"event":…}` tell every change. `hello`, `ping`, `shutdown` and (from version 3) `upgrade` keep their
//! form in all versions, so that any server can end or replace any supervisor.

use std::path::PathBuf;
use std::time::Duration;

use lectern_domain::launch::{Account, LaunchSpec, ZygoteName};
use lectern_domain::worker::{Ending, ExitStatus};
use lectern_domain::{BundleId, ContentGuid, JobKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// The newest version spoken here. Raised when a change would be misunderstood by the other side; new optional fields are not.
///
/// 3: `upgrade`, `keep`, `kept`, `release`, and the answer to `hello` says which program runs.
pub const VERSION: u32 = 3;

/// The oldest version spoken here.
pub const OLDEST: u32 = 2;

/// The version to speak with a side that speaks `oldest` to `newest`: the highest that both do.
pub(crate) fn agree(oldest: u32, newest: u32) -> Option<u32> {
    let version = newest.min(VERSION);
    (version >= oldest && version >= OLDEST).then_some(version)
}

/// Most bytes in a line. The kernel takes at most 2 MiB of arguments and environment; JSON may double that.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Most log lines in an [`Exited`].
pub const LAST_LINES: usize = 50;

/// Most bytes of log text in an [`Exited`]: ended workers are remembered by the hundred.
pub const LAST_LINES_BYTES: usize = 16 * 1024;

/// A request without its number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Agrees on a version from `oldest` (`version`, when it is absent) to `version`; answered by [`Greeting`].
    Hello {
        version: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oldest: Option<u32>,
    },
    /// Answered by `{}`.
    Ping,
    /// Starts a worker, or says how the job of that name stands; answered by [`Started`] before the worker is ready.
    Start { spec: Box<LaunchSpec> },
    /// Ends a worker, with its own grace or this one; answered by its [`WorkerStatus`] at once.
    Stop { job: JobKey, grace: Option<Duration> },
    /// All workers that run, and those that ended lately; answered by a list of [`WorkerStatus`].
    List,
    /// Answered by [`WorkerStatus`].
    Status { job: JobKey },
    /// All zygotes that run; answered by a list of [`ZygoteStatus`].
    Zygotes,
    /// Has a zygote fork no more, and end with its last worker; answered by how many of that name there were.
    EndZygote { name: ZygoteName },
    /// Sends events on this connection from now on; answered by `{}`.
    Watch,
    /// Ends all workers, then the supervisor; answered by `{}` at once, done when the connection closes.
    Shutdown,
    /// Has another program take the supervisor's place, with all that it has; answered by that program's [`Greeting`].
    Upgrade { program: PathBuf },
    /// Keeps the listening sockets that come with the line, while this connection is open and a while longer; answered by `{}`.
    Keep,
    /// Answered by a [`Kept`], with copies of the sockets that are kept.
    Kept,
    /// Lets the sockets go; answered by `{}`.
    Release,
}

impl Command {
    /// The `do` of each.
    pub(crate) const NAMES: [&str; 14] = [
        "hello",
        "ping",
        "start",
        "stop",
        "list",
        "status",
        "zygotes",
        "end_zygote",
        "watch",
        "shutdown",
        "upgrade",
        "keep",
        "kept",
        "release",
    ];
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The version spoken.
    pub version: u32,
    /// The supervisor's process id.
    pub pid: u32,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Which program it is, as [`crate::identity()`] says of its own; `None` before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// The answer to `kept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// How many sockets come with it.
    pub(crate) sockets: usize,
}

/// The answer to `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Whether the job was known already; it was then left as it is.
    pub existed: bool,
    /// How it stands.
    pub worker: WorkerStatus,
}

/// How a worker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Names the run.
    pub job: JobKey,
    /// Whose content it serves.
    pub content: ContentGuid,
    /// Which version of it.
    pub bundle: BundleId,
    /// The account it runs as, when not the supervisor's own. A peer on `socket` with another uid is an impostor.
    pub account: Option<Account>,
    /// Its process id, once it has one; meaningless after it ended.
    pub pid: Option<u32>,
    /// The Unix socket it listens on.
    pub socket: PathBuf,
    /// Its log, lines of [`LogLine`].
    pub log: PathBuf,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Grows with every change of any worker: of two statuses of one job, the higher is the newer.
    pub revision: u64,
    /// Where it stands.
    pub state: WorkerState,
    /// The zygote that it came from, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zygote: Option<ZygoteName>,
}

/// How a zygote stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygoteStatus {
    /// Names it.
    pub name: ZygoteName,
    /// Whose content its workers serve.
    pub content: ContentGuid,
    /// Which version of it.
    pub bundle: BundleId,
    /// The interpreter's process id.
    pub pid: u32,
    /// When it could fork.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Workers that came from it and are there.
    pub workers: usize,
    /// Workers that came from it, those that are gone included.
    pub forks: u64,
    /// How long none has been there.
    pub idle: Duration,
    /// Whether it forks no more.
    pub retiring: bool,
}

/// Where a worker stands, as reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum WorkerState {
    /// It does not accept connections yet.
    Starting,
    /// It accepts connections.
    Ready,
    /// It is ending, or has ended and is being cleaned up: no request may go to it.
    Draining,
    /// It has ended, and nothing is left of it but its log.
    Exited(Exited),
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Why.
    pub ending: Ending,
    /// How its process ended; `None` when it never had one.
    pub status: Option<ExitStatus>,
    /// Both in words, for a log or a person.
    pub message: String,
    /// Each limit that it reached, in a sentence for its publisher.
    #[serde(default)]
    pub excess: Vec<String>,
    /// What it took; `None` when it never had a process, or nobody counted.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The last lines it wrote: at most [`LAST_LINES`] and [`LAST_LINES_BYTES`].
    pub last_lines: Vec<LogLine>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What a worker took in its life, with all that it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, in user and system mode.
    pub cpu: Duration,
    /// Most memory in bytes: of the whole group where its memory is limited, file cache included; else of its largest process.
    pub peak_memory_bytes: u64,
}

/// One line of a worker's log, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number, from 1; 0 in logs of versions that did not count.
    #[serde(default)]
    pub n: u64,
    /// When it was read, in microseconds.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Where the worker wrote it.
    pub source: Source,
    /// The text without its line end; bytes that are not UTF-8 are replaced.
    pub data: String,
}

/// A worker's output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A worker changed.
    Changed {
        /// Its new status.
        worker: Box<WorkerStatus>,
    },
    /// The watcher was too slow and missed this many events: it should list.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The versions differ; `message` names both.
    Version,
    /// The first request was not `hello`.
    HelloFirst,
    /// Not JSON, without a number, or with wrong fields.
    BadRequest,
    /// No such `do`.
    UnknownCommand,
    /// The line was longer than [`MAX_LINE_BYTES`]; the connection is closed.
    LineTooLong,
    /// No job of that name.
    UnknownJob,
    /// The launch specification cannot or may not be run.
    BadSpec,
    /// As many workers run as may.
    TooManyWorkers,
    /// As many connections are open as may.
    TooManyConnections,
    /// The supervisor is ending.
    ShuttingDown,
    /// Something is always under way: try again.
    Busy,
    /// The program that was to take the supervisor's place cannot; everything is as it was.
    NotUpgraded,
    /// The peer's account may not talk to this supervisor.
    NotAllowed,
    /// A code that this side does not know.
    #[serde(other)]
    Other,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A line from client to supervisor.
#[derive(Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) command: Command,
}

/// A line from supervisor to client.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The request that this answers; none for an event, or when the request's number could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<Event>,
}

impl Request {
    /// Reads a line. The error carries the request's number when there was one.
    pub(crate) fn parse(line: &str) -> Result<Self, (Option<u64>, Refusal)> {
        let bad = |id, text: String| (id, Refusal::new(ErrorCode::BadRequest, text));
        let value: Value = serde_json::from_str(line).map_err(|error| bad(None, format!("not JSON: {error}")))?;
        let Value::Object(mut object) = value else { return Err(bad(None, "not a JSON object".to_owned())) };
        let Some(id) = object.remove("id").as_ref().and_then(Value::as_u64) else {
            return Err(bad(None, "\"id\" must be a whole number".to_owned()));
        };
        match object.get("do").and_then(Value::as_str) {
            None => return Err(bad(Some(id), "\"do\" must name a command".to_owned())),
            Some(name) if !Command::NAMES.contains(&name) => {
                let name: String = name.chars().take(80).collect();
                let known = Command::NAMES.join(", ");
                let text = format!("no command {name:?} in version {VERSION}; there are {known}");
                return Err((Some(id), Refusal::new(ErrorCode::UnknownCommand, text)));
            }
            Some(_) => {}
        }
        let command =
            serde_json::from_value(Value::Object(object)).map_err(|error| bad(Some(id), format!("{error}")))?;
        Ok(Self { id, command })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[track_caller]
    fn refused(line: &str, id: Option<u64>, code: ErrorCode, part: &str) {
        let (got, refusal) = Request::parse(line).unwrap_err();
        assert_eq!((got, refusal.code), (id, code), "{line}");
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }

    #[test]
    fn wrong_requests_are_answered_with_what_is_wrong() {
        refused("", None, ErrorCode::BadRequest, "not JSON");
        refused("[1]", None, ErrorCode::BadRequest, "object");
        refused(r#"{"do":"ping"}"#, None, ErrorCode::BadRequest, "id");
        refused(r#"{"id":-1,"do":"ping"}"#, None, ErrorCode::BadRequest, "id");
        refused(r#"{"id":1}"#, Some(1), ErrorCode::BadRequest, "do");
        refused(r#"{"id":1,"do":"dance"}"#, Some(1), ErrorCode::UnknownCommand, "dance");
        refused(r#"{"id":1,"do":"status","job":"../../etc/passwd"}"#, Some(1), ErrorCode::BadRequest, "job key");
        refused(r#"{"id":1,"do":"start","spec":{}}"#, Some(1), ErrorCode::BadRequest, "job");
    }

    #[test]
    fn every_command_is_named() {
        let job = JobKey::from_random([1; 16]);
        for (command, name) in [
            (Command::Hello { version: 1, oldest: None }, "hello"),
            (Command::Upgrade { program: "/usr/bin/lectern".into() }, "upgrade"),
            (Command::Ping, "ping"),
            (Command::Stop { job: job.clone(), grace: Some(Duration::from_millis(1500)) }, "stop"),
            (Command::List, "list"),
            (Command::Status { job }, "status"),
            (Command::Watch, "watch"),
            (Command::Shutdown, "shutdown"),
            (Command::Keep, "keep"),
            (Command::Kept, "kept"),
            (Command::Release, "release"),
        ] {
            assert!(Command::NAMES.contains(&name));
            let line = serde_json::to_string(&Request { id: 3, command }).unwrap();
            assert!(line.contains(&format!(r#""do":"{name}""#)), "{line}");
            assert_eq!(Request::parse(&line).unwrap().id, 3);
        }
    }

    #[test]
    fn the_highest_version_of_both_is_spoken() {
        let check = |oldest, newest, version| assert_eq!(agree(oldest, newest), version, "{oldest} to {newest}");
        check(VERSION, VERSION, Some(VERSION));
        check(OLDEST, VERSION, Some(VERSION));
        check(OLDEST, OLDEST, Some(OLDEST));
        // A later side that still speaks ours, and one that does not.
        check(VERSION, VERSION + 5, Some(VERSION));
        check(VERSION + 1, VERSION + 5, None);
        check(0, OLDEST - 1, None);
        // Nonsense.
        check(VERSION, OLDEST, None);
        check(u32::MAX, 0, None);
    }

    #[test]
    fn a_side_that_knows_one_version_reads_hello() {
        let request = Request::parse(r#"{"id":1,"do":"hello","version":2}"#).unwrap();
        assert!(matches!(request.command, Command::Hello { version: 2, oldest: None }));
        let line = r#"{"id":1,"do":"hello","version":9,"oldest":3}"#;
        assert!(matches!(Request::parse(line).unwrap().command, Command::Hello { version: 9, oldest: Some(3) }));
    }

    #[test]
    fn an_unknown_code_is_still_a_refusal() {
        let line: Line = serde_json::from_str(r#"{"id":1,"error":{"code":"from_the_future","message":"no"}}"#).unwrap();
        assert_eq!(line.error.map(|refusal| refusal.code), Some(ErrorCode::Other));
    }
}
