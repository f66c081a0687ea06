//! How much memory and processor time content processes take, with all that they started.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Processes that one worker may have started and that are counted; the rest of a fork bomb is for its own limits to end.
const MOST_OF_ONE: usize = 1_000;

/// Length of one tick of /proc/PID/stat: the kernel tells programs hundredths of a second on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What a process tree takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Memory it holds now.
    pub(super) bytes: u64,
    /// Processor time since it began, of those that live and of those that they have waited for.
    pub(super) cpu: Duration,
}

/// The memory of one process in bytes, without what it has started.
pub(super) fn of_one(pid: u32) -> u64 {
    of_process(pid).unwrap_or(0)
}

/// What each process tree takes. Processes that ended meanwhile count as nothing.
///
/// Reads `/proc`; to be called where waiting is allowed.
pub(super) fn of_trees(roots: &[u32]) -> Vec<Taken> {
    let census = Census::take();
    roots.iter().map(|root| census.of_tree(*root)).collect()
}

/// All processes of the host.
#[derive(Default)]
struct Census {
    children: HashMap<u32, Vec<u32>>,
    ticks: HashMap<u32, u64>,
}

impl Census {
    fn take() -> Self {
        let mut census = Self::default();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((parent, ticks)) = parent_and_ticks(&stat) else { continue };
            census.children.entry(parent).or_default().push(pid);
            census.ticks.insert(pid, ticks);
        }
        census
    }

    fn of_tree(&self, root: u32) -> Taken {
        let (mut waiting, mut bytes, mut ticks, mut seen) = (vec![root], 0, 0_u64, 0);
        while let Some(pid) = waiting.pop() {
            seen += 1;
            if seen > MOST_OF_ONE {
                break;
            }
            bytes += of_process(pid).unwrap_or(0);
            ticks = ticks.saturating_add(self.ticks.get(&pid).copied().unwrap_or(0));
            waiting.extend(self.children.get(&pid).into_iter().flatten());
        }
        Taken { bytes, cpu: TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)) }
    }
}

/// The parent, and the ticks of the process and of those that it has waited for (proc_pid_stat(5), fields 4 and 14 to 17).
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    // The name may hold anything, parentheses included: what follows the last one counts, from field 3 on.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some((parent, ticks))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7";
        assert_eq!(parent_and_ticks(stat), Some((7, 110)));
        assert_eq!(parent_and_ticks("42 (short) S 7"), None);
    }

    #[test]
    fn trees_are_measured_whole() {
        let mut shell = std::process::Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        let pid = shell.id();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let child = loop {
            if let Some(child) = Census::take().children.get(&pid).and_then(|all| all.first().copied()) {
                break child;
            }
            assert!(std::time::Instant::now() < end, "the shell starts nothing");
            std::thread::yield_now();
        };
        let [both, one, none] = of_trees(&[pid, child, u32::MAX])[..] else { unreachable!() };
        assert!(both.bytes > one.bytes && one.bytes > 0, "{both:?} {one:?}");
        assert_eq!(none, Taken::default());
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.cast_signed()), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        shell.wait().unwrap();
    }
}
