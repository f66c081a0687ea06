//! What the whole machine has room for: processes and memory. Where there is none, the worker that has been idle for longest
//! makes room, and before any worker a zygote that waits for its next; where nobody is idle, the start waits.

use std::fmt;
use std::time::Duration;

/// A worker that has just answered is not taken away: two busy content items would only take each other's.
pub const RECLAIM_AFTER: Duration = Duration::from_secs(2);

/// What one worker is taken to need before one of its content has been measured: an interpreter with a web framework
/// holds 50 to 130 MiB.
pub const UNMEASURED_BYTES: u64 = 128 << 20;

/// What runs, and what may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Content processes, those that start and those that end included.
    pub processes: usize,
    /// Those among them that are ending.
    pub ending: usize,
    /// Most at a time.
    pub most_processes: usize,
    /// Memory of all of them and of zygotes, in bytes.
    pub memory: u64,
    /// Memory of those that are ending.
    pub ending_memory: u64,
    /// Most memory of all together.
    pub memory_budget: u64,
    /// Starts that come before the one asked for: somebody waits for them and has no worker at all.
    pub before: usize,
}

/// A worker that could make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle<W> {
    /// Which.
    pub worker: W,
    /// How long it has had nothing to do.
    pub idle: Duration,
    /// Whether it is a zygote without workers: it serves nobody, and its memory is all that it takes.
    pub zygote: bool,
}

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Processes.
    Processes {
        /// How many run.
        running: usize,
        /// How many may.
        most: usize,
    },
    /// Memory, in bytes.
    Memory {
        /// What all take.
        used: u64,
        /// What all may take.
        budget: u64,
        /// What one more is expected to take.
        needed: u64,
    },
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        match self {
            Self::Processes { running, most } => {
                write!(
                    f,
                    "{running} of the server's {most} content processes run (content.max_processes_total), none of them idle"
                )
            }
            Self::Memory { used, budget, needed } => write!(
                f,
                "content processes hold {} MiB of the {} MiB they may (content.memory_budget_bytes), one more needs about {} MiB, \
                 and none is idle",
                mib(*used),
                mib(*budget),
                mib(*needed)
            ),
        }
    }
}

impl Shortage {
    /// A word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Processes { .. } => "processes",
            Self::Memory { .. } => "memory",
        }
    }
}

/// What becomes of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant<W> {
    /// There is room.
    Start,
    /// There will be when this worker is gone: let it go and ask again when it has ended.
    Reclaim(W, Shortage),
    /// There is none; ask again when a worker has ended or become idle.
    Wait(Shortage),
}

/// Decides whether one more worker, expected to take `needed` bytes, may start. `idle`: workers of other pools that are above
/// their pool's minimum and have nothing to do.
pub fn grant<W>(machine: &Machine, needed: u64, idle: impl Iterator<Item = Idle<W>>) -> Grant<W> {
    let mut zygotes = Vec::new();
    let mut workers = Vec::new();
    for one in idle.filter(|one| one.idle >= RECLAIM_AFTER) {
        if one.zygote { zygotes.push(one) } else { workers.push(one) }
    }
    let shortage = |processes: usize, memory: u64| {
        if processes >= machine.most_processes {
            Some(Shortage::Processes { running: machine.processes, most: machine.most_processes })
        } else if (processes > 0 || !zygotes.is_empty()) && memory.saturating_add(needed) > machine.memory_budget {
            // A single process larger than the budget runs alone: it would never run otherwise.
            let (used, budget) = (machine.memory, machine.memory_budget);
            Some(Shortage::Memory { used, budget, needed })
        } else {
            None
        }
    };
    let first = needed.saturating_mul(machine.before as u64);
    let Some(short) = shortage(machine.processes + machine.before, machine.memory.saturating_add(first)) else {
        return Grant::Start;
    };
    let left = machine.processes.saturating_sub(machine.ending) + machine.before;
    // Those that are ending already make the room.
    if shortage(left, machine.memory.saturating_sub(machine.ending_memory).saturating_add(first)).is_none() {
        return Grant::Wait(short);
    }
    if matches!(short, Shortage::Processes { .. }) {
        zygotes.clear();
    }
    let longest = |all: Vec<Idle<W>>| all.into_iter().max_by_key(|one| one.idle);
    let spare = longest(zygotes).or_else(|| longest(workers));
    spare.map_or(Grant::Wait(short), |one| Grant::Reclaim(one.worker, short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn machine(processes: usize, ending: usize, mib: u64) -> Machine {
        Machine {
            processes,
            ending,
            most_processes: 4,
            memory: mib * MIB,
            ending_memory: if ending > 0 { mib / processes as u64 * ending as u64 * MIB } else { 0 },
            memory_budget: 1_000 * MIB,
            before: 0,
        }
    }

    fn ask(machine: Machine, needed: u64, idle: &[(char, u64)]) -> (char, char) {
        let idle = idle.iter().map(|(worker, secs)| Idle {
            worker: *worker,
            idle: Duration::from_secs(*secs),
            zygote: worker.is_uppercase(),
        });
        match grant(&machine, needed * MIB, idle) {
            Grant::Start => ('s', '-'),
            Grant::Reclaim(worker, Shortage::Processes { .. }) => ('p', worker),
            Grant::Reclaim(worker, Shortage::Memory { .. }) => ('m', worker),
            Grant::Wait(Shortage::Processes { .. }) => ('p', '-'),
            Grant::Wait(Shortage::Memory { .. }) => ('m', '-'),
        }
    }

    #[test]
    fn grants() {
        assert_eq!(ask(machine(0, 0, 0), 100, &[]), ('s', '-'));
        assert_eq!(ask(machine(3, 0, 300), 100, &[('a', 900)]), ('s', '-'));
        assert_eq!(ask(machine(4, 0, 400), 100, &[]), ('p', '-'));
        assert_eq!(ask(machine(4, 0, 400), 100, &[('a', 5), ('b', 9), ('c', 7)]), ('p', 'b'));
        assert_eq!(ask(machine(4, 0, 400), 100, &[('a', 1)]), ('p', '-'), "it has just answered");
        assert_eq!(ask(machine(4, 1, 400), 100, &[('a', 9)]), ('p', '-'), "room is being made");
        assert_eq!(ask(machine(3, 0, 950), 100, &[('a', 9)]), ('m', 'a'));
        assert_eq!(ask(machine(3, 0, 950), 50, &[]), ('s', '-'));
        assert_eq!(
            ask(machine(3, 0, 950), 100, &[('a', 90), ('Z', 3), ('Y', 7)]),
            ('m', 'Y'),
            "zygotes before workers"
        );
        assert_eq!(ask(machine(3, 0, 950), 100, &[('a', 90), ('Z', 1)]), ('m', 'a'), "it has just forked");
        assert_eq!(
            ask(machine(4, 0, 400), 100, &[('a', 9), ('Z', 90)]),
            ('p', 'a'),
            "zygotes are no processes of content"
        );
        assert_eq!(ask(machine(0, 0, 950), 100, &[('Z', 90)]), ('m', 'Z'));
        assert_eq!(ask(machine(3, 1, 950), 100, &[('a', 9)]), ('m', '-'));
        let behind = |machine| Machine { before: 1, ..machine };
        assert_eq!(ask(behind(machine(2, 0, 200)), 100, &[]), ('s', '-'));
        assert_eq!(ask(behind(machine(3, 0, 300)), 100, &[]), ('p', '-'), "the last place is another's");
        assert_eq!(ask(behind(machine(2, 0, 850)), 100, &[]), ('m', '-'));
        assert_eq!(ask(machine(0, 0, 0), 5_000, &[]), ('s', '-'), "alone, it may be larger than the budget");
    }

    #[test]
    fn shortages_say_which_key_is_meant() {
        let text = Shortage::Memory { used: 900 * MIB, budget: 1_000 * MIB, needed: 128 * MIB }.to_string();
        assert!(text.contains("900 MiB") && text.contains("content.memory_budget_bytes"), "{text}");
        let text = Shortage::Processes { running: 4, most: 4 }.to_string();
        assert!(text.contains("content.max_processes_total"), "{text}");
    }

    proptest! {
        #[test]
        fn the_budget_is_kept(
            processes in 0usize..8, ending in 0usize..8, memory in 0u64..2_000, needed in 0u64..500,
            idle in prop::collection::vec(0u64..100, 0..6),
        ) {
            let machine = Machine { ending_memory: 0, ..machine(processes, ending.min(processes), memory) };
            let longest = idle.iter().copied().max();
            let idle = idle.iter().map(|secs| Idle { worker: *secs, idle: Duration::from_secs(*secs), zygote: false });
            match grant(&machine, needed * MIB, idle) {
                Grant::Start => {
                    prop_assert!(processes < 4);
                    prop_assert!(processes == 0 || memory + needed <= 1_000);
                }
                Grant::Reclaim(worker, _) => prop_assert_eq!(Some(worker), longest),
                Grant::Wait(_) => prop_assert!(ending > 0 || longest.is_none_or(|secs| secs < 2)),
            }
        }
    }
}
