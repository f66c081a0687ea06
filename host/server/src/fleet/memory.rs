//! How much memory content processes take, with all that they started.

use std::collections::HashMap;
use std::path::Path;

/// Processes that one worker may have started and that are counted; the rest of a fork bomb is for its own limits to end.
const MOST_OF_ONE: usize = 1_000;

/// The memory of each process tree in bytes. Processes that ended meanwhile count as nothing.
///
/// Reads `/proc`; to be called where waiting is allowed.
pub(super) fn of_trees(roots: &[u32]) -> Vec<u64> {
    let children = children();
    roots.iter().map(|root| of_tree(*root, &children)).collect()
}

/// The memory of one process in bytes, without what it has started.
pub(super) fn of_one(pid: u32) -> u64 {
    of_process(pid).unwrap_or(0)
}

fn of_tree(root: u32, children: &HashMap<u32, Vec<u32>>) -> u64 {
    let (mut waiting, mut bytes, mut seen) = (vec![root], 0, 0);
    while let Some(pid) = waiting.pop() {
        seen += 1;
        if seen > MOST_OF_ONE {
            break;
        }
        bytes += of_process(pid).unwrap_or(0);
        waiting.extend(children.get(&pid).into_iter().flatten());
    }
    bytes
}

/// The share of one process in the memory it holds (pages shared with others count in part), where that may be read;
/// otherwise all it holds.
fn of_process(pid: u32) -> Option<u64> {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:").or_else(|| field(&format!("/proc/{pid}/status"), "VmRSS:"))
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// All processes by parent.
fn children() -> HashMap<u32, Vec<u32>> {
    let mut found: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name may hold anything, parentheses included: what follows the last one counts.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            found.entry(parent).or_default().push(pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trees_are_measured_whole() {
        let mut shell = std::process::Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        let pid = shell.id();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let child = loop {
            if let Some(child) = children().get(&pid).and_then(|all| all.first().copied()) {
                break child;
            }
            assert!(std::time::Instant::now() < end, "the shell starts nothing");
            std::thread::yield_now();
        };
        let [both, one, none] = of_trees(&[pid, child, u32::MAX])[..] else { unreachable!() };
        assert!(both > one && one > 0 && none == 0, "{both} {one} {none}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.cast_signed()), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        shell.wait().unwrap();
    }
}
