//! The command, environment and places of one worker.
//!
//! A worker sees, and nothing else: who it is (`CONNECT_CONTENT_GUID`, `CONNECT_CONTENT_JOB_KEY`), what runs it
//! (`POSIT_PRODUCT` and `RSTUDIO_PRODUCT` = `CONNECT`, `CONNECT_SERVER`), what it speaks with the server by (`CONNECT_API_KEY`,
//! `CONNECT_CONTENT_SESSION_TOKEN`), its private home (`HOME`, `TMPDIR`), `LOGNAME`
//! and `USER`, `LANG=C.UTF-8`, `PATH` that begins with its environment, `R_CONFIG_ACTIVE=rsconnect`, for R with restored
//! packages `R_LIBS`, and for Python `VIRTUAL_ENV`, `PYTHONUNBUFFERED` and `PYTHONDONTWRITEBYTECODE` (the bundle is
//! read-only). Then come the publisher's variables, which may replace all but the reserved ones ([`lectern_domain::launch::is_reserved_variable`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::confinement::Walls;
use lectern_domain::launch::{
    Account, EnvironmentId, Interpreter, LaunchSpec, Prepared, Program, home, is_reserved_variable,
};
use lectern_domain::{BundleId, ContentGuid, JobKey, PythonFramework};

use crate::interpreters;
use crate::launchers::Launchers;
use crate::node::NodeEnvironments;
use crate::python::PythonEnvironments;
use crate::zygote;

/// How long an idle connection to a Python worker stays open, in seconds. The bridge must let go of its idle connections
/// sooner, or it will send a request into one that is just being closed.
pub const KEEP_ALIVE_SECONDS: u64 = 120;

/// Longest path of a Unix socket, in bytes (`sockaddr_un` holds 108 with the final zero).
const SOCKET_PATH_LIMIT: usize = 107;
/// The port that a Node.js application is told to listen on, and then does not.
const NODE_PORT: &str = "3000";
/// What Debian has installed: its build of the R package jquerylib, which every Shiny page needs, asks dpkg for a version.
const PACKAGE_LIST: &str = "/var/lib/dpkg";
/// What a worker keeps of its grace to leave in order after its requests were cut.
const LEAVE: Duration = Duration::from_secs(2);

/// Where and as whom a worker runs.
#[derive(Debug, Clone)]
pub struct LaunchContext<'a> {
    /// Names the run.
    pub job: JobKey,
    /// Whose content.
    pub content: ContentGuid,
    /// Which version.
    pub bundle: BundleId,
    /// The unpacked bundle.
    pub tree: &'a Path,
    /// The worker's private directory.
    pub private: &'a Path,
    /// The socket to listen on, inside `private`.
    pub socket: &'a Path,
    /// Where its output goes.
    pub log: &'a Path,
    /// Most bytes of output that are kept.
    pub log_limit_bytes: u64,
    /// The account to run as.
    pub account: Option<Account>,
    /// The server's address as users see it, for `CONNECT_SERVER`; none is set without it.
    pub public_url: Option<&'a str>,
    /// What it speaks with the server by, if anything.
    pub credentials: Option<Credentials<'a>>,
    /// The publisher's variables.
    pub variables: &'a [(String, String)],
    /// Connections one process may hold: as many threads serve a WSGI application.
    pub max_conns_per_process: u32,
    /// How long it may take until it accepts a connection.
    pub init_timeout: Duration,
    /// How long it may take to end after SIGTERM.
    pub stop_grace: Duration,
    /// How it is kept in; what its program needs to read is added.
    pub walls: &'a Walls,
    /// Whether it may come from a zygote.
    pub zygotes: bool,
}

/// What a process of content speaks with the server by; a publisher's own variable of the same name is used instead.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// For `CONNECT_API_KEY`, if there is one.
    pub api_key: Option<&'a str>,
    /// For `CONNECT_CONTENT_SESSION_TOKEN`.
    pub session_token: &'a str,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// A prepared bundle cannot be started here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Its content is files.
    #[error("static content has no process")]
    Static,
    /// It was prepared without what its program needs.
    #[error("the bundle was prepared without {0}")]
    Unprepared(&'static str),
    /// The environment was removed, or prepared on another host: preparing it again brings it back.
    #[error("environment {} is not on this host; the bundle must be prepared again", .0.0)]
    EnvironmentGone(EnvironmentId),
    /// The interpreter was removed, or is another host's: preparing again chooses another.
    #[error("there is no interpreter {0:?} on this host any more; the bundle must be prepared again")]
    InterpreterGone(PathBuf),
    /// The data directory's path is too long.
    #[error("the socket path {0:?} is longer than {SOCKET_PATH_LIMIT} bytes; use a data directory with a shorter path")]
    SocketPath(PathBuf),
}

impl LaunchError {
    /// Whether preparing the bundle again helps.
    pub fn needs_preparing(&self) -> bool {
        matches!(self, Self::EnvironmentGone(_) | Self::InterpreterGone(_))
    }
}

/// Says how to start one worker of a prepared bundle.
pub fn launch(
    prepared: &Prepared,
    context: &LaunchContext<'_>,
    places: Places<'_>,
    launchers: &Launchers,
) -> Result<LaunchSpec, LaunchError> {
    if context.socket.as_os_str().len() > SOCKET_PATH_LIMIT {
        return Err(LaunchError::SocketPath(context.socket.to_owned()));
    }
    let interpreter = prepared.interpreter.as_ref().ok_or(match prepared.program {
        Program::Static { .. } => LaunchError::Static,
        _ => LaunchError::Unprepared("an interpreter"),
    })?;
    if !interpreter.path.is_file() {
        return Err(LaunchError::InterpreterGone(interpreter.path.clone()));
    }
    let environments = places.python;
    let mut env = common(context);
    let mut walls = context.walls.clone();
    walls.read_only.push(launchers.directory().to_owned());
    walls.read_only.extend(interpreters::trees(&interpreter.path));
    walls.read_only.extend(prepared.environment.as_ref().map(|id| match prepared.program {
        Program::Node { .. } => places.node.path(id),
        _ => environments.path(id),
    }));
    let python = |launcher: &str, entrypoint: &str, third: u64, env: &mut BTreeMap<String, String>| {
        let id = prepared.environment.as_ref().ok_or(LaunchError::Unprepared("an environment"))?;
        let environment = environments.path(id);
        if !environment.is_dir() {
            return Err(LaunchError::EnvironmentGone(id.clone()));
        }
        set(env, "VIRTUAL_ENV", text(&environment));
        set(env, "PATH", format!("{}:{}", text(&environment.join("bin")), PATH));
        set(env, "PYTHONUNBUFFERED", "1");
        set(env, "PYTHONDONTWRITEBYTECODE", "1");
        let (python, launcher) = (text(&environment.join("bin/python")), text(&launchers.path(launcher)));
        let (third, keep_alive) = (third.to_string(), KEEP_ALIVE_SECONDS.to_string());
        Ok(vec![python, launcher, text(context.socket), entrypoint.to_owned(), third, keep_alive])
    };
    let grace = context.stop_grace.saturating_sub(LEAVE).as_secs().max(1);
    // A thread costs little, but hundreds in one interpreter only wait for each other.
    let threads = u64::from(context.max_conns_per_process.clamp(1, 100));
    walls.read_only.extend(prepared.program.is_r().then(|| PathBuf::from(PACKAGE_LIST)));
    if let Some(id) = prepared.environment.as_ref().filter(|_| prepared.program.is_r()) {
        let library = places.python.path(id);
        if !library.is_dir() {
            return Err(LaunchError::EnvironmentGone(id.clone()));
        }
        // Before the host's own, which R adds.
        set(&mut env, "R_LIBS", text(&library));
    }
    let argv = match &prepared.program {
        Program::Static { .. } => return Err(LaunchError::Static),
        Program::PythonAsgi { entrypoint } => python("lectern_asgi.py", entrypoint, grace, &mut env)?,
        Program::PythonWsgi { entrypoint } => python("lectern_wsgi.py", entrypoint, threads, &mut env)?,
        Program::PythonApp { framework, entrypoint } => {
            let (launcher, measure) = match framework {
                PythonFramework::Dash => ("lectern_dash.py", threads),
                PythonFramework::Streamlit => ("lectern_streamlit.py", grace),
                PythonFramework::Bokeh | PythonFramework::Panel => ("lectern_bokeh.py", grace),
                PythonFramework::Shiny => ("lectern_asgi.py", grace),
                PythonFramework::Gradio => ("lectern_gradio.py", grace),
                PythonFramework::Voila => ("lectern_voila.py", grace),
            };
            python(launcher, entrypoint, measure, &mut env)?
        }
        Program::Node { entrypoint } => {
            let environment = prepared.environment.as_ref().map(|id| (id, places.node.path(id)));
            if let Some((id, _)) = environment.as_ref().filter(|(_, path)| !path.is_dir()) {
                return Err(LaunchError::EnvironmentGone((*id).clone()));
            }
            node(context, environment.map(|(_, path)| path).as_deref(), &mut env);
            let launcher = text(&launchers.path("lectern_node.cjs"));
            let entrypoint = text(&context.tree.join(entrypoint));
            vec![text(&interpreter.path), "--require".to_owned(), launcher, entrypoint]
        }
        Program::Plumber { entrypoint } => r(interpreter, &launchers.path("lectern_plumber.R"), context, &[entrypoint]),
        Program::Engine { engine, settings } => {
            r(interpreter, &launchers.path("lectern_engine.R"), context, &[engine, settings])
        }
        Program::Shiny { app } => r(interpreter, &launchers.path("lectern_shiny.R"), context, &["app", app]),
        Program::RmdShiny { document } => {
            r(interpreter, &launchers.path("lectern_shiny.R"), context, &["rmd", document])
        }
        Program::QuartoShiny { document, quarto } => {
            if let Some(gone) = quarto.as_ref().filter(|path| !path.is_file()) {
                return Err(LaunchError::InterpreterGone(gone.clone()));
            }
            walls.read_only.extend(quarto.iter().flat_map(|quarto| interpreters::trees(quarto)));
            let quarto = quarto.as_ref().map_or("-".to_owned(), |path| text(path));
            r(interpreter, &launchers.path("lectern_shiny.R"), context, &["qmd", document, &quarto])
        }
    };
    let zygote =
        (context.zygotes).then(|| zygote::zygote(&prepared.program, context, launchers, &walls, &env, &argv)).flatten();
    // Only now: a zygote is given no secret.
    if let Some(Credentials { api_key, session_token }) = context.credentials {
        api_key.iter().for_each(|key| set(&mut env, "CONNECT_API_KEY", *key));
        set(&mut env, "CONNECT_CONTENT_SESSION_TOKEN", session_token);
    }
    for (name, value) in context.variables.iter().filter(|(name, _)| !is_reserved_variable(name)) {
        set(&mut env, name, value.as_str());
    }
    Ok(LaunchSpec {
        job: context.job.clone(),
        content: context.content,
        bundle: context.bundle,
        argv,
        env: env.into_iter().collect(),
        directory: context.tree.to_owned(),
        account: context.account,
        private: context.private.to_owned(),
        socket: context.socket.to_owned(),
        log: context.log.to_owned(),
        log_limit_bytes: context.log_limit_bytes,
        init_timeout: context.init_timeout,
        stop_grace: context.stop_grace,
        walls,
        notifies: zygote::notifies(&prepared.program),
        zygote,
    })
}

/// Where environments are.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Those of Python.
    pub python: &'a PythonEnvironments,
    /// Those of Node.js.
    pub node: &'a NodeEnvironments,
}

/// The variables of a Node.js application: see `lectern_node.cjs`.
fn node(context: &LaunchContext<'_>, environment: Option<&Path>, env: &mut BTreeMap<String, String>) {
    set(env, "NODE_ENV", "production");
    set(env, "PORT", NODE_PORT);
    set(env, "LECTERN_SOCKET", text(context.socket));
    // Longer than the bridge keeps its idle connections.
    set(env, "LECTERN_KEEP_ALIVE_SECONDS", KEEP_ALIVE_SECONDS.to_string());
    if let Some(environment) = environment {
        set(env, "LECTERN_PACKAGES", text(environment));
        set(env, "NODE_PATH", text(&environment.join("node_modules")));
        set(env, "PATH", format!("{}:{PATH}", text(&environment.join("node_modules/.bin"))));
    }
}

/// R with one of our launchers, which gets the socket and then `words`.
fn r(interpreter: &Interpreter, launcher: &Path, context: &LaunchContext<'_>, words: &[&str]) -> Vec<String> {
    let mut argv = vec![text(&interpreter.path)];
    argv.extend(["--no-echo", "--no-save", "--no-restore"].map(str::to_owned));
    argv.extend([format!("--file={}", text(launcher)), "--args".to_owned(), text(context.socket)]);
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    argv
}

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn common(context: &LaunchContext<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let home = text(&home(context.private));
    for (name, value) in [
        ("CONNECT_CONTENT_GUID", context.content.to_string()),
        ("CONNECT_CONTENT_JOB_KEY", context.job.to_string()),
        ("HOME", home.clone()),
        ("LANG", "C.UTF-8".into()),
        ("LOGNAME", "lectern".into()),
        ("PATH", PATH.into()),
        ("POSIT_PRODUCT", "CONNECT".into()),
        ("RSTUDIO_PRODUCT", "CONNECT".into()),
        ("R_CONFIG_ACTIVE", "rsconnect".into()),
        ("TMPDIR", home),
        ("USER", "lectern".into()),
    ] {
        set(&mut env, name, value);
    }
    if let Some(url) = context.public_url {
        set(&mut env, "CONNECT_SERVER", format!("{}/", url.trim_end_matches('/')));
    }
    env
}

fn set(env: &mut BTreeMap<String, String>, name: &str, value: impl Into<String>) {
    env.insert(name.to_owned(), value.into());
}

/// A path as an argument. The data directory's path is checked to be UTF-8 by the configuration; names below are ours.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
