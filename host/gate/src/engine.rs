//! The WebAssembly engines: one for light components and one for heavy ones, each with a pool of slots for instances and a
//! clock that ends endless guests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use lectern_domain::plugin::GrantKind;
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::imports;
use crate::limits::TICK;
use crate::state::State;

/// How much a component needs: a pool sized for Rust refuses interpreters, and one sized for interpreters wastes address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Compiled languages.
    Light,
    /// Components that carry an interpreter (Python, JavaScript).
    Heavy,
}

/// Components larger than this, in bytes, are heavy. Rust's have some 100 KiB; the smallest interpreter has more than 1 MiB.
const LIGHT_BYTES: usize = 800 << 10;

impl Class {
    /// The class of a component of this size.
    pub fn of(component_bytes: usize) -> Self {
        if component_bytes <= LIGHT_BYTES { Self::Light } else { Self::Heavy }
    }

    /// The word that names it to the compiling process.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Heavy => "heavy",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Light, Self::Heavy].into_iter().find(|class| class.as_str() == text)
    }

    /// Instances that exist at once, over all plugins. A call of a light one holds one for some 20 µs, or as long as it waits for
    /// the host; an interpreter's takes some MiB.
    fn slots(self) -> u32 {
        match self {
            Self::Light => 512,
            Self::Heavy => 60,
        }
    }

    /// Calls that run at once, a little below the slots: an instance that was just dropped frees its slot a moment later.
    fn calls(self) -> usize {
        match self {
            Self::Light => 500,
            Self::Heavy => 56,
        }
    }

    /// Linear memories in the pool. Components made of several modules (CPython) have several.
    fn memories(self) -> u32 {
        match self {
            Self::Light => 512,
            Self::Heavy => 200,
        }
    }
}

/// Largest linear memory that a slot can hold, in bytes; [`crate::Limits::memory_bytes`] bounds each plugin below it.
const SLOT_MEMORY_BYTES: usize = 64 << 20;

/// Address space that the engine reserves for each linear memory, its guard included, in bytes (wasmtime's defaults).
const SLOT_RESERVATION_BYTES: u64 = (4 << 30) + (32 << 20);

/// Memory that a slot keeps for the next instance instead of giving it back, in bytes: halves the cost of a call.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The instance pool or the compiler could not be set up.
    #[error(
        "start the plugin engine: {detail}; its {memories} instance slots reserve {} GiB of address space (not memory): \
         check `ulimit -v`, vm.max_map_count and the container's limits",
        (u64::from(*memories) * SLOT_RESERVATION_BYTES) >> 30
    )]
    Pool {
        /// How many linear memories the pool was to hold.
        memories: u32,
        /// The engine's words.
        detail: String,
    },
    /// A host interface could not be offered to plugins.
    #[error("link the plugin interfaces: {detail}")]
    Link {
        /// The engine's words.
        detail: String,
    },
    /// The thread that counts time could not be started.
    #[error("start the plugin engine's clock thread")]
    Clock(#[source] std::io::Error),
}

/// Compiles and instantiates components of one class. Cheap to clone; all clones share slots and clock.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) class: Class,
    open: Arc<Linker<State>>,
    pub(crate) slots: Arc<Semaphore>,
}

impl Engine {
    /// Sets up the pool and starts the clock thread, which ends with the last clone.
    pub(crate) fn start(class: Class) -> Result<Self, EngineError> {
        let pool =
            |error: wasmtime::Error| EngineError::Pool { memories: class.memories(), detail: format!("{error:#}") };
        let wasm = wasmtime::Engine::new(&config(class)).map_err(pool)?;
        let open = open(&wasm).map_err(|error| EngineError::Link { detail: format!("{error:#}") })?;
        start_clock(&wasm)?;
        Ok(Self { wasm, class, open: Arc::new(open), slots: Arc::new(Semaphore::new(class.calls())) })
    }

    /// Everything that a component with these grants may import; what is not here cannot be linked.
    pub(crate) fn linker(&self, kinds: &BTreeSet<GrantKind>) -> wasmtime::Result<Linker<State>> {
        let mut linker = Linker::clone(&self.open);
        for &kind in kinds {
            imports::add_granted(&mut linker, kind)?;
        }
        Ok(linker)
    }
}

/// Whether this host lets the gate reserve the memory it works in.
pub fn try_engine() -> Result<(), EngineError> {
    Engine::start(Class::Light).map(drop)
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("class", &self.class)
            .field("free_slots", &self.slots.available_permits())
            .finish_non_exhaustive()
    }
}

pub(crate) fn config(class: Class) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(class.slots())
        .total_memories(class.memories())
        .total_stacks(class.slots())
        .max_memory_size(SLOT_MEMORY_BYTES)
        .max_unused_warm_slots(100)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    match class {
        // A Rust component is three or four core instances; the count costs nothing.
        Class::Light => pool
            .total_core_instances(class.slots() * 16)
            .max_core_instances_per_component(16)
            .max_memories_per_component(1)
            .total_tables(class.slots() * 4)
            .max_tables_per_component(4)
            .table_elements(20_000),
        // CPython's is dozens of modules with tables of tens of thousands of functions.
        Class::Heavy => pool
            .total_core_instances(2_000)
            .max_core_instances_per_component(200)
            .max_memories_per_component(32)
            .total_tables(2_000)
            .max_tables_per_component(64)
            .max_core_instance_size(10 << 20)
            .max_component_instance_size(10 << 20)
            .table_elements(60_000),
    };
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false)
        // Enough to see where a guest crashed; a recursion would fill the log otherwise.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config
}

/// What every plugin may import.
fn open(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::p2::bindings::{cli, clocks, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    let mut linker = Linker::<State>::new(engine);
    let l = &mut linker;
    imports::add_open(l)?;
    // Clocks, streams, standard streams and randomness, then the rest of bindings::WASI_INTERFACES.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
    l.allow_shadowing(true);
    clocks::monotonic_clock::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    l.allow_shadowing(false);
    random::insecure::add_to_linker::<State, WasiRandom>(l, WasiRandomView::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, WasiRandomView::random)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, WasiCliView::cli)?;
    Ok(linker)
}

/// Advances the engine's epoch every [`TICK`]. A thread, because a guest that keeps the async threads busy must not stop it.
fn start_clock(engine: &wasmtime::Engine) -> Result<(), EngineError> {
    let weak = engine.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("gate-clock".into()).spawn(tick).map(drop).map_err(EngineError::Clock)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_clock_ends_with_the_engine() {
        let engine = Engine::start(Class::Light).unwrap();
        let weak = engine.wasm.weak();
        drop(engine);
        let deadline = Instant::now() + Duration::from_secs(10);
        // The clock thread holds the engine only while it ticks: once it cannot be had, the thread has left or will.
        while weak.upgrade().is_some() {
            assert!(Instant::now() < deadline, "the engine is still alive");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Set in the child of the test below.
    const CHILD: &str = "LECTERN_TEST_ENGINE_CHILD";

    #[test]
    fn a_host_without_address_space_is_told_so() {
        if std::env::var_os(CHILD).is_some() {
            let error = Engine::start(Class::Light).unwrap_err();
            assert!(matches!(error, EngineError::Pool { .. }), "{error}");
            assert!(
                error.to_string().contains("GiB of address space") && error.to_string().contains("ulimit -v"),
                "{error}"
            );
            return;
        }
        // 16 GiB: plenty for everything but the pool's reservation.
        let child = std::process::Command::new("sh")
            .args(["-c", r#"ulimit -v 16777216 && exec "$0" "$@""#])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "engine::tests::a_host_without_address_space_is_told_so"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&child.stderr)
        );
    }
}
