//! Runs a helper program (uv, an interpreter) to its end: bounded in time and output, ended with all its children.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use lectern_confinement::{Cell, EnterError, Launch, Missing, Subject, Warden, plan};
use lectern_domain::launch::Account;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::fence::Yard;

/// Most bytes kept of one line: a line that long is a dump, not a message.
const LINE_LIMIT_BYTES: usize = 8 << 10;
/// Most bytes handed on from one run; what follows is read and dropped, so that the program does not block.
const OUTPUT_LIMIT_BYTES: usize = 4 << 20;
/// How long output is still read after the program ended: a child it left behind may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// How long walls may take to stand; mostly some tens of milliseconds.
const ENTER: Duration = Duration::from_secs(60);

/// A program to run. Nothing of the server's environment is inherited.
pub(crate) struct Order<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    pub(crate) account: Option<Account>,
    pub(crate) timeout: Duration,
    /// Its walls, when it runs code that came from elsewhere.
    pub(crate) yard: Option<Yard<'a>>,
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("start {program:?}")]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Its walls need what this host does not give.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Its walls could not be put up, or it could not be started behind them.
    #[error("start {program:?} behind its walls")]
    Walls {
        /// What was to be started.
        program: PathBuf,
        /// Why not.
        #[source]
        cause: EnterError,
    },
    /// Its output or its end could not be waited for.
    #[error("wait for {program:?}")]
    Wait {
        /// What ran.
        program: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// It took too long and was ended.
    #[error("{program:?} did not end within {} s", limit.as_secs())]
    TimedOut {
        /// What ran.
        program: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
    /// Whoever wanted it changed their mind; it was ended.
    #[error("cancelled")]
    Cancelled,
}

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Runs a program, handing on its lines as they come. It and its process group are gone when this returns or is dropped.
pub(crate) async fn run(
    order: Order<'_>,
    cancel: &CancellationToken,
    on_line: &mut (dyn FnMut(Stream, &str) + Send),
) -> Result<ExitStatus, RunError> {
    let mut kept = 0;
    let mut keep = |stream, line: &str| {
        kept += line.len() + 1;
        if kept <= OUTPUT_LIMIT_BYTES {
            on_line(stream, line);
        }
    };
    run_to_the_last_word(order, cancel, &mut keep).await
}

/// [`run`], handing on every line however many there are: for who keeps only the last ones.
pub(crate) async fn run_to_the_last_word(
    order: Order<'_>,
    cancel: &CancellationToken,
    on_line: &mut (dyn FnMut(Stream, &str) + Send),
) -> Result<ExitStatus, RunError> {
    let program = order.program.to_owned();
    let limit = order.timeout;
    let failed = |cause| RunError::Wait { program: program.clone(), cause };
    let Running { mut child, mut stdout, mut stderr, _group, _warden } = start(&order).await?;
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    let status = loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RunError::Cancelled),
            () = &mut deadline => return Err(RunError::TimedOut { program, limit }),
            Some(line) = stdout.next() => on_line(Stream::Stdout, &line),
            Some(line) = stderr.next() => on_line(Stream::Stderr, &line),
            ended = child.wait() => break ended.map_err(failed)?,
        }
    };
    let rest = async {
        while let Some(line) = stdout.next().await {
            on_line(Stream::Stdout, &line);
        }
        while let Some(line) = stderr.next().await {
            on_line(Stream::Stderr, &line);
        }
    };
    // An error here is the time-out: what was left behind is ended with the group.
    let _ = tokio::time::timeout(DRAIN, rest).await;
    Ok(status)
}

/// A program that runs.
struct Running {
    child: Child,
    stdout: Lines<ChildStdout>,
    stderr: Lines<ChildStderr>,
    _group: Group,
    /// Kept until the program has ended: with it goes its way to the network.
    _warden: Option<Warden>,
}

/// Starts a program, behind its walls if it has any.
async fn start(order: &Order<'_>) -> Result<Running, RunError> {
    let program = || order.program.to_owned();
    let (command, cell) = command(order)?;
    let mut child = spawn(command).await.map_err(|cause| RunError::Start { program: program(), cause })?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let pipes = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr)) = pipes else {
        return Err(RunError::Wait { program: program(), cause: io::Error::other("no pipes") });
    };
    let (stdout, stderr) = (Lines::new(stdout), Lines::new(stderr));
    let warden = match cell {
        None => None,
        Some(cell) => match Warden::enter(cell, child.id().unwrap_or(0), None, order.timeout.min(ENTER)).await {
            Ok(warden) => Some(warden),
            Err(cause) => {
                let _ = child.start_kill();
                return Err(RunError::Walls { program: program(), cause });
            }
        },
    };
    Ok(Running { child, stdout, stderr, _group: group, _warden: warden })
}

/// What a program printed.
pub(crate) struct Printed {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// [`run`], collecting the output.
pub(crate) async fn capture(order: Order<'_>, cancel: &CancellationToken) -> Result<Printed, RunError> {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut collect = |stream, line: &str| {
        let text = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
        text.push_str(line);
        text.push('\n');
    };
    let status = run(order, cancel, &mut collect).await?;
    Ok(Printed { status, stdout, stderr })
}

/// Ends a process group when dropped; there is none any more in the usual case.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Lines of a pipe; `next` may be dropped at any await without losing bytes.
struct Lines<R> {
    reader: BufReader<R>,
    partial: Vec<u8>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), partial: Vec::new(), ended: false }
    }

    /// The next line without its end, at most [`LINE_LIMIT_BYTES`] long; `None` at the end and after a read error.
    async fn next(&mut self) -> Option<String> {
        while !self.ended {
            let Ok(bytes) = self.reader.fill_buf().await else { break };
            if bytes.is_empty() {
                break;
            }
            // Progress bars end their lines with a carriage return.
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &bytes[..end.unwrap_or(bytes.len())];
            let room = LINE_LIMIT_BYTES.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            let used = end.map_or(bytes.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() && !self.partial.is_empty() {
                return Some(self.take());
            }
        }
        self.ended = true;
        if self.partial.is_empty() { None } else { Some(self.take()) }
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.partial);
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}

/// Starts a child from a thread that lives as long as the server.
///
/// The child asks to be killed with its parent, and Linux counts the thread that forked as the parent: a pool's thread may
/// end long before the server does.
async fn spawn(mut command: Command) -> io::Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<Option<mpsc::SyncSender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        // Starting a child takes a millisecond; 16 waiting is more than the builds and probes that run at a time.
        let (sender, jobs) = mpsc::sync_channel::<Job>(16);
        let thread = std::thread::Builder::new().name("spawner".into());
        thread.spawn(move || jobs.into_iter().for_each(|job| job())).ok().map(|_| sender)
    });
    let Some(spawner) = spawner else { return Err(io::Error::other("no thread to start programs from")) };
    let (answer, started) = tokio::sync::oneshot::channel();
    let runtime = Handle::current();
    let job = move || {
        let _entered = runtime.enter();
        // Nobody waits any more: the child is dropped, and killed by that.
        let _ = answer.send(command.spawn());
    };
    spawner.send(Box::new(job)).map_err(|_| io::Error::other("the thread that starts programs has ended"))?;
    started.await.map_err(|_| io::Error::other("the thread that starts programs has ended"))?
}

/// The command, and the walls that it is to be brought behind.
fn command(order: &Order<'_>) -> Result<(Command, Option<Cell>), RunError> {
    let Some(yard) = &order.yard else {
        let mut command = Command::new(order.program);
        command.args(&order.args).env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&order.directory);
        if let Some(account) = order.account {
            command.uid(account.uid).gid(account.gid);
        }
        return Ok((settled(command), None));
    };
    let subject = Subject { account: order.account, directory: &order.directory, home: None, sockets: None };
    let walls = yard.walls();
    let plan = plan(subject, &walls, &yard.fence.facts)?;
    let failed = |cause| RunError::Start { program: order.program.to_owned(), cause };
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| failed(errno.into()))?;
    let words = std::iter::once(order.program.as_os_str()).chain(order.args.iter().map(OsString::as_os_str));
    let launch = Launch {
        argv: words.map(|word| word.to_string_lossy().into_owned()).collect(),
        env: order.env.clone(),
        directory: order.directory.clone(),
        open_files,
        file_bytes: walls.file_bytes,
        // Environments are read by every account.
        umask: 0o022,
    };
    let mark = order.directory.to_string_lossy();
    let mut cell = Cell::new(plan, launch, yard.fence.program.as_fd(), &mark, |_| Ok(())).map_err(failed)?;
    // The cell keeps what the child inherits.
    let command = std::mem::replace(&mut cell.command, std::process::Command::new(order.program));
    Ok((settled(command.into()), Some(cell)))
}

/// What every command has in common.
#[allow(unsafe_code)]
fn settled(mut command: Command) -> Command {
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let settle = || {
        // Dies with the server; gains no privilege by a set-uid program; its files are readable whatever the server's mask.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        nix::sys::prctl::set_no_new_privs()?;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three system calls and touches no memory of the parent's: no
    // allocation, no lock.
    unsafe { command.pre_exec(settle) };
    command
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn shell(script: &str) -> Order<'static> {
        Order {
            program: Path::new("/bin/sh"),
            args: vec!["-c".into(), script.into()],
            env: vec![("GREETING".into(), "hello".into())],
            directory: "/".into(),
            account: None,
            timeout: Duration::from_secs(20),
            yard: None,
        }
    }

    #[tokio::test]
    async fn collects_lines_and_status() {
        let cancel = CancellationToken::new();
        let script = "echo $GREETING; echo $HOME; printf 'a\\rb' >&2; exit 3";
        let printed = capture(shell(script), &cancel).await.unwrap();
        assert_eq!(printed.status.code(), Some(3));
        assert_eq!((printed.stdout.as_str(), printed.stderr.as_str()), ("hello\n", "a\nb\n"));
    }

    #[tokio::test]
    async fn bounds_lines_and_output() {
        let cancel = CancellationToken::new();
        let script = "head -c 20000 /dev/zero | tr '\\0' x; echo; yes y | head -c 9000000";
        let printed = capture(shell(script), &cancel).await.unwrap();
        assert_eq!(printed.stdout.lines().next().unwrap().len(), LINE_LIMIT_BYTES);
        assert!(printed.stdout.len() <= OUTPUT_LIMIT_BYTES, "{}", printed.stdout.len());
    }

    #[tokio::test]
    async fn ends_the_whole_group() {
        let mut order = shell("sleep 1000 & echo $!; sleep 1000");
        order.timeout = Duration::from_millis(300);
        let mut sleeper = None;
        let mut note = |_, line: &str| sleeper = line.parse::<i32>().ok();
        let outcome = run(order, &CancellationToken::new(), &mut note).await;
        assert!(matches!(outcome, Err(RunError::TimedOut { .. })), "{outcome:?}");
        let path = format!("/proc/{}/stat", sleeper.unwrap());
        for _ in 0..500 {
            match std::fs::read_to_string(&path) {
                Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(Duration::from_millis(10)).await,
                _ => return,
            }
        }
        panic!("the child of the program is still there");
    }

    #[tokio::test]
    async fn a_child_left_behind_does_not_hold_it_up() {
        let printed = capture(shell("sleep 1000 & echo done"), &CancellationToken::new()).await.unwrap();
        assert_eq!(printed.stdout, "done\n");
    }

    #[tokio::test]
    async fn can_be_cancelled_and_names_what_is_missing() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(matches!(capture(shell("sleep 1000"), &cancel).await, Err(RunError::Cancelled)));
        let mut order = shell("");
        order.program = Path::new("/nonexistent/tool");
        let error = capture(order, &CancellationToken::new()).await.err().unwrap();
        assert_eq!(error.to_string(), "start \"/nonexistent/tool\"");
    }
}
