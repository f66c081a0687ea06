//! What one call of a plugin may use. Every limit is on from the first call.

use std::time::Duration;

use crate::engine::Class;
use crate::learn::Settings;

/// How often the engine's clock ticks: the unit of [`Limits::cpu_ticks`].
pub const TICK: Duration = Duration::from_millis(5);

/// Bounds on one call, and on how many run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Rust guests use about 1.1 MiB.
    pub memory_bytes: usize,
    /// Ticks of [`TICK`] that a guest may compute in a call for a request. Waiting for the host does not count.
    pub cpu_ticks: u32,
    /// Ticks for `lifecycle.check`.
    pub check_cpu_ticks: u32,
    /// Wall time of a routing or authentication call. Such calls wait for nothing; it is long enough that a busy machine does
    /// not turn visitors away.
    pub wall: Duration,
    /// Wall time of a routing or authentication call of a plugin that may wait for the network or the store.
    pub waiting_wall: Duration,
    /// Wall time of a page and of `lifecycle.check`; a page may wait for a password hash behind others.
    pub slow_wall: Duration,
    /// Bytes that may cross from the guest to the host in one call, the answer included.
    pub hostcall_bytes: usize,
    /// Component-model handles alive at once.
    pub handles: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Core instances, memories and tables together count against this each.
    pub instances: usize,
    /// Log lines per call; further ones are counted and not written.
    pub log_lines: u32,
    /// Bytes of one log line with its fields; longer ones are cut.
    pub log_line_bytes: usize,
    /// Routing and authentication calls of one plugin that run at once; others wait.
    pub concurrency: usize,
    /// Pages of one plugin that are handled at once; others wait. Counted apart: sign-in forms wait for password hashes, and a
    /// flood of them must not keep signed-in visitors from being recognised.
    pub page_concurrency: usize,
    /// How long a call waits for its turn before the client gets 503.
    pub queue: Duration,
    /// Instances kept for further calls, where the plugin asks for warm ones.
    pub warm_instances: usize,
    /// Calls that one warm instance serves: what it leaks is bounded.
    pub warm_calls: u32,
    /// What is remembered of its decisions for each thread and phase; `None`: nothing, and every request is a call. Warm instances
    /// are never learned from.
    pub learned: Option<Settings>,
}

impl Limits {
    /// The usual limits of a class.
    pub fn of(class: Class) -> Self {
        match class {
            Class::Light => Self::light(),
            // An interpreter starts for some milliseconds, has tens of MiB and dozens of modules.
            Class::Heavy => Self {
                memory_bytes: 64 << 20,
                cpu_ticks: 40,
                check_cpu_ticks: 1_000,
                table_elements: 60_000,
                instances: 200,
                concurrency: 16,
                page_concurrency: 8,
                ..Self::light()
            },
        }
    }

    fn light() -> Self {
        Self {
            memory_bytes: 32 << 20,
            cpu_ticks: 10,
            check_cpu_ticks: 400,
            wall: Duration::from_secs(1),
            waiting_wall: Duration::from_secs(5),
            slow_wall: Duration::from_secs(10),
            hostcall_bytes: 1 << 20,
            handles: 1_000,
            table_elements: 10_000,
            instances: 16,
            log_lines: 100,
            log_line_bytes: 4 << 10,
            concurrency: 64,
            page_concurrency: 16,
            queue: Duration::from_secs(1),
            warm_instances: 4,
            warm_calls: 500,
            learned: Some(Settings::default()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::light()
    }
}

/// Largest body a page of a plugin gets, in bytes. Sign-in forms and callbacks are small.
pub const PAGE_BODY_BYTES: usize = 64 << 10;

/// Largest component accepted, in bytes. CPython's has 18 MiB, the shipped ones have less than 400 KiB.
pub const COMPONENT_BYTES: usize = 48 << 20;
