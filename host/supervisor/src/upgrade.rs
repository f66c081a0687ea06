//! Has another program take this one's place: by exec, so that the process, its children and its descriptors stay.
//!
//! The other program is asked first whether it reads the state that is written here. Then all is held still, the state goes
//! to a file in memory, and exec. What fails up to that changes nothing. A program that finds on its start that it
//! cannot go on with the state gives the place back, by the same means; one that dies is a supervisor that died.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{self, Pid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal as Signals;

use crate::procs;
use crate::protocol::{ErrorCode, Refusal};
use crate::registry::Registry;
use crate::state::{State, VERSION};
use crate::sys;

/// The first argument that makes a program say whether it reads a state.
pub(crate) const CHECK: &str = "supervisor-check";

/// The first argument that makes a program take this one's place.
pub(crate) const RESUME: &str = "supervisor-resume";

/// Instead of a program to give the place back to.
pub(crate) const NOBODY: &str = "-";

/// How long the other program may take to say whether it reads the state: it reads a few hundred bytes and writes fewer.
const CHECKED: Duration = Duration::from_secs(10);

/// Most bytes of its answer.
const ANSWER_BYTES: u64 = 4096;

/// How long to wait for a moment at which no worker is being started or cleaned up. Whoever asked may try again.
const QUIET: Duration = Duration::from_secs(20);

/// How long all may take to come to rest: no longer than a client waits for an answer, and a worker can do with a full pipe.
const STILL: Duration = Duration::from_secs(3);

/// What the check of a state says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checked {
    /// Whether it can go on with the state.
    pub(crate) reads: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
    /// Which program it is.
    pub(crate) program: String,
}

/// What of the process the other program needs besides what the registry knows.
pub(crate) struct Place {
    pub(crate) guardian: Pid,
    pub(crate) listener: RawFd,
    pub(crate) lock: RawFd,
}

/// Signals that must not be lost between one program and the other: pending, they wait for it.
pub(crate) fn kept_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect()
}

/// Becomes `program`. Returns only if that failed, and then everything is as it was; `terminate` is looked at, and when it came
/// the answer is `None`.
pub(crate) async fn attempt(
    registry: &Arc<Registry>,
    place: &Place,
    program: &Path,
    terminate: &mut Signals,
) -> Option<Refusal> {
    let refusal = |text: String| Some(Refusal::new(ErrorCode::NotUpgraded, format!("{}: {text}", program.display())));
    let busy = |text: &str| Some(Refusal::new(ErrorCode::Busy, text));
    let sample = state(registry, place, false);
    let (path, own) = (program.to_owned(), registry.own.uid);
    let checked = tokio::task::spawn_blocking(move || trusted(&path, own).and_then(|()| check(&path, &sample))).await;
    match checked {
        Ok(Ok(name)) => {
            tracing::info!(program = %program.display(), name, "another program takes the supervisor's place")
        }
        Ok(Err(text)) => return refusal(text),
        Err(error) => return refusal(format!("checking it panicked: {error}")),
    }
    let Some(frozen) = registry.freeze.begin(QUIET).await else {
        return busy("workers are being started or cleaned up all the time; try again");
    };
    if !frozen.settle(|| there(registry), STILL).await {
        return busy("a log or a connection does not come to rest; try again");
    }
    let signals = kept_signals();
    if let Err(errno) = signals.thread_block() {
        return refusal(format!("block signals: {errno}"));
    }
    // What came before the line above has been noted by the handler, and is heard after a turn of the runtime.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    let ending = futures_util::FutureExt::now_or_never(terminate.recv()).is_some();
    let failed = if ending {
        None
    } else if frozen.is_still(there(registry)) {
        // From here to the end nothing else runs in this process: what ends now is reaped by the other program.
        refusal(become_program(program, &state(registry, place, true), registry))
    } else {
        busy("something moved at the last moment; try again")
    };
    if let Err(errno) = signals.thread_unblock() {
        tracing::error!(%errno, "unblock signals");
    }
    drop(frozen);
    failed
}

/// How many workers and zygotes there are.
fn there(registry: &Registry) -> (usize, usize) {
    (registry.tasks.len(), registry.zygotes.len())
}

/// The state; `whole`: with workers and connections, which must be at rest.
fn state(registry: &Registry, place: &Place, whole: bool) -> State {
    let (jobs, ended, revision) = registry.known();
    let mut state = State {
        version: VERSION,
        config: registry.config.clone(),
        guardian: place.guardian.as_raw(),
        nofile: registry.nofile,
        started_at: registry.started_at,
        listener: place.listener,
        lock: place.lock,
        revision,
        jobs: Vec::new(),
        ended: Vec::new(),
        workers: Vec::new(),
        zygotes: Vec::new(),
        last_zygote: 0,
        connections: Vec::new(),
        held: (Vec::new(), None),
    };
    if whole {
        let resting = registry.freeze.resting();
        (state.jobs, state.ended, state.held) = (jobs, ended, registry.held.rest());
        state.workers = resting.workers.values().cloned().collect();
        state.zygotes = resting.zygotes.values().cloned().collect();
        state.last_zygote = registry.zygotes.last();
        for zygote in &mut state.zygotes {
            zygote.reaped |= resting.reaped.contains_key(&zygote.leader);
        }
        state.connections = resting.connections.values().cloned().collect();
        for process in state.workers.iter_mut().filter_map(|worker| worker.process.as_mut()) {
            process.reaped = process.reaped.or_else(|| resting.reaped.get(&process.pid).copied());
        }
    }
    state
}

/// A program that others than root and this account may change is not started with what this process may do.
fn trusted(program: &Path, own: u32) -> Result<(), String> {
    if !program.is_absolute() {
        return Err("not an absolute path".to_owned());
    }
    let file = std::fs::metadata(program).map_err(|error| format!("look at it: {error}"))?;
    let mode = file.permissions().mode();
    if !file.is_file() || mode & 0o111 == 0 {
        return Err("not a program".to_owned());
    }
    if (file.uid() != 0 && file.uid() != own) || mode & 0o002 != 0 {
        return Err(format!(
            "owned by uid {}, mode {:o}: others than root and uid {own} may change it",
            file.uid(),
            mode & 0o7777
        ));
    }
    Ok(())
}

/// Asks `program` whether it reads such a state; its name. Blocks.
fn check(program: &Path, sample: &State) -> Result<String, String> {
    let text = serde_json::to_vec(sample).map_err(|error| format!("write a state: {error}"))?;
    let child = Command::new(program)
        .arg(CHECK)
        .current_dir("/")
        .stdin(Stdio::from(File::from(memory(&text).map_err(|error| format!("keep a state in memory: {error}"))?)))
        .stdout(Stdio::piped())
        .spawn();
    let mut child =
        child.map_err(|error| format!("start it to see whether it reads the supervisor's state: {error}"))?;
    let pid = child.id().cast_signed();
    let seen = procs::read(pid);
    let stdout = child.stdout.take();
    let (said, hears) = std::sync::mpsc::sync_channel(1);
    // The reaper takes its status; its answer says all, and there is one.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = stdout.map(|stdout| stdout.take(ANSWER_BYTES).read_to_string(&mut answer));
        let _ = said.send(read.and_then(Result::ok).map(|_| answer));
    });
    let answer = hears.recv_timeout(CHECKED);
    if let (Some(seen), Some(now)) = (seen, procs::read(pid))
        && answer.is_err()
        && now.name() == seen.name()
    {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let Ok(answer) = answer else {
        return Err(format!("it did not say within {CHECKED:?} whether it reads the supervisor's state"));
    };
    judge(answer.as_deref().unwrap_or_default())
}

/// What an answer means.
fn judge(answer: &str) -> Result<String, String> {
    match serde_json::from_str::<Checked>(answer.trim()) {
        Ok(Checked { reads: true, program, .. }) => Ok(program),
        Ok(Checked { because, .. }) => {
            Err(because.unwrap_or_else(|| "it does not read the supervisor's state".to_owned()))
        }
        Err(_) => {
            let said: String = answer.trim().chars().take(200).collect();
            Err(format!("it does not know how to take a supervisor's place: asked for {CHECK}, it said {said:?}"))
        }
    }
}

/// A file in memory that holds `bytes`, ready to be read.
fn memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"lectern-supervisor", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Execs; why it did not.
fn become_program(program: &Path, state: &State, registry: &Registry) -> String {
    let prepared = || -> io::Result<(OwnedFd, Vec<RawFd>)> {
        let memory = memory(&serde_json::to_vec(state)?)?;
        let mut kept = state.descriptors();
        kept.extend([memory.as_raw_fd(), registry.program.as_raw_fd()]);
        Ok((memory, kept))
    };
    let (memory, kept) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => return format!("write the supervisor's state: {error}"),
    };
    let socket = registry.config.socket.as_os_str().as_bytes();
    let before = registry.program.as_raw_fd().to_string();
    let words =
        [RESUME.as_bytes(), memory.as_raw_fd().to_string().as_bytes(), before.as_bytes(), socket].map(CString::new);
    let path = CString::new(program.as_os_str().as_bytes());
    let (Ok(path), [Ok(resume), Ok(memory_number), Ok(before), Ok(socket)]) = (path, words) else {
        return "its path holds a zero byte".to_owned();
    };
    let failed = match sys::keep_over_exec(&kept, true) {
        Ok(()) => match unistd::execv(&path, &[path.clone(), resume, memory_number, before, socket]) {
            Err(errno) => format!("become it: {}", io::Error::from(errno)),
            Ok(never) => match never {},
        },
        Err(error) => format!("keep the descriptors open: {error}"),
    };
    if let Err(error) = sys::keep_over_exec(&kept, false) {
        tracing::error!(%error, "descriptors may leak into workers");
    }
    failed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::state::tests::state;

    #[test]
    fn only_a_program_that_reads_the_state_is_taken() {
        assert_eq!(judge("{\"reads\":true,\"program\":\"0.2.0\"}\n").unwrap(), "0.2.0");
        assert_eq!(judge("{\"reads\":false,\"because\":\"too new\",\"program\":\"0.0.1\"}").unwrap_err(), "too new");
        for answer in ["", "error: unrecognized subcommand", "{}", "true"] {
            assert!(judge(answer).unwrap_err().contains(CHECK), "{answer}");
        }
    }

    #[test]
    fn programs_that_are_none_are_refused_before_anything() {
        let own = nix::unistd::geteuid().as_raw();
        assert!(trusted(Path::new("bin/sh"), own).unwrap_err().contains("absolute"));
        assert!(trusted(Path::new("/nowhere/lectern"), own).unwrap_err().contains("No such file"));
        assert!(trusted(Path::new("/"), own).unwrap_err().contains("not a program"));
        trusted(Path::new("/bin/sh"), own).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::write(&open, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(trusted(&open, own).unwrap_err().contains("may change it"));
        // Runs, and has never heard of this.
        assert!(check(Path::new("/bin/true"), &state()).unwrap_err().contains(CHECK));
    }
}
