//! Puts the project templates, the plugin SDK and the contract into the binary, so that `lectern plugin new` needs no network and
//! always writes what belongs to this very Lectern.
//!
//! Generated here, as tables of `include_str!`: a directory-embedding crate would be one more dependency for these lines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Dependencies of the SDK whose versions are pinned in new projects.
const PINNED: [&str; 2] = ["base64", "wit-bindgen"];

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), String> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set"));
    let here = variable("CARGO_MANIFEST_DIR")?;
    let root = here.join("../..");
    let mut text = String::new();
    for (name, directory, deep) in [
        ("TEMPLATES", here.join("plugin-templates"), true),
        ("SDK", root.join("guest-sdk/src"), true),
        // Not the releases of the contract below it.
        ("WIT", root.join("wit"), false),
    ] {
        println!("cargo::rerun-if-changed={}", directory.display());
        let mut files = Vec::new();
        list(&directory, &directory, deep, &mut files)?;
        files.retain(|(file, _)| name != "WIT" || file.ends_with(".wit"));
        files.sort();
        let _ = writeln!(text, "/// Files by their path.\npub(crate) const {name}: &[(&str, &str)] = &[");
        for (file, path) in files {
            let _ = writeln!(text, "({file:?}, include_str!({:?})),", path.display().to_string());
        }
        text.push_str("];\n");
    }
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let locked = fs::read_to_string(&lock).map_err(|error| format!("read {}: {error}", lock.display()))?;
    text.push_str("/// Versions of the SDK's dependencies.\npub(crate) const VERSIONS: &[(&str, &str)] = &[\n");
    for name in PINNED {
        let _ = writeln!(text, "({name:?}, {:?}),", sdk_version(&locked, name)?);
    }
    text.push_str("];\n");
    let out = variable("OUT_DIR")?.join("embedded.rs");
    fs::write(&out, text).map_err(|error| format!("write {}: {error}", out.display()))
}

fn list(root: &Path, directory: &Path, deep: bool, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    let told = |error: std::io::Error| format!("list {}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What running the templates' own tests leaves.
        if matches!(&*name, "__pycache__" | "node_modules" | "target") {
            continue;
        }
        if path.is_dir() {
            if deep {
                list(root, &path, deep, files)?;
            }
        } else {
            let file = path.strip_prefix(root).map_err(|error| error.to_string())?;
            files.push((file.to_string_lossy().into_owned(), path.clone()));
        }
    }
    Ok(())
}

/// The version of a dependency that the lock file gives the SDK. Where there are several it stands beside the name.
fn sdk_version(lock: &str, name: &str) -> Result<String, String> {
    let missing = || format!("Cargo.lock does not say which {name} the SDK has");
    let packages: Vec<&str> = lock.split("[[package]]").collect();
    let field = |package: &str, key: &str| {
        package.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_matches(['=', ' ', '"']).to_owned()))
    };
    let sdk = packages.iter().find(|package| field(package, "name").as_deref() == Some("lectern-plugin"));
    let of_sdk = sdk.ok_or_else(missing)?.lines().map(|line| line.trim_matches([' ', ',', '"']));
    let dependency = of_sdk.map(|line| line.split_once(' ').unwrap_or((line, ""))).find(|(first, _)| *first == name);
    let (_, version) = dependency.ok_or_else(missing)?;
    if !version.is_empty() {
        return Ok(version.to_owned());
    }
    let package = packages.iter().find(|package| field(package, "name").as_deref() == Some(name));
    package.and_then(|package| field(package, "version")).ok_or_else(missing)
}
