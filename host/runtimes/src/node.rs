//! Packages of Node.js applications: what `package-lock.json` names, restored once by npm and kept by the hash of what
//! determines them.
//!
//! npm reads `package.json`, `package-lock.json` and `.npmrc` of the bundle, nothing else of it. Install scripts of packages are not
//! run unless the bundle's `.npmrc` says `ignore-scripts=false`: most packages need none, and they are how bad packages do harm.
//! Either way npm runs behind the walls of builds.

mod wanted;

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::{Account, EnvironmentId, Interpreter};
use lectern_domain::manifest::Manifest;
use tokio_util::sync::CancellationToken;

use crate::Log;
use crate::fence::{Fence, Yard};
use crate::interpreters;
use crate::process::{self, Order, RunError, Stream};
use crate::shelf::{Shelf, ShelfError};
use crate::workshop;
use wanted::Wanted;

/// Lines of npm's last words that an error repeats.
const ERROR_LINES: usize = 40;
/// Packages named in one line of the output.
const MOST_NAMED: usize = 10;

/// Where and how packages are restored.
#[derive(Clone)]
pub struct Settings {
    /// Where environments are kept, on node-local disk.
    pub directory: PathBuf,
    /// Who builds. `None` builds as the server itself, which must not be root then.
    pub account: Option<Account>,
    /// What npm is given of the server's environment: see [`passed_through`].
    pub variables: Vec<(String, String)>,
    /// How long one build may take.
    pub timeout: Duration,
    /// The walls around builds.
    pub fence: Option<Fence>,
}

impl fmt::Debug for Settings {
    /// Leaves out what may hold passwords: variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settings").field(&self.directory).field(&self.account).finish_non_exhaustive()
    }
}

/// The packages of a Node.js application could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the bundle cannot be used.
    #[error("the bundle's {file} cannot be used: {reason}")]
    File {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Packages are wanted, and no versions are named.
    #[error(
        "package.json names dependencies, and the bundle has no package-lock.json: run `npm install` where you write the application, and publish the file it makes"
    )]
    NoLock,
    /// Packages that are files of the bundle.
    #[error(
        "package-lock.json names packages that are directories of the bundle ({0}): workspaces and `file:` are not restored; import them by their paths"
    )]
    Local(String),
    /// This Node.js came without npm.
    #[error("Node.js {version} ({path:?}) has no npm; the server's administrator can add it: apt-get install npm")]
    NoNpm {
        /// Which Node.js.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// npm refused.
    #[error("installing packages failed ({status}):\n{words}")]
    Refused {
        /// How npm ended.
        status: String,
        /// Its last words.
        words: String,
    },
    /// npm did not run to its end.
    #[error("installing packages was not finished")]
    Unfinished(#[source] RunError),
    /// Where environments are kept could not be used.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// A build's directory could not be used.
    #[error("{what} {path:?}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// As root and without an account: code from the network would run as root.
    #[error("packages are never built as root; configure an account for builds")]
    AsRoot,
}

/// What shall be restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The unpacked bundle, readable for the build account.
    pub tree: &'a Path,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// The Node.js chosen for it.
    pub interpreter: &'a Interpreter,
}

/// The restored packages of this host.
#[derive(Debug)]
pub struct NodeEnvironments {
    settings: Settings,
    shelf: Shelf,
    cache: PathBuf,
}

impl NodeEnvironments {
    /// Opens the directory and removes what interrupted builds left.
    pub fn open(settings: Settings) -> Result<Self, NodeError> {
        if settings.account.is_none() && nix::unistd::geteuid().is_root() {
            return Err(NodeError::AsRoot);
        }
        let shelf = Shelf::open(settings.directory.clone(), settings.timeout)?;
        let cache = shelf.cache(".npm-cache", settings.account)?;
        Ok(Self { settings, shelf, cache })
    }

    /// Where an environment is: its packages are in `node_modules` there.
    pub fn path(&self, id: &EnvironmentId) -> PathBuf {
        self.shelf.path(id)
    }

    /// Restores what a bundle wants, unless that has been done before; `None` when it wants nothing. npm's words go to `log` as they
    /// come. Dropping the future, or cancelling, ends npm and leaves no environment.
    pub async fn restore(
        &self,
        request: RestoreRequest<'_>,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<Option<EnvironmentId>, NodeError> {
        if request.manifest.management.node == Some(false) {
            log("Packages are not restored, as the manifest says; the bundle brings its own");
            return Ok(None);
        }
        let Some(wanted) = Wanted::read(request.tree)? else {
            log("The bundle wants no packages");
            return Ok(None);
        };
        let id = self.id(request.interpreter, &wanted);
        log(&format!("{} packages of package-lock.json", wanted.packages));
        if !wanted.scripts.is_empty() && !wanted.runs_scripts() {
            let named = wanted.scripts.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            log(&format!(
                "Install scripts are not run ({named}); if the application needs them, publish a file .npmrc that says ignore-scripts=false"
            ));
        }
        if self.path(&id).is_dir() {
            log(&format!("Environment {} is already there", id.0));
            return Ok(Some(id));
        }
        let npm = npm(request.interpreter)?;
        let Some(claim) = self.shelf.claim(&id, log, cancel).await? else { return Ok(Some(id)) };
        self.lay_out(claim.work(), &wanted).await?;
        self.install(claim.work(), request.interpreter, &npm, log, cancel).await?;
        self.finish(claim.work(), claim.target(), request.interpreter).await?;
        drop(claim);
        log(&format!("Environment {} is ready", id.0));
        Ok(Some(id))
    }

    /// Names the environment by what determines it.
    fn id(&self, interpreter: &Interpreter, wanted: &Wanted) -> EnvironmentId {
        let mut hash = blake3::Hasher::new_derive_key("lectern node environment 1");
        let mut add = |label: &str, value: &str| {
            hash.update(&(label.len() as u64).to_le_bytes()).update(label.as_bytes());
            hash.update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
        };
        add("node", &interpreter.version);
        add("interpreter", &interpreter.path.to_string_lossy());
        add("platform", &format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH));
        add("package.json", &wanted.package);
        add("package-lock.json", &wanted.lock);
        add(".npmrc", wanted.npmrc.as_deref().unwrap_or(""));
        // Of the variables, those that say how to connect do not change what is installed.
        for (name, value) in self.settings.variables.iter().filter(|(name, _)| is_npms(name)) {
            add(name, value);
        }
        EnvironmentId(hash.finalize().to_hex()[..32].to_owned())
    }

    async fn lay_out(&self, work: &Path, wanted: &Wanted) -> Result<(), NodeError> {
        let (place, account, files) = (work.to_owned(), self.settings.account, wanted.files());
        let laid_out = tokio::task::spawn_blocking(move || {
            let directory = place.join("env");
            fs::create_dir(&directory)?;
            for (name, text) in files {
                fs::write(directory.join(name), text)?;
            }
            fs::create_dir(place.join("home"))?;
            // Below the bundle's own settings, which may say otherwise.
            fs::write(place.join("home/.npmrc"), "ignore-scripts=true\n")?;
            workshop::hand_over(&directory, account)?;
            workshop::lay_out(&place, None, account)
        });
        let laid_out = laid_out.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        laid_out.map_err(|cause| NodeError::Io { what: "prepare", path: work.to_owned(), cause })
    }

    async fn install(
        &self,
        work: &Path,
        interpreter: &Interpreter,
        npm: &Path,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), NodeError> {
        let options = ["ci", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress"];
        let order = Order {
            program: &interpreter.path,
            args: std::iter::once(npm.as_os_str().to_owned()).chain(options.map(Into::into)).collect(),
            env: self.environment(work),
            directory: work.join("env"),
            account: self.settings.account,
            timeout: self.settings.timeout,
            yard: self.settings.fence.as_ref().map(|fence| self.yard(fence, work, interpreter, npm)),
        };
        let mut words = VecDeque::new();
        let hidden = format!("{}/", work.join("env").display());
        let mut on_line = |stream, line: &str| {
            // Paths that exist only during the build say nothing to the publisher; nor does a log that nobody can read.
            if line.contains("A complete log of this run") || line.contains("/_logs/") {
                return;
            }
            let line = line.replace(&hidden, "");
            log(&line);
            if stream == Stream::Stderr {
                words.push_back(line);
                if words.len() > ERROR_LINES {
                    words.pop_front();
                }
            }
        };
        let status = process::run(order, cancel, &mut on_line).await.map_err(NodeError::Unfinished)?;
        if status.success() {
            return Ok(());
        }
        let words = words.into_iter().collect::<Vec<_>>().join("\n");
        Err(NodeError::Refused { status: status.to_string(), words })
    }

    async fn finish(&self, work: &Path, target: &Path, interpreter: &Interpreter) -> Result<(), NodeError> {
        let record = serde_json::json!({"node_version": interpreter.version, "interpreter": interpreter.path});
        let (place, target, take) = (work.to_owned(), target.to_owned(), self.settings.account.is_some());
        let record = record.to_string().into_bytes();
        let finished = tokio::task::spawn_blocking(move || {
            workshop::finish(&place, &target, &record, take)?;
            // It may hold the key to a registry, and nobody reads it again. Only now is nothing here a link that the build left.
            match fs::remove_file(target.join(".npmrc")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        let finished = finished.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        finished.map_err(|cause| NodeError::Io { what: "finish a build in", path: work.to_owned(), cause })
    }

    /// What a build sees of this host.
    fn yard<'f>(&self, fence: &'f Fence, work: &Path, interpreter: &Interpreter, npm: &Path) -> Yard<'f> {
        let mut read_only = interpreters::trees(&interpreter.path);
        read_only.push(npm.to_owned());
        let values = || self.settings.variables.iter().map(|(_, value)| value);
        read_only.extend(values().map(PathBuf::from).filter(|path| path.is_absolute() && path.exists()));
        let writable = vec![work.to_owned(), self.cache.clone()];
        let urls = values().filter(|value| value.contains("://")).cloned().collect();
        Yard { fence, read_only, writable, urls, offline: false }
    }

    /// npm's whole environment.
    fn environment(&self, work: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let own = [
            ("HOME", text(&work.join("home"))),
            ("TMPDIR", text(&work.join("tmp"))),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("LANG", "C.UTF-8".into()),
            ("NO_COLOR", "1".into()),
            ("NODE_USE_SYSTEM_CA", "1".into()),
            ("npm_config_cache", text(&self.cache)),
            ("npm_config_userconfig", text(&work.join("home/.npmrc"))),
            ("npm_config_globalconfig", text(&work.join("home/none"))),
        ];
        let mut env = self.settings.variables.clone();
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        env
    }
}

/// The npm that belongs to a Node.js: below its own prefix, or Debian's.
fn npm(interpreter: &Interpreter) -> Result<PathBuf, NodeError> {
    let prefix = interpreter.path.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let places = ["lib/node_modules/npm/bin/npm-cli.js", "share/nodejs/npm/bin/npm-cli.js"];
    let found = places.iter().filter_map(|place| prefix.join(place).canonicalize().ok()).find(|path| path.is_file());
    let (path, version) = (interpreter.path.clone(), interpreter.version.clone());
    found.ok_or(NodeError::NoNpm { path, version })
}

/// Whether a variable is a setting of npm.
fn is_npms(name: &str) -> bool {
    name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("npm_config_"))
}

/// Chooses what npm is given of the server's own environment: its settings but for those that Lectern makes, and how to reach the
/// network.
pub fn passed_through(environment: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    const REACH: [&str; 9] = [
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NODE_EXTRA_CA_CERTS",
        "NO_PROXY",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    ];
    const OURS: [&str; 5] = ["cache", "globalconfig", "local_prefix", "prefix", "userconfig"];
    let ours = |name: &str| OURS.iter().any(|own| name[11..].eq_ignore_ascii_case(own));
    let kept = |name: &str| REACH.contains(&name) || (is_npms(name) && !ours(name));
    let mut passed: Vec<_> = environment.into_iter().filter(|(name, _)| kept(name)).collect();
    passed.sort();
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_only_npms_settings_and_the_way_to_the_network() {
        let environment = [
            ("npm_config_registry", "https://r"),
            ("NPM_CONFIG_CACHE", "/c"),
            ("npm_config_userconfig", "/u"),
            ("HTTPS_PROXY", "http://p"),
            ("NODE_OPTIONS", "--x"),
            ("NPM_TOKEN", "t"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
        ];
        let passed = passed_through(environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["HTTPS_PROXY", "npm_config_registry"]);
    }
}
