//! The empty-handed WASI that components are linked with: no environment, no files, no sockets, and time and randomness only
//! with the grants for them.
//!
//! Languages link WASI in whether a plugin uses it or not, so its interfaces are there; what they answer must not be a way around
//! the contract. Without a grant the clocks stand at zero and randomness is a fixed sequence of the release: a component is then
//! a function of what it asks through `lectern:plugin`. The seed of hash maps is always one number per release. Waiting for a
//! time is reading a clock: which of two waits ends first, and how often one was polled before it did, tell the time.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lectern_domain::plugin::{GrantKind, Grants};
use rand_core::TryRng;
use wasmtime::component::Resource;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx};

use crate::backend::Clock;
use crate::state::State;
use crate::stderr::Stderr;

/// Whether a call has read the time or randomness through WASI.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touched {
    clock: Arc<AtomicBool>,
    random: Arc<AtomicBool>,
}

impl Touched {
    /// Whether it has read a clock that moves, or waited.
    pub(crate) fn clock(&self) -> bool {
        self.clock.load(Ordering::Relaxed)
    }

    /// Whether it has drawn real randomness.
    pub(crate) fn random(&self) -> bool {
        self.random.load(Ordering::Relaxed)
    }

    /// Forgets both, for another call.
    pub(crate) fn clear(&self) {
        self.clock.store(false, Ordering::Relaxed);
        self.random.store(false, Ordering::Relaxed);
    }
}

/// Makes the context of one store.
pub(crate) fn context(
    grants: &Grants,
    clock: &Arc<dyn Clock>,
    seed: u128,
    stderr: &Stderr,
    touched: &Touched,
) -> (WasiCtx, ResourceTable) {
    let mut builder = WasiCtx::builder();
    builder.stderr(stderr.clone()).insecure_random_seed(seed);
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    if grants.opens(GrantKind::Clock) {
        builder.wall_clock(Wall { clock: Arc::clone(clock), touched: touched.clone() });
        builder.monotonic_clock(Monotonic { began: Instant::now(), touched: touched.clone() });
    } else {
        builder.wall_clock(Standing).monotonic_clock(Standing);
    }
    if grants.opens(GrantKind::Random) {
        builder.secure_random(System(touched.clone())).insecure_random(System(touched.clone()));
    } else {
        builder.secure_random(Sequence::new(seed)).insecure_random(Sequence::new(seed));
    }
    (builder.build(), ResourceTable::new())
}

/// Timers, noted.
impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::now(&mut self.clocks())
    }
    fn resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(&mut self.clocks())
    }
    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.touched.clock.store(true, Ordering::Relaxed);
        monotonic_clock::Host::subscribe_instant(&mut self.clocks(), when)
    }
    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.touched.clock.store(true, Ordering::Relaxed);
        monotonic_clock::Host::subscribe_duration(&mut self.clocks(), duration)
    }
}

struct Wall {
    clock: Arc<dyn Clock>,
    touched: Touched,
}

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn now(&self) -> Duration {
        self.touched.clock.store(true, Ordering::Relaxed);
        Duration::from_millis(self.clock.unix_millis())
    }
}

struct Monotonic {
    began: Instant,
    touched: Touched,
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1_000
    }
    fn now(&self) -> u64 {
        self.touched.clock.store(true, Ordering::Relaxed);
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands at zero.
struct Standing;

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }
    fn now(&self) -> u64 {
        0
    }
}

/// The machine's randomness.
struct System(Touched);

impl System {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.random.store(true, Ordering::Relaxed);
        // The kernel answers once it has booted. Were it not to, zeros are better noticed than a crash.
        if getrandom::fill(bytes).is_err() {
            bytes.fill(0);
            tracing::error!("the machine has no randomness for plugins");
        }
    }
}

impl TryRng for System {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

/// A fixed sequence: the output of BLAKE3 under the release's seed.
struct Sequence(blake3::OutputReader);

impl Sequence {
    fn new(seed: u128) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }
}

impl TryRng for Sequence {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}
