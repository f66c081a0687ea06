//! What a worker has taken so far, read before it is killed.
//!
//! The kernel counts the time of those that were waited for. When a namespace of processes is killed, nobody waits for what was
//! in it: what these took would be lost, and it is workers out of control that are killed.

use std::fs;
use std::time::Duration;

use lectern_confinement::cgroup::Group;

use crate::procs;
use crate::protocol::Usage;

/// How long the look may take. A kill does not wait for a fork bomb to be counted.
const LOOK: Duration = Duration::from_millis(200);

/// Length of one tick of /proc/PID/stat: hundredths of a second on every architecture (`USER_HZ`).
const TICK_MS: u64 = 10;

/// What `pid` and all below it took until now; `None` when that could not be seen in time.
pub(crate) async fn until_now(pid: i32) -> Option<Usage> {
    let look = tokio::task::spawn_blocking(move || {
        let census = procs::census().ok()?;
        let below = procs::descendants(&census.processes, pid).into_iter().map(|process| process.pid);
        Some(below.chain([pid]).filter_map(of_process).fold(Usage::default(), most))
    });
    tokio::time::timeout(LOOK, look).await.ok()?.ok()?
}

/// The time of both, and the larger memory.
fn most(a: Usage, b: Usage) -> Usage {
    Usage { cpu: a.cpu + b.cpu, peak_memory_bytes: a.peak_memory_bytes.max(b.peak_memory_bytes) }
}

/// One process, with those that it has waited for (proc_pid_stat(5), fields 14 to 17; proc_pid_status(5), VmHWM).
fn of_process(pid: i32) -> Option<Usage> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak_memory_bytes = peak.unwrap_or(0_u64).saturating_mul(1024);
    Some(Usage { cpu: Duration::from_millis(ticks.saturating_mul(TICK_MS)), peak_memory_bytes })
}

/// Puts together what was counted when the process was reaped, what was seen before it was killed, and what its group knows, which
/// has what escaped the process, too.
pub(crate) fn in_all(reaped: Option<Usage>, seen: Option<Usage>, group: Option<&Group>) -> Option<Usage> {
    let counted = reaped.into_iter().chain(seen);
    let (cpu, peak) = (group.and_then(Group::cpu_time), group.and_then(Group::peak_memory));
    let usage = counted.reduce(|a, b| Usage {
        cpu: a.cpu.max(b.cpu),
        peak_memory_bytes: a.peak_memory_bytes.max(b.peak_memory_bytes),
    })?;
    Some(Usage {
        cpu: cpu.unwrap_or_default().max(usage.cpu),
        peak_memory_bytes: peak.unwrap_or(usage.peak_memory_bytes),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_larger_count_is_the_truer_one() {
        let usage = |millis, bytes| Usage { cpu: Duration::from_millis(millis), peak_memory_bytes: bytes };
        assert_eq!(in_all(None, None, None), None);
        assert_eq!(in_all(Some(usage(5, 9)), None, None), Some(usage(5, 9)));
        assert_eq!(in_all(Some(usage(5, 9)), Some(usage(700, 3)), None), Some(usage(700, 9)));
    }

    #[tokio::test]
    async fn a_running_process_is_looked_at() {
        let me = std::process::id().cast_signed();
        assert!(until_now(me).await.unwrap().peak_memory_bytes > 1 << 20);
    }
}
