//! Runs the tests' scripts in Node.js, each in a directory of its own and with the packages of `package-lock.json`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use crate::guardian::Guardian;
use crate::scratch::Scratch;
use crate::server::TOOLS;
use crate::wait::until;

/// The packages, which `scripts/setup` put where the copy of the lock is this checkout's.
static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    let all = TOOLS.with_file_name("npm");
    let ours = |dir: &Path| {
        std::fs::read(dir.join("package-lock.json")).is_ok_and(|lock| lock == include_bytes!("../package-lock.json"))
    };
    let mut found = std::fs::read_dir(&all).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = found.find(|dir| ours(dir) && dir.extension().is_none());
    found.unwrap_or_else(|| {
        panic!("the packages of tests/package-lock.json are not in {}: run `./just setup test`", all.display())
    })
});

/// A running script. Dropping it ends it.
#[derive(Debug)]
pub struct Script {
    child: Child,
    _guardian: Guardian,
    scratch: Scratch,
}

impl Script {
    /// Runs the first of these files, given by name and text, with `words`. Its working directory has the others, and is
    /// its home.
    pub fn start(files: &[(&str, &str)], words: &[&str]) -> Self {
        let scratch = Scratch::new();
        let guardian = Guardian::of(scratch.path());
        for (name, text) in files {
            std::fs::write(scratch.join(name), text).expect("write a script");
        }
        std::os::unix::fs::symlink(PACKAGES.join("node_modules"), scratch.join("node_modules")).expect("a link");
        let file = |name: &str| File::create(scratch.join(name)).expect("make a log file");
        let child = Command::new(TOOLS.join("node"))
            // The whole path: the guardian knows its processes by the directory on their command line.
            .arg(scratch.join(files.first().expect("a script").0))
            .args(words)
            .current_dir(scratch.path())
            .env("HOME", scratch.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("log"))
            .spawn()
            .expect("start Node.js");
        Self { child, _guardian: guardian, scratch }
    }

    /// Its directory.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.scratch.join("stdout")).expect("read its output")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).expect("read its log")
    }

    /// Waits for the first whole line that it prints.
    #[track_caller]
    pub fn first_line(&mut self, limit: Duration) -> String {
        until("a line from a script", limit, || {
            // Asked first: what it printed before it ended is then seen.
            let ended = self.child.try_wait().expect("wait");
            let line = self.printed().split_once('\n').map(|(line, _)| line.to_owned());
            assert!(line.is_some() || ended.is_none(), "the script ended, {ended:?}:\n{}", self.log());
            line
        })
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        until("the end of a script", limit, || self.child.try_wait().expect("wait"))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.kill();
        // What it had started, a browser for one, knows the directory too.
        for process in crate::processes::working_on(self.scratch.path()) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), nix::sys::signal::Signal::SIGKILL).ok();
        }
    }
}
