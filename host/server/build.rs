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
/// All that it depends on.
const SDK_NEEDS: [&str; 4] = ["base64", "serde", "serde_json", "wit-bindgen"];

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
    let lock = Lock::read(&locked);
    text.push_str("/// Versions of the SDK's dependencies.\npub(crate) const VERSIONS: &[(&str, &str)] = &[\n");
    for name in PINNED {
        let version = lock.of_sdk(name)?.version;
        let _ = writeln!(text, "({name:?}, {version:?}),");
    }
    let _ = writeln!(
        text,
        "];\n/// What `Cargo.lock` says of everything that plugins in Rust are made of.\npub(crate) const LOCK: &str = {:?};",
        lock.below_sdk()?
    );
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

/// `Cargo.lock`, as far as it is needed here.
struct Lock<'a>(Vec<Package<'a>>);

#[derive(Clone)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// Each a name, with a version where there are several of the name.
    dependencies: Vec<&'a str>,
    block: &'a str,
}

impl<'a> Lock<'a> {
    fn read(text: &'a str) -> Self {
        let package = |block: &'a str| {
            let field = |key: &str| {
                block.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(" = ")?.trim_matches('"')))
            };
            let inside = block.split_once("dependencies = [").map_or("", |(_, inside)| inside);
            Some(Package {
                name: field("name")?,
                version: field("version")?,
                dependencies: inside
                    .lines()
                    .filter_map(|line| line.trim().strip_prefix('"')?.split('"').next())
                    .collect(),
                block,
            })
        };
        Self(text.split("[[package]]").filter_map(package).collect())
    }

    fn find(&self, dependency: &str) -> Result<&Package<'a>, String> {
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let mut found = self.0.iter().filter(|package| package.name == name);
        let found = found.find(|package| version.is_none_or(|version| package.version == version));
        found.ok_or_else(|| format!("Cargo.lock has no {dependency}"))
    }

    /// The package that the SDK means by this name.
    fn of_sdk(&self, name: &str) -> Result<&Package<'a>, String> {
        let sdk = self.find("lectern-plugin")?;
        let dependency = sdk.dependencies.iter().find(|dependency| dependency.split(' ').next() == Some(name));
        self.find(dependency.ok_or_else(|| format!("the SDK does not depend on {name}"))?)
    }

    /// Everything below the SDK, as the lock file has it.
    fn below_sdk(&self) -> Result<String, String> {
        let mut found: Vec<Package<'a>> = Vec::new();
        let mut left = SDK_NEEDS.into_iter().map(|name| self.of_sdk(name)).collect::<Result<Vec<_>, _>>()?;
        while let Some(package) = left.pop() {
            if found.iter().all(|other| (other.name, other.version) != (package.name, package.version)) {
                found.push(package.clone());
                for dependency in &package.dependencies {
                    left.push(self.find(dependency)?);
                }
            }
        }
        found.sort_by_key(|package| (package.name, package.version));
        Ok(found.iter().map(|package| format!("[[package]]\n{}\n\n", package.block.trim())).collect())
    }
}
