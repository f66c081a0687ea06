//! The walls around a process of content: which layers there are, and how they are set.
//!
//! A [`Layer`] is one thing that the kernel can do to keep a process in. [`Walls`] say how a process is to be kept in; what
//! this host can do of it, and how, is decided elsewhere.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

macro_rules! layers {
    ($($name:ident $text:literal $gives:literal,)*) => {
        /// One layer of confinement. A new one does not compile until everybody has decided what to do about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Layer { $(#[doc = $gives] $name,)* }

        impl Layer {
            /// All of them, from the outermost to the innermost.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in settings and messages.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it gives, for a table.
            pub fn gives(self) -> &'static str {
                match self { $(Self::$name => $gives,)* }
            }
        }
    };
}

layers! {
    OwnAccount "own-account" "Each content item runs as an account of its own.",
    NoNewPrivileges "no-new-privileges" "No program gains rights by being executed, set-uid ones included.",
    UserNamespace "user-namespace" "A process has no capability in any namespace but its own, and none is left there.",
    MountNamespace "mount-namespace" "A process sees a tree of files of its own.",
    PidNamespace "pid-namespace" "A process sees no process of others, and all it starts ends with it.",
    IpcNamespace "ipc-namespace" "Shared memory and message queues of System V and POSIX are a process's own.",
    UtsNamespace "uts-namespace" "The host's name is not seen.",
    PrivateTmp "private-tmp" "/tmp and /var/tmp are a process's own, and end with it.",
    PrivateHome "private-home" "The home directory is a process's own; /home and /root are not there.",
    PrivateDev "private-dev" "/dev has no devices but null, zero, full, random, urandom and tty.",
    PrivateProc "private-proc" "/proc shows the process's own namespace.",
    ReadOnlySystem "read-only-system" "System, bundle and packages cannot be written.",
    Hidden "hidden" "Nothing of Lectern's data, configuration and database, nor of other content, is there.",
    Seccomp "seccomp" "System calls that content has no use for are refused.",
    Landlock "landlock" "The rules for files hold a second time, by another mechanism of the kernel.",
    MemoryLimit "memory-limit" "A worker's memory is limited; one that wants more is ended, and its publisher told.",
    CpuLimit "cpu-limit" "A worker's share of the processors is limited.",
    TaskLimit "task-limit" "A worker's processes and threads are limited.",
    DiskQuota "disk-quota" "What a worker can write is limited.",
    ResourceLimits "resource-limits" "No core dumps; open files and the size of one file are limited.",
    Network "network" "Loopback addresses of others, cloud metadata and refused networks cannot be reached.",
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names none of the known values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of {known}")]
pub struct UnknownName {
    given: String,
    known: String,
}

impl UnknownName {
    fn new(given: &str, known: &[&str]) -> Self {
        Self { given: given.chars().take(80).collect(), known: known.join(", ") }
    }
}

impl FromStr for Layer {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let names: Vec<&str> = Self::ALL.iter().map(|layer| layer.as_str()).collect();
        Self::ALL.iter().copied().find(|layer| layer.as_str() == text).ok_or_else(|| UnknownName::new(text, &names))
    }
}

/// What a process may reach over the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Its own loopback addresses only.
    None,
    /// Those, and what the host reaches, but for the host's loopback addresses and refused networks.
    #[default]
    Egress,
    /// All that the host reaches, as the host.
    Host,
}

impl Network {
    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Egress => "egress",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Network {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let all = [Self::None, Self::Egress, Self::Host];
        all.into_iter().find(|one| one.as_str() == text).ok_or_else(|| UnknownName::new(text, &all.map(Self::as_str)))
    }
}

/// Which system calls are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Those that content has no use for.
    #[default]
    Default,
    /// Those, and more that an ordinary application does without, such as programs run from memory.
    Strict,
}

impl Profile {
    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let all = [Self::Default, Self::Strict];
        all.into_iter().find(|one| one.as_str() == text).ok_or_else(|| UnknownName::new(text, &all.map(Self::as_str)))
    }
}

/// How a process is to be kept in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Whether there are any but the account, `no_new_privs` and the limits of resources.
    pub enabled: bool,
    /// Layers without which nothing is started.
    pub require: Vec<Layer>,
    /// What may be reached.
    pub network: Network,
    /// Networks that cannot be reached, besides those of [`ALWAYS_REFUSED`]. The most specific entry of this and
    /// `egress_allow` decides.
    pub egress_deny: Vec<IpNet>,
    /// Networks that can be reached all the same.
    pub egress_allow: Vec<IpNet>,
    /// Which system calls are refused.
    pub profile: Profile,
    /// Files and directories that can be read, besides the system's and the working directory.
    pub read_only: Vec<PathBuf>,
    /// Directories that can be written, besides the private ones.
    pub writable: Vec<PathBuf>,
    /// Most memory in bytes, page cache and private files included; `None`: as much as there is.
    pub memory_bytes: Option<u64>,
    /// Most processor time, in thousandths of one core; `None`: as much as there is.
    pub cpu_millis: Option<u32>,
    /// Most processes and threads.
    pub tasks: u32,
    /// Most bytes in each of the private directories: home, `/tmp` and `/dev/shm`.
    pub private_bytes: u64,
    /// Most bytes of one file.
    pub file_bytes: u64,
    /// A way to this server from a network of its own; `None`: there is none but what `network` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

/// Somebody listens inside, at an address that only the process sees, and leads to a socket of this server. So an address on
/// the host's loopback is good inside, too, and nothing else there can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The directory of the socket, which is shown inside; there is nothing else in it.
    pub directory: PathBuf,
    /// The socket's name there.
    pub socket: String,
}

impl Relay {
    /// The socket's path.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.socket)
    }
}

/// Limits that a publisher has set for one content item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLimits {
    /// Most memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Most processor time, in thousandths of one core.
    pub cpu_millis: Option<u32>,
}

impl OwnLimits {
    /// Reads the clients' settings `memory_limit` (bytes) and `cpu_limit` (cores); `null`, 0 and what makes no sense are
    /// no limit.
    pub fn from_settings(settings: &serde_json::Map<String, serde_json::Value>) -> Self {
        let memory = settings.get("memory_limit").and_then(serde_json::Value::as_u64);
        let cores = settings.get("cpu_limit").and_then(serde_json::Value::as_f64);
        // At least a hundredth of a core: the kernel shares out no less. At most a million cores.
        let millis = cores.filter(|cores| *cores > 0.0).map(|cores| (cores * 1000.0).clamp(10.0, 1e9) as u32);
        // No interpreter starts with less than 32 MiB.
        Self { memory_bytes: memory.filter(|bytes| *bytes > 0).map(|bytes| bytes.max(32 << 20)), cpu_millis: millis }
    }
}

impl Walls {
    /// These walls with a publisher's own limits instead of the usual ones, but never above `most`.
    #[must_use]
    pub fn with_own(mut self, own: OwnLimits, most: OwnLimits) -> Self {
        fn within<T: Ord + Copy>(wanted: Option<T>, most: Option<T>) -> Option<T> {
            match (wanted, most) {
                (Some(wanted), Some(most)) => Some(wanted.min(most)),
                (wanted, most) => wanted.or(most),
            }
        }
        self.memory_bytes = within(own.memory_bytes.or(self.memory_bytes), most.memory_bytes);
        self.cpu_millis = within(own.cpu_millis.or(self.cpu_millis), most.cpu_millis);
        self
    }
}

/// Addresses at which clouds hand out credentials and configuration of the host: unreachable unless allowed by name.
///
/// Link-local, where AWS, Azure, Google Cloud, OpenStack and ECS have theirs; Azure's WireServer; Alibaba's; Oracle's.
pub const ALWAYS_REFUSED: &[&str] = &["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"];

impl Default for Walls {
    fn default() -> Self {
        Self {
            enabled: true,
            require: Vec::new(),
            network: Network::Egress,
            egress_deny: Vec::new(),
            egress_allow: Vec::new(),
            profile: Profile::Default,
            read_only: Vec::new(),
            writable: Vec::new(),
            // Content's needs differ by orders of magnitude, and a guess kills apps that ran well: the operator who knows
            // the machine sets it.
            memory_bytes: None,
            // An idle machine may be used whole by one; the scheduler shares it fairly when many want it.
            cpu_millis: None,
            // OpenBLAS, a thread pool per library and some child processes on an 8-core host stay below 200.
            tasks: 512,
            // Uploads and spilled frames fit; ten that fill theirs do not fill a host of 16 GiB.
            private_bytes: 1 << 30,
            // More than any private directory holds; it ends a runaway log in a writable place.
            file_bytes: 16 << 30,
            relay: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_read_back() {
        for layer in Layer::ALL {
            assert_eq!(layer.as_str().parse::<Layer>().unwrap(), *layer);
            assert_eq!(serde_json::to_value(layer).unwrap(), layer.as_str());
            assert!(layer.gives().ends_with('.'), "{layer}");
        }
        for network in [Network::None, Network::Egress, Network::Host] {
            assert_eq!(network.as_str().parse::<Network>().unwrap(), network);
        }
        for profile in [Profile::Default, Profile::Strict] {
            assert_eq!(profile.as_str().parse::<Profile>().unwrap(), profile);
        }
        let said = "secomp".parse::<Layer>().unwrap_err().to_string();
        assert!(said.contains("\"secomp\" is none of own-account, ") && said.contains("seccomp"), "{said}");
    }

    #[test]
    fn publishers_limits_stay_within_the_operators() {
        let own = |text: &str| OwnLimits::from_settings(serde_json::from_str(text).as_ref().unwrap());
        let cases = [
            (r#"{}"#, (None, None)),
            (r#"{"memory_limit": null, "cpu_limit": 0}"#, (None, None)),
            (r#"{"memory_limit": 1073741824, "cpu_limit": 1.5}"#, (Some(1 << 30), Some(1500))),
            (r#"{"memory_limit": 1, "cpu_limit": 0.00001}"#, (Some(32 << 20), Some(10))),
            (r#"{"memory_limit": "much", "cpu_limit": -1}"#, (None, None)),
        ];
        for (text, expected) in cases {
            let own = own(text);
            assert_eq!((own.memory_bytes, own.cpu_millis), expected, "{text}");
        }
        let check = |usual: Option<u64>, own: Option<u64>, most: Option<u64>, expected: Option<u64>| {
            let of = |memory_bytes| OwnLimits { memory_bytes, cpu_millis: None };
            let walls = Walls { memory_bytes: usual, ..Walls::default() }.with_own(of(own), of(most));
            assert_eq!(walls.memory_bytes, expected, "{usual:?} {own:?} {most:?}");
        };
        check(None, None, None, None);
        check(Some(2), None, None, Some(2));
        check(Some(2), Some(5), None, Some(5));
        check(Some(2), Some(5), Some(4), Some(4));
        check(None, None, Some(4), Some(4));
        check(Some(9), None, Some(4), Some(4));
    }

    #[test]
    fn what_is_always_refused_are_networks() {
        for text in ALWAYS_REFUSED {
            text.parse::<IpNet>().unwrap();
        }
    }
}
