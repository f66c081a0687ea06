//! The `uv` program: where it is, whether the build account can execute it, and the environment it runs with.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::process::{self, Order, RunError};
use crate::reach::{self, Barrier};

/// The oldest uv with the options used here.
const OLDEST: (u64, u64) = (0, 5);

/// How to get uv, for everybody who lacks it.
pub const REMEDY: &str =
    "install it (`pip install uv`, or see https://docs.astral.sh/uv/) and name it as `python.uv` in the configuration";

/// uv cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UvError {
    /// Not found.
    #[error("uv, which restores Python packages, was not found{}; {REMEDY}", .0.as_ref().map_or(String::new(), |path| format!(" at {}", path.display())))]
    Absent(Option<PathBuf>),
    /// Found, but it does not run.
    #[error("uv at {path:?} does not run: {reason}; {REMEDY}")]
    Broken {
        /// Where.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// Too old.
    #[error("uv at {path:?} is version {version}, older than {}.{}; {REMEDY}", OLDEST.0, OLDEST.1)]
    TooOld {
        /// Where.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// The copy for the build account could not be made.
    #[error("copy uv to {path:?}, where the build account can execute it")]
    Copy {
        /// Where to.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Even the copy is out of reach.
    #[error(
        "the build account cannot execute {path:?}: {barrier}; move the data directory to where every account may enter, /var/lib/lectern"
    )]
    Closed {
        /// The copy.
        path: PathBuf,
        /// What is in the way.
        barrier: Barrier,
    },
}

/// A uv that can be executed by whoever builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uv {
    /// Where it is.
    pub path: PathBuf,
    /// `0.13.9`.
    pub version: String,
}

impl Uv {
    /// Finds uv: `configured`, or else along `path`, or else in the usual places. With `for_account` it must be executable
    /// for other accounts; where it is not (below a private home), a copy is put into `tools`, named by its hash.
    pub async fn open(
        configured: Option<&Path>,
        path: Option<&OsStr>,
        tools: &Path,
        for_account: bool,
    ) -> Result<Self, UvError> {
        let found = match configured {
            Some(one) => one.canonicalize().map_err(|_| UvError::Absent(Some(one.to_owned())))?,
            None => search(path).ok_or(UvError::Absent(None))?,
        };
        let version = version(&found).await?;
        if !for_account || matches!(reach::barrier(&found), Ok(None)) {
            return Ok(Self { path: found, version });
        }
        let tools = tools.to_owned();
        let copied = tokio::task::spawn_blocking(move || copy(&found, &tools)).await;
        let failed = |cause| UvError::Copy { path: PathBuf::from("tools"), cause };
        let path = copied.map_err(|error| failed(io::Error::other(error)))??;
        match reach::barrier(&path) {
            Ok(None) => Ok(Self { path, version }),
            Ok(Some(barrier)) => Err(UvError::Closed { path, barrier }),
            Err(cause) => Err(UvError::Copy { path, cause }),
        }
    }
}

fn search(path: Option<&OsStr>) -> Option<PathBuf> {
    let usual = ["/usr/local/bin", "/usr/bin", "/opt/uv/bin"].map(PathBuf::from);
    let places = path.iter().flat_map(std::env::split_paths).filter(|place| place.is_absolute()).chain(usual);
    places.map(|place| place.join("uv")).filter(|file| file.is_file()).find_map(|file| file.canonicalize().ok())
}

async fn version(path: &Path) -> Result<String, UvError> {
    let broken = |reason: String| UvError::Broken { path: path.to_owned(), reason };
    let order = Order {
        program: path,
        args: vec!["--version".into()],
        env: vec![("HOME".into(), "/nonexistent".into())],
        directory: "/".into(),
        account: None,
        timeout: Duration::from_secs(20),
        yard: None,
    };
    let printed = process::capture(order, &CancellationToken::new()).await.map_err(|error| match error {
        RunError::Start { cause, .. } => broken(cause.to_string()),
        other => broken(other.to_string()),
    })?;
    let said = printed.stdout.trim();
    let version = said.strip_prefix("uv ").and_then(|rest| rest.split_whitespace().next());
    let Some(version) = version.filter(|_| printed.status.success()) else {
        return Err(broken(format!("{}, it said {said:?}", printed.status)));
    };
    let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        return Err(UvError::TooOld { path: path.to_owned(), version: version.to_owned() });
    }
    Ok(version.to_owned())
}

fn copy(from: &Path, tools: &Path) -> Result<PathBuf, UvError> {
    let failed = |cause| UvError::Copy { path: tools.to_owned(), cause };
    let bytes = fs::read(from).map_err(failed)?;
    let target = tools.join(format!("uv-{}", &blake3::hash(&bytes).to_hex()[..16]));
    let complete = |meta: fs::Metadata| meta.len() == bytes.len() as u64;
    if !target.metadata().is_ok_and(complete) {
        let write = || -> io::Result<()> {
            fs::create_dir_all(tools)?;
            fs::set_permissions(tools, Permissions::from_mode(0o755))?;
            let file = tempfile::NamedTempFile::new_in(tools)?;
            fs::write(file.path(), &bytes)?;
            fs::set_permissions(file.path(), Permissions::from_mode(0o755))?;
            file.as_file().sync_all()?;
            // Closed before it is executed: a file open for writing cannot be.
            file.into_temp_path().persist(&target)?;
            Ok(())
        };
        write().map_err(failed)?;
    }
    Ok(target)
}

/// Names of the server's variables that uv is given, besides every `UV_…`: how to reach the package index.
const PASSED: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Variables that would change what Lectern itself decides: where uv works and which Python it uses.
const OURS: &[&str] = &[
    "UV_CACHE_DIR",
    "UV_COMPILE_BYTECODE",
    "UV_LINK_MODE",
    "UV_NO_CACHE",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
    "UV_PYTHON_DOWNLOADS",
    "UV_SYSTEM_PYTHON",
    "UV_VENV_CLEAR",
    "UV_VENV_SEED",
    "UV_WORKING_DIR",
];

/// Chooses what uv is given of the server's own environment: the `PASSED` ones, `UV_…` but not those that Lectern sets, and
/// pip's index settings under uv's names where uv's are not set.
pub fn passed_through(environment: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut passed = Vec::new();
    let mut of_pip = Vec::new();
    for (name, value) in environment {
        match name.as_str() {
            "PIP_INDEX_URL" => of_pip.push(("UV_DEFAULT_INDEX", "UV_INDEX_URL", value)),
            "PIP_EXTRA_INDEX_URL" => of_pip.push(("UV_INDEX", "UV_EXTRA_INDEX_URL", value)),
            known if PASSED.contains(&known) => passed.push((name, value)),
            own if own.starts_with("UV_") && !OURS.contains(&own) => passed.push((name, value)),
            _ => {}
        }
    }
    for (name, older, value) in of_pip {
        if !passed.iter().any(|(set, _)| set == name || set == older) {
            passed.push((name.to_owned(), value));
        }
    }
    passed.sort();
    passed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn passes_only_what_reaches_the_index() {
        let environment = [
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("HTTPS_PROXY", "http://proxy"),
            ("UV_CACHE_DIR", "/x"),
            ("UV_DEFAULT_INDEX", "u"),
            ("PIP_INDEX_URL", "p"),
            ("PIP_EXTRA_INDEX_URL", "e"),
            ("HOME", "/root"),
            ("LECTERN_DATABASE__URL", "secret"),
        ];
        let passed = passed_through(environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["HTTPS_PROXY", "UV_DEFAULT_INDEX", "UV_INDEX"]);
        assert_eq!(passed[1].1, "u", "uv's own setting wins");
    }

    #[tokio::test]
    async fn says_how_to_get_it() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("empty");
        let error = Uv::open(Some(&empty.join("uv")), None, root.path(), false).await.unwrap_err().to_string();
        assert!(error.contains("not found at") && error.contains("pip install uv"), "{error}");
        let old = root.path().join("uv");
        fs::write(&old, "#!/bin/sh\necho uv 0.1.7\n").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o755)).unwrap();
        let error = Uv::open(Some(&old), None, root.path(), false).await.unwrap_err().to_string();
        assert!(error.contains("is version 0.1.7, older than 0.5"), "{error}");
    }

    #[tokio::test]
    async fn copies_what_is_out_of_reach() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let home = root.path().join("home");
        fs::create_dir(&home).unwrap();
        let private = home.join("uv");
        fs::write(&private, "#!/bin/sh\necho uv 0.13.9 '(x86_64)'\n").unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
        let tools = root.path().join("tools");
        let own = Uv::open(Some(&private), None, &tools, false).await.unwrap();
        assert_eq!((own.path.as_path(), own.version.as_str()), (private.as_path(), "0.13.9"));
        for _ in 0..2 {
            let copied = Uv::open(Some(&private), None, &tools, true).await.unwrap();
            assert!(copied.path.starts_with(&tools));
            assert_eq!(tools.read_dir().unwrap().count(), 1);
        }
        let closed = Uv::open(Some(&private), None, &home.join("tools"), true).await.unwrap_err().to_string();
        assert!(closed.contains("/var/lib/lectern") && closed.contains("mode 0700"), "{closed}");
    }
}
