//! A release: one component with its configuration, grants and limits, compiled, linked and checked. Immutable; named by the
//! hash of everything that changes what it does.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use lectern_domain::plugin::{GrantKind, Grants, Hook, Instances, Phase, ReleaseHash};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

use crate::backend::Backend;
use crate::bindings::exports::lectern::plugin::{auth, lifecycle, pages, routing};
use crate::bindings::{INTERFACES, VERSION, WASI_INTERFACES};
use crate::compile::{CompileError, Compiler};
use crate::engine::{Class, Engine};
use crate::error::LoadError;
use crate::learn::{Recorder, Report};
use crate::limits::{COMPONENT_BYTES, Limits};
use crate::literals::Literals;
use crate::reuse::Trees;
use crate::run::{self, CheckCall};
use crate::settings::Settings;
use crate::state::{Effects, State, Subject};
use crate::stats::Stats;
use crate::warm::Pool;

/// What to load.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name that it is bound under: 1 to 64 lower-case letters, digits and `-`, beginning with a letter. Its pages stand
    /// below `/__plugin__/<name>/`.
    pub name: String,
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// What the operator set for it, checked against its schema; never secrets.
    pub config: Map<String, Value>,
    /// What it may reach.
    pub grants: Grants,
    /// What its calls may use.
    pub limits: Limits,
    /// How its instances are used.
    pub instances: Instances,
}

impl Spec {
    /// A plugin with no configuration, no grants and the usual limits.
    pub fn new(name: &str, component: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            component: component.into(),
            config: Map::new(),
            grants: Grants::default(),
            limits: Limits::of(Class::of(component.len())),
            instances: Instances::Fresh,
        }
    }

    /// With these grants.
    pub fn granting(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    /// What names the release: the BLAKE3 hash of the contract's version, the name, the component, the configuration, the
    /// grants, the limits and the use of instances.
    pub fn release(&self) -> ReleaseHash {
        let mut hasher = blake3::Hasher::new();
        // Lengths before values: no two specifications read the same.
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        add(VERSION.as_bytes());
        add(self.name.as_bytes());
        add(&self.component);
        add(canonical(&Value::Object(self.config.clone())).as_bytes());
        add(self.grants.to_string().as_bytes());
        add(format!("{:?}", self.limits).as_bytes());
        add(self.instances.as_str().as_bytes());
        ReleaseHash(*hasher.finalize().as_bytes())
    }
}

/// JSON with sorted members: the same document is the same release, however it was written.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let members: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// A plugin that can be called.
pub struct Release {
    id: ReleaseHash,
    name: Arc<str>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) limits: Limits,
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<State>,
    pub(crate) permits: Semaphore,
    pub(crate) page_permits: Semaphore,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) routing: Option<routing::GuestIndices>,
    pub(crate) auth: Option<auth::GuestIndices>,
    pub(crate) pages: Option<pages::GuestIndices>,
    /// Used instances, where the plugin asks for that.
    pub(crate) pool: Option<Pool>,
    /// What it decided before.
    pub(crate) trees: Arc<Trees>,
    literals: Literals,
    stats: Arc<Stats>,
}

impl Release {
    /// Compiles and links a component. It is not called yet: [`Release::check`] comes next.
    pub(crate) async fn compile(engine: &Engine, compiler: &Compiler, spec: Spec) -> Result<Self, LoadError> {
        let plugin = spec.name.clone();
        if !name_fits(&spec.name) {
            return Err(LoadError::Name(crate::check::shown(&spec.name)));
        }
        let got = spec.component.len();
        if got > COMPONENT_BYTES {
            return Err(LoadError::TooLarge { plugin, got, limit: COMPONENT_BYTES });
        }
        // Magic, then layer 1: a component. A core module has layer 0.
        if !spec.component.starts_with(b"\0asm\x0d\0\x01\0") {
            return Err(LoadError::NotAComponent { plugin });
        }
        let component = compiler.compile(engine, &spec.component).await.map_err(|error| match error {
            CompileError::Refused(detail) => LoadError::Compile { plugin: plugin.clone(), detail },
            error => LoadError::Compiler { plugin: plugin.clone(), cause: error },
        })?;
        admit(&plugin, &component, &engine.wasm, &spec.grants)?;
        Self::link(engine, &component, spec)
    }

    fn link(engine: &Engine, component: &Component, spec: Spec) -> Result<Self, LoadError> {
        let plugin = || spec.name.clone();
        let kinds: BTreeSet<GrantKind> = spec.grants.iter().map(|grant| grant.kind()).collect();
        let mismatch = |error: wasmtime::Error| LoadError::Mismatch {
            plugin: plugin(),
            offered: VERSION,
            detail: first_lines(&error),
        };
        let pre = engine.linker(&kinds).and_then(|linker| linker.instantiate_pre(component)).map_err(mismatch)?;
        let missing = |missing| LoadError::Exports { plugin: plugin(), missing };
        let lifecycle = lifecycle::GuestIndices::new(&pre).map_err(|_| missing("lifecycle"))?;
        let routing = routing::GuestIndices::new(&pre).ok();
        let auth = auth::GuestIndices::new(&pre).ok();
        if routing.is_none() && auth.is_none() {
            return Err(missing("routing or auth"));
        }
        let pages = pages::GuestIndices::new(&pre).ok();
        let pool = (spec.instances == Instances::Warm).then(|| Pool::new(spec.limits.warm_instances));
        let trees = Arc::new(match &spec.limits.learned {
            Some(learned) if pool.is_none() => Trees::new(learned, routing.is_some(), auth.is_some()),
            Some(_) | None => Trees::default(),
        });
        let settings = Settings::new(&spec.config);
        Ok(Self {
            id: spec.release(),
            literals: Literals::new(&spec.component, settings.document()),
            name: spec.name.into(),
            settings: Arc::new(settings),
            grants: Arc::new(spec.grants),
            permits: Semaphore::new(spec.limits.concurrency),
            page_permits: Semaphore::new(spec.limits.page_concurrency),
            limits: spec.limits,
            engine: engine.clone(),
            pre,
            lifecycle,
            routing,
            auth,
            pages,
            pool,
            stats: Arc::new(Stats::new(Arc::clone(&trees))),
            trees,
        })
    }

    /// Instantiates it once, compares the types of its exports and runs `lifecycle.check`.
    pub(crate) async fn check(&self, backend: &Backend) -> Result<(), LoadError> {
        let backend = backend.clone();
        let subject = Subject { head: None, visitor: None, target: None, backend, effects: Effects::Real };
        let plugin = || self.name.to_string();
        match run::call(self, subject, Recorder::idle(), CheckCall).await {
            Ok((None, _)) => Ok(()),
            Ok((Some(detail), _)) => Err(LoadError::Mismatch { plugin: plugin(), offered: VERSION, detail }),
            Err(cause) => Err(LoadError::Check { plugin: plugin(), cause }),
        }
    }

    /// The name that it is bound under.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What names it.
    pub fn id(&self) -> ReleaseHash {
        self.id
    }

    /// What it may reach.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Whether it decides where requests go.
    pub fn routes(&self) -> bool {
        self.routing.is_some()
    }

    /// Whether it says who is asking.
    pub fn authenticates(&self) -> bool {
        self.auth.is_some()
    }

    /// What it can be asked.
    pub fn hooks(&self) -> Vec<Hook> {
        let hooks = [
            (self.routing.is_some(), Hook::Route),
            (self.auth.is_some(), Hook::Authenticate),
            (self.pages.is_some(), Hook::Pages),
        ];
        hooks.into_iter().filter_map(|(has, hook)| has.then_some(hook)).collect()
    }

    /// Whether its calls may wait for the network or the store.
    pub(crate) fn may_wait(&self) -> bool {
        [GrantKind::Outbound, GrantKind::KeyValue, GrantKind::Accounts].into_iter().any(|kind| self.grants.opens(kind))
    }

    /// Used instances that wait for a call.
    pub fn waiting_instances(&self) -> usize {
        self.pool.as_ref().map_or(0, Pool::len)
    }

    /// What its calls did so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// What was learned of it in a phase, as operators may see it; `None`: nothing is learned there. `now_ms` is the time of the
    /// backend's clock.
    ///
    /// Takes some milliseconds, and up to half a second for a component that names hundreds of things: not for a thread that
    /// serves requests.
    pub fn explain(&self, phase: Phase, now_ms: u64) -> Option<Report> {
        self.trees.explain(phase, now_ms, &self.literals.lookup())
    }

    /// Why nothing is learned of it in a phase any more: it was found not to be deterministic.
    pub fn learning_off(&self, phase: Phase) -> Option<String> {
        self.trees.off(phase)
    }

    /// The first half of its name as a number: the seed of the guests' hash maps.
    pub(crate) fn seed(&self) -> u128 {
        self.id.0.iter().take(16).fold(0, |seed, &byte| seed << 8 | u128::from(byte))
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

fn name_fits(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Looks at what a component imports and exports, so that a refusal can say what to change: the linker's own words do not.
fn admit(plugin: &str, component: &Component, engine: &wasmtime::Engine, grants: &Grants) -> Result<(), LoadError> {
    let plugin = || plugin.to_owned();
    let of_type = component.component_type();
    let exports: Vec<String> = of_type.exports(engine).map(|(name, _)| name.to_owned()).collect();
    for name in &exports {
        if let Some(Ours::Other(wanted)) = ours(name) {
            return Err(LoadError::Version { plugin: plugin(), wanted, offered: VERSION });
        }
    }
    let mut foreign = Vec::new();
    for (name, _) in of_type.imports(engine) {
        match ours(name) {
            Some(Ours::Other(wanted)) => return Err(LoadError::Version { plugin: plugin(), wanted, offered: VERSION }),
            Some(Ours::Speaks(interface)) if !INTERFACES.contains(&interface) => {
                return Err(LoadError::Missing { plugin: plugin(), wanted: name.to_owned(), offered: VERSION });
            }
            Some(Ours::Speaks(interface @ ("directory" | "accounts")))
                if !exports.iter().any(|name| ours(name) == Some(Ours::Speaks("auth"))) =>
            {
                return Err(LoadError::NotForRouters { plugin: plugin(), interface: interface.to_owned() });
            }
            Some(Ours::Speaks(interface)) => match GrantKind::of_interface(interface) {
                Some(kind) if !grants.opens(kind) => {
                    return Err(LoadError::NotGranted {
                        plugin: plugin(),
                        interface: interface.to_owned(),
                        grant: kind.as_str(),
                    });
                }
                Some(_) | None => {}
            },
            None => {
                let known = name
                    .strip_prefix("wasi:")
                    .and_then(|name| name.split_once('@'))
                    .is_some_and(|(name, version)| WASI_INTERFACES.contains(&name) && version.starts_with("0.2."));
                if !known {
                    foreign.push(name.to_owned());
                }
            }
        }
    }
    if foreign.is_empty() { Ok(()) } else { Err(LoadError::Foreign { plugin: plugin(), imports: foreign.join(", ") }) }
}

/// An interface of `lectern:plugin`.
#[derive(PartialEq, Eq)]
enum Ours<'a> {
    /// Of a version compatible with this host's.
    Speaks(&'a str),
    /// Of another version.
    Other(String),
}

fn ours(name: &str) -> Option<Ours<'_>> {
    let (interface, version) = name.strip_prefix("lectern:plugin/")?.split_once('@').unwrap_or((name, ""));
    // 0.1.x fits 0.1.y in both directions; what is missing is found by name.
    if version.starts_with("0.1.") { Some(Ours::Speaks(interface)) } else { Some(Ours::Other(name.to_owned())) }
}

/// The causes of an engine's error without its backtraces.
pub(crate) fn first_lines(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(6).collect();
    crate::check::shown(&lines.join("; "))
}
