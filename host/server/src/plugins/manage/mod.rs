//! The gate as operators run it: admits packages, makes releases, binds and swaps them, and brings this server's gate to what the
//! database says, whoever changed it.

mod admit;
mod change;
mod converge;
mod events;
mod refused;
mod request;
mod shelf;
mod shipped;
mod spare;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use lectern_domain::plugin::{BindingName, GateState, ReleaseHash};
use lectern_gate::{Bound, Compiler, Gate, Release};
use lectern_metadata::Database;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config;
use crate::plugins::Behind;
use crate::seal::Sealer;
use spare::Pause;

pub(crate) use refused::Refused;
pub(crate) use request::{
    BindRequest, CanaryRequest, Expect, ReleaseRequest, SettingsRequest, ShadowRequest, SwapRequest,
};
pub(crate) use shelf::Shelf;

/// The plugins of this server.
pub(crate) struct Plugins {
    pub(super) gate: Arc<Gate>,
    pub(super) database: Database,
    pub(super) shelf: Shelf,
    pub(super) behind: Behind,
    pub(super) sealer: Arc<Sealer>,
    pub(super) config: config::Gate,
    /// Compiles for trials, like the gate.
    pub(super) compiler: Compiler,
    /// One id per start of this process.
    pub(super) server: Uuid,
    pub(super) hostname: String,
    /// What the gate shows.
    pub(super) state: ArcSwap<GateState>,
    /// What is loaded. Held while the gate is brought to a state: one at a time.
    pub(super) loaded: Mutex<Loaded>,
    /// Owns what runs for candidates in the shadow.
    pub(super) tasks: TaskTracker,
    /// Figures of other parts of the server, shown with the gate's.
    more_metrics: OnceLock<Box<dyn Fn() -> String + Send + Sync>>,
}

/// Releases and bindings in memory. What the state no longer names is dropped, and freed when its last call ends.
#[derive(Default)]
pub(super) struct Loaded {
    releases: HashMap<(BindingName, ReleaseHash), Arc<Release>>,
    bound: HashMap<BindingName, (i64, Arc<Bound>)>,
    /// A binding runs an older revision than the database has, because the newer one could not be loaded.
    behind: bool,
    /// Releases that a binding can do without, and that could not be loaded: how often, and when it is tried again.
    spares: HashMap<(BindingName, ReleaseHash), Pause>,
}

impl Plugins {
    /// Nothing is loaded yet: [`Plugins::start`] comes next.
    #[allow(clippy::too_many_arguments, reason = "called once; a struct for it would be this list again")]
    pub(crate) fn new(
        gate: Arc<Gate>,
        database: Database,
        shelf: Shelf,
        behind: Behind,
        sealer: Arc<Sealer>,
        config: config::Gate,
        compiler: Compiler,
        server: Uuid,
        hostname: String,
    ) -> Self {
        Self {
            gate,
            database,
            shelf,
            behind,
            sealer,
            config,
            compiler,
            server,
            hostname,
            state: ArcSwap::default(),
            loaded: Mutex::default(),
            tasks: TaskTracker::new(),
            more_metrics: OnceLock::new(),
        }
    }

    /// Shows the figures that `more` answers, in the text format of Prometheus, after the gate's. The first call counts.
    pub(crate) fn show_metrics_of(&self, more: impl Fn() -> String + Send + Sync + 'static) {
        let _ = self.more_metrics.set(Box::new(more));
    }

    /// Figures of other parts of the server.
    pub(crate) fn more_metrics(&self) -> String {
        self.more_metrics.get().map_or_else(String::new, |more| more())
    }

    /// Brings what this version ships, then the gate to what the database says.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        self.bring_shipped().await?;
        self.converge().await.map(drop)
    }

    /// What the gate shows.
    pub(crate) fn state(&self) -> Arc<GateState> {
        self.state.load_full()
    }

    /// The gate.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The database behind.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}
