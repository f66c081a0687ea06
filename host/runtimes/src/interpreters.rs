//! Which interpreters of Python, R, JavaScript and Quarto this host has, and which of them content can run.
//!
//! Looked at, in this order: what the configuration names; `/usr/bin` and `/usr/local/bin`; `/opt/python/*/bin`,
//! `/opt/R/*/bin` `/opt/node/*/bin` or `/opt/quarto/*/bin`; the places of `PATH`. Each real executable counts once. Those that content cannot use are kept with the
//! reason, for `lectern doctor`: an interpreter below a private home directory works for the administrator who tries it and
//! for nobody else.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::Interpreter;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Order, RunError};
use crate::reach::{self, Barrier};

/// How long an interpreter may take to say its version: even a cold network file system answers sooner.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Most candidates that are asked: a `PATH` with hundreds of version-manager shims must not hold up the start.
const MOST_CANDIDATES: usize = 64;
/// The oldest Python whose environments uv still makes.
const OLDEST_PYTHON: (u64, u64) = (3, 8);
/// The oldest Node.js that lets a launcher say where `import` finds packages (`module.register`).
const OLDEST_NODE: (u64, u64) = (18, 19);

/// A language whose interpreters are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Python.
    Python,
    /// R.
    R,
    /// JavaScript, by Node.js.
    Node,
    /// Quarto, which renders documents.
    Quarto,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python",
            Self::R => "R",
            Self::Node => "Node.js",
            Self::Quarto => "Quarto",
        })
    }
}

/// Where to look, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Executables, or directories that hold them (or a `bin` that does), from the configuration. They come first.
    pub configured: Vec<PathBuf>,
    /// The value of `PATH`, if its places are looked at too.
    pub path: Option<std::ffi::OsString>,
    /// Whether content runs as accounts of its own (Lectern runs as root): then others must be able to execute it.
    pub for_other_accounts: bool,
}

/// An interpreter that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it was found.
    pub path: PathBuf,
    /// Its version, if it said one.
    pub version: Option<String>,
    /// What content runs, or why it cannot. The interpreter's path has no links in it.
    pub usable: Result<Interpreter, Unusable>,
}

/// Why content cannot run an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The accounts that content runs as cannot reach it.
    #[error("{barrier}; install it where every account can execute it, /usr or /opt")]
    Closed {
        /// What is in the way.
        barrier: Barrier,
    },
    /// It does not say its version.
    #[error("it does not run: {0}")]
    Broken(String),
    /// Its version is too old.
    #[error("Python {0} is too old for uv, which needs at least 3.8")]
    TooOld(String),
    /// Its version is too old for the launcher.
    #[error("Node.js {0} is too old: content needs at least 18.19")]
    OldNode(String),
    /// The configuration names it, and it is not there.
    #[error("there is no such file")]
    Absent,
}

/// The ones content can run, in the order found.
pub fn usable(found: &[Found]) -> Vec<Interpreter> {
    found.iter().filter_map(|one| one.usable.clone().ok()).collect()
}

/// Looks for Python interpreters.
pub async fn discover_python(search: &Search) -> Vec<Found> {
    discover(Language::Python, search).await
}

/// Looks for R interpreters. The path is that of the `R` front end.
pub async fn discover_r(search: &Search) -> Vec<Found> {
    discover(Language::R, search).await
}

/// Looks for Node.js.
pub async fn discover_node(search: &Search) -> Vec<Found> {
    discover(Language::Node, search).await
}

/// Looks for Quarto.
pub async fn discover_quarto(search: &Search) -> Vec<Found> {
    discover(Language::Quarto, search).await
}

async fn discover(language: Language, search: &Search) -> Vec<Found> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for path in candidates(language, search) {
        let Ok(real) = path.canonicalize() else {
            if search.configured.contains(&path) {
                found.push(Found { path, version: None, usable: Err(Unusable::Absent) });
            }
            continue;
        };
        if !seen.insert(real.clone()) {
            continue;
        }
        let probed = probe(language, &real).await;
        // A version manager's shim answers for another executable: that one counts, once.
        let (real, version) = match probed {
            Ok(Probed { real: base, version }) if base != real => match seen.insert(base.clone()) {
                true => (base, Ok(version)),
                false => continue,
            },
            Ok(Probed { version, .. }) => (real, Ok(version)),
            Err(reason) => (real, Err(reason)),
        };
        let closed = if search.for_other_accounts { reach::barrier(&real).ok().flatten() } else { None };
        let usable = match (&version, closed) {
            (_, Some(barrier)) => Err(Unusable::Closed { barrier }),
            (Err(reason), None) => Err(Unusable::Broken(reason.clone())),
            (Ok(version), None) if language == Language::Python && is_before(version, OLDEST_PYTHON) => {
                Err(Unusable::TooOld(version.clone()))
            }
            (Ok(version), None) if language == Language::Node && is_before(version, OLDEST_NODE) => {
                Err(Unusable::OldNode(version.clone()))
            }
            (Ok(version), None) => Ok(Interpreter { path: real, version: version.clone() }),
        };
        found.push(Found { path, version: version.ok(), usable });
    }
    found
}

/// Whether a version is before `major.minor`.
pub(crate) fn is_before(version: &str, oldest: (u64, u64)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < oldest
}

fn candidates(language: Language, search: &Search) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in &search.configured {
        if path.is_dir() {
            found.extend(executables(language, path));
            found.extend(executables(language, &path.join("bin")));
        } else {
            found.push(path.clone());
        }
    }
    let opt = match language {
        Language::Python => "/opt/python",
        Language::R => "/opt/R",
        Language::Node => "/opt/node",
        Language::Quarto => "/opt/quarto",
    };
    let mut places: Vec<PathBuf> = vec!["/usr/bin".into(), "/usr/local/bin".into()];
    places.extend(sorted(Path::new(opt)).into_iter().map(|version| version.join("bin")));
    places.extend(search.path.iter().flat_map(std::env::split_paths).filter(|place| place.is_absolute()));
    for place in places {
        found.extend(executables(language, &place));
    }
    found.truncate(MOST_CANDIDATES);
    found
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    paths
}

fn executables(language: Language, directory: &Path) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        match language {
            Language::R => name == "R",
            Language::Node => name == "node",
            Language::Quarto => name == "quarto",
            Language::Python => match name.strip_prefix("python3") {
                Some("") => true,
                Some(rest) => {
                    rest.strip_prefix('.').is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
                }
                None => false,
            },
        }
    };
    sorted(directory).into_iter().filter(named).collect()
}

struct Probed {
    /// The executable itself.
    real: PathBuf,
    version: String,
}

/// Asks an interpreter for its version; the error is for the administrator.
async fn probe(language: Language, path: &Path) -> Result<Probed, String> {
    const PYTHON: &str = "import platform, sys\n\
        print(platform.python_version())\n\
        print(getattr(sys, '_base_executable', None) or sys.executable)";
    let args = match language {
        Language::Python => vec!["-I".into(), "-S".into(), "-c".into(), PYTHON.into()],
        Language::R | Language::Node | Language::Quarto => vec!["--version".into()],
    };
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/nonexistent"), ("LANG", "C.UTF-8")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let order =
        Order { program: path, args, env, directory: "/".into(), account: None, timeout: VERSION_TIMEOUT, yard: None };
    let printed = process::capture(order, &CancellationToken::new()).await.map_err(|error| match error {
        RunError::Start { cause, .. } | RunError::Wait { cause, .. } => cause.to_string(),
        other => other.to_string(),
    })?;
    let mut lines = printed.stdout.lines();
    let first = lines.next().unwrap_or_default();
    let version = match language {
        // `3.13.0+` is how builds between two releases call themselves.
        Language::Python => first.trim_end_matches('+'),
        Language::R => first.strip_prefix("R version ").and_then(|rest| rest.split(' ').next()).unwrap_or_default(),
        Language::Node => first.trim_start_matches('v'),
        Language::Quarto => first,
    };
    if !printed.status.success() || !version.starts_with(|first: char| first.is_ascii_digit()) {
        let said = printed.stderr.lines().last().unwrap_or(first);
        return Err(format!("{}, it said {said:?}", printed.status));
    }
    let real = match language {
        Language::Python => lines.next().and_then(|base| Path::new(base).canonicalize().ok()),
        Language::R | Language::Node | Language::Quarto => None,
    };
    Ok(Probed { real: real.unwrap_or_else(|| path.to_owned()), version: version.to_owned() })
}

/// Directories that hold what an interpreter outside the system's own directories needs to run: its libraries and
/// programs, never a whole home directory. Empty for one in `/usr`.
pub fn trees(interpreter: &Path) -> Vec<PathBuf> {
    const PARTS: [&str; 6] = ["bin", "include", "lib", "lib64", "libexec", "share"];
    const SYSTEM: [&str; 4] = ["/usr", "/bin", "/lib", "/lib64"];
    let real = interpreter.canonicalize().ok();
    let places = [Some(interpreter.to_owned()), real];
    let prefixes = places.iter().flatten().filter_map(|path| path.parent()?.parent());
    let outside = prefixes.filter(|prefix| !SYSTEM.iter().any(|system| prefix.starts_with(system)));
    let parts = outside.flat_map(|prefix| PARTS.iter().map(move |part| prefix.join(part)));
    let mut trees: Vec<PathBuf> = parts.filter(|path| path.is_dir() && path.parent() != Some(Path::new("/"))).collect();
    trees.sort();
    trees.dedup();
    trees
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn script(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn open_directory() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    #[tokio::test]
    async fn finds_each_once_and_keeps_the_reasons() {
        let root = open_directory();
        let at = |name: &str| root.path().join(name);
        script(&at("a/python3.11"), &format!("echo 3.11.9; echo {}", at("a/python3.11").display()));
        symlink(at("a/python3.11"), at("a/python3")).unwrap();
        script(&at("shims/python3"), &format!("echo 3.11.9; echo {}", at("a/python3.11").display()));
        script(&at("broken/python3"), "echo no library >&2; exit 127");
        script(&at("old/python3.6"), "echo 3.6.8");
        script(&at("home/bin/python3"), "echo 3.12.1");
        script(&at("a/python3-config"), "echo 9.9.9");
        fs::set_permissions(at("home"), fs::Permissions::from_mode(0o700)).unwrap();
        let path = std::env::join_paths(["a", "shims", "broken", "old", "home/bin"].map(at)).unwrap();
        let search = Search { configured: vec![at("absent/python3")], path: Some(path), for_other_accounts: true };
        let found: Vec<Found> =
            discover_python(&search).await.into_iter().filter(|found| found.path.starts_with(root.path())).collect();
        let outcome: Vec<(String, String)> = found
            .iter()
            .map(|found| {
                let name = found.path.strip_prefix(root.path()).unwrap().display().to_string();
                (name, found.usable.as_ref().map_or_else(ToString::to_string, |usable| usable.version.clone()))
            })
            .collect();
        let [absent, first, broken, old, home] = outcome.as_slice() else { panic!("{outcome:?}") };
        assert_eq!(*absent, ("absent/python3".into(), "there is no such file".into()));
        assert_eq!(*first, ("a/python3".into(), "3.11.9".into()));
        assert!(broken.1.contains("127") && broken.1.contains("no library"), "{broken:?}");
        assert_eq!(old.1, "Python 3.6.8 is too old for uv, which needs at least 3.8");
        assert!(home.1.contains("mode 0700") && home.1.contains("/usr or /opt"), "{home:?}");
        assert_eq!(found[4].version.as_deref(), Some("3.12.1"));
        assert_eq!(usable(&found).len(), 1);

        let own = Search { for_other_accounts: false, ..search };
        let found = discover_python(&own).await;
        assert!(found.iter().any(|found| found.path.ends_with("home/bin/python3") && found.usable.is_ok()));
    }

    #[tokio::test]
    async fn finds_the_hosts_own() {
        let search = Search { for_other_accounts: true, ..Search::default() };
        let python = usable(&discover_python(&search).await);
        assert!(python.iter().any(|python| python.version.starts_with("3.")), "{python:?}");
        let r = usable(&discover_r(&search).await);
        assert!(r.iter().all(|r| r.version.split('.').count() == 3 && r.path.ends_with("R")), "{r:?}");
    }

    #[test]
    fn an_interpreter_elsewhere_brings_its_libraries_and_no_home() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for part in ["home/me/bin", "home/me/lib", "home/me/secrets", "opt/r/bin", "opt/r/lib"] {
            std::fs::create_dir_all(root.join(part)).unwrap();
        }
        std::fs::write(root.join("opt/r/bin/R"), "").unwrap();
        std::os::unix::fs::symlink(root.join("opt/r/bin/R"), root.join("home/me/bin/R")).unwrap();
        let found: Vec<PathBuf> = trees(&root.join("home/me/bin/R"));
        let expected = ["home/me/bin", "home/me/lib", "opt/r/bin", "opt/r/lib"].map(|part| root.join(part));
        assert_eq!(found, expected);
        assert!(trees(Path::new("/usr/bin/python3")).is_empty());
    }
}
