//! Control groups: how much memory, processor time and how many tasks a worker may take, and whether it wanted more.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cgroups_rs::cpu::CpuController;
use cgroups_rs::hierarchies;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use cgroups_rs::{Cgroup, MaxValue};
use serde::{Deserialize, Serialize};

use crate::plan::Limits;

/// The controllers that are made use of.
pub(crate) const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The time over which processor time is shared out: the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// How long an emptied group may take to be removed: its last processes are not gone before they are reaped.
const REMOVE: Duration = Duration::from_secs(2);

/// Where the groups of one supervisor are: a directory below the control group that it runs in, or on a unified hierarchy
/// (version 2) below the root, because a group there cannot have both processes and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    name: String,
}

impl Place {
    /// A place of its own for `owner`, a text that names the supervisor on this host.
    pub fn of(owner: &str) -> Self {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        owner.hash(&mut hasher);
        Self { name: format!("lectern-{:016x}", hasher.finish()) }
    }

    /// The directories that are groups here, one per hierarchy.
    fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> =
            CONTROLLERS.iter().filter_map(|controller| Some(parent(controller)?.join(&self.name))).collect();
        directories.sort();
        directories.dedup();
        directories
    }

    /// Removes what a dead supervisor left; how many groups.
    pub fn sweep(&self) -> usize {
        let mut swept = 0;
        for directory in self.directories() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() && std::fs::remove_dir(entry.path()).is_ok() {
                    swept += 1;
                }
            }
            let _ = std::fs::remove_dir(&directory);
        }
        swept
    }
}

/// The directory below which groups of `controller` are made.
fn parent(controller: &str) -> Option<PathBuf> {
    if hierarchies::is_cgroup2_unified_mode() {
        return Some("/sys/fs/cgroup".into());
    }
    let root = Path::new("/sys/fs/cgroup").join(controller);
    let own = own(controller)?;
    let nested = root.join(own.trim_start_matches('/'));
    // In a container the path may be the host's, and the root is its own.
    [nested, root].into_iter().find(|path| path.is_dir())
}

/// This process's group of `controller` (cgroups(7): `hierarchy:controllers:path`).
fn own(controller: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|one| one == controller).then(|| path.to_owned())
    })
}

/// Whether groups with a limit of `controller` can be made here and hold a process, or why not: tried with one that does
/// nothing, because what is mounted says little in a container.
pub(crate) fn usable(controller: &str) -> io::Result<()> {
    let limits = Limits {
        memory_bytes: (controller == "memory").then_some(64 << 20),
        cpu_millis: (controller == "cpu").then_some(1000),
        tasks: (controller == "pids").then_some(16),
    };
    let place = Place::of(&format!("probe {}", std::process::id()));
    let Some(group) = Group::make(&place, controller, limits)? else {
        return Err(io::Error::other(format!("no controller {controller} is made use of")));
    };
    let held = hold(&group);
    // The process has been reaped: it is gone from the group.
    let removed = group.remove_once();
    place.sweep();
    held.and(removed)
}

/// Puts a process into the group that waits for the end of its input.
fn hold(group: &Group) -> io::Result<()> {
    let mut child = Command::new("/bin/sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn()?;
    let held = group.add(child.id());
    drop(child.stdin.take());
    child.wait()?;
    held
}

/// One worker's group. Dropping it leaves it; see [`Group::remove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its directories, by controller.
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    tasks: Option<PathBuf>,
    unified: bool,
}

impl Group {
    /// Makes the group `name` with `limits`; `None` when there are no limits.
    pub fn make(place: &Place, name: &str, limits: Limits) -> io::Result<Option<Self>> {
        if limits == Limits::default() {
            return Ok(None);
        }
        let unified = hierarchies::is_cgroup2_unified_mode();
        let path = |controller: &str, wanted: bool| -> io::Result<Option<PathBuf>> {
            let parent = || parent(controller).ok_or_else(|| io::Error::other(format!("no controller {controller}")));
            wanted.then(|| Ok(parent()?.join(&place.name).join(name))).transpose()
        };
        let group = Self {
            memory: path("memory", limits.memory_bytes.is_some())?,
            cpu: path("cpu", limits.cpu_millis.is_some())?,
            tasks: path("pids", limits.tasks.is_some())?,
            unified,
        };
        let made = group.create(place, name).and_then(|()| group.limit(limits));
        match made {
            Ok(()) => Ok(Some(group)),
            Err(error) => {
                let _ = group.remove_once();
                Err(error)
            }
        }
    }

    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.memory, &self.cpu, &self.tasks].into_iter().flatten()
    }

    fn create(&self, place: &Place, name: &str) -> io::Result<()> {
        if self.unified {
            let wanted = CONTROLLERS.iter().zip([&self.memory, &self.cpu, &self.tasks]);
            let wanted = wanted.filter(|(_, path)| path.is_some()).map(|(name, _)| (*name).to_owned()).collect();
            let path = Path::new(&place.name).join(name);
            // Has the controllers on in every directory on the way.
            let made = Cgroup::new_with_specified_controllers(hierarchies::auto(), path, Some(wanted));
            return made.map(drop).map_err(failed);
        }
        self.directories().try_for_each(|path| {
            std::fs::create_dir_all(path)
                .map_err(|error| io::Error::new(error.kind(), format!("make {}: {error}", path.display())))
        })
    }

    fn limit(&self, limits: Limits) -> io::Result<()> {
        if let (Some(path), Some(bytes)) = (&self.memory, limits.memory_bytes) {
            let memory = MemController::new(path.clone(), self.unified);
            memory.set_limit(i64::try_from(bytes).unwrap_or(i64::MAX)).map_err(failed)?;
            if self.unified {
                // One process of an application without the others is of no use.
                let _ = std::fs::write(path.join("memory.oom.group"), "1");
                let _ = std::fs::write(path.join("memory.swap.max"), "0");
            } else {
                // Memory and swap together: the same, so that there is no swap. Not there on kernels without it.
                let _ = memory.set_memswap_limit(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
        if let (Some(path), Some(millis)) = (&self.cpu, limits.cpu_millis) {
            let quota = i64::from(millis) * (PERIOD_US as i64) / 1000;
            let cpu = CpuController::new(path.clone(), self.unified);
            cpu.set_cfs_quota_and_period(Some(quota), Some(PERIOD_US)).map_err(failed)?;
        }
        if let (Some(path), Some(tasks)) = (&self.tasks, limits.tasks) {
            let pids = PidController::new(path.clone(), self.unified);
            pids.set_pid_max(MaxValue::Value(i64::from(tasks))).map_err(failed)?;
        }
        Ok(())
    }

    /// Puts a process into it, with all that it will start.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        self.directories().try_for_each(|path| std::fs::write(path.join("cgroup.procs"), pid.to_string()))
    }

    /// How many processes the kernel ended in it because they wanted more memory than it may have.
    pub fn out_of_memory(&self) -> u64 {
        let Some(path) = &self.memory else { return 0 };
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(path.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// How often a process or thread was refused because there were as many as may be.
    pub fn tasks_refused(&self) -> u64 {
        let Some(path) = &self.tasks else { return 0 };
        let text = std::fs::read_to_string(path.join("pids.events")).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Processor time of all that ran in it; `None` where this kernel or these limits do not count it.
    pub fn cpu_time(&self) -> Option<Duration> {
        let read = |path: &Path, file: &str| std::fs::read_to_string(path.join(file)).ok();
        if self.unified {
            // There in every group, whatever controllers it has.
            let text = read(self.directories().next()?, "cpu.stat")?;
            let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok())?;
            return Some(Duration::from_micros(micros));
        }
        // Where the controllers of share and account are mounted as one.
        read(self.cpu.as_ref()?, "cpuacct.usage")?.trim().parse().ok().map(Duration::from_nanos)
    }

    /// Most memory that it held, file cache included; `None` where its memory is not limited, or the kernel does not say.
    pub fn peak_memory(&self) -> Option<u64> {
        let file = if self.unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        std::fs::read_to_string(self.memory.as_ref()?.join(file)).ok()?.trim().parse().ok()
    }

    /// Removes it; its processes must have ended, and are given a moment to be gone.
    pub async fn remove(self) -> io::Result<()> {
        let until = tokio::time::Instant::now() + REMOVE;
        loop {
            match self.remove_once() {
                Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) && tokio::time::Instant::now() < until => {
                    // The kernel tells nobody when the last task is accounted for; it is within a tick or two.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                done => return done,
            }
        }
    }

    fn remove_once(&self) -> io::Result<()> {
        self.directories().try_for_each(|path| match std::fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }
}

fn failed(error: cgroups_rs::error::Error) -> io::Error {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    io::Error::other(format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_group_holds_its_processes_to_its_limits_and_leaves_nothing() {
        if usable("memory").is_err() || usable("pids").is_err() || usable("cpu").is_err() {
            eprintln!("skipped: no control groups can be made here");
            return;
        }
        let place = Place::of(&format!("test {}", std::process::id()));
        let limits = Limits { memory_bytes: Some(32 << 20), cpu_millis: Some(500), tasks: Some(20) };
        let group = Group::make(&place, "one", limits).unwrap().unwrap();
        let hog = "x = bytearray(1 << 28)\nprint('got it')";
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; exec /usr/bin/python3 -c \"{hog}\"")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        group.add(child.id()).unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(group.out_of_memory() > 0);
        let peak = group.peak_memory().unwrap_or(32 << 20);
        assert!((16 << 20..=32 << 20).contains(&peak), "{peak}");
        let there: Vec<PathBuf> = group.directories().cloned().collect();
        assert!(there.iter().all(|path| path.is_dir()));
        group.remove().await.unwrap();
        assert!(there.iter().all(|path| !path.exists()));
        Group::make(&place, "two", limits).unwrap().unwrap();
        assert!(place.sweep() > 0);
        assert!(place.directories().iter().all(|path| !path.exists()));
        assert!(Group::make(&place, "three", Limits::default()).unwrap().is_none());
    }
}
