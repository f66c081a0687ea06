//! The parts of a running server, put together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lectern_api::Backstage;
use lectern_bundles::{Cache, DEFAULT_CACHE_BYTES, Limits, Store, Trees};
use lectern_confinement::{Facts, State};
use lectern_domain::confinement::{Layer, Relay};
use lectern_edge::{ContentTimeouts, EdgeConfig, Services, TlsSlot};
use lectern_gate::{ChildCompiler, Compiler, Directory, Gate, GateEvent};
use lectern_metadata::{Database, Part, listen};
use lectern_runtimes::Fence;
use lectern_supervisor::Program;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::backstage::ServerBackstage;
use crate::config::Config;
use crate::content_keys::ContentKeys;
use crate::deploy::{Deployer, News};
use crate::directory::ServerDirectory;
use crate::fleet::{Crew, CrewSettings, Fleet, FleetWorkers, Launcher, server_as_content_sees_it};
use crate::git::{Poller, Repositories};
use crate::health::ServerHealth;
use crate::hits::Hits;
use crate::id_tokens::IdTokens;
use crate::joblog::{Keeping, LogFollowers};
use crate::outbound::Forms;
use crate::owned_socket::OwnedSocket;
use crate::paths::Paths;
use crate::plugins::manage::{Plugins, Shelf};
use crate::plugins::{self, Behind, SignIn};
use crate::rotation::Rotation;
use crate::runtimes::Runtimes;
use crate::seal::Sealer;
use crate::sessions::DatabaseSessions;
use crate::store::MetadataStore;
use crate::system::SystemParts;
use crate::thumbnails::Pictures;
use crate::trees::BundleFiles;
use crate::uses::Uses;
use crate::view::View;
use crate::{admin, bootstrap, dashboard, grants, host, tidy};

/// An upload that has not grown for so long was left by a server that ended: no client sends that slowly.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What runs between start and stop.
pub(super) struct Parts {
    view: Arc<View>,
    gate: Arc<Gate>,
    behind: Behind,
    plugins: Arc<Plugins>,
    rotation: Arc<Rotation>,
    /// What the gate does by itself; taken by the task that writes it down.
    events: std::sync::Mutex<Option<tokio::sync::mpsc::Receiver<GateEvent>>>,
    fleet: Arc<Fleet>,
    files: BundleFiles,
    sessions: DatabaseSessions,
    uses: Arc<Uses>,
    hits: Arc<Hits>,
    system: Arc<SystemParts>,
    deployer: Arc<Deployer>,
    paths: Paths,
    wake: Arc<Notify>,
    /// Answers that last as long as they may (logs that are followed) end when this is cancelled.
    closing: CancellationToken,
}

/// How the listener is configured; with `tls` it speaks HTTPS.
pub(super) fn edge_config(config: &Config, tls: Option<Arc<TlsSlot>>) -> EdgeConfig {
    let mut edge = EdgeConfig::new(config.server.listen);
    edge.tls = tls;
    edge.threads = config.server.threads;
    edge.trusted_proxies.clone_from(&config.server.trusted_proxies);
    edge.handed_over_grace = config.server.take_over_grace;
    edge.limits.queue_per_content = config.content.max_waiting;
    let scheduler = &config.content.scheduler;
    edge.content = ContentTimeouts {
        init: scheduler.init_timeout,
        connection: scheduler.connection_timeout,
        read: scheduler.read_timeout,
    };
    edge
}

/// This server's address as content is told it, unless the operator keeps it back, and the way there where there has to be one.
pub(super) fn server_for_content(
    config: &Config,
    paths: &Paths,
    address: SocketAddr,
) -> anyhow::Result<(Option<String>, Option<Relay>)> {
    if !config.content.server_address {
        return Ok((None, None));
    }
    let url = match &config.server.public_url {
        Some(url) => url.clone(),
        None => {
            format!("{}://{address}", config.server.scheme()).parse().context("make an address of this server's")?
        }
    };
    let (told, listen) = server_as_content_sees_it(url, config.server.tls.is_some());
    let relay = listen.map(|listen| Relay { listen, directory: paths.inside(), socket: "server.sock".to_owned() });
    Ok((Some(told), relay))
}

impl Parts {
    /// Starts them, in order.
    #[allow(clippy::too_many_arguments, reason = "called once; a struct for it would be this list again")]
    pub(super) async fn start(
        config: &Config,
        paths: &Paths,
        metadata: &MetadataStore,
        view: &Arc<View>,
        address: SocketAddr,
        succeeds: bool,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let database = &metadata.database;
        let server = Uuid::new_v4();
        let sealer = Arc::new(Sealer::open(&config.data.key_file)?);
        let facts = look_at_walls(config).await?;
        let files = open_files(config, paths, succeeds, runtime.clone()).await?;
        let runtimes = Arc::new(find_runtimes(config, paths, Arc::clone(&facts)).await?);
        let keys = Arc::new(ContentKeys::open(&paths.content_key(), config.content.api_key)?);
        let directory = ServerDirectory::new(Arc::clone(view), database.clone(), Arc::clone(&keys), runtime.clone());
        let directory = Arc::new(directory);
        let behind =
            Behind::start(&config.gate, Arc::clone(&directory) as Arc<dyn Directory>, view, database, &sealer).await?;
        let compiler = compiler(config)?;
        let (gate, events) = Gate::start(behind.backend.clone(), compiler.clone()).context("start the gate")?;
        let gate = Arc::new(gate);
        let plugins = Arc::new(Plugins::new(
            Arc::clone(&gate),
            database.clone(),
            Shelf::open(&paths.packages())?,
            behind.clone(),
            Arc::clone(&sealer),
            config.gate.clone(),
            compiler,
            server,
            host::hostname(),
        ));
        plugins.start().await.context("start the plugins")?;
        let fleet =
            start_fleet(config, paths, metadata, view, address, server, &files, &runtimes, &sealer, &keys).await?;

        if succeeds {
            fleet.share();
        }
        let hits = Arc::new(Hits::new());
        let shown = (Arc::clone(&fleet), Arc::clone(&hits));
        plugins.show_metrics_of(move || shown.0.metrics() + &shown.1.metrics());

        let sessions =
            DatabaseSessions { database: database.clone(), view: Arc::clone(view), runtime: runtime.clone() };
        let uses = directory.uses();
        let rotation = Arc::new(Rotation::new(Arc::clone(&sealer), database.clone()));
        let (news, wake) = (Arc::new(News::default()), Arc::new(Notify::new()));
        let closing = stop.child_token();
        let passes = dashboard::Passes::new(sealer.form_key());
        let git = Repositories::start(config, &runtimes)?;
        let backstage: Arc<dyn Backstage> = Arc::new(ServerBackstage {
            view: Arc::clone(view),
            fleet: Arc::clone(&fleet),
            runtimes: Arc::clone(&runtimes),
            sealer,
            keys,
            id_tokens: config.id_tokens.as_ref().map(|issuer| IdTokens::new(issuer, behind.backend.clone())),
            news: Arc::clone(&news),
            wake: Arc::clone(&wake),
            directory,
            sessions: sessions.clone(),
            git: git.clone(),
            paths: paths.clone(),
            followers: LogFollowers::new(tasks.clone(), closing.clone()),
            stop: stop.clone(),
            forms: Forms::new(&config.outbound, runtime.clone())?,
        });
        let sign_in = SignIn::of(Arc::clone(&plugins));
        let settings = bootstrap::api_settings(config, Arc::new(sign_in.clone()))?;
        let api = lectern_api::router(lectern_api::Services::new(
            database.clone(),
            Arc::clone(&files.store),
            Arc::clone(&files.cache),
            Arc::clone(&backstage),
            settings,
        ));
        let dashboard = dashboard::router(dashboard::Dashboard {
            database: database.clone(),
            view: Arc::clone(view),
            paths: paths.clone(),
            public_url: config.server.public_url.clone(),
            sign_in,
            backstage,
            passes,
        });
        let deployer = Arc::new(Deployer {
            database: database.clone(),
            view: Arc::clone(view),
            fleet: Arc::clone(&fleet),
            files: files.clone(),
            runtimes,
            git,
            paths: paths.clone(),
            max_bundles: config.content.max_bundles,
            server,
            news,
            wake: Arc::clone(&wake),
            hostname: host::hostname(),
        });
        let system =
            Arc::new(SystemParts { api, dashboard, lectern: plugins::api::router(Arc::clone(&plugins)), runtime });
        Ok(Self {
            view: Arc::clone(view),
            gate,
            behind,
            plugins,
            rotation,
            events: std::sync::Mutex::new(Some(events)),
            fleet,
            files,
            sessions,
            uses,
            hits,
            system,
            deployer,
            paths: paths.clone(),
            wake,
            closing,
        })
    }

    /// Starts what works in the background until `stop`.
    pub(super) fn spawn_tasks(
        &self,
        config: &Config,
        database: &Database,
        health: &Arc<ServerHealth>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> anyhow::Result<()> {
        tasks.spawn(Arc::clone(&self.fleet).follow());
        tasks.spawn(Arc::clone(&self.fleet).measure());
        for _ in 0..config.content.concurrent_deploys {
            tasks.spawn(Arc::clone(&self.deployer).run(stop.clone()));
        }
        if let Ok(repositories) = &self.deployer.git {
            let (database, repositories, wake) = (database.clone(), Arc::clone(repositories), Arc::clone(&self.wake));
            let poller = Arc::new(Poller { database, repositories, wake, hostname: host::hostname() });
            for _ in 0..config.git.concurrency {
                tasks.spawn(Arc::clone(&poller).run(stop.clone()));
            }
        }
        let changes = listen(database.config(), stop).context("listen for changes of the database")?;
        let (view, wake, stop_following) = (Arc::clone(&self.view), Arc::clone(&self.wake), stop.clone());
        let (gate_changed, secrets_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        tasks.spawn(self.behind.clone().run(Arc::clone(&secrets_changed), stop.clone()));
        tasks.spawn(Arc::clone(&self.plugins).follow(Arc::clone(&gate_changed), stop.clone()));
        let events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(events) = events {
            tasks.spawn(Arc::clone(&self.plugins).write_events(events, stop.clone()));
        }
        let fleet = Arc::clone(&self.fleet);
        tasks.spawn(async move {
            let on_change = |part| match part {
                Part::Tasks => wake.notify_one(),
                Part::Gate | Part::Everything => {
                    secrets_changed.notify_one();
                    gate_changed.notify_one();
                    fleet.reconcile();
                }
                Part::Content => fleet.reconcile(),
                Part::Users | Part::Keys | Part::Sessions => {}
            };
            view.follow(changes, on_change, stop_following).await;
        });
        tasks.spawn(Arc::clone(health).watch(database.clone(), stop.clone()));
        tasks.spawn(self.sessions.clone().sweep(stop.clone()));
        tasks.spawn(grants::sweep(database.clone(), stop.clone()));
        tasks.spawn(Arc::clone(&self.uses).run(database.clone(), stop.clone()));
        tasks.spawn(Arc::clone(&self.hits).run(database.clone(), config.instrumentation.keep_for, stop.clone()));
        let (files, view) = (self.files.clone(), Arc::clone(&self.view));
        tasks.spawn(tidy::run(database.clone(), files, view, stop.clone()));
        let keeping = Keeping {
            database: database.clone(),
            fleet: Arc::clone(&self.fleet),
            paths: self.paths.clone(),
            rules: config.jobs.clone(),
        };
        tasks.spawn(keeping.run(stop.clone()));
        // Bound here: who has read `ready` may use it.
        let admin_socket = OwnedSocket::bind(&self.paths.admin_socket()).context("open the admin socket")?;
        let (view, database, stop) = (Arc::clone(&self.view), database.clone(), stop.clone());
        let (plugins, runtimes) = (Arc::clone(&self.plugins), Arc::clone(&self.deployer.runtimes));
        let rotation = Arc::clone(&self.rotation);
        tasks.spawn(Arc::clone(&rotation).run(stop.clone()));
        tasks.spawn(async move { admin::serve(admin_socket, database, view, plugins, rotation, runtimes, stop).await });
        Ok(())
    }

    /// What the listener is given.
    pub(super) fn edge_services(&self, health: &Arc<ServerHealth>) -> Services {
        Services {
            gate: Arc::clone(&self.gate),
            snapshot: self.view.shared(),
            sessions: Arc::new(self.sessions.clone()),
            system: Arc::clone(&self.system) as Arc<_>,
            workers: Arc::new(FleetWorkers(Arc::clone(&self.fleet))),
            trees: Arc::new(self.files.clone()),
            thumbnails: Arc::new(Pictures::new(self.sessions.database.clone(), self.sessions.runtime.clone())),
            visits: Arc::clone(&self.hits) as Arc<_>,
            health: Arc::clone(health) as Arc<_>,
        }
    }

    /// No new requests come: ends answers that would go on for long.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Leaves workers and supervisor to the server that has taken over.
    pub(super) async fn leave(&self) {
        self.fleet.leave().await;
    }

    /// Has the supervisor keep the listening sockets, for the next server.
    pub(super) async fn keep_sockets(&self, sockets: Vec<std::os::fd::OwnedFd>) {
        self.fleet.keep_sockets(sockets).await;
    }

    /// Has them let go.
    pub(super) async fn release_sockets(&self) {
        self.fleet.release_sockets().await;
    }

    /// Has a supervisor of another build become the program that this server is.
    pub(super) async fn renew_supervisor(&self, stop: &CancellationToken) {
        tokio::select! {
            () = self.fleet.renew_supervisor() => {}
            () = stop.cancelled() => {}
        }
    }

    /// The server before this one has ended: workers that it was using may end.
    pub(super) fn alone(&self) {
        self.fleet.alone();
    }

    /// Ends the workers and the supervisor.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        self.fleet.stop().await
    }
}

async fn open_files(
    config: &Config,
    paths: &Paths,
    succeeds: bool,
    runtime: tokio::runtime::Handle,
) -> anyhow::Result<BundleFiles> {
    let paths = paths.clone();
    let limits = Limits {
        max_entries: config.content.max_files,
        max_total_bytes: config.content.max_unpacked_bytes,
        ..Limits::default()
    };
    let opening = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let store = Store::open(&paths.store()).context("open the bundle store")?;
        // Below the data directory, which this server has locked, nobody else writes: what is unfinished was left behind.
        let alone = paths.store().starts_with(paths.root()) && !succeeds;
        let age = if alone { Duration::ZERO } else { ABANDONED };
        let swept = store.sweep(SystemTime::now() - age).context("tidy the bundle store")?;
        if swept.files > 0 {
            tracing::info!(files = swept.files, bytes = swept.bytes, "unfinished uploads were removed");
        }
        let cache = Cache::open(&paths.bundle_cache(), DEFAULT_CACHE_BYTES).context("open the bundle cache")?;
        let trees = Trees::open(&paths.unpacked(), limits).context("open the unpacked bundles")?;
        Ok((store, cache, trees))
    });
    let (store, cache, trees) = opening.await.context("open the bundles")??;
    Ok(BundleFiles { store: Arc::new(store), cache: Arc::new(cache), trees, runtime })
}

/// Looks for interpreters and uv; says what was found.
pub(crate) async fn find_runtimes(config: &Config, paths: &Paths, facts: Arc<Facts>) -> anyhow::Result<Runtimes> {
    let program = std::fs::File::open("/proc/self/exe").context("open this program's own file")?;
    let mut walls = config.sandbox.walls.clone();
    // Limits of a worker; a compiler takes what there is, for a bounded time.
    (walls.memory_bytes, walls.cpu_millis) = (None, None);
    let of_workers = [Layer::MemoryLimit, Layer::CpuLimit, Layer::TaskLimit];
    walls.require.retain(|layer| !of_workers.contains(layer));
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let variables: Vec<(String, String)> = variables.collect();
    let inner = lectern_runtimes::Runtimes::open(lectern_runtimes::Settings {
        data_dir: paths.root().to_owned(),
        python: config.python.interpreters.clone(),
        r: config.r.interpreters.clone(),
        path: std::env::var_os("PATH"),
        uv: config.python.uv.clone(),
        index_url: config.python.index_url.as_ref().map(ToString::to_string),
        npm_variables: npm_variables(config, variables.clone()),
        variables: lectern_runtimes::python::uv::passed_through(variables),
        git: config.git.program.clone(),
        node: config.node.interpreters.clone(),
        quarto: config.quarto.interpreters.clone(),
        build_account: host::build_account(config),
        fence: Some(Fence { walls, facts, program: Arc::new(program) }),
        build_timeout: config.python.restore_timeout,
        r_packages: config.r_packages.sources(config.r.restore_timeout),
    });
    let runtimes = Runtimes { inner: inner.await.context("look for R and Python")? };
    let (python, r) = runtimes.versions();
    let (node, quarto) = runtimes.more_versions();
    let (node, quarto) = (node.join(", "), quarto.join(", "));
    tracing::info!(python = python.join(", "), r = r.join(", "), node, quarto, "interpreters that content can use");
    if let Err(missing) = runtimes.inner.environments().uv() {
        tracing::warn!(error = crate::cli::chain(missing), "Python content cannot be deployed");
    }
    Ok(runtimes)
}

/// What npm is given of the server's environment, with the registry that the configuration names.
fn npm_variables(config: &Config, environment: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut passed = lectern_runtimes::node::passed_through(environment);
    if let Some(url) = &config.node.index_url {
        passed.retain(|(name, _)| !name.eq_ignore_ascii_case("npm_config_registry"));
        passed.push(("npm_config_registry".to_owned(), url.to_string()));
    }
    passed
}

/// Components are compiled by this program in processes of their own.
fn compiler(config: &Config) -> anyhow::Result<Compiler> {
    Ok(Compiler::Child(ChildCompiler {
        program: std::env::current_exe().context("find this program's own file")?,
        args: vec!["compile-component".into()],
        cache: config.gate.cache_dir.clone(),
    }))
}

/// Looks at what this host has for walls, and says in one line what it lacks.
async fn look_at_walls(config: &Config) -> anyhow::Result<Arc<Facts>> {
    let account = host::content_account(config);
    let looked = tokio::task::spawn_blocking(move || lectern_confinement::look(account));
    let facts = looked.await.context("look at what this host has to confine content")?;
    let standings = lectern_confinement::standings(&config.sandbox.walls, &facts);
    let lacks = standings.iter().filter_map(|one| match &one.state {
        State::Lack(lack) => Some(format!("{} ({})", one.layer, lack.why)),
        State::Have | State::Off(_) => None,
    });
    let lacks: Vec<String> = lacks.collect();
    if lacks.is_empty() {
        tracing::info!(layers = standings.len(), "content is confined by all layers");
    } else {
        tracing::warn!(lack = lacks.join("; "), "content is confined less: `lectern doctor` says what to do");
    }
    Ok(Arc::new(facts))
}

#[allow(clippy::too_many_arguments, reason = "called once; a struct for it would be this list again")]
async fn start_fleet(
    config: &Config,
    paths: &Paths,
    metadata: &MetadataStore,
    view: &Arc<View>,
    address: SocketAddr,
    server: Uuid,
    files: &BundleFiles,
    runtimes: &Arc<Runtimes>,
    sealer: &Arc<Sealer>,
    keys: &Arc<ContentKeys>,
) -> anyhow::Result<Arc<Fleet>> {
    let (server_url, relay) = server_for_content(config, paths, address)?;
    let launcher = Launcher {
        paths: paths.clone(),
        files: files.clone(),
        runtimes: Arc::clone(runtimes),
        sealer: Arc::clone(sealer),
        first_uid: host::first_uid(config),
        server_url,
        relay,
        keys: Arc::clone(keys),
        stop_grace: config.content.stop_grace,
        log_limit_bytes: config.content.job_log_bytes,
        max_conns_per_process: config.content.scheduler.max_conns_per_process,
        sandbox: config.sandbox.clone(),
        zygotes: config.content.zygotes > 0,
    };

    let socket = paths.supervisor_socket();
    let program = Program {
        path: std::env::current_exe().context("find this program's own file")?,
        args: [
            "supervise".into(),
            "--socket".into(),
            socket.clone().into_os_string(),
            "--max-workers".into(),
            config.content.max_workers.to_string().into(),
        ]
        .to_vec(),
        log: paths.run().join("supervisor.log"),
    };
    let settings = CrewSettings {
        hostname: host::hostname(),
        server,
        defaults: config.content.scheduler.clone(),
        most_processes: config.content.max_processes_total,
        memory_budget: config.content.memory_budget,
        most_zygotes: config.content.zygotes,
        cookie_key: sealer.cookie_key(),
        visitor_key: sealer.visitor_key(),
        supervisor_socket: socket,
        supervisor: program,
    };
    let crew = Crew::connect(settings, launcher, Arc::clone(view), metadata.database.clone()).await?;
    let fleet = Fleet::new(crew);
    fleet.adopt(&metadata.database).await?;
    fleet.reconcile();
    Ok(fleet)
}
