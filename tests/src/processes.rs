//! Which processes work on a directory: how a test knows that nothing was left behind.

use std::path::Path;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// Its command line, the arguments separated by blanks.
    pub command: String,
}

/// All living processes that run from `directory`, in it, or with it on their command line. Zombies are dead.
pub fn working_on(directory: &Path) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("list /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid == std::process::id().cast_signed() {
            continue;
        }
        // A process may end while it is looked at.
        let Ok(words) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let Some((state, parent)) = state_and_parent(pid) else { continue };
        let command = String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned();
        let link = |name| std::fs::read_link(entry.path().join(name)).is_ok_and(|target| target.starts_with(directory));
        // The guardian's own command line names the directory too; it ends with the test.
        let names =
            directory.to_str().is_some_and(|text| command.contains(text)) && !command.contains("lectern-guardian");
        if state != 'Z' && (names || link("cwd") || link("exe")) {
            found.push(Process { pid, parent, command });
        }
    }
    found
}

/// A process's state letter and parent, from `/proc/<pid>/stat`; `None` when it has ended.
pub fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Most memory that the process has had resident since [`forget_peak`], in bytes.
pub fn peak_resident_bytes(pid: i32) -> u64 {
    memory(pid, "VmHWM:")
}

/// Memory that the process has resident now, in bytes.
pub fn resident_bytes(pid: i32) -> u64 {
    memory(pid, "VmRSS:")
}

/// Begins the count of [`peak_resident_bytes`] anew.
pub fn forget_peak(pid: i32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("reset the peak");
}

fn memory(pid: i32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("read the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a memory line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn finds_who_works_on_a_directory() {
        let scratch = Scratch::new();
        let there = || working_on(scratch.path()).into_iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!(there(), [0; 0]);
        let mut inside =
            std::process::Command::new("sleep").arg("100").current_dir(scratch.path()).spawn().expect("sleep");
        let pid = inside.id().cast_signed();
        assert_eq!(there(), [pid]);
        assert_eq!(state_and_parent(pid).map(|(_, parent)| parent), Some(std::process::id().cast_signed()));
        // It may grow between the two: the peak is read last.
        let resident = resident_bytes(pid);
        assert!(peak_resident_bytes(pid) >= resident);
        inside.kill().expect("kill");
        inside.wait().expect("reap");
        assert_eq!(there(), [0; 0]);
    }
}
