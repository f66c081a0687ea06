//! What runs: a prepared bundle, and the launch specification the supervisor is given.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::confinement::Walls;
use crate::framework::PythonFramework;
use crate::ids::{BundleId, ContentGuid, JobKey};

/// Names a restored environment by the hash of what determines it. Printed as hexadecimal digits; safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvironmentId(pub String);

/// An interpreter on this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interpreter {
    /// Absolute path of the executable.
    pub path: PathBuf,
    /// Its full version, `3.11.2`.
    pub version: String,
}

/// How a bundle's content is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Program {
    /// A Python ASGI application: `module[:object]`.
    PythonAsgi {
        /// As in the manifest.
        entrypoint: String,
    },
    /// A Python WSGI application: `module[:object]`.
    PythonWsgi {
        /// As in the manifest.
        entrypoint: String,
    },
    /// An application of a Python framework with a launcher of its own.
    PythonApp {
        /// Which one.
        framework: PythonFramework,
        /// `module[:object]`, or a path relative to the bundle's root where the framework starts from files
        /// ([`PythonFramework::file_endings`]); `.` is the root itself.
        entrypoint: String,
    },
    /// An R Plumber API.
    Plumber {
        /// The file that defines the API, relative to the bundle's root.
        entrypoint: String,
    },
    /// A server that a `_server.yml` describes.
    Engine {
        /// The R package that runs it.
        engine: String,
        /// The file, relative to the bundle's root.
        settings: String,
    },
    /// An R Shiny application.
    Shiny {
        /// The file that is the application, relative to the bundle's root; `.` for `app.R`, or `ui.R` and `server.R`, in the root.
        app: String,
    },
    /// An R Markdown document with a Shiny runtime.
    RmdShiny {
        /// The document, relative to the bundle's root.
        document: String,
    },
    /// A Quarto document with a Shiny runtime.
    QuartoShiny {
        /// The document, relative to the bundle's root.
        document: String,
        /// The `quarto` that renders it when it starts; `None` serves the page that is in the bundle.
        quarto: Option<PathBuf>,
    },
    /// A Node.js application.
    Node {
        /// The file that starts its server, relative to the bundle's root.
        entrypoint: String,
    },
    /// Files served by Lectern itself.
    Static {
        /// The file served for the root, relative to the bundle's root.
        primary: String,
    },
}

/// A bundle that has been read, checked and given an environment: all that starting it needs besides the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// How it is served.
    pub program: Program,
    /// The interpreter chosen, when it needs one.
    pub interpreter: Option<Interpreter>,
    /// The environment it runs with, when it has one.
    pub environment: Option<EnvironmentId>,
}

/// An operating-system account, by number; it needs no entry in the password file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Starts one worker: everything the supervisor needs, and nothing it must look up. Printing it hides the values of `env`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Names the run; also the name of its log.
    pub job: JobKey,
    /// Whose content this is.
    pub content: ContentGuid,
    /// Which version of it.
    pub bundle: BundleId,
    /// The program and its arguments; the first is an absolute path.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The working directory: the unpacked bundle, read-only for the account.
    pub directory: PathBuf,
    /// The account to run as; `None` keeps the supervisor's own, where it may not change it.
    pub account: Option<Account>,
    /// The worker's private directory, made by the supervisor (mode 0700, owned by the account) and removed after the run:
    /// its home ([`home`]) and the directory of its socket live there.
    pub private: PathBuf,
    /// The Unix socket the worker must listen on: in a directory inside `private` that is there for nothing else.
    pub socket: PathBuf,
    /// Where stdout and stderr go, as lines of JSON.
    pub log: PathBuf,
    /// Most bytes kept in `log`.
    pub log_limit_bytes: u64,
    /// How long it may take until it accepts a connection.
    pub init_timeout: Duration,
    /// How long it may take to end after SIGTERM, before SIGKILL.
    pub stop_grace: Duration,
    /// How it is kept in.
    pub walls: Walls,
    /// Whether the program says that it listens, by a byte to the descriptor in `LECTERN_READY_FD`; else it is asked.
    #[serde(default)]
    pub notifies: bool,
    /// The pre-forked interpreter that the worker may come from, if its program can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zygote: Option<Zygote>,
}

/// An interpreter that has imported what workers of one version of a content item need, and forks them.
///
/// It is kept in like its workers and is given nothing of the publisher's but the packages of the environment. A worker that
/// comes from it gets `argv`, `env` and `directory` of its own launch; where these name its socket or its home, those inside the
/// zygote's cell take their place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zygote {
    /// Names it: workers with the same one may come from the same. At most 64 letters, digits and hyphens.
    pub name: ZygoteName,
    /// Its program and arguments.
    pub argv: Vec<String>,
    /// Its environment: no value of a publisher's.
    pub env: Vec<(String, String)>,
    /// How long it may take until it can fork. The worker is started without it then.
    pub init_timeout: Duration,
}

/// Names a zygote by the hash of what determines it. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZygoteName(pub String);

impl fmt::Display for ZygoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The home directory of the worker whose private directory is `private`; its temporary files are there, too.
pub fn home(private: &Path) -> PathBuf {
    private.join("home")
}

impl Program {
    /// Whether R runs it.
    pub fn is_r(&self) -> bool {
        matches!(
            self,
            Self::Plumber { .. }
                | Self::Engine { .. }
                | Self::Shiny { .. }
                | Self::RmdShiny { .. }
                | Self::QuartoShiny { .. }
        )
    }
}

impl fmt::Debug for LaunchSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("LaunchSpec")
            .field("job", &self.job)
            .field("content", &self.content)
            .field("bundle", &self.bundle)
            .field("argv", &self.argv)
            .field("env", &names)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Whether an environment variable's value is the server's alone: a publisher's value for it is not used.
///
/// These say who and where a process is (`HOME`, `TMPDIR`, `USER`, `LOGNAME`, the content's GUID, the job's key), which
/// product runs it, and `PATH`, which must begin with the content's own environment. Names that begin with `LECTERN_` are
/// kept for Lectern. Everything else, `CONNECT_SERVER` and `CONNECT_API_KEY` included, a publisher may set.
pub fn is_reserved_variable(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "CONNECT_CONTENT_GUID",
        "CONNECT_CONTENT_JOB_KEY",
        "HOME",
        "LOGNAME",
        "PATH",
        "POSIT_PRODUCT",
        "RSTUDIO_PRODUCT",
        "TMPDIR",
        "USER",
    ];
    RESERVED.contains(&name) || name.starts_with("LECTERN_")
}

/// Whether a variable is read when an interpreter, the C library or a framework is loaded: what was loaded without it cannot take
/// it up.
pub fn is_read_at_the_start(name: &str) -> bool {
    const FAMILIES: &[&str] = &[
        "PYTHON",
        "R_",
        "LD_",
        "LC_",
        "MALLOC_",
        "GLIBC_",
        "OMP_",
        "OPENBLAS_",
        "MKL_",
        "OPENSSL_",
        "OTEL_",
        "PYDANTIC_",
    ];
    const SINGLE: &[&str] = &["LANG", "LANGUAGE", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    // Set for every worker, and read when it is asked for.
    name != "R_CONFIG_ACTIVE" && (SINGLE.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_start_are_told_apart() {
        for name in ["PYTHONHASHSEED", "R_LIBS", "LD_PRELOAD", "LC_ALL", "LANG", "OMP_NUM_THREADS"] {
            assert!(is_read_at_the_start(name), "{name}");
        }
        for name in ["DATABASE_URL", "R_CONFIG_ACTIVE", "TZ", "RETRIES", "LANGSMITH_KEY"] {
            assert!(!is_read_at_the_start(name), "{name}");
        }
    }

    #[test]
    fn printing_a_specification_hides_the_publishers_secrets() {
        let spec = LaunchSpec {
            job: JobKey::from_random([1; 16]),
            content: ContentGuid(uuid::Uuid::from_u128(1)),
            bundle: BundleId(1),
            argv: vec!["/bin/true".into()],
            env: vec![("TOKEN".into(), "hunter2".into())],
            directory: "/".into(),
            account: None,
            private: "/p".into(),
            socket: "/p/s".into(),
            log: "/log".into(),
            log_limit_bytes: 1,
            init_timeout: Duration::from_secs(1),
            stop_grace: Duration::from_secs(1),
            walls: Walls::default(),
            notifies: false,
            zygote: None,
        };
        let shown = format!("{spec:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
