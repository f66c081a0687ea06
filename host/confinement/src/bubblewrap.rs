//! bubblewrap's arguments: which namespaces, and what is seen of the host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lectern_domain::confinement::{Network, Walls};

use crate::facts::Facts;
use crate::places::{DEVICES, Place, READ};
use crate::plan::Subject;

/// The network between a namespace and its uplink. A range for tests between devices (RFC 2544), which nobody routes.
pub(crate) const UPLINK_NETWORK: &str = "198.18.0.0/24";
/// The uplink's resolver, which asks the host's.
const RESOLVER: &str = "198.18.0.3";

/// An argument of bubblewrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Argument {
    Text(String),
    /// The number of a descriptor from which this is read.
    Data(String),
}

/// Collects arguments.
#[derive(Default)]
struct Arguments {
    list: Vec<Argument>,
    /// Whether memory file systems are bounded.
    sizes: bool,
}

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.list.extend(words.map(|word| Argument::Text(word.to_owned())));
    }

    fn data(&mut self, path: &str, text: String) {
        self.add(["--perms", "0444", "--ro-bind-data"]);
        self.list.push(Argument::Data(text));
        self.add([path]);
    }

    fn bind(&mut self, how: &str, path: &Path) {
        let path = path.to_string_lossy();
        self.add([how, &path, &path]);
    }

    /// The directories on the way to `paths`, from the root downwards: bubblewrap would let only its own account pass.
    fn ways<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) {
        let ways: BTreeSet<&Path> =
            paths.flat_map(|path| path.ancestors().skip(1)).filter(|way| way.parent().is_some()).collect();
        for way in ways {
            self.add(["--perms", "0755", "--dir", &way.to_string_lossy()]);
        }
    }

    /// A directory in memory that holds at most so many bytes.
    fn memory(&mut self, bytes: u64, mode: &str, path: &str) {
        if self.sizes {
            self.add(["--size", &bytes.to_string()]);
        }
        self.add(["--perms", mode, "--tmpfs", path]);
    }
}

/// bubblewrap's arguments, in the order in which it acts on them: what is mounted later lies above.
pub(crate) fn arguments(
    subject: Subject<'_>,
    walls: &Walls,
    facts: &Facts,
    network: Network,
    by_root: bool,
) -> Vec<Argument> {
    let mut list = Arguments { sizes: facts.sizes.is_ok(), ..Arguments::default() };
    if !by_root {
        list.add(["--unshare-user"]);
    }
    list.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    list.add(["--hostname", "lectern", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL"]);
    if by_root {
        // To take the account with what belongs to it; gone with that.
        list.add(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_CHOWN"]);
    }
    match network {
        Network::Host => {}
        Network::None => list.add(["--unshare-net"]),
        // For the routes; given up before the program starts.
        Network::Egress => list.add(["--unshare-net", "--cap-add", "CAP_NET_ADMIN"]),
    }
    for place in &facts.system {
        match place {
            Place::Tree(path) => list.bind("--ro-bind", path),
            Place::Link { at, to } => list.add(["--symlink", &to.to_string_lossy(), &at.to_string_lossy()]),
        }
    }
    list.ways(READ.iter().map(Path::new));
    for path in READ {
        list.bind("--ro-bind-try", Path::new(path));
    }
    let uid = subject.account.map_or_else(nix::unistd::getuid, |account| account.uid.into());
    let gid = subject.account.map_or_else(nix::unistd::getgid, |account| account.gid.into());
    let home = subject.home.map_or("/nonexistent".into(), Path::to_string_lossy);
    list.data(
        "/etc/passwd",
        format!("root:x:0:0::/nonexistent:/usr/sbin/nologin\nlectern:x:{uid}:{gid}::{home}:/bin/sh\n"),
    );
    list.data("/etc/group", format!("root:x:0:\nlectern:x:{gid}:\n"));
    list.data("/etc/hosts", format!("{}\n127.0.0.1 lectern\n", facts.hosts.trim_end()));
    match network {
        Network::Egress => list.data("/etc/resolv.conf", format!("nameserver {RESOLVER}\n{}", facts.resolver)),
        Network::None => list.data("/etc/resolv.conf", String::new()),
        Network::Host => list.bind("--ro-bind-try", Path::new("/etc/resolv.conf")),
    }
    list.add(["--proc", "/proc", "--perms", "0755", "--tmpfs", "/dev"]);
    for device in DEVICES {
        list.bind("--dev-bind-try", &Path::new("/dev").join(device));
    }
    for (name, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        list.add(["--symlink", to, &format!("/dev/{name}")]);
    }
    list.memory(walls.private_bytes, "1777", "/dev/shm");
    list.memory(walls.private_bytes, "1777", "/tmp");
    list.add(["--symlink", "/tmp", "/var/tmp", "--dir", "/run", "--dir", "/home"]);
    let shown = [subject.home, Some(subject.directory), subject.sockets].into_iter().flatten();
    let relay = walls.relay.as_ref().filter(|_| network == Network::Egress).map(|relay| relay.directory.as_path());
    let shown = shown.chain(walls.read_only.iter().chain(&walls.writable).map(PathBuf::as_path)).chain(relay);
    list.ways(shown.filter(|path| !path.starts_with("/usr") && !path.starts_with("/etc")));
    if let Some(home) = subject.home {
        list.memory(walls.private_bytes, "0700", &home.to_string_lossy());
    }
    walls.read_only.iter().for_each(|path| list.bind("--ro-bind-try", path));
    relay.iter().for_each(|path| list.bind("--ro-bind-try", path));
    list.bind("--ro-bind", subject.directory);
    subject.sockets.iter().for_each(|path| list.bind("--bind", path));
    walls.writable.iter().for_each(|path| list.bind("--bind", path));
    list.add(["--remount-ro", "/dev", "--remount-ro", "/"]);
    list.list
}
