//! Finds out what this host has, by trying it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lectern_domain::launch::Account;

use crate::cgroup;
use crate::facts::{Facts, Lacking};
use crate::places;
use crate::sys;

/// The oldest bubblewrap that is made use of: `--add-seccomp-fd` came with it.
const OLDEST: (u32, u32) = (0, 6);

/// The oldest with `--size`.
const OLDEST_WITH_SIZES: (u32, u32) = (0, 7);

/// Looks at this host; takes some tens of milliseconds and blocks. With `account`, namespaces are tried as it.
pub fn look(account: Option<Account>) -> Facts {
    let root = nix::unistd::geteuid().is_root();
    let account = account.filter(|_| root);
    let group = |controller: &str| {
        cgroup::usable(controller).map_err(|error| {
            let remedy = if root {
                "mount cgroups with the controllers memory, cpu and pids (a container may need `--cgroupns=host` or a writable /sys/fs/cgroup)"
            } else {
                "run lectern as root, which may make control groups"
            };
            Lacking::new(format!("no control group for {controller} can be made: {error}"), remedy)
        })
    };
    let found = bubblewrap(account);
    Facts {
        root,
        sizes: match &found {
            Ok(Found { version, .. }) if *version >= OLDEST_WITH_SIZES => Ok(()),
            Ok(Found { path, version, .. }) => Err(Lacking::new(
                format!("{} {}.{} does not bound private directories", path.display(), version.0, version.1),
                "install bubblewrap 0.7 or later; until then sandbox.memory_bytes bounds them, for they are memory",
            )),
            Err(lack) => Err(lack.clone()),
        },
        user_namespaces: found.as_ref().map_err(Lacking::clone).and_then(|found| found.user_namespaces.clone()),
        bubblewrap: found.map(|found| found.path),
        seccomp: if sys::has_seccomp() {
            Ok(())
        } else {
            Err(Lacking::new("the kernel filters no system calls", "use a kernel with CONFIG_SECCOMP_FILTER"))
        },
        landlock: sys::landlock_version().ok_or_else(|| {
            Lacking::new(
                "the kernel has no Landlock, or it is turned off",
                "use a kernel of version 5.13 or later with `landlock` in its parameter lsm=",
            )
        }),
        memory: group("memory"),
        cpu: group("cpu"),
        tasks: group("pids"),
        counts_tasks: release(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
            >= Some((5, 14)),
        uplink: uplink(account),
        system: places::look(),
        resolver: resolver(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
        hosts: std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
    }
}

/// A kernel's version.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The lines that say how names are looked up, not where.
fn resolver(text: &str) -> String {
    let kept = |line: &&str| ["search ", "domain ", "options "].iter().any(|word| line.starts_with(word));
    text.lines().filter(kept).map(|line| format!("{line}\n")).collect()
}

/// A program of the system: of `PATH`, or the usual places.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .filter(|place| place.is_absolute())
        .chain(usual)
        .map(|place| place.join(name))
        .find(|file| file.is_file())
}

fn as_account(command: &mut Command, account: Option<Account>) -> &mut Command {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command.env_clear().current_dir("/").stdin(Stdio::null())
}

/// A bubblewrap that works.
struct Found {
    path: PathBuf,
    version: (u32, u32),
    user_namespaces: Result<(), Lacking>,
}

fn bubblewrap(account: Option<Account>) -> Result<Found, Lacking> {
    let install = "apt-get install bubblewrap (dnf install bubblewrap), and see that every account may execute it";
    let path = find("bwrap").ok_or_else(|| Lacking::new("bubblewrap (bwrap) is not installed", install))?;
    let said = run(as_account(Command::new(&path).arg("--version"), account))
        .map_err(|error| Lacking::new(format!("{} does not run: {error}", path.display()), install))?;
    let Some(version) = version(&said).filter(|version| *version >= OLDEST) else {
        let why =
            format!("{} says {:?}, and {}.{} or later is needed", path.display(), said.trim(), OLDEST.0, OLDEST.1);
        return Err(Lacking::new(why, "install a newer bubblewrap"));
    };
    let words = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"];
    let mounts =
        ["--ro-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/tmp", "--die-with-parent", "--", "/bin/sh", "-c", ":"];
    let tried = run(as_account(Command::new(&path).arg("--unshare-user").args(words).args(mounts), account));
    let user_namespaces = tried.map(drop).map_err(|error| {
        Lacking::new(
            format!("{} cannot make user namespaces: {error}", path.display()),
            "allow user namespaces: sysctl -w user.max_user_namespaces=28633 kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0 (those your kernel knows; Ubuntu: or load an AppArmor \
             profile for bwrap); in a container allow them in its seccomp profile, with /proc unmasked",
        )
    });
    if let Err(lack) = &user_namespaces {
        // Root needs none for the others.
        let as_root = account.is_some() && run(as_account(Command::new(&path).args(words).args(mounts), None)).is_ok();
        if !as_root {
            return Err(lack.clone());
        }
    }
    Ok(Found { path, version, user_namespaces })
}

fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().strip_prefix("bubblewrap ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn uplink(account: Option<Account>) -> Result<PathBuf, Lacking> {
    let path = find("slirp4netns").ok_or_else(|| {
        Lacking::new(
            "slirp4netns is not installed, so content shares the host's network",
            "apt-get install slirp4netns (dnf install slirp4netns), or set sandbox.network = \"none\"",
        )
    })?;
    let device = "/dev/net/tun";
    let open = "test -r /dev/net/tun && test -w /dev/net/tun";
    let reachable =
        Path::new(device).exists() && run(as_account(Command::new("/bin/sh").args(["-c", open]), account)).is_ok();
    if !reachable {
        let why = format!("accounts of content cannot open {device}, so content shares the host's network");
        return Err(Lacking::new(why, "modprobe tun; chmod 0666 /dev/net/tun (what udev sets by itself)"));
    }
    Ok(path)
}

/// What it printed; its last words when it failed.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().last().unwrap_or_default().chars().take(300).collect::<String>();
    Err(io::Error::other(if last.is_empty() { output.status.to_string() } else { last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_programs_and_files_say() {
        assert_eq!(version("bubblewrap 0.8.0\n"), Some((0, 8)));
        assert_eq!(version("bubblewrap 0.11\n"), Some((0, 11)));
        assert_eq!(version("bwrap"), None);
        assert_eq!(release("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(release(""), None);
        let text = "# made by hand\nnameserver 10.0.0.1\nsearch example.org\noptions edns0\n";
        assert_eq!(resolver(text), "search example.org\noptions edns0\n");
    }
}
