//! Which R packages this host has, compared with those a bundle was written with.
//!
//! Where no repositories are configured, a bundle runs with the library that is installed. So what is missing or differs is said
//! in the task's output, with what the administrator can do; only the lack of what serves the kind itself (`plumber`, `shiny`,
//! `rmarkdown`) makes a deployment fail.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lectern_domain::launch::{Account, Interpreter, Program};
use lectern_domain::manifest::Manifest;
use lectern_domain::r_packages::same_version;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Order, RunError};

/// How long R may take to list a library of thousands of packages from a cold disk.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Packages named in one line of the report; a bundle may want hundreds.
const MOST_NAMED: usize = 30;

/// The library could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// R did not run to its end.
    #[error("list the packages of R {version}")]
    Run {
        /// Which R.
        version: String,
        /// Why not.
        #[source]
        cause: RunError,
    },
    /// R refused.
    #[error("R {version} cannot list its packages ({status}): {words}")]
    Refused {
        /// Which R.
        version: String,
        /// How it ended.
        status: String,
        /// What it said.
        words: String,
    },
    /// What serves content of this kind is absent.
    #[error(
        "the R package {package} is not installed for R {version}; the server's administrator can add it: apt install r-cran-{}, or install.packages(\"{package}\")",
        package.to_lowercase()
    )]
    NoServer {
        /// The package.
        package: String,
        /// Which R.
        version: String,
    },
}

/// A package whose installed version is not the publisher's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    /// Which package.
    pub name: String,
    /// The publisher's version.
    pub wanted: String,
    /// The version here.
    pub installed: String,
}

/// How the library compares with a bundle's packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageReport {
    /// Not installed: name and the publisher's version, if known.
    pub missing: Vec<(String, Option<String>)>,
    /// Installed in another version.
    pub differs: Vec<Differs>,
    /// How many packages the manifest lists.
    pub wanted: usize,
}

impl PackageReport {
    /// The report in words for the task's output.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.missing.is_empty() {
            let named = self.missing.iter().map(|(name, version)| match version {
                Some(version) => format!("{name} {version}"),
                None => name.clone(),
            });
            lines.push(format!("R packages that this server does not have: {}", shortened(named)));
            let quoted = shortened(self.missing.iter().map(|(name, _)| format!("\"{name}\"")));
            let debian = self.missing.iter().map(|(name, _)| format!("r-cran-{}", name.to_lowercase()));
            lines.push(format!(
                "The administrator can add them: install.packages(c({quoted})), or where packaged: apt install {}",
                debian.take(MOST_NAMED).collect::<Vec<_>>().join(" ")
            ));
            lines.push(
                "Or have this server restore what manifests list: set r.packages.repositories in its configuration"
                    .into(),
            );
        }
        if !self.differs.is_empty() {
            let named =
                self.differs.iter().map(|one| format!("{} {} (written with {})", one.name, one.installed, one.wanted));
            lines.push(format!("R packages here in another version: {}", shortened(named)));
        }
        if lines.is_empty() && self.wanted > 0 {
            lines.push(format!("All {} R packages of the manifest are installed", self.wanted));
        }
        lines
    }
}

fn shortened(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let mut text = names.take(MOST_NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What an R brings along.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    /// What it was built for: `x86_64-pc-linux-gnu`.
    pub platform: String,
    /// Its own library, which every session sees: the base and recommended packages.
    pub own: PathBuf,
    /// All packages of all its libraries; of two with a name, the one that R uses.
    pub packages: BTreeMap<String, InstalledPackage>,
}

/// An installed package.
#[derive(Debug, Clone)]
pub struct InstalledPackage {
    /// Its version.
    pub version: String,
    /// The library that it is in.
    pub library: PathBuf,
}

/// The installed libraries, listed once per interpreter and again when a library directory changed.
#[derive(Debug, Default)]
pub struct Libraries {
    account: Option<Account>,
    listed: Mutex<HashMap<PathBuf, Listed>>,
}

#[derive(Debug, Clone)]
struct Listed {
    installed: Installed,
    libraries: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Listed {
    fn is_current(&self) -> bool {
        self.libraries.iter().all(|(path, modified)| modified_at(path) == *modified)
    }
}

fn modified_at(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

impl Libraries {
    /// Lists libraries as `account`, whom content resembles; `None` as the server itself.
    pub fn new(account: Option<Account>) -> Self {
        Self { account, listed: Mutex::default() }
    }

    /// What an interpreter brings along.
    pub async fn installed(&self, r: &Interpreter) -> Result<Installed, LibraryError> {
        // Held while R runs: two deploys at once need one listing.
        let mut listed = self.listed.lock().await;
        if let Some(known) = listed.get(&r.path).filter(|known| known.is_current()) {
            return Ok(known.installed.clone());
        }
        let fresh = self.list(r).await?;
        listed.insert(r.path.clone(), fresh.clone());
        Ok(fresh.installed)
    }

    /// Compares the packages of a manifest with the installed ones.
    pub async fn check_packages(
        &self,
        manifest: &Manifest,
        program: &Program,
        r: &Interpreter,
    ) -> Result<PackageReport, LibraryError> {
        let installed = self.installed(r).await?.packages;
        if let Some(package) = servers(program).into_iter().find(|package| !installed.contains_key(*package)) {
            return Err(LibraryError::NoServer { package: package.to_owned(), version: r.version.clone() });
        }
        let mut report = PackageReport { wanted: manifest.r_packages.len(), ..PackageReport::default() };
        for (name, package) in &manifest.r_packages {
            match (installed.get(name), &package.version) {
                (None, version) => report.missing.push((name.clone(), version.clone())),
                (Some(here), Some(wanted)) if !same_version(&here.version, wanted) => {
                    report.differs.push(Differs {
                        name: name.clone(),
                        wanted: wanted.clone(),
                        installed: here.version.clone(),
                    });
                }
                _ => {}
            }
        }
        Ok(report)
    }

    async fn list(&self, r: &Interpreter) -> Result<Listed, LibraryError> {
        // Marked, because a site profile may print too. The first of two libraries with the same package is the one R uses.
        const SCRIPT: &str = "for (l in .libPaths()) cat('\\n@L\\t', l, sep = ''); \
            cat('\\n@R\\t', R.version$platform, '\\t', .Library, sep = ''); \
            p <- installed.packages()[, c('Package', 'Version', 'LibPath'), drop = FALSE]; \
            p <- p[!duplicated(p[, 1]), , drop = FALSE]; \
            cat('\\n'); cat(paste0('@P\\t', p[, 1], '\\t', p[, 2], '\\t', p[, 3], '\\n'), sep = '')";
        let args = ["--no-echo", "--no-save", "--no-restore", "--no-init-file", "-e", SCRIPT].map(Into::into).to_vec();
        // As workers have it: no user library, the site's own profile and libraries.
        let env = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("LANG", "C.UTF-8"),
            ("TMPDIR", "/tmp"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let order = Order {
            program: &r.path,
            args,
            env,
            directory: "/".into(),
            account: self.account,
            timeout: LIST_TIMEOUT,
            yard: None,
        };
        let printed = process::capture(order, &CancellationToken::new()).await;
        let printed = printed.map_err(|cause| LibraryError::Run { version: r.version.clone(), cause })?;
        if !printed.status.success() {
            let (status, words) = (printed.status.to_string(), printed.stderr.trim().to_owned());
            return Err(LibraryError::Refused { version: r.version.clone(), status, words });
        }
        Ok(parse(&printed.stdout))
    }
}

fn parse(printed: &str) -> Listed {
    let mut listed = Listed { installed: Installed::default(), libraries: Vec::new() };
    for line in printed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["@L", path] => {
                let path = PathBuf::from(path);
                listed.libraries.push((path.clone(), modified_at(&path)));
            }
            ["@R", platform, own] => {
                (listed.installed.platform, listed.installed.own) = ((*platform).to_owned(), PathBuf::from(own));
            }
            ["@P", name, version, library] => {
                let package = InstalledPackage { version: (*version).to_owned(), library: PathBuf::from(library) };
                listed.installed.packages.insert((*name).to_owned(), package);
            }
            _ => {}
        }
    }
    listed
}

/// The packages without which a program cannot be served.
pub(crate) fn servers(program: &Program) -> Vec<&str> {
    match program {
        Program::Plumber { .. } => vec!["plumber"],
        Program::Engine { engine, .. } => vec![engine],
        Program::Shiny { .. } => vec!["shiny"],
        Program::RmdShiny { .. } | Program::QuartoShiny { .. } => vec!["rmarkdown", "shiny"],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::interpreters::{Search, discover_r, usable};

    async fn r() -> Interpreter {
        let search = Search { for_other_accounts: true, ..Search::default() };
        let found = discover_r(&search).await;
        usable(&found)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("these tests need R: apt install r-base-core r-cran-plumber; found {found:?}"))
    }

    #[tokio::test]
    async fn compares_with_the_installed_library() {
        let r = r().await;
        let libraries = Libraries::new(None);
        let installed = libraries.installed(&r).await.unwrap();
        assert!(installed.own.join("base").is_dir() && installed.platform.contains("linux"), "{installed:?}");
        let installed = installed.packages;
        assert!(installed.contains_key("base") && installed.contains_key("plumber"), "apt install r-cran-plumber");
        let manifest = format!(
            r#"{{"metadata":{{"appmode":"api"}},"packages":{{
                "plumber":{{"description":{{"Version":"{}"}}}},
                "httpuv":{{"description":{{"Version":"0.0.1"}}}},
                "noSuchPackage":{{"description":{{"Version":"2.0"}}}}, "nameOnly":null}}}}"#,
            installed["plumber"].version.replace('.', "-")
        );
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
        let started = std::time::Instant::now();
        let program = Program::Plumber { entrypoint: "plumber.R".into() };
        let report = libraries.check_packages(&manifest, &program, &r).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(50), "the listing is kept");
        assert_eq!(report.missing, [("nameOnly".into(), None), ("noSuchPackage".into(), Some("2.0".into()))]);
        assert_eq!(report.differs.len(), 1);
        let text = report.lines().join("\n");
        for part in [
            "noSuchPackage 2.0",
            "install.packages(c(\"nameOnly\", \"noSuchPackage\"))",
            "r-cran-nosuchpackage",
            "httpuv",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_changed_library_is_listed_again() {
        let library = tempfile::tempdir().unwrap();
        let listed = parse(&format!("hello\n@L\t{}\n@P\tplumber\t1.2.1\t/l\n@P\tbroken\n", library.path().display()));
        assert_eq!(listed.installed.packages.len(), 1);
        assert!(listed.is_current());
        let past = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::open(library.path()).unwrap().set_modified(past).unwrap();
        assert!(!listed.is_current());
    }

    #[test]
    fn long_reports_are_shortened() {
        let missing = (0..40).map(|n| (format!("p{n}"), None)).collect();
        let lines = PackageReport { missing, differs: Vec::new(), wanted: 40 }.lines();
        assert!(lines[0].ends_with("p29 and 10 more"), "{}", lines[0]);
        assert!(same_version("1.2-3", "1.2.3") && !same_version("1.2", "1.20"));
        let fine = PackageReport { wanted: 3, ..PackageReport::default() };
        assert_eq!(fine.lines(), ["All 3 R packages of the manifest are installed"]);
    }
}
