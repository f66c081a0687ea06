//! The whole: everything of this host that content needs to run.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::{Account, EnvironmentId, Interpreter, LaunchSpec, Prepared, Program};
use lectern_domain::manifest::Manifest;
use tokio_util::sync::CancellationToken;

use crate::choose::{self, ChooseError};
use crate::fence::Fence;
use crate::git::{self, Git};
use crate::interpreters::{self, Found, Search, discover_node, discover_python, discover_quarto, discover_r};
use crate::launch::{self, LaunchContext, LaunchError, Places};
use crate::launchers::Launchers;
use crate::node::{self, NodeEnvironments, NodeError};
use crate::program::{self, ProgramError};
use crate::python::{self, PythonEnvironments, RestoreError, RestoreRequest};
use crate::r::{self, RPackages};
use crate::r_library::{self, Libraries, LibraryError};
use crate::{Language, Log};

/// What the configuration and the host give.
#[derive(Clone)]
pub struct Settings {
    /// Environments, launchers and tools are kept below it; every account must be able to enter it.
    pub data_dir: PathBuf,
    /// Python interpreters the configuration names.
    pub python: Vec<PathBuf>,
    /// R installations the configuration names.
    pub r: Vec<PathBuf>,
    /// The server's `PATH`, along which interpreters and uv are looked for too.
    pub path: Option<std::ffi::OsString>,
    /// uv, if the configuration names it.
    pub uv: Option<PathBuf>,
    /// The package index, if the configuration names one.
    pub index_url: Option<String>,
    /// Node.js installations the configuration names.
    pub node: Vec<PathBuf>,
    /// Quarto installations the configuration names.
    pub quarto: Vec<PathBuf>,
    /// What npm is given of the server's environment: see [`crate::node::passed_through`].
    pub npm_variables: Vec<(String, String)>,
    /// What uv is given of the server's environment: see [`crate::python::uv::passed_through`].
    pub variables: Vec<(String, String)>,
    /// Who builds packages. Given when Lectern runs as root, and then content runs as accounts of its own as well.
    pub build_account: Option<Account>,
    /// The walls around builds; without, they have an account of their own and nothing else.
    pub fence: Option<Fence>,
    /// How long one build may take: [`crate::python::environments::DEFAULT_TIMEOUT`].
    pub build_timeout: Duration,
    /// The program git, if the configuration names it.
    pub git: Option<PathBuf>,
    /// Where R packages are restored from; no repositories, no restore.
    pub r_packages: r::Sources,
}

/// The runtimes cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of environments.
    #[error("open the package environments")]
    Environments(#[source] RestoreError),
    /// The directory of Node.js environments.
    #[error("open the package environments of Node.js")]
    NodeEnvironments(#[source] NodeError),
    /// The directory that git works in.
    #[error("open the directory that git works in")]
    Git(#[source] io::Error),
    /// The cache of R packages.
    #[error("open the cache of R packages")]
    RPackages(#[source] r::RestoreError),
    /// The launchers.
    #[error("write the launchers below {path:?}")]
    Launchers {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// A bundle cannot be made ready to run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It cannot be started as its manifest says.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// No interpreter fits.
    #[error(transparent)]
    Interpreter(#[from] ChooseError),
    /// Its packages could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The packages of a Node.js application could not be restored.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Its R packages could not be restored.
    #[error(transparent)]
    RPackages(#[from] r::RestoreError),
    /// The R library lacks what it needs, or could not be listed.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// A bundle to make ready.
#[derive(Debug, Clone, Copy)]
pub struct PrepareRequest<'a> {
    /// The unpacked bundle.
    pub tree: &'a Path,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Whether Python packages are restored when the manifest does not say: the content item's or the server's default.
    pub restore_python: bool,
    /// The same of R packages.
    pub restore_r: bool,
}

/// The interpreters, environments and launchers of this host.
#[derive(Debug)]
pub struct Runtimes {
    python: Vec<Found>,
    r: Vec<Found>,
    node: Vec<Found>,
    quarto: Vec<Found>,
    node_environments: NodeEnvironments,
    environments: PythonEnvironments,
    launchers: Launchers,
    libraries: Libraries,
    r_packages: RPackages,
    git: Git,
}

impl Runtimes {
    /// Looks for interpreters and uv, opens the environments, writes the launchers.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let search = |configured: Vec<PathBuf>| Search {
            configured,
            path: settings.path.clone(),
            for_other_accounts: settings.build_account.is_some(),
        };
        let python = discover_python(&search(settings.python)).await;
        let r = discover_r(&search(settings.r)).await;
        let node = discover_node(&search(settings.node)).await;
        let quarto = discover_quarto(&search(settings.quarto)).await;
        let node_environments = NodeEnvironments::open(node::Settings {
            // Not among Python's: each kind has a cache, and counts its own builds.
            directory: settings.data_dir.join("node-environments"),
            account: settings.build_account,
            variables: settings.npm_variables,
            timeout: settings.build_timeout,
            fence: settings.fence.clone(),
        });
        let node_environments = node_environments.map_err(OpenError::NodeEnvironments)?;
        let r_packages = r::Settings {
            directory: settings.data_dir.join("r-packages"),
            environments: settings.data_dir.join("environments"),
            sources: settings.r_packages,
            account: settings.build_account,
            fence: settings.fence.clone(),
            variables: settings.variables.clone(),
        };
        let git = Git::open(git::Settings {
            directory: settings.data_dir.join("git"),
            program: settings.git,
            path: settings.path.clone(),
            account: settings.build_account,
            fence: settings.fence.clone(),
        });
        let git = git.map_err(OpenError::Git)?;
        let environments = PythonEnvironments::open(python::Settings {
            directory: settings.data_dir.join("environments"),
            tools: settings.data_dir.join("tools"),
            uv: settings.uv,
            path: settings.path,
            account: settings.build_account,
            index_url: settings.index_url,
            variables: settings.variables,
            timeout: settings.build_timeout,
            fence: settings.fence,
        });
        let environments = environments.await.map_err(OpenError::Environments)?;
        let r_packages = RPackages::open(r_packages).map_err(OpenError::RPackages)?;
        let path = settings.data_dir.join("launchers");
        let launchers = Launchers::install(&path).map_err(|cause| OpenError::Launchers { path, cause })?;
        let libraries = Libraries::new(settings.build_account);
        Ok(Self { python, r, node, quarto, node_environments, environments, launchers, libraries, r_packages, git })
    }

    /// The Python interpreters found, usable or not.
    pub fn python(&self) -> &[Found] {
        &self.python
    }

    /// The R interpreters found, usable or not.
    pub fn r(&self) -> &[Found] {
        &self.r
    }

    /// The Node.js installations found, usable or not.
    pub fn node(&self) -> &[Found] {
        &self.node
    }

    /// The Quarto installations found, usable or not.
    pub fn quarto(&self) -> &[Found] {
        &self.quarto
    }

    /// The restored packages of Node.js applications.
    pub fn node_environments(&self) -> &NodeEnvironments {
        &self.node_environments
    }

    /// The restored Python environments.
    pub fn environments(&self) -> &PythonEnvironments {
        &self.environments
    }

    /// The cache of R packages.
    pub fn r_packages(&self) -> &RPackages {
        &self.r_packages
    }

    /// The program git.
    pub fn git(&self) -> &Git {
        &self.git
    }

    /// The installed R packages.
    pub fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// Makes a bundle ready to run: checks what it starts, chooses an interpreter, restores its packages. The publisher reads
    /// `log`. Cheap when nothing is to be done; may be dropped or cancelled at any time.
    pub async fn prepare(
        &self,
        request: PrepareRequest<'_>,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, PrepareError> {
        let PrepareRequest { tree, manifest, restore_python, .. } = request;
        let mut program = program::program(tree, manifest, None)?;
        if let Program::QuartoShiny { document, quarto } = &mut program {
            *quarto = self.renderer(tree, document, manifest, log)?;
        }
        match program {
            Program::Static { .. } => Ok(Prepared { program, interpreter: None, environment: None }),
            Program::Plumber { .. }
            | Program::Engine { .. }
            | Program::Shiny { .. }
            | Program::RmdShiny { .. }
            | Program::QuartoShiny { .. } => {
                let wanted = (manifest.constraints.r.as_deref(), manifest.r_version.as_deref());
                let interpreter = choose(Language::R, wanted, &self.r, log)?;
                let environment = self.r_library(&request, &program, &interpreter, log, cancel).await?;
                Ok(Prepared { program, interpreter: Some(interpreter), environment })
            }
            Program::Node { ref entrypoint } => {
                let wanted = (manifest.constraints.node.as_deref(), manifest.node_version.as_deref());
                let interpreter = choose(Language::Node, wanted, &self.node, log)?;
                program::javascript(entrypoint, &interpreter)?;
                let wanted = node::RestoreRequest { tree, manifest, interpreter: &interpreter };
                let environment = self.node_environments.restore(wanted, log, cancel).await?;
                Ok(Prepared { program, interpreter: Some(interpreter), environment })
            }
            Program::PythonAsgi { .. } | Program::PythonWsgi { .. } | Program::PythonApp { .. } => {
                let version = manifest.python.as_ref().and_then(|python| python.version.as_deref());
                let wanted = (manifest.constraints.python.as_deref(), version);
                let interpreter = choose(Language::Python, wanted, &self.python, log)?;
                // Clients list what an `renv.lock` beside the application names.
                if let listed @ 1.. = manifest.r_packages.len() {
                    let told = "Python applications run without R, and these are not restored";
                    log(&format!("The manifest lists R packages too ({listed}); {told}"));
                }
                let restore = manifest.restores_python(restore_python);
                let wanted = RestoreRequest { tree, manifest, interpreter: &interpreter, restore };
                let id = self.environments.restore(wanted, log, cancel).await?;
                if let Program::PythonApp { framework, .. } = program {
                    program::check_framework(framework, manifest.package_file(), &self.environments.freeze(&id)?)?;
                }
                // Again, now that the packages are there: the entry point may be in one of them.
                let packages = python::installed::site_packages(&self.environments.path(&id));
                let program = program::program(tree, manifest, packages.as_deref())?;
                Ok(Prepared { program, interpreter: Some(interpreter), environment: Some(id) })
            }
        }
    }

    /// The Quarto for a document; `None` where there is none and the bundle has the rendered page.
    fn renderer(
        &self,
        tree: &Path,
        document: &str,
        manifest: &Manifest,
        log: Log<'_>,
    ) -> Result<Option<PathBuf>, PrepareError> {
        if !interpreters::usable(&self.quarto).is_empty() {
            let wanted = (None, manifest.quarto_version.as_deref());
            return Ok(Some(choose(Language::Quarto, wanted, &self.quarto, log)?.path));
        }
        let page = Path::new(document).with_extension("html");
        if !tree.join(&page).is_file() {
            let (document, page) = (document.to_owned(), page.to_string_lossy().into_owned());
            return Err(ProgramError::NoQuarto { document, page }.into());
        }
        log(&format!("This server has no Quarto; {} is served as it was rendered", page.display()));
        Ok(None)
    }

    /// The library of restored packages that R content runs with; `None` when it runs with the host's library alone.
    async fn r_library(
        &self,
        request: &PrepareRequest<'_>,
        program: &Program,
        interpreter: &Interpreter,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<Option<EnvironmentId>, PrepareError> {
        let PrepareRequest { tree, manifest, restore_r, .. } = *request;
        if !self.r_packages.is_configured() || !manifest.restores_r(restore_r) {
            for line in self.libraries.check_packages(manifest, program, interpreter).await?.lines() {
                log(&line);
            }
            return Ok(None);
        }
        let installed = self.libraries.installed(interpreter).await?;
        let request = r::RestoreRequest { tree, manifest, interpreter, installed: &installed };
        let id = self.r_packages.restore(request, log, cancel).await?;
        let library = self.environments.path(&id);
        let is_there = |package: &str| library.join(package).is_dir() || installed.packages.contains_key(package);
        if let Some(package) = r_library::servers(program).into_iter().find(|package| !is_there(package)) {
            return Err(
                LibraryError::NoServer { package: package.to_owned(), version: interpreter.version.clone() }.into()
            );
        }
        Ok(Some(id))
    }

    /// Says how to start one worker of a prepared bundle.
    pub fn launch(&self, prepared: &Prepared, context: &LaunchContext<'_>) -> Result<LaunchSpec, LaunchError> {
        let places = Places { python: &self.environments, node: &self.node_environments };
        launch::launch(prepared, context, places, &self.launchers)
    }
}

fn choose(
    language: Language,
    (constraint, version): (Option<&str>, Option<&str>),
    found: &[Found],
    log: Log<'_>,
) -> Result<Interpreter, ChooseError> {
    let choice = choose::choose(language, constraint, version, &interpreters::usable(found))?;
    log(&choice.reason);
    Ok(choice.interpreter)
}
