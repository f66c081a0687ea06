//! `lectern plugin new`: writes a project that builds and passes its tests at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use lectern_domain::plugin::PluginName;

use super::embedded;
use super::project::Language;
use super::toolchain::{COMPONENTIZE_PY, COMPONENTIZE_QJS};

#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// Its name: lower-case letters, digits and `-`, beginning with a letter.
    name: PluginName,
    /// The language to write it in.
    #[arg(long, value_enum)]
    lang: Language,
    /// What it does: a router says where requests go, an authenticator says who is asking.
    #[arg(long, value_enum, default_value = "router")]
    kind: Kind,
    /// The directory to make; the name, in the working directory, unless given.
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Decides where requests go.
    Router,
    /// Says who is asking.
    Authenticator,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Authenticator => "authenticator",
        }
    }
}

pub(super) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    refuse_taken(&dir)?;
    let files = files(&args.name, args.lang, args.kind);
    for (file, text) in &files {
        let path = dir.join(file);
        let parent = path.parent().unwrap_or(&dir);
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        // `create_new`: whatever appeared there in the meantime stays as it is.
        let mut target = std::fs::File::create_new(&path).with_context(|| format!("write {}", path.display()))?;
        std::io::Write::write_all(&mut target, text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    }
    let native = match args.lang {
        Language::Rust => "cargo test",
        Language::Python => "python3 -m unittest",
        Language::JavaScript => "node --test",
    };
    say!("{}: {} in {}, {} files", dir.display(), args.kind.as_str(), args.lang.as_str(), files.len());
    say!("\n  cd {}", dir.display());
    say!("  {native:<22} the logic, natively");
    say!("  {:<22} cases/*.toml on the real component", "lectern plugin test");
    say!("  {:<22} the package", "lectern plugin build");
    say!("  {:<22} makes it one that servers take; `lectern plugin keygen` makes a key", "lectern plugin sign");
    Ok(())
}

/// Refuses a place that holds anything.
fn refuse_taken(dir: &Path) -> anyhow::Result<()> {
    let mut entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look into {}", dir.display())),
    };
    if entries.next().is_some() {
        bail!("{} is not empty: nothing was written; name a directory that is not there yet", dir.display());
    }
    Ok(())
}

/// The files of a project by their path in it.
fn files(name: &PluginName, language: Language, kind: Kind) -> BTreeMap<String, String> {
    let contract = embedded::contract_version();
    let short = contract.rsplit_once('.').map_or(contract, |(short, _)| short);
    let mut values: Vec<(String, &str)> = vec![
        ("name".into(), name.as_str()),
        ("version".into(), env!("CARGO_PKG_VERSION")),
        ("contract".into(), short),
        ("wit".into(), contract),
        ("componentize-py".into(), COMPONENTIZE_PY),
        ("componentize-qjs".into(), COMPONENTIZE_QJS),
    ];
    values.extend(embedded::VERSIONS.iter().map(|(name, version)| ((*name).to_owned(), *version)));
    let fill = |text: &str| {
        values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
    };
    let (lang, kind) = (language.as_str(), kind.as_str());
    let below = |prefix: String| {
        embedded::TEMPLATES.iter().filter_map(move |(file, text)| Some((file.strip_prefix(&prefix)?.to_owned(), *text)))
    };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (file, text) in
        below(format!("kinds/{kind}/")).chain(below(format!("{lang}/all/"))).chain(below(format!("{lang}/{kind}/")))
    {
        files.insert(file, fill(text));
    }
    // How to work on it depends on the language, what it does does not.
    let tail = files.remove("README.tail.md").unwrap_or_default();
    files.entry("README.md".into()).and_modify(|text| text.push_str(&tail));
    let world = files.remove("world.wit").unwrap_or_default();
    let wit = match language {
        Language::Rust => {
            for (file, text) in below("rust/sdk/".into()) {
                files.insert(format!(".lectern/sdk/{file}"), fill(text));
            }
            for (file, text) in embedded::SDK {
                files.insert(format!(".lectern/sdk/src/{file}"), (*text).to_owned());
            }
            files.insert("Cargo.lock".into(), lock(name));
            ".lectern/wit"
        }
        Language::Python | Language::JavaScript => {
            files.insert("wit/world.wit".into(), world);
            "wit/deps/lectern"
        }
    };
    for (file, text) in embedded::WIT {
        files.insert(format!("{wit}/{file}"), (*text).to_owned());
    }
    files
}

/// The versions that Lectern's own plugins are built with. Cargo takes out what a project does not need.
fn lock(name: &PluginName) -> String {
    format!(
        "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = 4\n\n{}\
         [[package]]\nname = \"lectern-plugin\"\nversion = \"{}\"\ndependencies = [\n \"base64\",\n \"serde\",\n \
         \"serde_json\",\n \"wit-bindgen\",\n]\n\n\
         [[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"lectern-plugin\",\n \"serde\",\n]\n",
        embedded::LOCK,
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lectern_packages::{ConfigSchema, Manifest, cases};

    use super::*;

    #[test]
    fn every_template_is_whole() {
        let name: PluginName = "my-plugin".parse().unwrap();
        for language in Language::ALL {
            for kind in [Kind::Router, Kind::Authenticator] {
                let files = files(&name, language, kind);
                let what = format!("{} {}", language.as_str(), kind.as_str());
                // The SDK and the contract are as they are.
                let own = files.iter().filter(|(file, _)| !file.starts_with(".lectern/sdk/src"));
                for (file, text) in own {
                    // `{{` stands in Rust's format strings, so only placeholders are looked for.
                    for key in ["name", "version", "contract", "wit", "componentize-", "base64"] {
                        assert!(!text.contains(&format!("{{{{{key}")), "{what}: {file} has a {key} unfilled");
                    }
                }
                let manifest = Manifest::parse(&files["plugin.toml"]).unwrap();
                assert_eq!(manifest.name, name);
                ConfigSchema::parse(&files["config.schema.json"]).unwrap();
                assert!(cases::read_cases("first.toml", &files["cases/first.toml"]).unwrap().len() >= 4);
                assert!(files["README.md"].contains("## Working on it"), "{what}");
                assert!(files.contains_key(".gitignore"));
                let wit = if language == Language::Rust { ".lectern/wit/" } else { "wit/deps/lectern/" };
                assert!(files.contains_key(&format!("{wit}imports.wit")), "{what}");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse_taken(dir.path()).is_ok(), "an empty directory");
        assert!(refuse_taken(&dir.path().join("new")).is_ok());
        std::fs::write(dir.path().join("mine"), "x").unwrap();
        assert!(refuse_taken(dir.path()).unwrap_err().to_string().contains("is not empty: nothing was written"));
        assert!(refuse_taken(&dir.path().join("mine")).is_err(), "a file");
    }
}
