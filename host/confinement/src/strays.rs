//! Which children of the first process inside may be there, in a cell whose program forks workers; the others are killed.
//!
//! The zygote is a child, and so are, once it has ended, the keepers of workers that it forked. Nothing else: what a worker
//! leaves comes to its keeper, and only when that was killed to this process.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys;

/// How long killed processes may take to be gone. Then whoever asked ends the whole cell.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked for them meanwhile, in milliseconds.
const LOOK_AGAIN: u16 = 2;

/// What workers of one cell share, and what is emptied when none of them is left. The home has directories of their own.
const SHARED: [&str; 2] = ["/tmp", "/dev/shm"];

/// The children of this process.
pub(crate) struct Strays {
    zygote: Option<Pid>,
    keepers: HashSet<i32>,
    /// Sweeps that are asked for, the oldest first, and since when.
    sweeps: VecDeque<(Instant, Vec<PathBuf>)>,
}

impl Strays {
    pub(crate) fn new(zygote: Pid) -> Self {
        Self { zygote: Some(zygote), keepers: HashSet::new(), sweeps: VecDeque::new() }
    }

    /// Whether nothing is left that the cell is there for.
    pub(crate) fn are_all_gone(&self) -> bool {
        self.keepers.is_empty() && self.sweeps.is_empty()
    }

    pub(crate) fn keep(&mut self, pid: i32) {
        self.keepers.insert(pid);
    }

    pub(crate) fn zygote_ended(&mut self) {
        self.zygote = None;
    }

    pub(crate) fn sweep(&mut self, pid: i32, homes: Vec<PathBuf>) {
        self.keepers.remove(&pid);
        self.sweeps.push_back((Instant::now(), homes));
    }

    /// When to look again.
    pub(crate) fn look_again(&mut self) -> PollTimeout {
        if self.sweeps.is_empty() { PollTimeout::NONE } else { LOOK_AGAIN.into() }
    }

    /// Kills what is nobody's; how the oldest sweep came out, when it is over.
    pub(crate) fn look(&mut self) -> Option<bool> {
        let (since, _) = self.sweeps.front()?;
        let late = since.elapsed() > PATIENCE;
        let found: Vec<Pid> = children().into_iter().filter(|pid| self.is_stray(*pid)).collect();
        if !found.is_empty() && !late {
            // Stopped first, all of them: who is stopped forks no more.
            for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
                for pid in &found {
                    let _ = kill(*pid, signal);
                }
            }
            return None;
        }
        let (_, homes) = self.sweeps.pop_front()?;
        for home in homes {
            let _ = fs::remove_dir_all(home);
        }
        if self.keepers.is_empty() {
            SHARED.into_iter().for_each(empty);
            sys::remove_ipc();
        }
        Some(found.is_empty())
    }

    fn is_stray(&self, pid: Pid) -> bool {
        self.zygote != Some(pid) && !self.keepers.contains(&pid.as_raw())
    }
}

/// Removes what is in a directory, but what something is mounted in or below; links are removed, not followed.
fn empty(directory: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // A place of the host that is shown here, where the data directory lies below this one.
        let path = entry.path();
        if mounts.lines().filter_map(|line| line.split(' ').nth(1)).any(|point| Path::new(point).starts_with(&path)) {
            continue;
        }
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let _ = if is_directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
    }
}

/// This process's children, those that have ended and were not reaped included.
fn children() -> Vec<Pid> {
    let me = std::process::id().cast_signed();
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent(*pid) == Some(me)).map(Pid::from_raw).collect()
}

fn parent(pid: i32) -> Option<i32> {
    // Not text: a process names itself, in any bytes; what follows the last parenthesis counts.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strays_are_whoever_nobody_keeps() {
        let mut strays = Strays::new(Pid::from_raw(2));
        strays.keep(7);
        let stray = |strays: &Strays| [2, 7, 8].map(|pid| strays.is_stray(Pid::from_raw(pid)));
        assert_eq!(stray(&strays), [false, false, true]);
        strays.zygote_ended();
        assert!(!strays.are_all_gone(), "a worker goes on without its zygote");
        assert_eq!(stray(&strays), [true, false, true]);
        strays.sweep(7, Vec::new());
        assert_eq!(stray(&strays), [true, true, true]);
        assert!(!strays.are_all_gone(), "not before it is swept");
    }

    #[test]
    fn children_are_found_by_their_parent() {
        let mut child = std::process::Command::new("/bin/sleep").arg("100").spawn().unwrap();
        assert!(children().contains(&Pid::from_raw(child.id().cast_signed())));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
