//! Compiles components, in a process of its own where there is one, and keeps what was compiled.
//!
//! A compiler reads what a stranger wrote; a crash or a memory hog in it must not be the server's. What comes out is native
//! code that the server maps: it is read only from a directory that belongs to the server, under a name made of the component's
//! hash and of everything in the engine that changes code.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use wasmtime::component::Component;

use crate::engine::{Class, Engine, config};
use crate::limits::COMPONENT_BYTES;
use crate::release::first_lines;

/// Longest time for one component. CPython's takes 10 s on two cores, and a minute when others compile beside it.
const TIME: Duration = Duration::from_secs(120);
/// Processor time of the compiling process, in seconds, over all its threads.
const CPU_SECONDS: u64 = 180;
/// Memory that the compiling process may write to, in bytes. CPython's takes less than 1 GiB.
const MEMORY_BYTES: u64 = 3 << 30;
/// Largest native code accepted, in bytes. CPython's has 35 MiB.
const CODE_BYTES: u64 = 256 << 20;

/// Who compiles.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// This process, each time anew: for tests and tools.
    #[default]
    InProcess,
    /// A child, once.
    Child(ChildCompiler),
}

/// A program that compiles one component from its standard input to its standard output ([`compile_stdin`]).
#[derive(Debug, Clone)]
pub struct ChildCompiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the class is added.
    pub args: Vec<OsString>,
    /// Where native code is kept; made where absent, for this account alone.
    pub cache: PathBuf,
}

/// Why a component was not compiled. The text says what the compiler said.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("{0}")]
    Refused(String),
    /// The compiler used more time or memory than it may.
    #[error("compiling it took more than {TIME:?}, {CPU_SECONDS} s of processor time or {} GiB of memory", MEMORY_BYTES >> 30)]
    Exhausted,
    /// The compiler or its files failed; not the component's doing.
    #[error("{what}")]
    Host {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> CompileError {
    let what = what.into();
    move |cause| CompileError::Host { what, cause }
}

impl Compiler {
    /// Compiles a component for an engine.
    pub(crate) async fn compile(&self, engine: &Engine, component: &[u8]) -> Result<Component, CompileError> {
        match self {
            Self::InProcess => {
                let (wasm, bytes) = (engine.wasm.clone(), component.to_vec());
                let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&wasm, &bytes)).await;
                compiled
                    .map_err(|error| CompileError::Refused(error.to_string()))?
                    .map_err(|error| CompileError::Refused(first_lines(&error)))
            }
            Self::Child(child) => child.compile(engine, component).await,
        }
    }
}

impl ChildCompiler {
    /// Where the native code of a component is kept.
    fn kept(&self, engine: &Engine, component: &[u8]) -> PathBuf {
        let mut hasher = std::hash::DefaultHasher::new();
        engine.wasm.precompile_compatibility_hash().hash(&mut hasher);
        self.cache.join(format!("{}-{:016x}.cwasm", blake3::hash(component).to_hex(), hasher.finish()))
    }

    async fn compile(&self, engine: &Engine, component: &[u8]) -> Result<Component, CompileError> {
        let kept = self.kept(engine, component);
        if kept.is_file() {
            match map(engine, &kept).await {
                Ok(component) => return Ok(component),
                // Damaged, or of another machine: it is made anew.
                Err(error) => tracing::warn!(file = %kept.display(), %error, "compiled plugin cannot be used"),
            }
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.cache)
            .map_err(host(format!("make the directory {}", self.cache.display())))?;
        let unfinished = Unfinished::new(&self.cache)?;
        self.run(engine.class, component, &unfinished).await?;
        unfinished.finish(&kept)?;
        map(engine, &kept).await
    }

    /// Runs the child with its output in `into`.
    async fn run(&self, class: Class, component: &[u8], into: &Unfinished) -> Result<(), CompileError> {
        let output = into.file.try_clone().map_err(host("use the file for compiled plugins"))?;
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .arg(class.as_str())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::from(output))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(host(format!("start the plugin compiler {}", self.program.display())))?;
        let input = child.stdin.take();
        let feed = async {
            if let Some(mut input) = input {
                // A child that refuses early closes its input; why is in its answer.
                let _ = input.write_all(component).await;
            }
        };
        let done = async { tokio::join!(feed, child.wait_with_output()).1 };
        let Ok(output) = tokio::time::timeout(TIME, done).await else { return Err(CompileError::Exhausted) };
        let output = output.map_err(host("wait for the plugin compiler"))?;
        match output.status.code() {
            Some(0) => Ok(()),
            Some(1) => {
                let text = String::from_utf8_lossy(&output.stderr);
                Err(CompileError::Refused(crate::check::shown(text.trim())))
            }
            // Ended by a signal: its own allocator's abort, the limits' SIGXCPU or the kernel's SIGKILL.
            _ => Err(CompileError::Exhausted),
        }
    }
}

/// A file that is not there under its name yet; removed when it is dropped unfinished.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn new(directory: &Path) -> Result<Self, CompileError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| CompileError::Refused(format!("no randomness: {error}")))?;
        let path = directory.join(format!(".{:016x}.unfinished", u64::from_le_bytes(random)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(host(format!("make a file in {}", directory.display())))?;
        Ok(Self { path, file })
    }

    fn finish(self, name: &Path) -> Result<(), CompileError> {
        let length = self.file.metadata().map_err(host("look at a compiled plugin"))?.len();
        if length == 0 || length > CODE_BYTES {
            return Err(CompileError::Refused(format!(
                "it compiles to {length} bytes; at most {CODE_BYTES} are accepted"
            )));
        }
        self.file.sync_all().map_err(host("sync a compiled plugin"))?;
        std::fs::rename(&self.path, name).map_err(host(format!("keep a compiled plugin as {}", name.display())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Not there any more once it has its name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Maps native code that this server has written.
async fn map(engine: &Engine, path: &Path) -> Result<Component, CompileError> {
    let (wasm, path) = (engine.wasm.clone(), path.to_owned());
    let mapped = tokio::task::spawn_blocking(move || {
        // SAFETY: the file was written by this server, from its own compiler's output, into a directory that only its account
        // can write to, and is never changed under its name.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize_file(&wasm, &path)
        }
    });
    mapped
        .await
        .map_err(|error| CompileError::Refused(error.to_string()))?
        .map_err(|error| CompileError::Refused(first_lines(&error)))
}

/// The compiling process: limits itself, reads a component from standard input, writes native code to standard output.
///
/// An error's text is for standard error, with exit status 1.
pub fn compile_stdin(class: Class) -> Result<(), String> {
    for (resource, limit) in
        [(Resource::RLIMIT_CPU, CPU_SECONDS), (Resource::RLIMIT_DATA, MEMORY_BYTES), (Resource::RLIMIT_CORE, 0)]
    {
        setrlimit(resource, limit, limit).map_err(|error| format!("limit the compiler: {error}"))?;
    }
    let mut component = Vec::new();
    let bound = u64::try_from(COMPONENT_BYTES).unwrap_or(u64::MAX);
    io::stdin()
        .lock()
        .take(bound + 1)
        .read_to_end(&mut component)
        .map_err(|error| format!("read the component: {error}"))?;
    let engine = wasmtime::Engine::new(&config(class)).map_err(|error| first_lines(&error))?;
    let code = engine.precompile_component(&component).map_err(|error| first_lines(&error))?;
    io::stdout().lock().write_all(&code).map_err(|error| format!("write the code: {error}"))
}
