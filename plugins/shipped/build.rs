//! Compiles the shipped plugins for `wasm32-wasip2` with the cargo that runs this build.
//!
//! They go to `<target>/plugins`, beside the directories of all native profiles, so that they are compiled once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const PLUGINS: &[&str] = &[
    "content-router",
    "redirects",
    "ip-allow",
    "canary",
    "rate-limit",
    "api-key",
    "password-login",
    "oidc-login",
    "jwt-bearer",
    "trusted-header",
    "aws-alb",
];
const TARGET: &str = "wasm32-wasip2";

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
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set"));
    let root = variable("CARGO_MANIFEST_DIR")?.join("../..");
    let out = variable("OUT_DIR")?;
    for watched in ["plugins", "guest-sdk", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let target = target_directory(&out).join("plugins");
    let cargo = variable("CARGO")?;
    let rustc = variable("RUSTC")?;
    // Asked first: rustc's own words for this are a page about `core` missing.
    if !has_target(&rustc) {
        return Err(format!(
            "the plugins need Rust's {TARGET} target: run `rustup target add {TARGET}` and build again"
        ));
    }
    let mut command = Command::new(&cargo);
    command
        .current_dir(&root)
        .args(["build", "--locked", "--profile", "plugin", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(PLUGINS.iter().flat_map(|plugin| ["-p", plugin]));
    // Flags, wrappers and settings of the native build are not the components' (clippy's wrapper, sanitizers, coverage).
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_native_build = text.contains("RUSTFLAGS")
            || text.contains("RUSTC")
            || text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_FEATURE_")
            || matches!(&*text, "CARGO_BUILD_TARGET" | "CARGO_TARGET_DIR" | "TARGET" | "CARGO_INCREMENTAL");
        if of_native_build {
            command.env_remove(&name);
        }
    }
    command.env("RUSTC", &rustc);
    let output = command.output().map_err(|error| format!("run {}: {error}", cargo.display()))?;
    if !output.status.success() {
        return Err(format!("cannot compile the plugins:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut table = String::from("&[\n");
    for plugin in PLUGINS {
        let file = format!("{}.wasm", plugin.replace('-', "_"));
        let built = target.join(TARGET).join("plugin").join(&file);
        fs::copy(&built, out.join(&file)).map_err(|error| format!("copy {}: {error}", built.display()))?;
        table.push_str(&entry(plugin, &root.join("plugins").join(plugin))?);
    }
    table.push(']');
    let file = out.join("packages.rs");
    fs::write(&file, table).map_err(|error| format!("write {}: {error}", file.display()))
}

/// The expression of one plugin's parts, with its files included where they lie.
fn entry(plugin: &str, directory: &Path) -> Result<String, String> {
    let text = |path: PathBuf| format!("include_str!({:?})", path.display().to_string());
    let list = directory.join("cases");
    let entries = fs::read_dir(&list).map_err(|error| format!("list {}: {error}", list.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let cases: String = files
        .into_iter()
        .map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("({name:?}, {}), ", text(file))
        })
        .collect();
    let component = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{}.wasm\"))", plugin.replace('-', "_"));
    Ok(format!(
        "Shipped {{ name: {plugin:?}, component: {component}, manifest: {}, schema: {}, readme: {}, cases: &[{cases}] }},\n",
        text(directory.join("plugin.toml")),
        text(directory.join("config.schema.json")),
        text(directory.join("README.md")),
    ))
}

/// The target directory, from `<target>/<profile>/build/<package>/out`. For a cross build it is that platform's part of it.
fn target_directory(out: &Path) -> &Path {
    let build = out.ancestors().find(|directory| directory.file_name().is_some_and(|name| name == "build"));
    build.and_then(|build| build.ancestors().nth(2)).unwrap_or(out)
}

fn has_target(rustc: &Path) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| {
        let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        output.status.success() && fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some())
    })
}
