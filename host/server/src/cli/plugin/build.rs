//! `lectern plugin build`: makes the component of a project and puts it into a package.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use lectern_packages::Package;
use serde_json::Value;

use super::project::{Language, Project};
use super::toolchain::{self, RUST_TARGET};

/// How much of a tool's output is read, in bytes: cargo tells of every crate on one line.
const MAX_OUTPUT: usize = 64 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArgs {
    /// The project.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write; `<name>-<version>.lectern` in the project, unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &BuildArgs) -> anyhow::Result<()> {
    let project = Project::find(&args.dir)?;
    let package = build(&project)?;
    let out = args.out.clone().unwrap_or_else(|| project.dir.join(package.manifest.file_name()));
    let bytes = package.parts.write().context("write the package")?;
    write_whole(&out, &bytes)?;
    say!("{} {}", package.manifest.name, package.manifest.version);
    say!("  file    {}", out.strip_prefix(".").unwrap_or(&out).display());
    say!("  size    {} bytes, of which the component has {}", package.size_bytes, package.parts.component.len());
    say!("  digest  {}", package.digest);
    say!("  asks    {}", package.manifest.asked());
    Ok(())
}

/// Writes beside the target and renames: a package is there whole or not at all.
fn write_whole(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = file.with_extension("unfinished");
    let write = || {
        std::fs::write(&unfinished, bytes)?;
        std::fs::rename(&unfinished, file)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    written.with_context(|| format!("write {}", file.display()))
}

/// Makes the package of a project, in memory. What the tools say goes to standard error.
pub(super) fn build(project: &Project) -> anyhow::Result<Package> {
    // What its files say is checked before anything is compiled, with a component that every check takes.
    let placeholder = b"\0asm\x0d\0\x01\0".to_vec();
    let problems = |error| anyhow::Error::new(error).context(format!("{} cannot be packed", project.dir.display()));
    project.parts(placeholder)?.check().map_err(problems)?;
    let component = match project.language {
        Language::Rust => rust(project)?,
        Language::Python => python(project)?,
        Language::JavaScript => javascript(project)?,
    };
    project.parts(component)?.check().map_err(problems)
}

fn rust(project: &Project) -> anyhow::Result<Vec<u8>> {
    let cargo = toolchain::cargo()?;
    let mut child = Command::new(&cargo)
        .current_dir(&project.dir)
        .args(["build", "--lib", "--release", "--target", RUST_TARGET, "--message-format=json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", cargo.display()))?;
    let mut messages = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        std::io::Read::read_to_end(&mut std::io::Read::take(stdout, MAX_OUTPUT as u64), &mut messages)
            .context("read what cargo says")?;
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        bail!("cargo could not build the plugin; what it said stands above");
    }
    let manifest = project.dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().with_context(|| format!("find {}", manifest.display()))?;
    let file = component_of(&String::from_utf8_lossy(&messages), &manifest)
        .context("cargo made no component: has Cargo.toml `crate-type = [\"cdylib\", \"rlib\"]` in [lib]?")?;
    std::fs::read(&file).with_context(|| format!("read {}", file.display()))
}

/// The file that cargo made of the package with this manifest.
fn component_of(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_ours = messages.filter(|message| {
        message["reason"] == "compiler-artifact" && message["manifest_path"].as_str().map(Path::new) == Some(manifest)
    });
    let files: Vec<PathBuf> = of_ours
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .collect();
    files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

fn python(project: &Project) -> anyhow::Result<Vec<u8>> {
    let tool = toolchain::componentize_py(&project.dir)?;
    let made = Made::new()?;
    let mut command = Command::new(&tool);
    command.args([
        "--quiet",
        "--wit-path",
        "wit",
        "--world",
        "plugin",
        "componentize",
        "plugin",
        "--stub-wasi",
        "--output",
    ]);
    made.by(command, project, "componentize-py")
}

fn javascript(project: &Project) -> anyhow::Result<Vec<u8>> {
    let tool = toolchain::componentize_qjs(&project.dir)?;
    let made = Made::new()?;
    let mut command = Command::new(&tool);
    command.args(["--wit", "wit", "--world", "plugin", "--js", "plugin.js", "--stub-wasi", "--sync", "--output"]);
    made.by(command, project, "componentize-qjs")
}

/// A place for a component; gone when it has been read.
struct Made(PathBuf);

impl Made {
    fn new() -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        Ok(Self(std::env::temp_dir().join(format!("lectern-plugin-{:016x}.wasm", u64::from_le_bytes(random)))))
    }

    /// Runs a tool whose last argument is the file that it makes. What it says is shown only when it fails.
    fn by(&self, mut command: Command, project: &Project, name: &str) -> anyhow::Result<Vec<u8>> {
        // Python takes its time, and somebody waits.
        if std::io::stderr().is_terminal() {
            eprintln!("building with {name}");
        }
        let output = command
            .arg(&self.0)
            .current_dir(&project.dir)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {name}"))?;
        if !output.status.success() {
            for said in [&output.stdout, &output.stderr] {
                eprint!("{}", String::from_utf8_lossy(&said[..said.len().min(MAX_OUTPUT)]));
            }
            bail!("{name} could not build the plugin; what it said stands above");
        }
        std::fs::read(&self.0).with_context(|| format!("read what {name} made"))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Not there where the tool failed.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_projects_own() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"/sdk/Cargo.toml","filenames":["/t/libsdk.rlib"]}
not json
{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","filenames":["/t/libp.rlib","/t/p.wasm"]}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(component_of(messages, Path::new("/p/Cargo.toml")), Some("/t/p.wasm".into()));
        assert_eq!(component_of(messages, Path::new("/sdk/Cargo.toml")), None);
    }
}
