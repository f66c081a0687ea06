//! The life of a server: what starts in which order, and what stops in which.
//!
//! Start: directories and lock, database, keys and store, interpreters, supervisor, gate, listener. Stop, backwards: the
//! listener first (what is in flight finishes, up to a limit), then tasks, workers, and the database last.

mod beginning;
mod parts;

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use lectern_edge::{Edge, RunError, Stopped, Stops};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::handover::Giver;
use crate::health::ServerHealth;
use crate::host;
use crate::owned_socket::OwnedSocket;
use crate::paths::Paths;
use crate::store::MetadataStore;
use crate::tls::Renewal;
use crate::view::View;
use beginning::Beginning;
use parts::Parts;

/// Runs a server until it is told to stop. With `take_over` it succeeds the one that runs on the same data directory, if one does.
pub(crate) async fn run(config: Config, take_over: bool) -> anyhow::Result<()> {
    let paths = Paths::new(&config.data);
    host::make_directories(&config, &paths)?;
    let mut begun = Beginning::of(&config, &paths, take_over).await?;
    let outcome = live(&config, &paths, &mut begun).await;
    if begun.shared {
        begun.lock.leave();
    }
    outcome
}

/// Everything but the lock.
async fn live(config: &Config, paths: &Paths, begun: &mut Beginning) -> anyhow::Result<()> {
    let mut stop_asked = StopSignals::listen()?;
    say_limits();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let renewal = config.server.tls.as_ref().map(Renewal::begin).transpose()?;
    // The address is taken before anything is started that would have to be stopped again.
    let listener = parts::edge_config(config, renewal.as_ref().map(Renewal::slot));
    let edge = match begun.sockets.take() {
        Some(sockets) => Edge::over(listener, sockets).context("serve on the sockets given")?,
        None => Edge::bind(listener).context("bind server.listen")?,
    };
    let relay = parts::server_for_content(config, paths, edge.address())?.1;
    let inside = relay.map(|relay| OwnedSocket::bind_for_all(&relay.path())).transpose()?;
    let (edge, _inside) = match inside {
        Some((socket, owned)) => (edge.also_inside(socket), Some(owned)),
        None => (edge, None),
    };
    // Whoever started it may have stopped reading: that ends no server.
    let _ = writeln!(std::io::stdout(), "listening on {}://{}", config.server.scheme(), edge.address());

    let store = tokio::select! {
        store = MetadataStore::open(config, paths, begun.database_lock.take()) => store?,
        () = stop_asked.next() => return Ok(()),
    };
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    if let Some(renewal) = renewal {
        tasks.spawn(renewal.follow(stop.clone()));
    }
    let watch = store.watch(stop.clone());
    let outcome = serve(config, paths, &store, edge, begun, &mut stop_asked, &stop, &tasks).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(watch) = watch {
        watch.await.context("end the watch of the private database")?;
    }
    let closed = if begun.shared {
        store.leave();
        Ok(())
    } else {
        store.close().await
    };
    tracing::info!("stopped");
    outcome.and(closed)
}

/// Everything between an open database and its end.
#[allow(clippy::too_many_arguments, reason = "called once; a struct for it would be this list again")]
async fn serve(
    config: &Config,
    paths: &Paths,
    store: &MetadataStore,
    edge: Edge,
    begun: &mut Beginning,
    stop_asked: &mut StopSignals,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    lectern_metadata::migrate(&store.database).await.context("bring the database's schema up to date")?;
    let view = Arc::new(View::load(store.database.clone()).await.context("load the content")?);
    let health = Arc::new(ServerHealth::default());
    let address = edge.address();
    let parts = Arc::new(Parts::start(config, paths, store, &view, address, begun.shared, stop, tasks).await?);
    parts.spawn_tasks(config, &store.database, &health, stop, tasks)?;
    let copies = || edge.sockets().context("copy the listening sockets");
    let (sockets, kept) = (copies()?, copies()?);
    let giver = Giver::bind(&paths.handover_socket(), begun.lock.lend()?, store.lend_lock()?, sockets)
        .context("open the handover socket")?;

    let edge_stop = Stops::default();
    let services = parts.edge_services(&health);
    let mut serving = tokio::spawn(edge.run(services, edge_stop.clone(), config.server.stop_grace));
    health.serving(true);
    let _ = writeln!(std::io::stdout(), "ready");
    tracing::info!(address = %address, "ready");
    begun.succeed(&parts, tasks, stop).await?;
    if !begun.activated {
        parts.keep_sockets(kept).await;
    }
    // Not before this server is sure to stay.
    let (renewing, ending) = (Arc::clone(&parts), stop.clone());
    tasks.spawn(async move { renewing.renew_supervisor(&ending).await });

    let mut handed = None;
    let served = tokio::select! {
        () = stop_asked.next() => {
            tracing::info!(grace_s = config.server.stop_grace.as_secs(), "stopping: no new requests");
            health.serving(false);
            giver.close();
            parts.release_sockets().await;
            edge_stop.stop.cancel();
            parts.close();
            finished(&mut serving, stop_asked).await
        }
        taker = giver.wait() => {
            tracing::info!("another server has taken over: finishing what is in flight");
            begun.shared = true;
            handed = Some(taker);
            giver.close();
            edge_stop.handed_over.cancel();
            parts.close();
            finished(&mut serving, stop_asked).await
        }
        ended = &mut serving => Some(ended),
    };
    stop.cancel();
    let stopped = if begun.shared {
        parts.leave().await;
        Ok(())
    } else {
        parts.stop().await
    };
    let mut cut = 0;
    match served {
        Some(ended) => {
            cut = ended.context("end the listener")?.context("serve requests")?.cut;
            if cut > 0 {
                tracing::warn!(connections = cut, "connections were cut: they were busy when the grace was over");
            }
        }
        None => tracing::warn!("requests in flight were cut"),
    }
    if let Some(taker) = handed {
        taker.done(cut).await;
    }
    stopped
}

type Serving = JoinHandle<Result<Stopped, RunError>>;

/// Waits until the listener has finished; `None`: whoever asked to stop asked once more, and does not want to wait for requests.
async fn finished(
    serving: &mut Serving,
    stop_asked: &mut StopSignals,
) -> Option<Result<Result<Stopped, RunError>, JoinError>> {
    tokio::select! {
        ended = &mut *serving => Some(ended),
        () = stop_asked.next() => {
            serving.abort();
            None
        }
    }
}

/// Says what this process cannot do for lack of privileges.
fn say_limits() {
    if !host::is_root() {
        tracing::warn!(
            "not running as root: all content runs as this account, and nothing but its walls keeps it apart; `lectern doctor` says more"
        );
    }
}

/// SIGTERM and SIGINT.
struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Returns when the next of them comes.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
