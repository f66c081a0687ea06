//! What runs below the supervisor, and which of it a worker left behind.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

/// One process, as `/proc/<pid>/stat` has it (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// The uid it runs as; 0 also when it hides itself from debuggers.
    pub(crate) uid: u32,
    /// When it started, in clock ticks since boot: with the pid, names it for ever.
    pub(crate) started: u64,
    /// Whether it has ended and waits to be reaped.
    pub(crate) zombie: bool,
}

impl Process {
    /// What names it for ever.
    pub(crate) fn name(&self) -> (i32, u64) {
        (self.pid, self.started)
    }
}

/// Listings of one census. The second finds what the first missed, mostly nothing; more are needed only where processes
/// come faster than they are listed.
const LISTINGS: usize = 16;

/// All processes of a moment.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) processes: Vec<Process>,
    /// Whether none is missing that lived at the end of it.
    pub(crate) complete: bool,
}

/// Takes a census.
///
/// `/proc` is listed again until it names nothing new: a listed process may have made another and ended before it is
/// read, and what does so all the time would be in no listing twice.
pub(crate) fn census() -> io::Result<Census> {
    let (mut seen, mut census) = (HashSet::new(), Census::default());
    for _ in 0..LISTINGS {
        let before = seen.len();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
                && seen.insert(pid)
            {
                census.processes.extend(read(pid));
            }
        }
        if seen.len() == before {
            census.complete = true;
            break;
        }
    }
    Ok(census)
}

/// Whether a process is missing that others name as their parent: those then seem to descend from nobody. It happens when
/// processes end while a census is taken and numbers start over at the low end.
fn is_torn(census: &[Process]) -> bool {
    let known: HashSet<i32> = census.iter().map(|process| process.pid).collect();
    census.iter().any(|process| process.parent != 0 && !known.contains(&process.parent))
}

/// One process; `None` when it is gone.
pub(crate) fn read(pid: i32) -> Option<Process> {
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let uid = file.metadata().ok()?.uid();
    // Not text: a process names itself, in any bytes.
    let mut stat = Vec::new();
    file.read_to_end(&mut stat).ok()?;
    parse(&String::from_utf8_lossy(&stat), uid)
}

/// The number that a process has in its innermost namespace (proc_pid_status(5), `NSpid`).
pub(crate) fn number_inside(pid: i32) -> Option<i32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().next_back()?.parse().ok()
}

fn parse(stat: &str, uid: u32) -> Option<Process> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    // The name stands in parentheses and may hold more of them, and spaces.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse::<i32>().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    // Field 22 of the line; six have been taken.
    let started = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, group, session, uid, started, zombie })
}

/// All that descend from `ancestor`, without it and without what has ended.
pub(crate) fn descendants(census: &[Process], ancestor: i32) -> Vec<Process> {
    let parents: HashMap<i32, i32> = census.iter().map(|process| (process.pid, process.parent)).collect();
    let below = |process: &Process| ancestry(&parents, process.pid).skip(1).any(|pid| pid == ancestor);
    census.iter().filter(|process| !process.zombie && below(process)).copied().collect()
}

/// What is left of a worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) processes: Vec<Process>,
    /// Whether these are all. A process that forks and ends all the time may be gone before it can be looked at.
    pub(crate) sure: bool,
}

/// What is left of the worker that `leader` was: descendants of the supervisor `me` that belong to no worker in `live`
/// and are in the session or group of `leader`, descend from such a one, or are `marked`.
///
/// A worker leads a session, and what it starts is in it, however often its parents die. Only a process that makes a
/// session of its own and outlives its parent (a daemon) is in none of ours: `marked` then tells by what it looks like,
/// `None` when it is gone by now.
pub(crate) fn left_by(
    census: &Census,
    me: i32,
    leader: i32,
    live: &HashSet<i32>,
    marked: impl Fn(&Process) -> Option<bool>,
) -> Left {
    let Census { processes: census, complete } = census;
    let parents: HashMap<i32, i32> = census.iter().map(|process| (process.pid, process.parent)).collect();
    let by_pid: HashMap<i32, &Process> = census.iter().map(|process| (process.pid, process)).collect();
    let is_left = |process: &Process| -> Option<bool> {
        // From the process upwards to the supervisor: the first that is in a session we know decides.
        let mut top = process;
        for pid in ancestry(&parents, process.pid).take_while(|pid| *pid != me) {
            let Some(process) = by_pid.get(&pid) else { break };
            for id in [process.session, process.group, process.pid] {
                // A live worker first: it may have been given the number of the one that ended.
                if live.contains(&id) {
                    return Some(false);
                }
                if id == leader {
                    return Some(true);
                }
            }
            top = process;
        }
        marked(top)
    };
    let mut left = Left { processes: Vec::new(), sure: *complete && !is_torn(census) };
    for process in descendants(census, me) {
        match is_left(&process) {
            Some(true) => left.processes.push(process),
            Some(false) => {}
            None => left.sure = false,
        }
    }
    left
}

/// `pid` and its ancestors, nearest first.
fn ancestry(parents: &HashMap<i32, i32>, pid: i32) -> impl Iterator<Item = i32> {
    let mut seen = 0;
    std::iter::successors(Some(pid), move |pid| {
        // A census is not one moment: pids may have been used again, even in a circle.
        seen += 1;
        (seen <= parents.len()).then(|| parents.get(pid).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, group: session, session, uid: 0, started: 0, zombie: false }
    }

    fn left(census: &[Process], leader: i32, live: &[i32], marked: &[i32]) -> Vec<i32> {
        let live = live.iter().copied().collect();
        let census = Census { processes: census.to_vec(), complete: true };
        let found = left_by(&census, 10, leader, &live, |process| Some(marked.contains(&process.pid)));
        found.processes.into_iter().map(|process| process.pid).collect()
    }

    #[test]
    fn reads_a_line_with_an_awkward_name() {
        let stat = "42 (a) b (c)) S 7 42 43 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200";
        let want = Process { pid: 42, parent: 7, group: 42, session: 43, uid: 5, started: 987_654, zombie: false };
        assert_eq!(parse(stat, 5), Some(want));
        assert_eq!(parse("42 (x) Z 7 42 43", 5), None);
        assert_eq!(parse("", 5), None);
    }

    #[test]
    fn finds_itself() {
        let me = read(std::process::id() as i32).unwrap();
        assert!(census().unwrap().processes.contains(&me));
    }

    #[test]
    fn a_session_belongs_to_its_worker() {
        let census = [process(10, 1, 10), process(20, 10, 20), process(21, 10, 30), process(22, 21, 30)];
        assert_eq!(left(&census, 30, &[20], &[]), [21, 22]);
        assert_eq!(left(&census, 20, &[], &[]), [20], "the leader itself while it runs");
    }

    #[test]
    fn a_new_session_below_a_worker_belongs_to_it() {
        let census = [process(10, 1, 10), process(31, 10, 30), process(32, 31, 32), process(33, 32, 33)];
        assert_eq!(left(&census, 30, &[], &[]), [31, 32, 33]);
        let census = [process(10, 1, 10), process(20, 10, 20), process(21, 20, 21), process(22, 21, 21)];
        assert_eq!(left(&census, 30, &[20], &[20, 21, 22]), [0; 0], "another worker's, whatever it looks like");
    }

    #[test]
    fn a_daemon_belongs_by_its_marks() {
        let census = [process(10, 1, 10), process(40, 10, 40), process(41, 40, 41), process(50, 10, 50)];
        assert_eq!(left(&census, 30, &[], &[40]), [40, 41]);
    }

    #[test]
    fn what_is_gone_before_it_is_looked_at_leaves_doubt() {
        let processes = vec![process(1, 0, 1), process(10, 1, 10), process(40, 10, 40)];
        let mut census = Census { processes, complete: true };
        let left = left_by(&census, 10, 30, &HashSet::new(), |_| None);
        assert_eq!(left, Left { processes: vec![], sure: false });
        assert!(left_by(&census, 10, 30, &HashSet::new(), |_| Some(false)).sure);
        census.complete = false;
        assert!(!left_by(&census, 10, 30, &HashSet::new(), |_| Some(false)).sure);
    }

    #[test]
    fn others_and_the_dead_are_left_alone() {
        let mut dead = process(21, 10, 30);
        dead.zombie = true;
        let census = [process(10, 1, 10), dead, process(99, 1, 30), process(1, 0, 1)];
        assert_eq!(left(&census, 30, &[], &[99]), [0; 0]);
        let circle = [process(5, 6, 5), process(6, 5, 6)];
        assert_eq!(descendants(&circle, 10), []);
    }

    #[test]
    fn a_missing_parent_is_noticed() {
        assert!(!is_torn(&[process(1, 0, 1), process(10, 1, 10)]));
        assert!(is_torn(&[process(1, 0, 1), process(10, 1, 10), process(30, 29, 10)]));
    }
}
