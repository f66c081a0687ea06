//! A release: one component with its configuration and limits, compiled, linked and checked. Immutable; named by the hash of
//! everything that changes what it does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

use crate::bindings::exports::lectern::plugin::{auth, lifecycle, pages, routing};
use crate::bindings::{INTERFACES, VERSION, WASI_INTERFACES};
use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::limits::{COMPONENT_BYTES, Limits};
use crate::run::{self, CheckCall};
use crate::state::{State, Subject};

/// What to load.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The plugin's name: 1 to 64 lower-case letters, digits and `-`, beginning with a letter. Its pages stand below
    /// `/__plugin__/<name>/`.
    pub name: String,
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// What the operator set for it; never secrets.
    pub config: BTreeMap<String, String>,
    /// What its calls may use.
    pub limits: Limits,
}

impl Spec {
    /// A plugin with no configuration and the usual limits.
    pub fn new(name: &str, component: &[u8]) -> Self {
        Self { name: name.to_owned(), component: component.into(), config: BTreeMap::new(), limits: Limits::default() }
    }
}

/// Names a release: the BLAKE3 hash of the contract's version, the component, the configuration and the limits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReleaseId([u8; 32]);

impl ReleaseId {
    fn of(spec: &Spec) -> Self {
        let mut hasher = blake3::Hasher::new();
        // Lengths before values: no two specifications read the same.
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        add(VERSION.as_bytes());
        add(spec.name.as_bytes());
        add(&spec.component);
        for (key, value) in &spec.config {
            add(key.as_bytes());
            add(value.as_bytes());
        }
        add(format!("{:?}", spec.limits).as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The first half as a number: the seed of the guests' hash maps.
    fn seed(self) -> u128 {
        self.0.iter().take(16).fold(0, |seed, &byte| seed << 8 | u128::from(byte))
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseId({self})")
    }
}

/// A plugin that can be called.
pub struct Release {
    id: ReleaseId,
    name: Arc<str>,
    config: Arc<BTreeMap<String, String>>,
    pub(crate) limits: Limits,
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<State>,
    pub(crate) permits: Semaphore,
    pub(crate) page_permits: Semaphore,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) routing: Option<routing::GuestIndices>,
    pub(crate) auth: Option<auth::GuestIndices>,
    pub(crate) pages: Option<pages::GuestIndices>,
}

impl Release {
    /// Compiles and links a component. Takes tens of milliseconds of all cores: call it on a blocking thread. It is not called
    /// yet: [`Release::check`] comes next.
    pub fn compile(engine: &Engine, spec: Spec) -> Result<Self, LoadError> {
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
        let component = Component::from_binary(&engine.wasm, &spec.component)
            .map_err(|error| LoadError::Compile { plugin: plugin.clone(), detail: first_lines(&error) })?;
        admit(&plugin, &component, &engine.wasm)?;
        let pre = engine.linker.instantiate_pre(&component).map_err(|error| LoadError::Mismatch {
            plugin: plugin.clone(),
            offered: VERSION,
            detail: first_lines(&error),
        })?;
        let missing = |missing| LoadError::Exports { plugin: plugin.clone(), missing };
        let lifecycle = lifecycle::GuestIndices::new(&pre).map_err(|_| missing("lifecycle"))?;
        let routing = routing::GuestIndices::new(&pre).ok();
        let auth = auth::GuestIndices::new(&pre).ok();
        if routing.is_none() && auth.is_none() {
            return Err(missing("routing or auth"));
        }
        let pages = pages::GuestIndices::new(&pre).ok();
        Ok(Self {
            id: ReleaseId::of(&spec),
            name: spec.name.into(),
            config: Arc::new(spec.config),
            permits: Semaphore::new(spec.limits.concurrency),
            page_permits: Semaphore::new(spec.limits.page_concurrency),
            limits: spec.limits,
            engine: engine.clone(),
            pre,
            lifecycle,
            routing,
            auth,
            pages,
        })
    }

    /// Instantiates it once, compares the types of its exports and runs `lifecycle.check`.
    pub async fn check(&self, directory: &Arc<dyn Directory>) -> Result<(), LoadError> {
        let subject = Subject { head: None, visitor: None, directory: Arc::clone(directory) };
        let plugin = || self.name.to_string();
        match run::call(self, subject, CheckCall).await {
            Ok((None, _)) => Ok(()),
            Ok((Some(detail), _)) => Err(LoadError::Mismatch { plugin: plugin(), offered: VERSION, detail }),
            Err(cause) => Err(LoadError::Check { plugin: plugin(), cause }),
        }
    }

    /// Its name, unique within a chain.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What names it.
    pub fn id(&self) -> ReleaseId {
        self.id
    }

    /// Whether it decides where requests go.
    pub fn routes(&self) -> bool {
        self.routing.is_some()
    }

    /// Whether it says who is asking.
    pub fn authenticates(&self) -> bool {
        self.auth.is_some()
    }

    pub(crate) fn state(&self, subject: Subject) -> State {
        State::new(Arc::clone(&self.name), Arc::clone(&self.config), &self.limits, self.id.seed(), subject)
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
fn admit(plugin: &str, component: &Component, engine: &wasmtime::Engine) -> Result<(), LoadError> {
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
            Some(Ours::Speaks("directory")) if !exports.iter().any(|name| ours(name) == Some(Ours::Speaks("auth"))) => {
                return Err(LoadError::NotGranted { plugin: plugin() });
            }
            Some(Ours::Speaks(_)) => {}
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
