//! Compiles `lectern-fork`, the library that interpreters load, with the cargo that runs this build and for its platform.
//!
//! It goes to `<target>/fork`, beside the directories of all profiles, so that it is compiled once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("{name} is not set"));
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let platform = variable("TARGET")?.to_string_lossy().into_owned();
    for watched in ["host/zygote", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let target = target_directory(&out).join("fork");
    let rustc = variable("RUSTC")?;
    let mut command = Command::new(variable("CARGO")?);
    command
        .current_dir(&root)
        // The profile of what is small and quick to load; it ends on a panic, and never unwinds into an interpreter.
        .args(["build", "--locked", "--profile", "plugin", "--package", "lectern-fork", "--target", &platform])
        .arg("--target-dir")
        .arg(&target);
    // Flags, wrappers and settings of the outer build are not this library's (clippy's wrapper, sanitizers, coverage).
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_outer_build = text.contains("RUSTFLAGS")
            || text.contains("RUSTC")
            || text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_FEATURE_")
            || matches!(&*text, "CARGO_BUILD_TARGET" | "CARGO_TARGET_DIR" | "TARGET" | "CARGO_INCREMENTAL");
        if of_outer_build {
            command.env_remove(&name);
        }
    }
    command.env("RUSTC", &rustc);
    let output = command.output().map_err(|error| format!("run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cannot compile lectern-fork:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let built = target.join(&platform).join("plugin/liblectern_fork.so");
    fs::copy(&built, out.join("lectern_fork.so")).map_err(|error| format!("copy {}: {error}", built.display()))?;
    Ok(())
}

/// The target directory, from `<target>/<profile>/build/<package>/out`. For a cross build it is that platform's part of it.
fn target_directory(out: &Path) -> &Path {
    let build = out.ancestors().find(|directory| directory.file_name().is_some_and(|name| name == "build"));
    build.and_then(|build| build.ancestors().nth(2)).unwrap_or(out)
}
