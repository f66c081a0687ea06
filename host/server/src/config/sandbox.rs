//! The keys of `[sandbox]`: the accounts of content and the walls around it.

use std::net::IpAddr;

use ipnet::IpNet;
use lectern_domain::ContentGuid;
use lectern_domain::confinement::{Layer, OwnLimits, Profile, Walls};

use super::Sandbox;
use super::reader::Reader;

/// Reads `[sandbox]`.
pub(super) fn sandbox(read: &mut Reader) -> Sandbox {
    // 65,536 ids are taken from here on; the range must end below 2^31, where some tools stop.
    let first = read.number("sandbox.first_uid", 200_000, 1_000, (1 << 31) - 65_537);
    let build = read.number("sandbox.build_uid", 199_999, 1, (1 << 31) - 1);
    if (first..first + 65_536).contains(&build) {
        read.mistake(
            "sandbox.build_uid",
            build.to_string(),
            format!("must lie outside the ids of content, {first} to {}", first + 65_535),
        );
    }
    let profiles = read.list(
        "sandbox.profiles",
        "a list of content GUIDs with the profile of each, like [\"0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162=strict\"]",
        |text| text.parse::<ItemProfile>().ok(),
    );
    Sandbox {
        first_uid: u32::try_from(first).unwrap_or(200_000),
        build_uid: u32::try_from(build).unwrap_or(199_999),
        walls: walls(read),
        most: OwnLimits {
            memory_bytes: Some(read.size("sandbox.max_memory_bytes", 0, 0)).filter(|bytes| *bytes > 0),
            cpu_millis: u32::try_from(read.number("sandbox.max_cpu_millis", 0, 0, 1_000_000))
                .ok()
                .filter(|most| *most > 0),
        },
        profiles: profiles.into_iter().map(|ItemProfile(content, profile)| (content, profile)).collect(),
    }
}

/// A profile for one content item, `GUID=PROFILE`.
struct ItemProfile(ContentGuid, Profile);

impl std::str::FromStr for ItemProfile {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (content, profile) = text.split_once('=').ok_or(())?;
        Ok(Self(content.trim().parse().map_err(drop)?, profile.trim().parse().map_err(drop)?))
    }
}

impl std::fmt::Display for ItemProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}

fn walls(read: &mut Reader) -> Walls {
    let usual = Walls::default();
    let networks = "a list of networks or addresses, like [\"10.0.0.0/8\", \"192.0.2.7\"]";
    let network = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    // Zero is "no limit", as in the clients' protocol.
    let memory = read.size("sandbox.memory_bytes", 0, 0);
    if memory > 0 && memory < LEAST_MEMORY {
        read.mistake(
            "sandbox.memory_bytes",
            memory.to_string(),
            "must be 0, for no limit, or at least 32 MiB: no interpreter starts with less".into(),
        );
    }
    let cpu = read.number("sandbox.cpu_millis", 0, 0, 1_000_000);
    if cpu > 0 && cpu < LEAST_CPU {
        read.mistake(
            "sandbox.cpu_millis",
            cpu.to_string(),
            "must be 0, for no limit, or at least 10 thousandths of a core".into(),
        );
    }
    Walls {
        enabled: read.switch("sandbox.enabled", usual.enabled),
        require: read.list("sandbox.require", &format!("a list of layers: {}", layers()), |text| text.parse().ok()),
        network: read
            .text("sandbox.network", "\"egress\", \"none\" or \"host\"", usual.network, |text| text.parse().ok()),
        egress_deny: read.list("sandbox.egress_deny", networks, network),
        egress_allow: read.list("sandbox.egress_allow", networks, network),
        profile: read.text("sandbox.profile", "\"default\" or \"strict\"", usual.profile, |text| text.parse().ok()),
        read_only: read.paths("sandbox.read_only"),
        writable: Vec::new(),
        memory_bytes: Some(memory).filter(|bytes| *bytes > 0),
        cpu_millis: u32::try_from(cpu).ok().filter(|millis| *millis > 0),
        // The least that an interpreter with a web framework gets by with, and what a kernel has at most.
        tasks: u32::try_from(read.number("sandbox.tasks", usual.tasks.into(), 16, 4_194_304)).unwrap_or(usual.tasks),
        private_bytes: read.size("sandbox.private_bytes", usual.private_bytes, 1 << 20),
        file_bytes: read.size("sandbox.file_bytes", usual.file_bytes, 1 << 20),
        // Of each launch.
        relay: None,
    }
}

/// The least memory that may be set: a bare Python with a web framework takes 30 MiB.
const LEAST_MEMORY: u64 = 32 << 20;

/// The least processor time that may be set: the kernel shares out no less.
const LEAST_CPU: u64 = 10;

fn layers() -> String {
    Layer::ALL.iter().map(|layer| layer.as_str()).collect::<Vec<_>>().join(", ")
}
