//! The decision: what is to be done to keep one process in, on this host.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use lectern_domain::confinement::{ALWAYS_REFUSED, Layer, Network, Profile, Relay, Walls};
use lectern_domain::launch::Account;
use serde::{Deserialize, Serialize};

use crate::bubblewrap::{Argument, arguments};
use crate::facts::{Facts, Lacking};
use crate::landlock_rules::{Right, Rule};
use crate::places::{DEVICES, Place, READ};
use crate::routes::{Route, routes};
use crate::standing::{State, standings};

/// The way out, as the uplink has it in that network.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));

/// Whose process it is, and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The account it runs as; `None` keeps the caller's own.
    pub account: Option<Account>,
    /// Its working directory, read-only.
    pub directory: &'a Path,
    /// Where a home directory of its own is made; `None` where it is one of the writable directories.
    pub home: Option<&'a Path>,
    /// The directory, on the host, in which it makes its socket.
    pub sockets: Option<&'a Path>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(crate) account: Option<Account>,
    /// bubblewrap and its arguments.
    pub(crate) bubblewrap: Option<(PathBuf, Vec<Argument>)>,
    /// Whether root starts bubblewrap, and the first process inside takes the account: where accounts may not make user
    /// namespaces.
    pub(crate) by_root: bool,
    /// Directories that are given to the account inside then.
    pub(crate) hand_over: Vec<PathBuf>,
    pub(crate) seccomp: Option<Profile>,
    pub(crate) landlock: Option<Vec<Rule>>,
    pub(crate) routes: Vec<Route>,
    pub(crate) uplink: Option<PathBuf>,
    /// The way to this server; elsewhere its loopback addresses are the host's own, or nothing is to be reached.
    pub(crate) relay: Option<Relay>,
    /// Limits of control groups that this host can set.
    pub(crate) limits: Limits,
    /// The limit of tasks that the process sets for its own namespace.
    pub(crate) tasks: Option<u32>,
}

/// What control groups are to hold a process to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Most thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Most processes and threads.
    pub tasks: Option<u32>,
}

impl Plan {
    /// What control groups are to do.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the process is the first of a namespace, and all it starts ends with it.
    pub fn has_namespaces(&self) -> bool {
        self.bubblewrap.is_some()
    }
}

/// Layers that are required and not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sandbox.require asks for what this host does not give: {}", self.words())]
pub struct Missing {
    /// Each with what is the matter.
    pub layers: Vec<(Layer, Lacking)>,
}

impl Missing {
    fn words(&self) -> String {
        let each =
            self.layers.iter().map(|(layer, lack)| format!("{layer} ({}; to mend it: {})", lack.why, lack.remedy));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Decides. What the host lacks is done without, unless it is required.
pub fn plan(subject: Subject<'_>, walls: &Walls, facts: &Facts) -> Result<Plan, Missing> {
    let all = standings(walls, facts);
    let missing = all.iter().filter(|one| walls.require.contains(&one.layer)).filter_map(|one| match &one.state {
        State::Have => None,
        State::Lack(lack) | State::Off(lack) => Some((one.layer, lack.clone())),
    });
    let layers: Vec<(Layer, Lacking)> = missing.collect();
    if !layers.is_empty() {
        return Err(Missing { layers });
    }
    let have = |layer| all.iter().any(|one| one.layer == layer && one.state == State::Have);
    let network = match walls.network {
        Network::Egress | Network::None if have(Layer::Network) => walls.network,
        Network::Egress | Network::None | Network::Host => Network::Host,
    };
    let bubblewrap = facts.bubblewrap.as_ref().ok().filter(|_| walls.enabled);
    let by_root = facts.root && subject.account.is_some() && bubblewrap.is_some() && facts.user_namespaces.is_err();
    Ok(Plan {
        account: subject.account,
        by_root,
        hand_over: subject.home.map(Path::to_owned).into_iter().filter(|_| by_root).collect(),
        bubblewrap: bubblewrap.map(|path| (path.clone(), arguments(subject, walls, facts, network, by_root))),
        seccomp: have(Layer::Seccomp).then_some(walls.profile),
        landlock: have(Layer::Landlock).then(|| rules(subject, walls, facts, bubblewrap.is_some())),
        routes: if network == Network::Egress { refused(walls) } else { Vec::new() },
        uplink: facts.uplink.as_ref().ok().filter(|_| network == Network::Egress).cloned(),
        relay: walls.relay.clone().filter(|_| network == Network::Egress),
        limits: Limits {
            memory_bytes: walls.memory_bytes.filter(|_| have(Layer::MemoryLimit)),
            cpu_millis: walls.cpu_millis.filter(|_| have(Layer::CpuLimit)),
            tasks: Some(walls.tasks).filter(|_| walls.enabled && facts.tasks.is_ok()),
        },
        tasks: Some(walls.tasks).filter(|_| facts.counts_tasks && bubblewrap.is_some() && !by_root),
    })
}

fn refused(walls: &Walls) -> Vec<Route> {
    let always = ALWAYS_REFUSED.iter().filter_map(|text| text.parse::<IpNet>().ok());
    // What an operator allows by the same name is meant.
    let always = always.filter(|net| !walls.egress_allow.contains(net));
    let deny: Vec<IpNet> = always.chain(walls.egress_deny.iter().copied()).collect();
    routes(&deny, &walls.egress_allow, GATEWAY)
}

fn rules(subject: Subject<'_>, walls: &Walls, facts: &Facts, mounts: bool) -> Vec<Rule> {
    let mut rules = vec![Rule { path: "/".into(), right: Right::List }];
    let mut add = |path: &Path, right| rules.push(Rule { path: path.to_owned(), right });
    for place in &facts.system {
        match place {
            Place::Tree(path) | Place::Link { at: path, .. } => add(path, Right::Read),
        }
    }
    READ.iter().for_each(|path| add(Path::new(path), Right::Read));
    ["passwd", "group", "hosts", "resolv.conf"].iter().for_each(|name| add(&Path::new("/etc").join(name), Right::Read));
    add(Path::new("/proc"), Right::Update);
    DEVICES.iter().for_each(|name| add(&Path::new("/dev").join(name), Right::Update));
    if mounts {
        // Of the process's own; on the host's they would be everybody's.
        add(Path::new("/tmp"), Right::Write);
        add(Path::new("/dev/shm"), Right::Write);
    }
    subject.home.iter().for_each(|path| add(path, Right::Write));
    walls.read_only.iter().for_each(|path| add(path, Right::Read));
    add(subject.directory, Right::Read);
    subject.sockets.iter().for_each(|path| add(path, Right::Sockets));
    walls.writable.iter().for_each(|path| add(path, Right::Write));
    rules
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::standing::tests::facts;

    const ACCOUNT: Account = Account { uid: 200_001, gid: 200_001 };

    fn subject() -> Subject<'static> {
        Subject {
            account: Some(ACCOUNT),
            directory: Path::new("/data/unpacked/abc"),
            home: Some(Path::new("/data/run/w/1/home")),
            sockets: Some(Path::new("/data/run/w/1/s")),
        }
    }

    fn text(plan: &Plan) -> String {
        let words = plan.bubblewrap.iter().flat_map(|(_, arguments)| arguments).map(|argument| match argument {
            Argument::Text(text) => text.clone(),
            Argument::Data(data) => format!("<{}>", data.replace('\n', "|")),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Walls, &mut Facts), has: &[&str], lacks: &[&str]) -> Plan {
        let (mut walls, mut facts) = (Walls::default(), facts());
        change(&mut walls, &mut facts);
        let plan = plan(subject(), &walls, &facts).unwrap();
        let text = text(&plan);
        has.iter().for_each(|part| assert!(text.contains(part), "no {part} in {text}"));
        lacks.iter().for_each(|part| assert!(!text.contains(part), "{part} in {text}"));
        plan
    }

    #[test]
    fn everything_is_shut_by_default() {
        let has = [
            "--unshare-user --unshare-pid --unshare-ipc --unshare-uts",
            "--die-with-parent --as-pid-1 --cap-drop ALL --unshare-net --cap-add CAP_NET_ADMIN",
            "--ro-bind /usr /usr --symlink usr/bin /bin --perms 0755 --dir /etc ",
            "--ro-bind-data <root:x:0:0::/nonexistent:/usr/sbin/nologin|lectern:x:200001:200001::/data/run/w/1/home:/bin/sh|> /etc/passwd",
            "<nameserver 198.18.0.3|search example.org|> /etc/resolv.conf",
            "--proc /proc --perms 0755 --tmpfs /dev --dev-bind-try /dev/null /dev/null",
            "--size 1073741824 --perms 1777 --tmpfs /tmp",
            "--perms 0755 --dir /data --perms 0755 --dir /data/run --perms 0755 --dir /data/run/w",
            "--perms 0700 --tmpfs /data/run/w/1/home",
            "--ro-bind /data/unpacked/abc /data/unpacked/abc --bind /data/run/w/1/s /data/run/w/1/s",
            "--remount-ro /dev --remount-ro /",
        ];
        let plan = check(|_, _| {}, &has, &["shadow", "--dev /dev", "--bind /data/unpacked", "bind /data/run/w/1 "]);
        assert_eq!(plan.seccomp, Some(Profile::Default));
        assert!(plan.routes.iter().any(|route| route.to.to_string() == "169.254.0.0/16" && route.via.is_none()));
        assert_eq!(plan.limits, Limits { memory_bytes: None, cpu_millis: None, tasks: Some(512) });
        let rights = plan.landlock.unwrap();
        let of = |path: &str| {
            rights.iter().filter(|rule| rule.path == Path::new(path)).map(|rule| rule.right).collect::<Vec<_>>()
        };
        assert_eq!(of("/data/run/w/1/s"), [Right::Sockets], "what can be written on the host takes no room");
        assert_eq!(of("/data/unpacked/abc"), [Right::Read]);
        assert_eq!(of("/tmp"), [Right::Write]);
    }

    #[test]
    fn the_network_is_what_is_wanted_and_possible() {
        let none = check(
            |walls, _| walls.network = Network::None,
            &["--unshare-net", "<> /etc/resolv.conf"],
            &["CAP_NET_ADMIN"],
        );
        assert!(none.routes.is_empty() && none.uplink.is_none());
        let host =
            check(|walls, _| walls.network = Network::Host, &["--ro-bind-try /etc/resolv.conf"], &["--unshare-net"]);
        assert!(host.routes.is_empty() && host.uplink.is_none());
        let lacking =
            |_: &mut Walls, facts: &mut Facts| facts.uplink = Err(Lacking::new("no slirp4netns", "install it"));
        let fallen = check(lacking, &["--ro-bind-try /etc/resolv.conf"], &["--unshare-net"]);
        assert!(fallen.routes.is_empty() && fallen.uplink.is_none());
    }

    #[test]
    fn the_server_is_reached_only_from_a_network_that_leads_somewhere() {
        let relay = Relay {
            listen: "127.0.0.1:3939".parse().unwrap(),
            directory: "/data/run/in".into(),
            socket: "server.sock".into(),
        };
        let with = |network| {
            let relay = relay.clone();
            move |walls: &mut Walls, _: &mut Facts| {
                walls.network = network;
                walls.relay = Some(relay.clone());
            }
        };
        let shown = "--ro-bind-try /data/run/in /data/run/in";
        assert_eq!(check(with(Network::Egress), &[shown], &[]).relay.as_ref(), Some(&relay));
        assert_eq!(check(with(Network::None), &[], &[shown]).relay, None);
        assert_eq!(check(with(Network::Host), &[], &[shown]).relay, None);
    }

    #[test]
    fn an_operator_may_open_what_is_always_refused() {
        let opened = |walls: &mut Walls, _: &mut Facts| walls.egress_allow = vec!["169.254.170.2/32".parse().unwrap()];
        let plan = check(opened, &[], &[]);
        let text: Vec<String> =
            plan.routes.iter().map(|route| format!("{} {}", route.to, route.via.is_some())).collect();
        assert!(
            text.contains(&"169.254.0.0/16 false".to_owned()) && text.contains(&"169.254.170.2/32 true".to_owned()),
            "{text:?}"
        );
        let whole = |walls: &mut Walls, _: &mut Facts| walls.egress_allow = vec!["169.254.0.0/16".parse().unwrap()];
        assert!(
            check(whole, &[], &[])
                .routes
                .iter()
                .all(|route| route.to.to_string() != "169.254.0.0/16" || route.via.is_some())
        );
    }

    #[test]
    fn root_sets_up_namespaces_where_accounts_may_not() {
        let closed = |_: &mut Walls, facts: &mut Facts| facts.user_namespaces = Err(Lacking::new("no", "allow"));
        let has = ["--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_CHOWN", "--unshare-pid"];
        let plan = check(closed, &has, &["--unshare-user"]);
        assert!(plan.by_root && plan.tasks.is_none());
        assert_eq!(plan.hand_over, [Path::new("/data/run/w/1/home")]);
    }

    #[test]
    fn an_older_bubblewrap_bounds_nothing_and_does_the_rest() {
        let older = |_: &mut Walls, facts: &mut Facts| facts.sizes = Err(Lacking::new("0.6", "install 0.7"));
        check(older, &["--perms 1777 --tmpfs /tmp", "--unshare-pid"], &["--size"]);
    }

    #[test]
    fn without_bubblewrap_the_rest_holds() {
        let lacking = |_: &mut Walls, facts: &mut Facts| facts.bubblewrap = Err(Lacking::new("no bwrap", "install it"));
        let plan = check(lacking, &[], &["bwrap"]);
        assert!(plan.bubblewrap.is_none() && plan.seccomp.is_some() && plan.uplink.is_none());
        let rules = plan.landlock.unwrap();
        assert!(rules.iter().all(|rule| rule.path != Path::new("/tmp")), "the host's /tmp is not the process's own");
    }

    #[test]
    fn what_is_required_and_missing_is_named_with_its_remedy() {
        let mut facts = facts();
        facts.seccomp = Err(Lacking::new("the kernel has no filter", "use another kernel"));
        let walls =
            Walls { require: vec![Layer::Seccomp, Layer::MemoryLimit, Layer::PidNamespace], ..Walls::default() };
        let missing = plan(subject(), &walls, &facts).unwrap_err();
        let layers: Vec<Layer> = missing.layers.iter().map(|(layer, _)| *layer).collect();
        assert_eq!(layers, [Layer::Seccomp, Layer::MemoryLimit]);
        let said = missing.to_string();
        for part in [
            "seccomp (the kernel has no filter; to mend it: use another kernel)",
            "memory-limit (no limit is set; to mend it: set sandbox.memory_bytes)",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
