//! The first process inside: finishes the walls, starts the program, hands on requests to end, reaps, reports.
//!
//! It is this same program, started again by bubblewrap with `worker-init` as its first argument. Being process 1 of its
//! namespace, it cannot be killed from inside, and with its end everything inside ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use lectern_domain::launch::Account;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use crate::order::{Ended, MAX_LINE_BYTES, Order, Report, Word};
use crate::relay;
use crate::seccomp;
use crate::strays::Strays;
use crate::sys;
use crate::{landlock_rules, routes};

/// The first argument that makes a program this.
pub(crate) const WORD: &str = "worker-init";

/// Becomes the first process inside if this program was started as one; the caller then ends with that status. Must come
/// before anything else: it expects a process of one thread.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let number = arguments.next().and_then(|text| text.to_str()?.parse().ok());
    let Some(control) = number.and_then(|number| sys::take(number).ok()).map(UnixStream::from) else {
        eprintln!("lectern: {WORD} is started by lectern itself");
        return Some(ExitCode::from(2));
    };
    // The program's standard error, which was out of the way of whatever put up the walls.
    let kept = arguments.next().and_then(|text| text.to_str()?.parse().ok()).and_then(|number| sys::take(number).ok());
    if let Some(kept) = kept {
        let _ = nix::unistd::dup2_stderr(kept);
    }
    sys::close_others_on_exec();
    Some(match run(control) {
        Ok(code) => code,
        // Nobody to tell but the log.
        Err(error) => {
            eprintln!("lectern: {WORD}: {error}");
            ExitCode::from(125)
        }
    })
}

/// When the host runs out of memory, content goes before the server (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "300";

/// What failed, while the walls were finished.
struct Failed {
    step: String,
    cause: io::Error,
}

impl Failed {
    fn at<E: std::fmt::Display>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |cause| Self { step, cause: io::Error::other(cause.to_string()) }
    }
}

fn run(control: UnixStream) -> io::Result<ExitCode> {
    say(&control, &Report::Here)?;
    let mut reader = BufReader::new(control.try_clone()?);
    let mut line = String::new();
    (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    // Blocked, and waited for by descriptor; the program gets an empty mask.
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM].into_iter().collect();
    signals.thread_block()?;
    let children = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let alone = std::process::id() == 1;
    let finished = finish_walls(&order);
    // There when the program begins, which may ask the server first of all; served after it, because programs are started by a
    // process of one thread.
    let door = finished.as_ref().ok().and_then(|()| relay::open(order.relay.as_ref()?));
    let started = finished.and_then(|()| start(&order, alone));
    let child = match started {
        Ok(child) => child,
        Err(Failed { step, cause }) => {
            let not_found = cause.kind() == io::ErrorKind::NotFound;
            say(&control, &Report::Failed { step, cause: cause.to_string(), not_found })?;
            return Ok(ExitCode::from(127));
        }
    };
    if let (Some(door), Some(relay)) = (door, &order.relay) {
        relay::serve(door, relay.path());
    }
    say(&control, &Report::Started)?;
    let strays = (order.forks && alone).then(|| Strays::new(child));
    let ended = wait(&control, reader, &children, child, alone, strays)?;
    Ok(ExitCode::from(match ended {
        Ended::Code(code) => u8::try_from(code).unwrap_or(255),
        Ended::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
    }))
}

fn say(mut control: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    control.write_all(line.as_bytes())
}

/// Puts on what bubblewrap has not, from what needs rights to what takes them away.
fn finish_walls(order: &Order) -> Result<(), Failed> {
    routes::set(&order.routes).map_err(Failed::at("refuse networks"))?;
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    if let Some(account) = order.account {
        for path in &order.hand_over {
            chown(path, Some(account.uid), Some(account.gid)).map_err(Failed::at(format!("hand over {path:?}")))?;
        }
        take_account(account).map_err(Failed::at(format!("become uid {}", account.uid)))?;
    }
    sys::drop_capabilities().map_err(Failed::at("give up capabilities"))?;
    let launch = &order.launch;
    let limit = |resource, soft, hard| setrlimit(resource, soft, hard).map_err(Failed::at(format!("set {resource:?}")));
    umask(Mode::from_bits_truncate(launch.umask));
    limit(Resource::RLIMIT_CORE, 0, 0)?;
    limit(Resource::RLIMIT_NOFILE, launch.open_files.0, launch.open_files.1)?;
    limit(Resource::RLIMIT_FSIZE, launch.file_bytes, launch.file_bytes)?;
    if let Some(tasks) = order.tasks {
        limit(Resource::RLIMIT_NPROC, tasks.into(), tasks.into())?;
    }
    if let Some(rules) = &order.landlock {
        landlock_rules::restrict(rules).map_err(Failed::at("restrict files with Landlock"))?;
    }
    if let Some(profile) = order.seccomp {
        for program in seccomp::programs(profile).map_err(Failed::at("compile the filter of system calls"))? {
            seccompiler::apply_filter(&program).map_err(Failed::at("filter system calls"))?;
        }
    }
    Ok(())
}

/// Takes an account for good: real, effective and saved, without supplementary groups.
fn take_account(account: Account) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // A change of uid clears it, and bubblewrap had set it.
    prctl::set_pdeathsig(Signal::SIGKILL)
}

fn start(order: &Order, alone: bool) -> Result<Pid, Failed> {
    let launch = &order.launch;
    let mut command = Command::new(&launch.argv[0]);
    command.args(&launch.argv[1..]).env_clear().envs(launch.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&launch.directory).stdin(Stdio::null());
    if !alone {
        // A group to signal, in the session by which it is known outside.
        command.process_group(0);
    }
    sys::fresh(&mut command, alone);
    // Closed here once the program has them.
    let passed: Vec<_> = launch_passed(order)?;
    sys::keep_open(&mut command, passed.iter().map(AsRawFd::as_raw_fd).collect());
    command.envs(order.passed.iter().map(|(name, number)| (name, number.to_string())));
    let failed = |cause| Failed { step: format!("run {:?} in {:?}", launch.argv[0], launch.directory), cause };
    let child = command.spawn().map_err(failed)?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// The descriptors that the program keeps.
fn launch_passed(order: &Order) -> Result<Vec<OwnedFd>, Failed> {
    let take = |(name, number): &(String, i32)| sys::take(*number).map_err(Failed::at(format!("hand over {name}")));
    order.passed.iter().map(take).collect()
}

/// Reaps until the program has ended, and after a request to end until nothing is left.
fn wait(
    control: &UnixStream,
    mut reader: BufReader<UnixStream>,
    children: &SignalFd,
    child: Pid,
    alone: bool,
    mut strays: Option<Strays>,
) -> io::Result<Ended> {
    let (mut asked, mut ended) = (false, None);
    loop {
        // Workers that a zygote forked go on without it.
        let done = strays.as_ref().map_or(!asked || !alone || !has_children(), Strays::are_all_gone);
        if let Some(ended) = ended
            && done
        {
            return Ok(ended);
        }
        let mut wanted =
            [PollFd::new(children.as_fd(), PollFlags::POLLIN), PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        let wait = strays.as_mut().map_or(PollTimeout::NONE, Strays::look_again);
        match poll(&mut wanted, wait) {
            Err(Errno::EINTR) => continue,
            done => drop(done?),
        }
        let mut told = wanted[1].any().unwrap_or(false);
        let mut stop = false;
        while let Some(signal) = children.read_signal()? {
            stop |= signal.ssi_signo == Signal::SIGTERM as u32;
        }
        // All that has come: what waits in the reader makes no noise.
        while told || !reader.buffer().is_empty() {
            told = false;
            let mut line = String::new();
            if (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line)? == 0 {
                // Whoever watched is gone, and with it the reason to run.
                return Ok(Ended::Signal(Signal::SIGKILL as i32));
            }
            match (serde_json::from_str(&line)?, &mut strays) {
                (Word::Term, _) => stop = true,
                (Word::Keep { pid }, Some(strays)) => strays.keep(pid),
                (Word::Sweep { pid, homes }, Some(strays)) => strays.sweep(pid, homes),
                (Word::Keep { .. } | Word::Sweep { .. }, None) => {}
            }
        }
        if stop && !asked {
            asked = true;
            if ended.is_none() {
                let _ = killpg(child, Signal::SIGTERM);
            }
        }
        while let Some((pid, status)) = sys::reap()? {
            let status = status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or(0)), Ended::Code);
            if pid == child.as_raw() {
                ended = Some(status);
                say(control, &Report::Ended(status))?;
                if let Some(strays) = &mut strays {
                    strays.zygote_ended();
                } else if asked && alone {
                    // What it left may end in order, too.
                    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
                }
            }
        }
        if let Some(strays) = &mut strays {
            while let Some(clean) = strays.look() {
                say(control, &Report::Swept { clean })?;
            }
        }
    }
}

/// Whether anything that was started here has not been reaped.
fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::All, look), Err(Errno::ECHILD))
}
