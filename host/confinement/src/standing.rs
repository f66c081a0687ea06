//! Which layers a host gives, lacks or was told to do without: the table of `lectern doctor`.

use lectern_domain::confinement::{Layer, Network, Walls};

use crate::facts::{Facts, Lacking};

/// How a layer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Have,
    /// The host does not give it.
    Lack(Lacking),
    /// The settings do without it.
    Off(Lacking),
}

/// A layer, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub layer: Layer,
    /// How.
    pub state: State,
}

/// How every layer stands with these settings on this host.
pub fn standings(walls: &Walls, facts: &Facts) -> Vec<Standing> {
    Layer::ALL.iter().map(|layer| Standing { layer: *layer, state: state(*layer, walls, facts) }).collect()
}

fn state(layer: Layer, walls: &Walls, facts: &Facts) -> State {
    let of = |found: Result<(), &Lacking>| found.map_or_else(|lack| State::Lack(lack.clone()), |()| State::Have);
    let off = |why: &str, remedy: &str| State::Off(Lacking::new(why, remedy));
    let bubblewrap = || of(facts.bubblewrap.as_ref().map(drop));
    // Without namespaces the rules of Landlock still hold.
    let files = || match (&facts.bubblewrap, &facts.landlock) {
        (Err(_), Ok(_)) => State::Have,
        _ => bubblewrap(),
    };
    match layer {
        Layer::OwnAccount if facts.root => State::Have,
        Layer::OwnAccount => State::Lack(Lacking::new(
            "the server does not run as root: all content runs as its account",
            "run lectern as root; it drops privileges for everything it starts",
        )),
        Layer::NoNewPrivileges | Layer::ResourceLimits => State::Have,
        _ if !walls.enabled => off("sandbox.enabled is false", "remove it from the configuration"),
        Layer::UserNamespace => of(facts.user_namespaces.as_ref().map(drop)),
        Layer::MountNamespace
        | Layer::PidNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::PrivateTmp
        | Layer::PrivateHome
        | Layer::PrivateDev
        | Layer::PrivateProc => bubblewrap(),
        Layer::DiskQuota => of(facts.sizes.as_ref().map(drop)),
        Layer::ReadOnlySystem | Layer::Hidden => files(),
        Layer::Seccomp => of(facts.seccomp.as_ref().map(drop)),
        Layer::Landlock => of(facts.landlock.as_ref().map(drop)),
        Layer::MemoryLimit if walls.memory_bytes.is_none() => off("no limit is set", "set sandbox.memory_bytes"),
        Layer::MemoryLimit => of(facts.memory.as_ref().map(drop)),
        Layer::CpuLimit if walls.cpu_millis.is_none() => off("no limit is set", "set sandbox.cpu_millis"),
        Layer::CpuLimit => of(facts.cpu.as_ref().map(drop)),
        Layer::TaskLimit if facts.counts_tasks && facts.user_namespaces.is_ok() => State::Have,
        Layer::TaskLimit => of(facts.tasks.as_ref().map(drop)),
        Layer::Network => match walls.network {
            Network::Host => off("sandbox.network is \"host\"", "set it to \"egress\" or \"none\""),
            Network::None => bubblewrap(),
            Network::Egress => match &facts.bubblewrap {
                Ok(_) => of(facts.uplink.as_ref().map(drop)),
                Err(_) => bubblewrap(),
            },
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::places::Place;

    /// A host with everything.
    pub(crate) fn facts() -> Facts {
        Facts {
            root: true,
            bubblewrap: Ok("/usr/bin/bwrap".into()),
            user_namespaces: Ok(()),
            sizes: Ok(()),
            seccomp: Ok(()),
            landlock: Ok(6),
            memory: Ok(()),
            cpu: Ok(()),
            tasks: Ok(()),
            counts_tasks: true,
            uplink: Ok("/usr/bin/slirp4netns".into()),
            system: vec![Place::Tree("/usr".into()), Place::Link { at: "/bin".into(), to: "usr/bin".into() }],
            resolver: "search example.org\n".into(),
            hosts: "127.0.0.1 localhost\n".into(),
        }
    }

    fn lacking() -> Lacking {
        Lacking::new("it is not there", "get it")
    }

    fn check(change: impl Fn(&mut Facts, &mut Walls), lacks: &[Layer], offs: &[Layer]) {
        let (mut facts, mut walls) =
            (facts(), Walls { memory_bytes: Some(1), cpu_millis: Some(1), ..Walls::default() });
        change(&mut facts, &mut walls);
        let all = standings(&walls, &facts);
        assert_eq!(all.len(), Layer::ALL.len());
        let some = |fits: fn(&State) -> bool| -> Vec<Layer> {
            all.iter().filter(|one| fits(&one.state)).map(|one| one.layer).collect()
        };
        assert_eq!(some(|state| matches!(state, State::Lack(_))), lacks);
        assert_eq!(some(|state| matches!(state, State::Off(_))), offs);
    }

    #[test]
    fn a_table_of_hosts() {
        use Layer::{
            CpuLimit, DiskQuota, Hidden, IpcNamespace, Landlock, MemoryLimit, MountNamespace, Network as Net,
            OwnAccount, PidNamespace, PrivateDev, PrivateHome, PrivateProc, PrivateTmp, ReadOnlySystem, Seccomp,
            TaskLimit, UserNamespace, UtsNamespace,
        };
        let namespaces = [
            UserNamespace,
            MountNamespace,
            PidNamespace,
            IpcNamespace,
            UtsNamespace,
            PrivateTmp,
            PrivateHome,
            PrivateDev,
            PrivateProc,
        ];
        check(|_, _| {}, &[], &[]);
        check(|facts, _| facts.root = false, &[OwnAccount], &[]);
        check(|facts, _| facts.seccomp = Err(lacking()), &[Seccomp], &[]);
        check(|facts, _| facts.uplink = Err(lacking()), &[Net], &[]);
        check(|facts, _| facts.memory = Err(lacking()), &[MemoryLimit], &[]);
        check(|facts, _| (facts.tasks, facts.counts_tasks) = (Err(lacking()), false), &[TaskLimit], &[]);
        check(|facts, _| facts.tasks = Err(lacking()), &[], &[]);
        check(|_, walls| walls.network = Network::Host, &[], &[Net]);
        check(|_, walls| (walls.memory_bytes, walls.cpu_millis) = (None, None), &[], &[MemoryLimit, CpuLimit]);
        let without = [&namespaces[..], &[DiskQuota, Net]].concat();
        let gone = |facts: &mut Facts, _: &mut Walls| {
            facts.bubblewrap = Err(lacking());
            (facts.sizes, facts.user_namespaces) = (Err(lacking()), Err(lacking()));
        };
        check(gone, &without, &[]);
        check(|facts, _| facts.user_namespaces = Err(lacking()), &[UserNamespace], &[]);
        check(|facts, _| facts.sizes = Err(lacking()), &[DiskQuota], &[]);
        let both = |facts: &mut Facts, walls: &mut Walls| {
            gone(facts, walls);
            facts.landlock = Err(lacking());
        };
        check(both, &[&namespaces[..], &[ReadOnlySystem, Hidden, Landlock, DiskQuota, Net]].concat(), &[]);
        let off: Vec<Layer> = Layer::ALL
            .iter()
            .copied()
            .filter(|layer| !matches!(layer, OwnAccount | Layer::NoNewPrivileges | Layer::ResourceLimits))
            .collect();
        check(|_, walls| walls.enabled = false, &[], &off);
    }
}
