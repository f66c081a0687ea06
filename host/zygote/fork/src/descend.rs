//! Whatever descends from this process, and its end.

use std::collections::{HashMap, HashSet};
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Looks in which what was found is stopped before anything is killed: who is stopped forks no more.
const STOPS: usize = 3;

/// All that descend from this process now, without what has ended.
pub(crate) fn all() -> Vec<Pid> {
    let me = std::process::id().cast_signed();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Not text: a process names itself, in any bytes; what follows the last parenthesis counts.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        let (Some(state), Some(parent)) = (fields.next(), fields.next().and_then(|text| text.parse().ok())) else {
            continue;
        };
        if !matches!(state, "Z" | "X") {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut waiting, mut found) = (vec![me], Vec::new());
    while let Some(pid) = waiting.pop() {
        for child in children.remove(&pid).into_iter().flatten() {
            found.push(Pid::from_raw(child));
            waiting.push(child);
        }
    }
    found
}

/// Signals all that descend from this process.
pub(crate) fn signal(signal: Signal) {
    for pid in all() {
        let _ = kill(pid, signal);
    }
}

/// Kills all that descend from this process and are seen now.
pub(crate) fn kill_all() {
    let mut stopped = HashSet::new();
    for _ in 0..STOPS {
        let before = stopped.len();
        for pid in all() {
            if stopped.insert(pid) {
                let _ = kill(pid, Signal::SIGSTOP);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    stopped.extend(all());
    for pid in stopped {
        let _ = kill(pid, Signal::SIGKILL);
    }
}
