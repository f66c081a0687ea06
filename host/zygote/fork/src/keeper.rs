//! The process between a zygote and one worker: forks it, hands on the request to end, reports its end, and ends whatever it
//! left. It runs none of the interpreter, and is the nearest ancestor to which orphans of its worker come.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, killpg, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{self, ForkResult, Pid};

use crate::orders::Orders;
use crate::{Given, descend, pipes};

/// How long what a worker left may take to be killed. Then the process ends, and the first process inside goes on with it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked at meanwhile.
const LOOK_AGAIN: u16 = 5;

/// Keeps one worker. Returns 1 in the worker, and nowhere else.
pub(crate) fn keep(given: Given) -> c_int {
    match begin(given) {
        Some((keeper, worker)) => {
            keeper.run(worker);
            leave()
        }
        None => 1,
    }
}

/// Ends this process as it is: nothing that the interpreter wants to do at its end is ours to do.
fn leave() -> ! {
    // SAFETY: it ends the process and returns nothing.
    unsafe { libc::_exit(0) }
}

struct Keeper {
    status: UnixStream,
    children: SignalFd,
    home: PathBuf,
}

/// Forks the worker; `None` in the worker.
fn begin(given: Given) -> Option<(Keeper, Pid)> {
    let Given { mut orders, stdout, stderr, mut status, ready } = given;
    let _ = prctl::set_child_subreaper(true);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed.
    let _ = unsafe { sigaction(Signal::SIGCHLD, &default) };
    let before = SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty());
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    let children: SigSet = std::iter::once(Signal::SIGCHLD).collect();
    let Ok(children) = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else { leave() };
    let Ok(orders) = Orders::read(&mut orders) else { leave() };
    let mut word = [0];
    // Not before it is in its control group.
    if status.write_all(b"H").and_then(|()| status.read_exact(&mut word)).is_err() || word != *b"G" {
        leave();
    }
    // SAFETY: the process has one thread.
    match unsafe { unistd::fork() } {
        Ok(ForkResult::Parent { child }) => {
            let keeper = Keeper { status, children, home: orders.home };
            // It has no more use for the streams than the interpreter's next reader of a closed one has.
            for number in 0..=2 {
                // SAFETY: the process goes on without its standard streams, which it does not use.
                unsafe { libc::close(number) };
            }
            Some((keeper, child))
        }
        Ok(ForkResult::Child) => {
            drop((status, children));
            let _ = unistd::setsid();
            let streams = unistd::dup2_stdout(&stdout).and_then(|()| unistd::dup2_stderr(&stderr));
            drop((stdout, stderr));
            let _ = prctl::set_dumpable(true);
            // Handed to the program, which closes it when it has said that it listens.
            let ready = ready.into_raw_fd();
            pipes::renew();
            if let Err(error) = streams.map_err(std::io::Error::from).and_then(|()| orders.put_on(ready)) {
                eprintln!("lectern: begin in {}: {error}", orders.directory.display());
                // SAFETY: it ends the process and returns nothing.
                unsafe { libc::_exit(125) }
            }
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
            None
        }
        Err(_) => leave(),
    }
}

impl Keeper {
    fn run(mut self, worker: Pid) {
        let (mut asked, mut gone, mut ended) = (false, false, None::<Instant>);
        loop {
            let left = self.reap(worker, asked, &mut ended);
            match ended {
                Some(_) if !left => break,
                // Asked to end, what the worker left may end in order: whoever asked kills it when its time is over.
                Some(since) if !asked || gone => {
                    if since.elapsed() > PATIENCE {
                        return;
                    }
                    descend::kill_all();
                }
                Some(_) => {}
                None if gone => descend::kill_all(),
                None => {}
            }
            let wait = if ended.is_some() || gone { PollTimeout::from(LOOK_AGAIN) } else { PollTimeout::NONE };
            let mut wanted = vec![PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
            if !gone {
                wanted.push(PollFd::new(self.status.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut wanted, wait) {
                Err(Errno::EINTR) | Ok(_) => {}
                Err(_) => return,
            }
            let told = !gone && wanted[1].any().unwrap_or(false);
            drop(wanted);
            while let Ok(Some(_)) = self.children.read_signal() {}
            if told {
                let mut word = [0];
                match self.status.read(&mut word) {
                    Ok(1) if word == *b"T" && !asked => {
                        asked = true;
                        if ended.is_none() {
                            let _ = killpg(worker, Signal::SIGTERM);
                        }
                    }
                    Ok(1) => {}
                    // Whoever watched is gone, and with it the reason to run.
                    Ok(_) | Err(_) => gone = true,
                }
            }
        }
        // Empty unless the worker wrote there; in memory, and nobody else's.
        let _ = fs::remove_dir_all(&self.home);
    }

    /// Reaps what has ended; whether anything is left.
    fn reap(&mut self, worker: Pid, asked: bool, ended: &mut Option<Instant>) -> bool {
        loop {
            let mut status: c_int = 0;
            // SAFETY: an `rusage` is numbers only, for which zeros are valid.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: both are valid places for the kernel to write an int and an `rusage` to.
            let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
            if pid <= 0 {
                return pid == 0 || Errno::last() == Errno::EINTR;
            }
            if pid == worker.as_raw() {
                *ended = Some(Instant::now());
                let status = ExitStatus::from_raw(status);
                let (word, number) = status.code().map_or((b'S', status.signal().unwrap_or(0)), |code| (b'C', code));
                let mut report = vec![word];
                report.extend(number.to_ne_bytes());
                report.extend((micros(usage.ru_utime) + micros(usage.ru_stime)).to_ne_bytes());
                report.extend(u64::try_from(usage.ru_maxrss).unwrap_or(0).to_ne_bytes());
                let _ = self.status.write_all(&report);
                if asked {
                    descend::signal(Signal::SIGTERM);
                }
            }
        }
    }
}

fn micros(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
}
