//! A plugin's project: a directory with a manifest and a source in one of three languages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use lectern_packages::{CASE_FILES, MANIFEST_BYTES, Parts, README_BYTES, SCHEMA_BYTES};

/// What plugins can be written in here. Whatever makes components can be packed; these are known to `new` and `build`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Rust, with the SDK.
    Rust,
    /// Python, with componentize-py.
    Python,
    /// JavaScript, with componentize-qjs.
    #[value(name = "javascript", alias = "js")]
    JavaScript,
}

impl Language {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::JavaScript];

    /// The word, which also names the templates.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    /// The file that tells a project's language.
    fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "plugin.py",
            Self::JavaScript => "plugin.js",
        }
    }
}

/// A project.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) dir: PathBuf,
    pub(super) language: Language,
}

impl Project {
    /// Looks at a directory.
    pub(super) fn find(dir: &Path) -> anyhow::Result<Self> {
        if !dir.join("plugin.toml").is_file() {
            bail!(
                "{} holds no plugin.toml: name the directory of a plugin, or make one with `lectern plugin new`",
                dir.display()
            );
        }
        let found: Vec<Language> = Language::ALL.into_iter().filter(|one| dir.join(one.mark()).is_file()).collect();
        match found.as_slice() {
            [language] => Ok(Self { dir: dir.to_owned(), language: *language }),
            [] => bail!(
                "{} holds none of Cargo.toml, plugin.py and plugin.js, one of which tells the plugin's language",
                dir.display()
            ),
            several => bail!(
                "{} holds {}: one plugin has one language",
                dir.display(),
                several.iter().map(|one| one.mark()).collect::<Vec<_>>().join(" and ")
            ),
        }
    }

    /// The parts of its package around a component.
    pub(super) fn parts(&self, component: Vec<u8>) -> anyhow::Result<Parts> {
        let manifest = read(&self.dir.join("plugin.toml"), MANIFEST_BYTES)?.context("plugin.toml is gone")?;
        Ok(Parts {
            manifest,
            component,
            schema: read(&self.dir.join("config.schema.json"), SCHEMA_BYTES)?,
            readme: read(&self.dir.join("README.md"), README_BYTES)?,
            cases: self.cases()?,
        })
    }

    fn cases(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let dir = self.dir.join("cases");
        let mut cases = BTreeMap::new();
        if !dir.is_dir() {
            return Ok(cases);
        }
        for entry in std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.ends_with(".toml") || name.starts_with('.') {
                continue;
            }
            if let Some(text) = read(&path, lectern_packages::cases::CASE_FILE_BYTES)? {
                cases.insert(name, text);
            }
            // One more than there may be: the package says so with its own words.
            if cases.len() > CASE_FILES {
                break;
            }
        }
        Ok(cases)
    }
}

/// A text of at most so many bytes; `None`: there is no such file.
fn read(path: &Path, most: usize) -> anyhow::Result<Option<String>> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    if size > most as u64 {
        bail!("{} has {size} bytes, more than {most}", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display())).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_project_is_told_by_its_files() {
        let found = |files: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(dir.path().join(file), "x").unwrap();
            }
            let told = |text: String| text.replace(&dir.path().display().to_string(), "DIR");
            Project::find(dir.path()).map(|project| project.language).map_err(|error| told(error.to_string()))
        };
        assert_eq!(found(&["plugin.toml", "Cargo.toml"]), Ok(Language::Rust));
        assert_eq!(found(&["plugin.toml", "plugin.py"]), Ok(Language::Python));
        assert_eq!(found(&["plugin.toml", "plugin.js", "package.json"]), Ok(Language::JavaScript));
        for (files, expected) in [
            (&["Cargo.toml"][..], "DIR holds no plugin.toml: name the directory"),
            (&["plugin.toml"], "DIR holds none of Cargo.toml, plugin.py and plugin.js"),
            (&["plugin.toml", "plugin.py", "plugin.js"], "DIR holds plugin.py and plugin.js: one plugin"),
        ] {
            let told = found(files).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
