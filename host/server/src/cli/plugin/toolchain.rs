//! The programs that make components of sources: where they are, and how to get what is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The version of componentize-py that templates are tried with; the same as in `scripts/lib.sh`.
pub(super) const COMPONENTIZE_PY: &str = "0.25.1";
/// The version of componentize-qjs that templates are tried with; the same as in `scripts/lib.sh`.
pub(super) const COMPONENTIZE_QJS: &str = "0.4.5";
/// What Rust compiles components for.
pub(super) const RUST_TARGET: &str = "wasm32-wasip2";

/// Finds a program in `own`, where a project may bring it, in `$LECTERN_TOOLS/bin`, else on the PATH.
fn find(program: &str, own: Option<PathBuf>, how: &str) -> anyhow::Result<PathBuf> {
    let tools = std::env::var_os("LECTERN_TOOLS").map(|tools| PathBuf::from(tools).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    // It is run in the project's directory, which a relative path may lead out of.
    let brought = own.as_ref().and_then(|own| own.join(program).canonicalize().ok()).filter(|file| is_program(file));
    let found = brought.or_else(|| found_in(program, tools, &path));
    let own = own.map_or_else(String::new, |own| format!(" nor in {},", own.display()));
    found.with_context(|| format!("{program} is not on the PATH,{own} nor in $LECTERN_TOOLS/bin: {how}"))
}

fn found_in(program: &str, tools: Option<PathBuf>, path: &OsStr) -> Option<PathBuf> {
    let directories = tools.into_iter().chain(std::env::split_paths(path).filter(|dir| dir.is_absolute()));
    directories.map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// cargo, and Rust's target for components beside it.
pub(super) fn cargo() -> anyhow::Result<PathBuf> {
    let cargo = find("cargo", None, "install Rust with rustup (https://rustup.rs)")?;
    let rustc = find("rustc", None, "install Rust with rustup (https://rustup.rs)")?;
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", RUST_TARGET])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", rustc.display()))?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let has_target =
        output.status.success() && std::fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some());
    if !has_target {
        bail!("Rust's target {RUST_TARGET} is missing: run `rustup target add {RUST_TARGET}`");
    }
    Ok(cargo)
}

/// What makes components of Python: systems refuse to install packages into their own Python, so a project has `.venv`.
pub(super) fn componentize_py(project: &Path) -> anyhow::Result<PathBuf> {
    let how = format!("run `python3 -m venv .venv && .venv/bin/pip install componentize-py=={COMPONENTIZE_PY}`");
    find("componentize-py", Some(project.join(".venv/bin")), &how)
}

/// What makes components of JavaScript.
pub(super) fn componentize_qjs(project: &Path) -> anyhow::Result<PathBuf> {
    let how = format!("run `npm install --no-save componentize-qjs@{COMPONENTIZE_QJS}` (Node.js 20 or newer)");
    find("componentize-qjs", Some(project.join("node_modules/.bin")), &how)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn programs_are_found_where_they_may_be_run() {
        let (tools, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(tools.path().join("bin")).unwrap();
        let find = || found_in("tool", Some(tools.path().join("bin")), path.path().as_os_str());
        assert_eq!(find(), None);
        let file = path.path().join("tool");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(find(), None, "not a program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(), Some(file));
        let first = tools.path().join("bin/tool");
        std::fs::write(&first, "").unwrap();
        std::fs::set_permissions(&first, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(), Some(first));
    }

    #[test]
    fn what_is_missing_is_told_with_its_remedy() {
        let told = find("lectern-has-no-such-tool", None, "run `this`").unwrap_err().to_string();
        assert_eq!(told, "lectern-has-no-such-tool is not on the PATH, nor in $LECTERN_TOOLS/bin: run `this`");
        let told = find("lectern-has-no-such-tool", Some(".venv/bin".into()), "run `this`").unwrap_err().to_string();
        assert!(told.contains("not on the PATH, nor in .venv/bin, nor in $LECTERN_TOOLS/bin"), "{told}");
    }

    #[test]
    fn what_a_project_brings_comes_first() {
        let own = tempfile::tempdir().unwrap();
        let file = own.path().join("sh");
        std::fs::write(&file, "").unwrap();
        let find = || find("sh", Some(own.path().to_owned()), "").unwrap();
        assert_ne!(find(), file, "not a program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(), file.canonicalize().unwrap());
    }

    #[test]
    fn the_scripts_get_the_same_versions() {
        let scripts = include_str!("../../../../../scripts/lib.sh");
        for line in [
            format!("COMPONENTIZE_PY_VERSION={COMPONENTIZE_PY}"),
            format!("COMPONENTIZE_QJS_VERSION={COMPONENTIZE_QJS}"),
        ] {
            assert!(scripts.lines().any(|other| other == line), "{line}");
        }
    }
}
