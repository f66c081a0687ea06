//! PostgreSQL's main process: started or adopted, watched through its pid file, stopped.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lectern_domain::launch::Account;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tracing::warn;

use super::binaries::Binaries;
use super::layout::{Layout, tail};
use super::{ClusterError, io_error};

/// How often a state is looked at while it is waited for.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// How long a process may take to write its pid file or end: it does little before that.
const FIRST_SIGN: Duration = Duration::from_secs(30);

/// How long to try again when PostgreSQL ends at once: processes of one that was killed hold its shared memory until they
/// notice, and one that is stopping holds its pid file.
const TRY_AGAIN: Duration = Duration::from_secs(20);

/// How long crash recovery may take before this start gives up; PostgreSQL goes on and the next start adopts it. At most
/// `max_wal_size` is replayed: seconds, a few minutes on the slowest volume.
const RECOVERY_LIMIT: Duration = Duration::from_secs(900);

/// What to send to stop it, and how long to wait then: first it ends its connections and writes everything, a last checkpoint
/// on a slow disk included; after that it is told to leave the tidying up to the next start.
pub(super) const STOPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(60)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
    (Signal::SIGKILL, Duration::from_secs(10)),
];

/// Settings that the cluster always runs with. Given on the command line, they overrule its configuration files.
const SETTINGS: &[&str] = &[
    // No TCP at all; the socket is the account's alone.
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    // Two servers' pools of 16, their listeners and a person's psql, with room.
    "max_connections=64",
    // The whole of the metadata of thousands of content items fits; the rest is the file cache's work.
    "shared_buffers=32MB",
    "work_mem=4MB",
    "maintenance_work_mem=32MB",
    "max_wal_size=256MB",
    "min_wal_size=32MB",
    // Queries are short: neither helpers nor compilation pay.
    "max_parallel_workers_per_gather=0",
    "jit=off",
    "max_wal_senders=0",
    "wal_level=minimal",
    "huge_pages=off",
    // What was confirmed stays.
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "logging_collector=off",
    "log_destination=stderr",
    "log_min_messages=warning",
    "log_checkpoints=off",
    "log_line_prefix=%m [%p] ",
];

/// A running PostgreSQL.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    /// `None`: adopted from a server that was killed.
    child: Option<Child>,
    data: PathBuf,
    socket_dir: PathBuf,
}

/// A command that runs as `account` when we are root, in a process group of its own, with almost no environment. A
/// terminal's Ctrl-C goes to our group only.
pub(super) fn command(program: &Path, account: Account) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    command.current_dir("/").process_group(0).stdin(Stdio::null());
    if geteuid().is_root() {
        // The standard library also empties the list of further groups.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

impl Postmaster {
    /// Adopts the process that runs this cluster, or starts one, and waits until it accepts connections.
    pub(super) fn adopt_or_start(layout: &Layout, binaries: &Binaries) -> Result<Self, ClusterError> {
        layout.bound_log()?;
        let deadline = Instant::now() + TRY_AGAIN;
        loop {
            let attempt = match running(&layout.data) {
                Some(found) => Self::adopt(layout, found),
                None => Self::start(layout, binaries)?,
            };
            match attempt.wait_ready(layout)? {
                Ok(postmaster) => return Ok(postmaster),
                Err(reason) if Instant::now() > deadline => {
                    let (log, tail) = (layout.log_file(), tail(&layout.log_file(), 2000));
                    return Err(ClusterError::Start { reason, log, tail });
                }
                Err(reason) => {
                    warn!(reason, "the private database did not start; trying again");
                    sleep(POLL * 10);
                }
            }
        }
    }

    fn adopt(layout: &Layout, found: Running) -> Self {
        let socket_dir = found.socket_dir.unwrap_or_else(|| layout.socket_dir.clone());
        Self { pid: found.pid, child: None, data: layout.data.clone(), socket_dir }
    }

    fn start(layout: &Layout, binaries: &Binaries) -> Result<Self, ClusterError> {
        remove_foreign_lock(&layout.data.join("postmaster.pid"), &layout.data)?;
        remove_foreign_lock(&layout.socket_dir.join(".s.PGSQL.5432.lock"), &layout.data)?;
        let program = binaries.dir.join("postgres");
        let (log, errors) = (layout.open_log()?, layout.open_log()?);
        let mut command = command(&program, layout.account);
        command.arg("-D").arg(&layout.data);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.arg("-c").arg(format!("unix_socket_directories=\"{}\"", layout.socket_dir.display()));
        let child = command.stdout(log).stderr(errors).spawn().map_err(io_error("run", &program))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("Linux process ids are below 2^22"));
        Ok(Self { pid, child: Some(child), data: layout.data.clone(), socket_dir: layout.socket_dir.clone() })
    }

    /// Waits until it accepts connections. The inner error says why it does not.
    fn wait_ready(mut self, layout: &Layout) -> Result<Result<Self, String>, ClusterError> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(Err(status));
            }
            let file = PidFile::read(&layout.data);
            match &file {
                Some(file) if file.pid == self.pid.as_raw() && file.ready => return Ok(Ok(self)),
                Some(file) if file.pid == self.pid.as_raw() && begun.elapsed() > RECOVERY_LIMIT => {
                    let seconds = RECOVERY_LIMIT.as_secs();
                    return Ok(Err(format!("process {} is not ready after {seconds} s", self.pid)));
                }
                Some(file) if file.pid == self.pid.as_raw() => {}
                _ if begun.elapsed() > FIRST_SIGN => {
                    // Reaped by the next look at it, or by the end of this process; without a pid file it holds nothing.
                    self.signal(Signal::SIGKILL);
                    let seconds = FIRST_SIGN.as_secs();
                    return Ok(Err(format!("process {} wrote no pid file within {seconds} s", self.pid)));
                }
                _ => {}
            }
            sleep(POLL);
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub(super) fn adopted(&self) -> bool {
        self.child.is_none()
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended; `None` while it runs. Reaps it when it is our child.
    fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(status) => status.map(|status| format!("process {} ended with {status}", self.pid)),
                Err(error) => Some(format!("process {} is lost: {error}", self.pid)),
            },
            None if is_postmaster(self.pid, &self.data) => None,
            None => Some(format!("process {} ended", self.pid)),
        }
    }

    /// Asks it to stop; `false` when it has ended.
    pub(super) fn signal(&mut self, signal: Signal) -> bool {
        if self.ended().is_some() {
            return false;
        }
        if signal != Signal::SIGINT {
            warn!(db.pid = self.pid.as_raw(), signal = signal.as_str(), "the private database does not stop");
        }
        // Fails only when it has just ended.
        let _ = kill(self.pid, signal);
        true
    }
}

/// A main process of this cluster that runs.
struct Running {
    pid: Pid,
    socket_dir: Option<PathBuf>,
}

/// The process that the pid file names, when it is alive and runs this cluster.
fn running(data: &Path) -> Option<Running> {
    let file = PidFile::read(data)?;
    let pid = Pid::from_raw(file.pid);
    is_postmaster(pid, data).then_some(Running { pid, socket_dir: file.socket_dir })
}

/// Whether the process works in the cluster's directory, as PostgreSQL's processes do. A process that has ended, reaped
/// or not, has no working directory; a number used again belongs to a process that works elsewhere.
fn is_postmaster(pid: Pid, data: &Path) -> bool {
    let real = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == real)
}

/// Removes a lock file whose process is alive but not this cluster's: its number was used again after a crash, and
/// PostgreSQL, which cannot tell, would refuse to start. Files of processes that are gone PostgreSQL removes itself.
fn remove_foreign_lock(path: &Path, data: &Path) -> Result<(), ClusterError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    let foreign = match pid.map(|pid| Pid::from_raw(pid.abs())) {
        Some(pid) => kill(pid, None).is_ok() && !is_postmaster(pid, data),
        // Cut while it was written.
        None => true,
    };
    if foreign {
        warn!(file = %path.display(), "removed a lock file of a process that is gone");
        fs::remove_file(path).map_err(io_error("remove", path))?;
    }
    Ok(())
}

/// What `postmaster.pid` says.
#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    pid: i32,
    socket_dir: Option<PathBuf>,
    ready: bool,
}

impl PidFile {
    fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    /// Lines: pid, data directory, start time, port, socket directory, listen address, shared memory, state.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let pid: i32 = lines.first()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let socket_dir = lines.get(4).filter(|line| !line.is_empty()).map(PathBuf::from);
        let ready = lines.get(7).is_some_and(|state| state.trim() == "ready");
        Some(Self { pid, socket_dir, ready })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files_are_read_whole_or_cut() {
        let whole = "77\n/d/data\n1700000000\n5432\n/d/s\n\n  5432001  3\nready   \n";
        let parsed =
            |pid, socket: Option<&str>, ready| Some(PidFile { pid, socket_dir: socket.map(Into::into), ready });
        assert_eq!(PidFile::parse(whole), parsed(77, Some("/d/s"), true));
        assert_eq!(PidFile::parse(&whole.replace("ready   ", "starting")), parsed(77, Some("/d/s"), false));
        assert_eq!(PidFile::parse(&whole.replace("ready   ", "stopping")), parsed(77, Some("/d/s"), false));
        assert_eq!(PidFile::parse("77\n"), parsed(77, None, false));
        for bad in ["", "\n", "x\n", "1\n", "-77\n"] {
            assert_eq!(PidFile::parse(bad), None, "{bad:?}");
        }
    }
}
