//! `lectern plugin`: makes, builds, tests and signs plugins, which needs no server; installs, binds and swaps them on a running
//! one.

mod build;
mod check;
mod embedded;
mod keygen;
mod new;
mod operate;
mod project;
mod sign;
mod test;
mod toolchain;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use lectern_gate::{ChildCompiler, Compiler};
use lectern_packages::{PACKAGE_BYTES, Package};

#[derive(Debug, Subcommand)]
pub(super) enum PluginVerb {
    /// Write a project for a plugin of your own, which builds and passes its tests at once.
    New(new::NewArgs),
    /// Build the component of a project and put it into a package.
    Build(build::BuildArgs),
    /// Say whether a server would admit a package, and everything that is wrong with it.
    Check(check::CheckArgs),
    /// Run the cases of a package on its component, in the gate that servers have.
    Test(test::TestArgs),
    /// Make a key to sign packages with.
    Keygen(keygen::KeygenArgs),
    /// Sign a package.
    Sign(sign::SignArgs),
    /// Say who signed a package, and whether it is unchanged.
    Verify(verify::VerifyArgs),
    #[command(flatten)]
    Operate(Box<operate::OperatorVerb>),
}

pub(super) fn run(verb: PluginVerb) -> anyhow::Result<ExitCode> {
    match verb {
        PluginVerb::New(args) => new::run(&args).map(|()| ExitCode::SUCCESS),
        PluginVerb::Build(args) => build::run(&args).map(|()| ExitCode::SUCCESS),
        PluginVerb::Check(args) => check::run(&args),
        PluginVerb::Test(args) => test::run(&args),
        PluginVerb::Keygen(args) => keygen::run(&args).map(|()| ExitCode::SUCCESS),
        PluginVerb::Sign(args) => sign::run(&args).map(|()| ExitCode::SUCCESS),
        PluginVerb::Verify(args) => verify::run(&args),
        PluginVerb::Operate(verb) => operate::run(*verb).map(|()| ExitCode::SUCCESS),
    }
}

/// Reads a file that may be a package.
fn read_package_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    let size = std::fs::metadata(file).with_context(|| format!("read {}", file.display()))?.len();
    anyhow::ensure!(
        usize::try_from(size).is_ok_and(|size| size <= PACKAGE_BYTES),
        "{} has {size} bytes, more than {PACKAGE_BYTES}",
        file.display()
    );
    std::fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// The package in a file, or the one that a project in a directory makes.
fn package_of(path: &Path) -> anyhow::Result<Package> {
    if path.is_dir() {
        return build::build(&project::Project::find(path)?);
    }
    let bytes = read_package_bytes(path)?;
    Package::read(&bytes).with_context(|| format!("{} cannot be used", path.display()))
}

/// Compiles components in a process of its own, once: interpreters take seconds. What was compiled is kept where the account keeps
/// what can be made again; without such a place this process compiles, each time.
fn compiler() -> Compiler {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute()).or_else(home);
    match (std::env::current_exe(), cache) {
        (Ok(program), Some(cache)) => Compiler::Child(ChildCompiler {
            program,
            args: vec!["compile-component".into()],
            cache: cache.join("lectern/components"),
        }),
        _ => Compiler::InProcess,
    }
}

/// Runs something of the gate's to its end.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(future)
}
