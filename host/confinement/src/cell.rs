//! Makes the command that starts a process behind its walls.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::bubblewrap::Argument;
use crate::init::WORD;
use crate::order::{Launch, Order};
use crate::plan::Plan;
use crate::seccomp;
use crate::sys;

/// A process that is about to be started. Its standard streams are the caller's to set; then spawn, then
/// [`crate::Warden::enter`] at once: the process waits for its orders.
#[derive(Debug)]
pub struct Cell {
    /// What to spawn.
    pub command: Command,
    pub(crate) control: UnixStream,
    /// Where bubblewrap says which process is the first inside.
    pub(crate) info: Option<OwnedFd>,
    pub(crate) order: Order,
    pub(crate) plan: Plan,
    /// What is said before the program starts; it is not the program's.
    pub(crate) words: File,
    /// What the child inherits; ours are closed once it runs.
    pub(crate) given: Vec<OwnedFd>,
}

impl Cell {
    /// Makes the command for `launch`. `own` is this program's own file, opened; `prepare` may change the command before
    /// the descriptors that the child keeps are marked, and must close no other. `mark` is put into the environment of
    /// bubblewrap, by which the process is known to be of this launch.
    pub fn new(
        plan: Plan,
        launch: Launch,
        own: BorrowedFd<'_>,
        mark: &str,
        prepare: impl FnOnce(&mut Command) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (control, inside) = UnixStream::pair()?;
        let mut given = vec![OwnedFd::from(inside), own.try_clone_to_owned()?];
        let program = format!("/proc/self/fd/{}", given[1].as_raw_fd());
        // The program's standard error waits here, while what puts up the walls has one of its own.
        given.push(File::open("/dev/null")?.into());
        let (inside, kept) = (given[0].as_raw_fd().to_string(), given[2].as_raw_fd());
        let words = File::from(memory(&[])?);
        let (mut command, mut info, mut in_place) = (Command::new(&program), None, None);
        match &plan.bubblewrap {
            None => {
                command.args([WORD, &inside, &kept.to_string()]);
                in_place = plan.seccomp;
            }
            Some((path, arguments)) => {
                let mut words: Vec<String> = Vec::with_capacity(arguments.len() + 8);
                let number = |given: &mut Vec<OwnedFd>, descriptor: OwnedFd| {
                    let number = descriptor.as_raw_fd().to_string();
                    given.push(descriptor);
                    number
                };
                for argument in arguments {
                    words.push(match argument {
                        Argument::Text(text) => text.clone(),
                        Argument::Data(data) => number(&mut given, memory(data.as_bytes())?),
                    });
                }
                if let Some(profile) = plan.seccomp {
                    for program in seccomp::programs(profile).map_err(io::Error::other)? {
                        let program = memory(&seccomp::bytes(&program))?;
                        words.extend(["--add-seccomp-fd".to_owned(), number(&mut given, program)]);
                    }
                }
                let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
                words.extend(["--info-fd".to_owned(), number(&mut given, write)]);
                info = Some(read);
                // By descriptor, and not on its command line: the list is long, and tells of the host.
                let words = memory(words.join("\0").as_bytes())?;
                command = Command::new(path);
                command.args(["--args", &number(&mut given, words), "--", &program, WORD, &inside, &kept.to_string()]);
            }
        }
        command.env_clear().env("LECTERN_PRIVATE", mark).current_dir("/").stdin(Stdio::null());
        if let Some(account) = plan.account
            && nix::unistd::geteuid().is_root()
            && !plan.by_root
        {
            // Setting the uid also drops the supplementary groups.
            command.uid(account.uid).gid(account.gid);
        }
        prepare(&mut command)?;
        // Directories that bubblewrap makes on the way to what it shows are to be passed by the account.
        sys::open_umask(&mut command);
        sys::keep_open(&mut command, given.iter().map(AsRawFd::as_raw_fd).collect());
        sys::set_stderr_aside(&mut command, kept, words.as_raw_fd());
        let order = Order {
            routes: plan.routes.clone(),
            hand_over: plan.hand_over.clone(),
            account: plan.account.filter(|_| plan.by_root),
            landlock: plan.landlock.clone(),
            seccomp: in_place,
            tasks: plan.tasks,
            passed: Vec::new(),
            forks: false,
            relay: plan.relay.clone(),
            launch,
        };
        Ok(Self { command, control, info, order, plan, words, given })
    }

    /// Has the program inside keep a descriptor, whose number it finds in the variable `name`.
    pub fn pass(&mut self, name: &str, descriptor: OwnedFd) {
        let number = descriptor.as_raw_fd();
        sys::keep_open(&mut self.command, vec![number]);
        self.given.push(descriptor);
        self.order.passed.push((name.to_owned(), number));
    }

    /// Says that the program is a zygote: what it forks is told of by [`crate::Words`], and may outlive it. Where control
    /// groups hold each worker to its own number of tasks, the namespace is not held to that of one.
    pub fn forks(&mut self) {
        self.order.forks = true;
        if self.plan.limits.tasks.is_some() {
            self.order.tasks = None;
        }
    }
}

/// A file in memory that holds `bytes`, ready to be read.
fn memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let descriptor = memfd_create(c"lectern", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(descriptor);
    file.write_all(bytes)?;
    nix::unistd::lseek(file.as_fd(), 0, nix::unistd::Whence::SeekSet)?;
    Ok(file.into())
}
