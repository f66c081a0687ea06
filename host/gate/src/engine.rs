//! The WebAssembly engine: one for all plugins, with a pool of slots for instances and a clock that ends endless guests.

use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::lectern::plugin;
use crate::limits::TICK;
use crate::state::State;

/// Instances that exist at once, over all plugins. A call holds one for some 20 µs, or as long as a password hash takes.
const SLOTS: u32 = 512;

/// Calls that run at once, a little below [`SLOTS`]: an instance that was just dropped frees its slot a moment later.
const CALLS: usize = 500;

/// Largest linear memory that a slot can hold; [`crate::Limits::memory_bytes`] bounds each plugin below it.
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
        "start the plugin engine: {detail}; its {SLOTS} instance slots reserve {} GiB of address space (not memory): \
         check `ulimit -v`, vm.max_map_count and the container's limits",
        (u64::from(SLOTS) * SLOT_RESERVATION_BYTES) >> 30
    )]
    Pool {
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

/// Compiles and instantiates components. Cheap to clone; all clones share slots and clock.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: Arc<Linker<State>>,
    pub(crate) slots: Arc<Semaphore>,
}

impl Engine {
    /// Sets up the pool and starts the clock thread, which ends with the last clone.
    pub fn start() -> Result<Self, EngineError> {
        let pool = |error: wasmtime::Error| EngineError::Pool { detail: format!("{error:#}") };
        let wasm = wasmtime::Engine::new(&config()).map_err(pool)?;
        let linker = linker(&wasm).map_err(|error| EngineError::Link { detail: format!("{error:#}") })?;
        start_clock(&wasm)?;
        Ok(Self { wasm, linker: Arc::new(linker), slots: Arc::new(Semaphore::new(CALLS)) })
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("free_slots", &self.slots.available_permits()).finish_non_exhaustive()
    }
}

fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(SLOTS)
        // A Rust component is three or four core instances; the count costs nothing.
        .total_core_instances(SLOTS * 16)
        .max_core_instances_per_component(16)
        .total_memories(SLOTS)
        .max_memories_per_component(1)
        .total_tables(SLOTS * 4)
        .max_tables_per_component(4)
        .total_stacks(SLOTS)
        .max_memory_size(SLOT_MEMORY_BYTES)
        .table_elements(20_000)
        .max_unused_warm_slots(100)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false)
        // Enough to see where a guest crashed; a recursion would fill the log otherwise.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config
}

/// Everything a plugin may import; what is not here cannot be linked.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::p2::bindings::{cli, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    let mut linker = Linker::<State>::new(engine);
    let l = &mut linker;
    plugin::request::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::visitor::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::logging::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::config::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::clock::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::random::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::content::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    plugin::directory::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;

    // Clocks, streams, standard streams and randomness, then the rest of bindings::WASI_INTERFACES.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
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
        let engine = Engine::start().unwrap();
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
            let error = Engine::start().unwrap_err();
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
