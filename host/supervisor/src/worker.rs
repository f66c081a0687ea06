//! The task that owns one worker: it tells [`Worker`] what happens and does what it says.

use std::error::Error;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use lectern_confinement::Ended;
use lectern_domain::launch::LaunchSpec;
use lectern_domain::worker::{Action, Backoff, Ending, Event, ExitStatus, Limits, Moment, Worker};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::excess::Excess;
use crate::freeze::{Busy, frost, thaw};
use crate::private;
use crate::probe;
use crate::procs;
use crate::protocol::{Exited, LAST_LINES, LAST_LINES_BYTES, LogLine, Usage, WorkerState};
use crate::reading::read_tail;
use crate::registry::{Reaped, Registry};
use crate::spawn::{self, Hold, Process, SpawnError};
use crate::state::{HoldRest, ProcessRest, WorkerRest};
use crate::sweep::sweep;
use crate::usage;
use crate::zygote;

/// How long the last word from inside may take; it has been said by then.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How long the pipes of an ended worker may stay open. All that could hold them has been killed by then.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// How much of a log's end is looked through for its last lines.
const TAIL_BYTES: u64 = 256 * 1024;

/// Most bytes of one reported log line.
const REPORTED_LINE_BYTES: usize = 2 * 1024;

/// How long reading a log's end may take; the report goes without it on a disk that hangs.
const READ_LOG: Duration = Duration::from_secs(5);

/// How long removing a private directory may take before the worker is reported as ended anyway.
const REMOVE: Duration = Duration::from_secs(30);

/// Requests to end a worker, with their grace.
pub(crate) type Stops = mpsc::Receiver<Option<Duration>>;

/// Carries one worker from start to end. `busy` from before it is known that it is to start.
pub(crate) async fn run(registry: Arc<Registry>, spec: LaunchSpec, stops: Stops, busy: Busy) {
    let origin = Instant::now();
    let (state, actions) = Worker::launch(Moment::default(), &limits(&spec));
    let run = Run { registry, spec, process: None, reaped: None, failure: None, seen: None, origin, grace_until: None };
    run.carry(state, actions, stops, busy).await;
}

/// Carries on with a worker that another program in this process carried until now.
pub(crate) async fn again(registry: Arc<Registry>, rest: WorkerRest, process: Option<Process>, stops: Stops) {
    let now = Instant::now();
    // The pause was the supervisor's: it takes nothing of what a worker may take.
    let origin = now.checked_sub(rest.age).unwrap_or(now);
    let reaped = rest.process.as_ref().and_then(|process| process.reaped).map(|(status, usage)| (status, now, usage));
    let grace_until = rest.grace_until.map(|until| origin + until);
    let busy = registry.freeze.busy();
    let run = Run { registry, spec: rest.spec, process, reaped, failure: None, seen: None, origin, grace_until };
    run.carry(rest.state, Vec::new(), stops, busy).await;
}

/// The back-off decides nothing here: a job is one run, and the server launches the next under another name.
fn limits(spec: &LaunchSpec) -> Limits {
    Limits { init_timeout: spec.init_timeout, backoff: Backoff::default() }
}

struct Run {
    registry: Arc<Registry>,
    spec: LaunchSpec,
    process: Option<Process>,
    reaped: Option<Reaped>,
    failure: Option<SpawnError>,
    /// What it had taken when it was killed.
    seen: Option<Usage>,
    origin: Instant,
    /// Until when what it left running may end by itself; `None` when it is past.
    grace_until: Option<Instant>,
}

impl Run {
    /// Does what is to be done, and waits for what happens next, until the end.
    async fn carry(mut self, mut state: Worker, mut actions: Vec<Action>, mut stops: Stops, busy: Busy) {
        let limits = limits(&self.spec);
        let mut busy = Some(busy);
        loop {
            let performing = busy.take().unwrap_or_else(|| self.registry.freeze.busy());
            let mut follows = None;
            for action in actions {
                follows = follows.or(self.perform(action, state).await);
            }
            if !state.is_running() {
                return;
            }
            drop(performing);
            let event = match follows {
                Some(event) => event,
                None => self.next(state, &mut stops).await,
            };
            if let Worker::Draining { kill_at, .. } = state {
                self.grace_until = kill_at.map(|at| self.origin + at.0);
            }
            (state, actions) = state.step(event, Moment(self.origin.elapsed()), &limits);
        }
    }

    /// Does one thing; the event that comes of it at once, if any.
    async fn perform(&mut self, action: Action, state: Worker) -> Option<Event> {
        let job = &self.spec.job;
        match action {
            Action::Spawn => match self.spawn().await {
                Ok(process) => {
                    self.spec.socket.clone_from(&process.socket);
                    let job = &self.spec.job;
                    let waited_ms = self.origin.elapsed().as_millis() as u64;
                    let forked = matches!(process.hold, Hold::Fork(_));
                    tracing::info!(%job, content.id = %self.spec.content, pid = process.pid, forked, waited_ms, "worker started");
                    self.process = Some(process);
                    // Needed no more, and it may hold secrets.
                    self.spec.env = Vec::new();
                }
                Err(error) => {
                    tracing::warn!(%job, content.id = %self.spec.content, error = chain(&error), "worker not started");
                    self.failure = Some(error);
                    return Some(Event::NotStarted);
                }
            },
            Action::Announce => {
                let waited_ms = self.origin.elapsed().as_millis() as u64;
                tracing::info!(%job, waited_ms, "worker ready");
                self.registry.set(job, WorkerState::Ready);
            }
            Action::Withdraw => self.registry.set(job, WorkerState::Draining),
            Action::Term => {
                self.registry.set(job, WorkerState::Draining);
                self.terminate().await;
            }
            Action::Kill => {
                self.registry.set(job, WorkerState::Draining);
                if let Some(process) = &mut self.process
                    && self.reaped.is_none()
                {
                    self.seen = usage::until_now(process.pid).await;
                    // It may have been reaped meanwhile, and then its number is not ours any more.
                    self.reaped = process.reaped.try_recv().ok();
                }
                self.kill();
            }
            Action::Clean => {
                let exited = self.clean(state).await;
                tracing::info!(job = %self.spec.job, message = exited.message, "worker ended");
                self.registry.set(&self.spec.job, WorkerState::Exited(exited));
            }
        }
        None
    }

    /// From its zygote if it has one and that works; else as a program of its own.
    async fn spawn(&self) -> Result<Process, SpawnError> {
        if let Some(wanted) = &self.spec.zygote {
            match zygote::spawn(&self.registry, &self.spec).await {
                Ok(process) => return Ok(process),
                Err(error) => {
                    tracing::warn!(job = %self.spec.job, zygote = %wanted.name, error = chain(&error), "a worker starts without its zygote");
                }
            }
        }
        spawn::spawn(&self.registry, &self.spec).await
    }

    /// Waits for what happens next. The end comes before anything else: after it the process's number is not ours.
    async fn next(&mut self, state: Worker, stops: &mut Stops) -> Event {
        let mut freeze = self.registry.freeze.watch();
        loop {
            tokio::select! {
                biased;
                event = self.happens(state, stops) => return event,
                () = frost(&mut freeze) => {}
            }
            tokio::select! {
                rest = self.rest(state) => self.registry.freeze.rest_worker(&self.spec.job, rest).await,
                () = thaw(&mut freeze) => {}
            }
        }
    }

    /// How it stands, once its output is at rest.
    async fn rest(&self, state: Worker) -> WorkerRest {
        let process = match &self.process {
            None => None,
            Some(process) => Some(ProcessRest {
                pid: process.pid,
                started: procs::read(process.pid).map(|seen| seen.started),
                reaped: self.reaped.map(|(status, _, usage)| (status, usage)),
                capture: process.capture.rest().await,
                hold: match &process.hold {
                    Hold::Cell(warden) => HoldRest::Cell(warden.rest()),
                    Hold::Fork(fork) => HoldRest::Fork(fork.rest()),
                },
                group: process.group.clone(),
                ready: process.ready.as_ref().map(AsRawFd::as_raw_fd),
            }),
        };
        let grace_until = self.grace_until.map(|until| until.saturating_duration_since(self.origin));
        WorkerRest { spec: self.spec.clone(), state, age: self.origin.elapsed(), grace_until, process }
    }

    async fn happens(&mut self, state: Worker, stops: &mut Stops) -> Event {
        let uid = self.spec.account.unwrap_or(self.registry.own).uid;
        let starting = matches!(state, Worker::Starting { .. });
        let (grace, longest) = (self.spec.stop_grace, self.registry.longest_grace());
        let due = state.wake_at().map(|at| self.origin + at.0);
        if self.reaped.is_some() {
            return Event::Ended;
        }
        let (reaped, ready) = match &mut self.process {
            Some(process) => (Some(&mut process.reaped), &mut process.ready),
            None => (None, &mut None),
        };
        let ended = async {
            match reaped {
                Some(reaped) => reaped.await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reaped = ended => {
                self.reaped = reaped;
                Event::Ended
            }
            Some(asked) = stops.recv() => Event::Stop { grace: asked.unwrap_or(grace).min(longest) },
            () = probe::accepting(&self.spec.socket, uid, ready), if starting => Event::Accepting,
            () = until(due), if due.is_some() => Event::Tick,
        }
    }

    /// Has the program asked to end, by the first process inside. One that has just ended cannot be told.
    async fn terminate(&mut self) {
        if let Some(process) = &mut self.process
            && self.reaped.is_none()
        {
            let told = match &mut process.hold {
                Hold::Cell(warden) => warden.terminate().await,
                Hold::Fork(fork) => fork.terminate().await,
            };
            if let Err(error) = told {
                tracing::debug!(job = %self.spec.job, pid = process.pid, %error, "cannot tell a worker to end");
            }
        }
    }

    /// Kills the worker's outermost process group, while its leader is not reaped: its number cannot name anything else.
    fn kill(&self) {
        if let Some(process) = &self.process
            && self.reaped.is_none()
        {
            let killed = match &process.hold {
                Hold::Cell(_) => killpg(Pid::from_raw(process.pid), Signal::SIGKILL).map_err(std::io::Error::from),
                Hold::Fork(fork) => fork.kill(),
            };
            if let Err(error) = killed {
                tracing::error!(job = %self.spec.job, pid = process.pid, %error, "cannot kill a worker");
            }
        }
    }

    /// Ends what is left and makes the report.
    async fn clean(&mut self, state: Worker) -> Exited {
        let spec = &self.spec;
        let mut excess = Excess::default();
        let mut usage = None;
        if let Some(Process { pid, capture, hold, group, .. }) = self.process.take() {
            match hold {
                Hold::Cell(mut warden) => {
                    // What was said inside is exact; the outermost process only passes on a number.
                    if let Ok(Some(ended)) = tokio::time::timeout(LAST_WORD, warden.ended()).await
                        && let Some((status, ..)) = &mut self.reaped
                    {
                        *status = match ended {
                            Ended::Code(code) => ExitStatus::Code(code),
                            Ended::Signal(signal) => ExitStatus::Signal(signal),
                        };
                    }
                    // With it goes the way out of the namespace.
                    drop(warden);
                    let ended = self.reaped.map_or_else(Instant::now, |(_, at, _)| at);
                    sweep(&self.registry, spec, pid, ended, self.grace_until).await;
                }
                Hold::Fork(fork) => fork.clear().await,
            }
            capture.finish(LAST_OUTPUT).await;
            usage = usage::in_all(self.reaped.map(|(.., usage)| usage), self.seen, group.as_ref());
            if let Some(group) = group {
                excess = Excess::of(&group, &spec.walls);
                if let Err(error) = group.remove().await {
                    tracing::warn!(job = %spec.job, %error, "cannot remove a control group");
                }
            }
        }
        excess.log(spec).await;
        let private = spec.private.clone();
        let removed = tokio::task::spawn_blocking(move || private::remove(&private));
        match tokio::time::timeout(REMOVE, removed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::error!(job = %spec.job, path = %spec.private.display(), %error, "cannot remove a private directory");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::error!(job = %spec.job, path = %spec.private.display(), "removing a private directory hangs");
            }
        }
        let log = spec.log.clone();
        let lines = tokio::task::spawn_blocking(move || read_tail(&log, LAST_LINES, TAIL_BYTES));
        let lines = tokio::time::timeout(READ_LOG, lines).await;
        let lines = lines.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or_default();
        let ending = match state {
            Worker::Backoff { ending, .. } | Worker::Exited { ending } | Worker::Draining { ending, .. } => ending,
            Worker::Starting { .. } | Worker::Ready { .. } => Ending::Crashed,
        };
        let status = self.reaped.map(|(status, ..)| status);
        let mut message = message(ending, status, self.failure.as_ref(), spec);
        for words in &excess.words {
            message = format!("{message}: {words}");
        }
        let (excess, last_lines, at) = (excess.words, shorten(lines), OffsetDateTime::now_utc());
        Exited { ending, status, message, excess, usage, last_lines, at }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The ending in words.
fn message(ending: Ending, status: Option<ExitStatus>, failure: Option<&SpawnError>, spec: &LaunchSpec) -> String {
    let how = match status {
        Some(ExitStatus::Code(code)) => format!("exited with status {code}"),
        Some(ExitStatus::Signal(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("was ended by signal {number} ({signal})"),
            Err(_) => format!("was ended by signal {number}"),
        },
        None => "ended".to_owned(),
    };
    match ending {
        Ending::Stopped => format!("stopped: {how}"),
        Ending::NotStarted => {
            let why = failure.map_or_else(|| "no reason is known".to_owned(), |error| chain(error));
            format!("could not be started: {why}")
        }
        Ending::FailedToStart => format!("{how} before it listened on {}", spec.socket.display()),
        Ending::NeverListened => {
            let limit = spec.init_timeout.as_secs_f64();
            format!("did not listen on {} within {limit} seconds and was killed", spec.socket.display())
        }
        Ending::Crashed => format!("{how} while it was serving"),
    }
}

/// The last lines within their bound, each of bounded length.
fn shorten(lines: Vec<LogLine>) -> Vec<LogLine> {
    let mut room = LAST_LINES_BYTES;
    let mut kept = Vec::new();
    for mut line in lines.into_iter().rev() {
        if line.data.len() > REPORTED_LINE_BYTES {
            let cut = (0..=REPORTED_LINE_BYTES).rev().find(|at| line.data.is_char_boundary(*at)).unwrap_or(0);
            line.data.truncate(cut);
            line.data.push('…');
        }
        match room.checked_sub(line.data.len()) {
            Some(rest) => room = rest,
            None => break,
        }
        kept.push(line);
    }
    kept.reverse();
    kept
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::protocol::Source;
    use crate::spec::tests::spec;

    #[test]
    fn endings_read_well() {
        let spec = spec();
        let say = |ending, status| message(ending, status, None, &spec);
        let code = Some(ExitStatus::Code(1));
        assert_eq!(say(Ending::FailedToStart, code), "exited with status 1 before it listened on /run/l/w/a/s/s");
        let killed = Some(ExitStatus::Signal(9));
        assert_eq!(say(Ending::Crashed, killed), "was ended by signal 9 (SIGKILL) while it was serving");
        assert_eq!(say(Ending::Crashed, Some(ExitStatus::Signal(40))), "was ended by signal 40 while it was serving");
        let never = "did not listen on /run/l/w/a/s/s within 10 seconds and was killed";
        assert_eq!(say(Ending::NeverListened, killed), never);
    }

    #[test]
    fn reported_lines_are_bounded() {
        let line = |data: String| LogLine { n: 0, time: OffsetDateTime::UNIX_EPOCH, source: Source::Stderr, data };
        let many = shorten((0..50).map(|n| line(format!("{n} {}", "€".repeat(1000)))).collect());
        assert!(many.iter().map(|line| line.data.len()).sum::<usize>() <= LAST_LINES_BYTES);
        assert_eq!(many.len(), 7);
        assert!(many[6].data.starts_with("49 ") && many[6].data.ends_with('…'));
    }
}
