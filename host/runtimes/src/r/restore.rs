//! One restore: what is wanted, found, planned, built, and put together as a library.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lectern_domain::launch::EnvironmentId;
use lectern_domain::r_packages::{MOST_PACKAGES, Origin, Resolution, Wanted, Wants};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::build::{Build, BuildError};
use super::find::{Finder, Found};
use super::library;
use super::packages::{RPackages, RestoreError, RestoreRequest};
use super::plan::{self, Host, Met, Node};
use super::store::{self, Cached};
use super::wants::wants;

/// Fetches at a time: a repository's latency is hidden, and nobody mistakes this for an attack.
const MOST_FETCHES: usize = 4;

pub(super) struct Restore<'a> {
    pub(super) packages: &'a RPackages,
    pub(super) request: RestoreRequest<'a>,
    pub(super) say: mpsc::Sender<String>,
    pub(super) cancel: &'a CancellationToken,
    /// When all of it must be done.
    pub(super) deadline: Instant,
}

impl Restore<'_> {
    pub(super) async fn run(self) -> Result<EnvironmentId, RestoreError> {
        let wants = wants(self.request.tree, self.request.manifest)?;
        if wants.packages.len() > MOST_PACKAGES {
            return Err(RestoreError::TooMany(MOST_PACKAGES));
        }
        let mut finder = self.finder(wants.resolution);
        // Once for each binary that is of no use here, and a binary is refused once.
        loop {
            let found = self.find(&finder, &wants).await?;
            let nodes = plan::plan(found, &self.host())?;
            match self.build(&nodes).await {
                Ok(built) => return self.library(&built).await,
                Err(RestoreError::Build(BuildError::Useless { package, archive, words })) => {
                    self.say(format!("The binary of {package} does not load here; looking for another:\n{words}"))
                        .await;
                    finder.refused.insert(archive);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn finder(&self, resolution: Resolution) -> Finder<'_> {
        let sources = &self.packages.settings.sources;
        Finder {
            fetcher: &self.packages.fetcher,
            store: &self.packages.store,
            repositories: &sources.repositories,
            remotes: &sources.remotes,
            resolution,
            r_version: &self.request.interpreter.version,
            platform: &self.request.installed.platform,
            indexes: sources.repositories.iter().map(|_| OnceCell::new()).collect(),
            refused: BTreeSet::new(),
        }
    }

    async fn say(&self, line: String) {
        // Nobody listens any more: whoever wanted the restore is gone.
        let _ = self.say.send(line).await;
    }

    fn host(&self) -> Host<'_> {
        Host {
            version: &self.request.interpreter.version,
            interpreter: self.request.interpreter.path.to_str().unwrap_or_default(),
            installed: self.request.installed,
            use_installed: self.packages.settings.sources.use_installed,
        }
    }

    /// Finds the archives of all that is wanted, and of what these need and nobody listed.
    async fn find(&self, finder: &Finder<'_>, wants: &Wants) -> Result<BTreeMap<String, Found>, RestoreError> {
        let host = self.host();
        let has = |wanted: &Wanted| host.has(&wanted.name, wanted.version.as_deref());
        let mut round: Vec<Wanted> = wants.packages.iter().filter(|wanted| !has(wanted)).cloned().collect();
        let of_host = wants.packages.len() - round.len();
        self.say(format!(
            "The bundle wants {} R packages ({}){}",
            wants.packages.len(),
            wants.resolution.as_str(),
            if of_host > 0 { format!("; {of_host} of them are the server's own") } else { String::new() }
        ))
        .await;
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        while !round.is_empty() {
            let mut next = round.iter();
            let mut asked: FuturesUnordered<_> =
                next.by_ref().take(MOST_FETCHES).map(|wanted| look(finder, wanted)).collect();
            loop {
                let outcome = tokio::select! {
                    outcome = asked.next() => outcome,
                    () = self.cancel.cancelled() => return Err(RestoreError::Cancelled),
                };
                let Some(outcome) = outcome else { break };
                asked.extend(next.next().map(|wanted| look(finder, wanted)));
                let (package, notes) = outcome?;
                for note in notes {
                    self.say(format!("{note}; took {} from {}", package.description.name, package.from)).await;
                }
                found.insert(package.description.name.clone(), package);
            }
            drop(asked);
            round = self.unlisted(&found).await;
            if found.len() + round.len() > MOST_PACKAGES {
                return Err(RestoreError::TooMany(MOST_PACKAGES));
            }
        }
        Ok(found)
    }

    /// What found packages need and nobody has yet: the newest of each is taken.
    async fn unlisted(&self, found: &BTreeMap<String, Found>) -> Vec<Wanted> {
        let host = self.host();
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        for package in found.values() {
            for need in package.description.needs() {
                if need.name != "R" && host.meets(&need, found) == Met::Nothing {
                    names.entry(need.name).or_insert(&package.description.name);
                }
            }
        }
        let mut wanted = Vec::with_capacity(names.len());
        for (name, because) in names {
            self.say(format!("The bundle does not list {name}, which {because} needs; taking the newest")).await;
            wanted.push(Wanted { name, version: None, origin: Origin::Repository { name: None, url: None } });
        }
        wanted
    }

    /// Builds what is not there yet, each as soon as all that it needs is there; several at a time.
    async fn build(&self, nodes: &[Node]) -> Result<Vec<Cached>, RestoreError> {
        let mut done: BTreeMap<String, Cached> = BTreeMap::new();
        for node in nodes {
            if let Some(record) = self.packages.store.record(&node.key) {
                done.insert(node.found.description.name.clone(), record);
            }
        }
        let (reused, total) = (done.len(), nodes.len() - done.len());
        self.say(format!("{reused} R packages are in the cache, {total} are to be built")).await;
        let started = Instant::now();
        let mut waiting: Vec<&Node> =
            nodes.iter().filter(|node| !done.contains_key(&node.found.description.name)).collect();
        let mut running = FuturesUnordered::new();
        let (mut begun, mut built) = (0, 0);
        loop {
            let (ready, rest): (Vec<&Node>, Vec<&Node>) =
                waiting.into_iter().partition(|node| node.needs.iter().all(|need| done.contains_key(need)));
            waiting = rest;
            for node in ready {
                begun += 1;
                running.push(self.one(nodes, node, begun, total));
            }
            let Some(outcome) = running.next().await else { break };
            let (record, fresh) = outcome?;
            built += usize::from(fresh);
            done.insert(record.name.clone(), record);
        }
        drop(running);
        if total > 0 {
            let others = total - built;
            let elsewhere =
                if others > 0 { format!(", {others} by another deployment meanwhile") } else { String::new() };
            let seconds = started.elapsed().as_secs_f64();
            self.say(format!("Built {built} R packages in {seconds:.1} s{elsewhere}; {reused} were in the cache"))
                .await;
        }
        Ok(done.into_values().collect())
    }

    /// Builds one package, unless somebody else has done so meanwhile; answers whether it was built here.
    async fn one(
        &self,
        nodes: &[Node],
        node: &Node,
        number: usize,
        total: usize,
    ) -> Result<(Cached, bool), RestoreError> {
        let packages = self.packages;
        let permit = tokio::select! {
            permit = packages.builds.acquire() => permit,
            () = self.cancel.cancelled() => return Err(RestoreError::Cancelled),
        };
        let description = &node.found.description;
        let name = format!("{} {}", description.name, description.version);
        let binary = description.built.is_some();
        self.say(format!("# {} {number} of {total}: {name}", if binary { "Installing" } else { "Building" })).await;
        let tell = self.say.clone();
        let wait = || {
            // A line that finds no room is no loss.
            let _ = tell.try_send(format!("Another deployment is building {}; waiting for it", name));
        };
        let lock =
            packages.store.lock(&node.key, self.cancel, wait).await.map_err(|cause| packages.io("lock in", cause))?;
        let Some(lock) = lock else { return Err(RestoreError::Cancelled) };
        if let Some(record) = packages.store.record(&node.key) {
            return Ok((record, false));
        }
        let work = packages.store.workplace(&node.key).map_err(|cause| packages.io("create a directory in", cause))?;
        let started = Instant::now();
        let build = Build {
            account: packages.settings.account,
            fence: packages.settings.fence.as_ref(),
            interpreter: self.request.interpreter,
            found: &node.found,
            archive: packages.store.archive(&node.found.blake3),
            needs: self.needs(nodes, node),
            host_libraries: self.host_libraries(),
            linking: &packages.linking,
            work: work.path(),
            timeout: self.deadline.saturating_duration_since(Instant::now()),
        };
        let out = build.run(self.cancel).await?;
        let (build_name, built_at) = store::build_name(&node.key);
        let record = Cached {
            name: description.name.clone(),
            version: description.version.clone(),
            key: node.key.clone(),
            build: build_name,
            archive: node.found.blake3.clone(),
            from: node.found.from.clone(),
            binary,
            r_version: self.request.interpreter.version.clone(),
            platform: self.request.installed.platform.clone(),
            built_at,
        };
        let (keeper, kept) = (packages.store.clone(), record.clone());
        let finished = tokio::task::spawn_blocking(move || keeper.finish(&out, &kept)).await;
        let finished = finished.unwrap_or_else(|error| Err(io::Error::other(error)));
        finished.map_err(|cause| packages.io("finish a build in", cause))?;
        drop((permit, lock));
        self.say(format!("{name} from {} is ready after {:.1} s", node.found.from, started.elapsed().as_secs_f64()))
            .await;
        Ok((record, true))
    }

    /// The built packages that `node` needs, directly or not.
    fn needs(&self, nodes: &[Node], node: &Node) -> Vec<(String, PathBuf)> {
        let closure = plan::closure(nodes, &node.found.description.name);
        let needed = nodes.iter().filter(|other| closure.contains(&other.found.description.name));
        let place = |other: &Node| {
            let name = other.found.description.name.clone();
            let path = self.packages.store.built(&other.key).join(&name);
            (name, path)
        };
        needed.map(place).collect()
    }

    /// Libraries of the host that builds may use: none, unless its packages count.
    fn host_libraries(&self) -> Vec<PathBuf> {
        if !self.packages.settings.sources.use_installed {
            return Vec::new();
        }
        let libraries: BTreeSet<PathBuf> =
            self.request.installed.packages.values().map(|package| package.library.clone()).collect();
        libraries.into_iter().collect()
    }

    /// Puts the built packages together.
    async fn library(&self, built: &[Cached]) -> Result<EnvironmentId, RestoreError> {
        let id = library::id(built, &self.request.interpreter.version, &self.request.installed.platform);
        let state = match library::make(self.packages, &id, built).await? {
            true => "is ready",
            false => "is already there",
        };
        self.say(format!("Library {id} {state}, with {} R packages", built.len())).await;
        Ok(EnvironmentId(id))
    }
}

/// Finds a package, and what the publisher should know of how it was found.
fn look<'f>(finder: &'f Finder<'_>, wanted: &'f Wanted) -> BoxFuture<'f, Result<(Found, Vec<String>), RestoreError>> {
    async {
        let mut notes = Vec::new();
        let found = finder.find(wanted, &mut notes).await?;
        Ok((found, notes))
    }
    .boxed()
}
