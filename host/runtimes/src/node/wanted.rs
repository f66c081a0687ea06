//! What a bundle says about its packages: `package.json`, `package-lock.json` and `.npmrc`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::NodeError;

/// Longest file that is read, in bytes: a `package-lock.json` of ten thousand packages is below it.
const MOST_LOCK_BYTES: u64 = 32 << 20;

/// What a bundle says about its packages.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) package: String,
    pub(super) lock: String,
    pub(super) npmrc: Option<String>,
    pub(super) packages: usize,
    /// Names of packages that have install scripts.
    pub(super) scripts: Vec<String>,
}

impl Wanted {
    /// Reads the bundle in `tree`; `None` when it wants no packages.
    pub(super) fn read(tree: &Path) -> Result<Option<Self>, NodeError> {
        let Some(package) = read(tree, "package.json")? else { return Ok(None) };
        let Some(lock) = read(tree, "package-lock.json")? else {
            let parsed = parse("package.json", &package)?;
            let wants = |key: &str| parsed.get(key).and_then(Value::as_object).is_some_and(|names| !names.is_empty());
            return if wants("dependencies") || wants("optionalDependencies") {
                Err(NodeError::NoLock)
            } else {
                Ok(None)
            };
        };
        let parsed = parse("package-lock.json", &lock)?;
        let reason = "it has no \"packages\"; npm 7 and later write them: run `npm install` again".to_owned();
        let Some(packages) = parsed.get("packages").and_then(Value::as_object) else {
            return Err(NodeError::File { file: "package-lock.json", reason });
        };
        let flag = |about: &Value, name: &str| about.get(name).and_then(Value::as_bool) == Some(true);
        let (mut count, mut scripts) = (0, Vec::new());
        for (place, about) in packages.iter().filter(|(place, _)| !place.is_empty()) {
            let from = about.get("resolved").and_then(Value::as_str).unwrap_or_default();
            if flag(about, "link") || from.starts_with("file:") || !place.starts_with("node_modules/") {
                return Err(NodeError::Local(place.chars().take(120).collect()));
            }
            if !flag(about, "dev") {
                count += 1;
                let name = place.rsplit_once("node_modules/").map_or(place.as_str(), |(_, name)| name);
                scripts.extend(flag(about, "hasInstallScript").then(|| name.to_owned()));
            }
        }
        if count == 0 {
            return Ok(None);
        }
        Ok(Some(Self { package, lock, npmrc: read(tree, ".npmrc")?, packages: count, scripts }))
    }

    /// Whether the bundle asks for its packages' install scripts.
    pub(super) fn runs_scripts(&self) -> bool {
        let lines = self.npmrc.as_deref().unwrap_or_default().lines();
        let mut said = lines.filter_map(|line| line.split_once('=')).filter(|(key, _)| key.trim() == "ignore-scripts");
        said.next_back().is_some_and(|(_, value)| value.trim() == "false")
    }

    /// The files that npm reads, by name and text.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let mut files = vec![("package.json", self.package.clone()), ("package-lock.json", self.lock.clone())];
        files.extend(self.npmrc.clone().map(|text| (".npmrc", text)));
        files
    }
}

fn parse(file: &'static str, text: &str) -> Result<Value, NodeError> {
    serde_json::from_str(text).map_err(|error| NodeError::File { file, reason: error.to_string() })
}

/// A file of the bundle; `None` when there is none.
fn read(tree: &Path, file: &'static str) -> Result<Option<String>, NodeError> {
    let path = tree.join(file);
    let length = match path.metadata() {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(NodeError::Io { what: "read", path, cause }),
    };
    if length > MOST_LOCK_BYTES {
        return Err(NodeError::File { file, reason: format!("it has {length} bytes, more than {MOST_LOCK_BYTES}") });
    }
    let failed = |error: io::Error| NodeError::File { file, reason: error.to_string() };
    fs::read_to_string(&path).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(files: &[(&str, &str)], expected: &str) {
        let tree = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(tree.path().join(name), text).unwrap();
        }
        let got = match Wanted::read(tree.path()) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(wanted)) => format!("{} {:?} {}", wanted.packages, wanted.scripts, wanted.runs_scripts()),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{files:?}: {got:?} lacks {expected:?}");
    }

    #[test]
    fn what_a_bundle_wants() {
        let wants = ("package.json", r#"{"dependencies":{"a":"1"}}"#);
        check(&[], "nothing");
        check(&[("package.json", "{}")], "nothing");
        check(&[("package.json", "{")], "package.json cannot be used");
        check(&[wants], "no package-lock.json: run `npm install`");
        check(&[wants, ("package-lock.json", r#"{"dependencies":{}}"#)], "npm 7 and later");
        check(&[wants, ("package-lock.json", r#"{"packages":{"":{}}}"#)], "nothing");
        let lock = |more: &str| format!(r#"{{"packages":{{"":{{}},"node_modules/a":{{"version":"1"}}{more}}}}}"#);
        check(&[wants, ("package-lock.json", &lock(""))], "1 [] false");
        check(&[wants, ("package-lock.json", &lock(r#","node_modules/t":{"dev":true}"#))], "1 [] false");
        let nested = lock(r#","node_modules/a/node_modules/@s/b":{"hasInstallScript":true}"#);
        check(&[wants, ("package-lock.json", &nested)], r#"2 ["@s/b"] false"#);
        check(&[wants, ("package-lock.json", &nested), (".npmrc", "x=1\nignore-scripts = false\n")], "true");
        check(
            &[wants, ("package-lock.json", &nested), (".npmrc", "ignore-scripts=false\nignore-scripts=true")],
            "false",
        );
        check(&[wants, ("package-lock.json", &lock(r#","lib/c":{}"#))], "directories of the bundle (lib/c)");
        check(&[wants, ("package-lock.json", &lock(r#","node_modules/c":{"link":true}"#))], "(node_modules/c)");
    }
}
