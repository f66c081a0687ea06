//! Ends what a worker left running.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use lectern_domain::launch::{Account, LaunchSpec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::procs::{self, Census, Left, Process};
use crate::registry::Registry;
use crate::sys;

/// How often stragglers are looked for while any are left; the end of an orphan also wakes the search.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The pause before a look that only confirms.
const CONFIRM: Duration = Duration::from_millis(2);

/// Looks in a row that must find nothing, where one alone may be wrong.
const CONFIRMATIONS: u32 = 3;

/// Rounds of killing one by one, after which whatever forks faster is killed by its account: all processes of the uid at
/// once. Not sooner, for others may work as that account, too.
const ROUNDS: u32 = 3;

/// How long killed processes may take to be gone. Longer means that the kernel holds them, on a dead file system say.
const GIVE_UP: Duration = Duration::from_secs(10);

/// A look at all processes, shared by those who need one at about the same time: a thousand workers that end together
/// shall not read `/proc` a thousand times.
#[derive(Default)]
pub(crate) struct Lookout {
    last: Mutex<Option<(Instant, Arc<Census>)>>,
    /// Told when children have been reaped.
    pub(crate) reaped: Notify,
}

impl Lookout {
    /// All processes at some moment after `since`.
    async fn after(&self, since: Instant) -> Arc<Census> {
        let mut last = self.last.lock().await;
        if let Some((taken, census)) = &*last
            && *taken > since
        {
            return census.clone();
        }
        let taken = Instant::now();
        let census = match tokio::task::spawn_blocking(procs::census).await {
            Ok(Ok(census)) => Arc::new(census),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot read /proc: processes that workers leave behind are not found");
                Arc::default()
            }
            Err(error) => {
                tracing::error!(%error, "reading /proc panicked");
                Arc::default()
            }
        };
        *last = Some((taken, census.clone()));
        census
    }
}

/// Waits until nothing is left of the worker that `leader` was, whose process was reaped at `ended`. Stragglers may end
/// by themselves until `grace`, then they are killed; those that were not asked with the group are asked now.
pub(crate) async fn sweep(registry: &Registry, spec: &LaunchSpec, leader: i32, ended: Instant, grace: Option<Instant>) {
    let me = nix::unistd::getpid().as_raw();
    let (mut since, mut rounds, mut struck, mut empty) = (ended, 0, None, 0);
    let mut asked = HashSet::new();
    loop {
        let census = registry.lookout.after(since).await;
        let live = registry.live_leaders();
        let alone = registry.account_if_alone(&spec.job);
        let marked = |process: &Process| is_marked(process, spec, alone);
        let Left { processes: left, sure } = procs::left_by(&census, me, leader, &live, marked);
        since = Instant::now();
        if left.is_empty() {
            empty += 1;
            // What forks without end can slip through one look.
            if empty >= CONFIRMATIONS || rounds == 0 && sure {
                return;
            }
            tokio::time::sleep(CONFIRM).await;
            continue;
        }
        empty = 0;
        if grace.is_none_or(|grace| since >= grace) {
            let first = *struck.get_or_insert(since);
            if since.duration_since(first) > GIVE_UP {
                let pids: Vec<i32> = left.iter().map(|process| process.pid).collect();
                tracing::error!(job = %spec.job, ?pids, "processes that a worker left do not end; giving up");
                return;
            }
            rounds += 1;
            left.iter().for_each(|process| send(process, Signal::SIGKILL));
            if rounds > ROUNDS
                && let Some(account) = alone
                && let Err(error) = sys::kill_account(account)
            {
                tracing::error!(job = %spec.job, account.uid, %error, "cannot kill all processes of the account");
            }
        } else {
            let outside = left.iter().filter(|process| process.group != leader && !asked.contains(&process.name()));
            outside.for_each(|process| send(process, Signal::SIGTERM));
            asked = left.iter().map(Process::name).collect();
        }
        let patient = grace.filter(|_| struck.is_none());
        let wait = patient.map_or(LOOK_AGAIN, |grace| LOOK_AGAIN.min(grace.saturating_duration_since(since)));
        let _ = tokio::time::timeout(wait, registry.lookout.reaped.notified()).await;
    }
}

/// Signals one process, unless its number names another by now. The kernel gives numbers out in turn, so one is not used
/// again within the moment between this look and the signal.
fn send(process: &Process, signal: Signal) {
    let same = procs::read(process.pid).is_some_and(|now| now.name() == process.name());
    if same {
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

/// Whether a process that is in no session of ours looks like the worker's: by its uid when no other worker has the same,
/// or by the private directory in its environment.
/// `None` when it is gone.
fn is_marked(process: &Process, spec: &LaunchSpec, alone: Option<Account>) -> Option<bool> {
    if alone.is_some_and(|account| process.uid == account.uid) {
        return Some(true);
    }
    let private = spec.private.as_os_str().as_bytes();
    match std::fs::read(format!("/proc/{}/environ", process.pid)) {
        Ok(environ) => Some(environ.windows(private.len()).any(|part| part == private)),
        Err(_) => procs::read(process.pid).map(|_| false),
    }
}
