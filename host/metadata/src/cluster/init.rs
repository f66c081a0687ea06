//! Creates the cluster once: in a temporary directory, renamed into place when it is complete.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};
use tracing::info;
use uuid::Uuid;

use super::binaries::Binaries;
use super::layout::{Layout, private_dir, tail, write_private};
use super::{ClusterError, ROLE, io_error, postmaster};

/// How long creating may take: a few seconds on a disk, a minute on a slow network volume that syncs each file.
const INIT_LIMIT: Duration = Duration::from_secs(300);

/// How often a directory that is still written to is tried to be removed, and the pause between: ten seconds in all, several times
/// what an `initdb` takes.
const REMOVALS: u32 = 200;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// How the temporary directories begin.
const PREFIX: &str = "init-";

/// Creates the cluster when there is none, and removes what a start that was cut has left.
pub(super) fn ensure(layout: &Layout, binaries: &Binaries) -> Result<(), ClusterError> {
    remove_leftovers(layout)?;
    if layout.data.exists() {
        return layout.password().map(drop);
    }
    // A password without a cluster is a leftover too, and as good as a new one.
    let password = match layout.password() {
        Ok(password) => password,
        Err(ClusterError::PasswordMissing { .. }) => layout.new_password()?,
        Err(error) => return Err(error),
    };
    let temporary = layout.dir.join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
    private_dir(&temporary, layout.account)?;
    // Read by initdb as the account, so it is a copy that is the account's; gone with this call.
    let handed = layout.dir.join(format!("{PREFIX}password"));
    write_private(&handed, &password)?;
    if geteuid().is_root() {
        chown(&handed, Some(layout.account.uid), Some(layout.account.gid)).map_err(io_error("give away", &handed))?;
    }
    info!(db.directory = %layout.dir.display(), db.version = %binaries.version, "creating the private database");
    // C.UTF-8 is not in every C library; plain C always is, and the encoding is UTF-8 either way.
    let made = run_initdb(layout, binaries, &temporary, &handed, "C.UTF-8")
        .or_else(|_| run_initdb(layout, binaries, &temporary, &handed, "C"));
    fs::remove_file(&handed).map_err(io_error("remove", &handed))?;
    if let Err(error) = made {
        remove_leftovers(layout)?;
        return Err(error);
    }
    fs::rename(&temporary, &layout.data).map_err(io_error("rename into place", &layout.data))?;
    layout.sync()
}

/// Removes what `initdb` left when it or the server was killed.
fn remove_leftovers(layout: &Layout) -> Result<(), ClusterError> {
    let entries = fs::read_dir(&layout.dir).map_err(io_error("list", &layout.dir))?;
    for entry in entries {
        let entry = entry.map_err(io_error("list", &layout.dir))?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() { remove_directory(&path) } else { fs::remove_file(&path) };
        removed.map_err(io_error("remove", &path))?;
    }
    Ok(())
}

/// Removes a directory in which an `initdb` that lost its server may still write: what it has just made is removed with the next try,
/// and what is gone under its hands ends it.
fn remove_directory(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        let Err(error) = fs::remove_dir_all(path) else { return Ok(()) };
        let changing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty);
        if !path.exists() {
            return Ok(());
        }
        if !changing || tries == REMOVALS {
            return Err(error);
        }
        tries += 1;
        std::thread::sleep(REMOVAL_PAUSE);
    }
}

fn run_initdb(
    layout: &Layout,
    binaries: &Binaries,
    target: &Path,
    password: &Path,
    locale: &str,
) -> Result<(), ClusterError> {
    let log = layout.dir.join(format!("{PREFIX}log"));
    let output = fs::File::create(&log).map_err(io_error("create", &log))?;
    let errors = output.try_clone().map_err(io_error("open", &log))?;
    let mut command = postmaster::command(&binaries.dir.join("initdb"), layout.account);
    command.arg("--pgdata").arg(target).arg("--pwfile").arg(password);
    command.args(["--username", ROLE, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", locale]);
    command.args(["--data-checksums", "--no-instructions"]);
    command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let mut child = command.spawn().map_err(io_error("run", &binaries.dir.join("initdb")))?;
    let deadline = Instant::now() + INIT_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io_error("wait for", target))? {
            break status.to_string();
        }
        if Instant::now() > deadline {
            // Its own process group: what it started ends with it.
            let group = Pid::from_raw(i32::try_from(child.id()).expect("Linux process ids are below 2^22"));
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
            break format!("no result after {} s", INIT_LIMIT.as_secs());
        }
        std::thread::sleep(postmaster::POLL);
    };
    let printed = tail(&log, 2000);
    fs::remove_file(&log).map_err(io_error("remove", &log))?;
    if status == "exit status: 0" { Ok(()) } else { Err(ClusterError::Init { status, output: printed }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_removed_also_while_somebody_writes_in_it() {
        let root = std::env::temp_dir().join(format!("lectern-leftover-{}", Uuid::new_v4().simple()));
        let dir = root.join("base");
        fs::create_dir_all(&dir).unwrap();
        let writer = std::thread::spawn({
            let dir = dir.clone();
            // Until its directory is gone, as an initdb does; one that wrote for ever could stay ahead of the removal for ever.
            move || (0..20_000).take_while(|n| fs::write(dir.join(n.to_string()), "x").is_ok()).count()
        });
        while fs::read_dir(&dir).unwrap().next().is_none() {
            std::thread::yield_now();
        }
        remove_directory(&root).unwrap();
        assert!(!root.exists() && writer.join().unwrap() > 0);
    }
}
