//! What a supervisor knows, as one value: written by a program that is replaced, read by the one that takes its place.
//!
//! The process stays the same: its number, its children, its locks and its open descriptors, which stand here by number.
//! What is said to and by the first processes inside the workers' walls belongs to the version, too: those processes go on
//! with the program that they were started from.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use lectern_confinement::cgroup::Group;
use lectern_confinement::{Limits, Rest};
use lectern_domain::launch::{Account, LaunchSpec, ZygoteName};
use lectern_domain::worker::{ExitStatus, Worker};
use lectern_domain::{BundleId, ContentGuid, JobKey};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::SupervisorConfig;
use crate::log::LogRest;
use crate::protocol::{Usage, WorkerStatus};

/// The version written here. Raised when an older program would misunderstand it; new optional fields are not.
pub(crate) const VERSION: u32 = 1;

/// The oldest version that is read here.
pub(crate) const OLDEST: u32 = 1;

/// Most bytes of it: a thousand ended workers with their last lines take 20 MiB, as many that run with the unfinished lines
/// of their logs some more.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// Why a state is not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the state of the supervisor has no version")]
    NoVersion(#[source] serde_json::Error),
    #[error(
        "the state of the supervisor has version {version}, and this program reads {}",
        if OLDEST == VERSION { VERSION.to_string() } else { format!("{OLDEST} to {VERSION}") }
    )]
    Version { version: u32 },
    #[error("the state of the supervisor, version {version}")]
    Unreadable {
        version: u32,
        #[source]
        cause: serde_json::Error,
    },
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) config: SupervisorConfig,
    /// The process that this one is the child of.
    pub(crate) guardian: i32,
    /// The descriptor limits from before this process raised them.
    pub(crate) nofile: (u64, u64),
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) started_at: OffsetDateTime,
    /// The socket that clients connect to.
    pub(crate) listener: RawFd,
    pub(crate) lock: RawFd,
    pub(crate) revision: u64,
    /// All that run or are remembered.
    pub(crate) jobs: Vec<WorkerStatus>,
    /// Those that have ended, the oldest first.
    pub(crate) ended: Vec<JobKey>,
    pub(crate) workers: Vec<WorkerRest>,
    /// Those whose cell is there.
    pub(crate) zygotes: Vec<ZygoteRest>,
    /// The number of the one that was started last.
    pub(crate) last_zygote: u64,
    pub(crate) connections: Vec<ConnectionRest>,
    /// The server's listening sockets, and whose connection they came on.
    #[serde(default)]
    pub(crate) held: (Vec<RawFd>, Option<RawFd>),
}

/// A worker at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerRest {
    /// Without its environment, which only its start needs: it may hold secrets.
    pub(crate) spec: LaunchSpec,
    pub(crate) state: Worker,
    /// How long ago the clock of `state` began.
    pub(crate) age: Duration,
    /// On the same clock: until when what it left running may end by itself.
    pub(crate) grace_until: Option<Duration>,
    pub(crate) process: Option<ProcessRest>,
}

/// The process of a worker at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRest {
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot; `None` when it had ended.
    pub(crate) started: Option<u64>,
    /// How it ended, and what it took, when it has been reaped.
    pub(crate) reaped: Option<(ExitStatus, Usage)>,
    /// Its output, as long as it is open.
    pub(crate) capture: Option<CaptureRest>,
    pub(crate) hold: HoldRest,
    pub(crate) group: Option<Group>,
    /// On which it says that it listens.
    pub(crate) ready: Option<RawFd>,
}

/// What holds a worker at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldRest {
    Cell(Rest),
    Fork(ForkRest),
}

/// A worker at rest in a zygote's cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForkRest {
    /// The number of the zygote.
    pub(crate) zygote: u64,
    /// Names the process.
    pub(crate) keeper: RawFd,
    /// Its number inside.
    pub(crate) inside: i32,
    /// Where it is told to end, and says how the worker ended.
    pub(crate) status: RawFd,
    pub(crate) socket: PathBuf,
    pub(crate) home: PathBuf,
}

/// A zygote at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ZygoteRest {
    pub(crate) number: u64,
    pub(crate) name: ZygoteName,
    pub(crate) content: ContentGuid,
    pub(crate) bundle: BundleId,
    pub(crate) account: Option<Account>,
    pub(crate) private: PathBuf,
    /// The outermost process of its cell.
    pub(crate) leader: i32,
    /// When that started, in clock ticks since boot; `None` when it had ended.
    pub(crate) leader_started: Option<u64>,
    /// Whether it has been reaped.
    pub(crate) reaped: bool,
    pub(crate) pid: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) started_at: OffsetDateTime,
    pub(crate) limits: Limits,
    /// Where it is told to fork.
    pub(crate) control: RawFd,
    pub(crate) cell: Rest,
    pub(crate) forks: u64,
    /// How long ago it was used last.
    pub(crate) idle: Duration,
    /// Whether it forks no more.
    pub(crate) retiring: bool,
    pub(crate) capture: Option<CaptureRest>,
    pub(crate) group: Option<Group>,
}

/// A worker's output at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CaptureRest {
    pub(crate) stdout: Option<RawFd>,
    pub(crate) stderr: Option<RawFd>,
    pub(crate) log: LogRest,
}

/// A client's connection at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionRest {
    pub(crate) socket: RawFd,
    /// What was read and not answered yet.
    pub(crate) unread: Vec<u8>,
    /// The version that was agreed on, once it was.
    pub(crate) version: Option<u32>,
    /// Whether it is told every change.
    pub(crate) watches: bool,
    /// The number of its request to replace the program, if that is what it waits for.
    pub(crate) upgrade: Option<u64>,
}

impl State {
    /// Reads a state of any version that is known here.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(StateError::NoVersion)?;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(StateError::Version { version });
        }
        serde_json::from_slice(bytes).map_err(|cause| StateError::Unreadable { version, cause })
    }

    /// The descriptors that are to stay open.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.listener, self.lock];
        all.extend(&self.held.0);
        all.extend(self.connections.iter().map(|connection| connection.socket));
        for process in self.workers.iter().filter_map(|worker| worker.process.as_ref()) {
            match &process.hold {
                HoldRest::Cell(rest) => all.extend(rest.descriptors()),
                HoldRest::Fork(fork) => all.extend([fork.keeper, fork.status]),
            }
            all.extend(process.ready);
            all.extend(process.capture.iter().flat_map(CaptureRest::descriptors));
        }
        for zygote in &self.zygotes {
            all.push(zygote.control);
            all.extend(zygote.cell.descriptors());
            all.extend(zygote.capture.iter().flat_map(CaptureRest::descriptors));
        }
        all
    }
}

impl CaptureRest {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.stdout.into_iter().chain(self.stderr).chain([self.log.file])
    }
}

/// Whether `seen` is the child of `me` that started at `started`, if that is known.
fn is_child(seen: Option<(i32, u64)>, started: Option<u64>, me: i32) -> bool {
    seen.is_some_and(|(parent, now)| parent == me && started.is_none_or(|then| then == now))
}

impl ZygoteRest {
    /// As [`ProcessRest::is`], of the outermost process of its cell.
    pub(crate) fn is(&self, seen: Option<(i32, u64)>, me: i32) -> bool {
        is_child(seen, self.leader_started, me)
    }
}

impl ProcessRest {
    /// Whether `seen`, what runs under the number now (its parent, and when it started), is the process of the record. A number
    /// alone names nothing: the kernel gives it out again. A fork is named by a handle, and is no child of this process.
    pub(crate) fn is(&self, seen: Option<(i32, u64)>, me: i32) -> bool {
        matches!(self.hold, HoldRest::Fork(_)) || is_child(seen, self.started, me)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::error::Error as _;

    use lectern_domain::worker::Moment;

    use super::*;
    use crate::spec::tests::spec;

    pub(crate) fn state() -> State {
        let capture = CaptureRest {
            stdout: Some(11),
            stderr: None,
            log: LogRest {
                path: "/var/log/a".into(),
                file: 12,
                limit: 1 << 20,
                head_end: 7,
                head_last: 1,
                last: 2,
                partial: [vec![1, 255], vec![]],
                lost_bytes: 0,
            },
        };
        let process = ProcessRest {
            pid: 77,
            started: Some(1234),
            reaped: Some((ExitStatus::Signal(9), Usage::default())),
            capture: Some(capture),
            hold: HoldRest::Cell(Rest { control: 13, heard: b"{".to_vec(), ended: None, uplink: None }),
            group: None,
            ready: Some(15),
        };
        let mut fork = process.clone();
        fork.capture = None;
        fork.ready = None;
        fork.hold = HoldRest::Fork(ForkRest {
            zygote: 3,
            keeper: 16,
            inside: 5,
            status: 17,
            socket: "/w/z3/s/1".into(),
            home: "/w/z3/home/1".into(),
        });
        let zygote = ZygoteRest {
            number: 3,
            name: ZygoteName("z".into()),
            content: spec().content,
            bundle: spec().bundle,
            account: None,
            private: "/w/z3".into(),
            leader: 80,
            leader_started: Some(1234),
            reaped: false,
            pid: 82,
            started_at: OffsetDateTime::UNIX_EPOCH,
            limits: Limits { memory_bytes: Some(1 << 30), cpu_millis: None, tasks: Some(9) },
            control: 18,
            cell: Rest { control: 19, heard: Vec::new(), ended: None, uplink: None },
            forks: 1,
            idle: Duration::from_secs(4),
            retiring: false,
            capture: None,
            group: None,
        };
        let worker = WorkerRest {
            spec: spec(),
            state: Worker::Ready { since: Moment(Duration::from_millis(1500)), crashes: 0 },
            age: Duration::from_secs(100),
            grace_until: None,
            process: Some(process),
        };
        let connection = ConnectionRest {
            socket: 14,
            unread: b"{\"id\"".to_vec(),
            version: Some(3),
            watches: true,
            upgrade: Some(4),
        };
        State {
            version: VERSION,
            config: SupervisorConfig::new("/run/l/s.sock"),
            guardian: 70,
            nofile: (1024, 4096),
            started_at: OffsetDateTime::UNIX_EPOCH,
            listener: 9,
            lock: 10,
            revision: 12,
            jobs: Vec::new(),
            ended: Vec::new(),
            workers: vec![worker.clone(), WorkerRest { process: Some(fork), ..worker }],
            zygotes: vec![zygote],
            last_zygote: 3,
            connections: vec![connection],
            held: (vec![20, 21], Some(14)),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let written = serde_json::to_vec(&state()).unwrap();
        assert_eq!(State::read(&written).unwrap(), state());
        assert_eq!(state().descriptors(), [9, 10, 20, 21, 14, 13, 15, 11, 12, 16, 17, 18, 19]);
    }

    #[test]
    fn another_version_is_named_and_not_guessed_at() {
        for version in [0, VERSION + 1, u32::MAX] {
            let text = format!(r#"{{"version":{version},"from":"another time"}}"#);
            let error = State::read(text.as_bytes()).unwrap_err();
            assert!(matches!(&error, StateError::Version { version: named } if *named == version), "{error}");
            assert!(error.to_string().contains(&format!("version {version}")), "{error}");
        }
        let error = State::read(format!(r#"{{"version":{VERSION}}}"#).as_bytes()).unwrap_err();
        assert!(error.source().unwrap().to_string().contains("config"), "{error}");
        assert!(matches!(State::read(b"{}"), Err(StateError::NoVersion(_))));
        assert!(matches!(State::read(b""), Err(StateError::NoVersion(_))));
    }

    #[test]
    fn a_field_of_a_later_program_is_passed_over() {
        let mut value = serde_json::to_value(state()).unwrap();
        value["dinosaurs"] = serde_json::json!([1, 2]);
        assert_eq!(State::read(value.to_string().as_bytes()).unwrap(), state());
    }

    #[test]
    fn a_number_names_a_process_only_with_its_start() {
        let process = state().workers.remove(0).process.unwrap();
        let check = |seen, same| assert_eq!(process.is(seen, 50), same, "{seen:?}");
        check(Some((50, 1234)), true);
        check(Some((50, 1235)), false);
        check(Some((1, 1234)), false);
        check(None, false);
        let fork = state().workers.remove(1).process.unwrap();
        assert!(fork.is(None, 50), "it has a handle");
        let zygote = state().zygotes.remove(0);
        assert!(zygote.is(Some((50, 1234)), 50) && !zygote.is(Some((50, 1235)), 50) && !zygote.is(Some((1, 1234)), 50));
    }
}
