//! A package as a whole: its files, read strictly and with every mistake in them told, or written the one way there is.

mod error;

use std::collections::BTreeMap;
use std::fmt;

use lectern_domain::plugin::PackageDigest;

use crate::archive;
use crate::cases::{self, CASE_FILE_BYTES, Case};
use crate::component::{WasmKind, wasm_kind};
use crate::manifest::{MANIFEST_BYTES, Manifest};
use crate::schema::{ConfigSchema, SCHEMA_BYTES};

pub use error::{PackageError, Problem, Problems};

const MANIFEST: &str = "plugin.toml";
const COMPONENT: &str = "plugin.wasm";
const SCHEMA: &str = "config.schema.json";
const README: &str = "README.md";
const CASES: &str = "cases/";

/// The largest component, in bytes. Guests that carry an interpreter (Python, JavaScript) have 10 to 40 MiB.
pub const COMPONENT_BYTES: usize = 48 * 1024 * 1024;
/// The longest README, in bytes: it is shown on one page.
pub const README_BYTES: usize = 256 * 1024;
/// The most files of cases.
pub const CASE_FILES: usize = 64;

/// How long a file of that name may be, in bytes; `None`: no package has such a file.
pub(crate) fn limit_bytes(name: &str) -> Option<usize> {
    match name {
        MANIFEST => Some(MANIFEST_BYTES),
        COMPONENT => Some(COMPONENT_BYTES),
        SCHEMA => Some(SCHEMA_BYTES),
        README => Some(README_BYTES),
        _ => name.strip_prefix(CASES).filter(|file| is_case_file(file)).map(|_| CASE_FILE_BYTES),
    }
}

/// `<name>.toml`, the name of 1 to 64 letters, digits, `-` and `_`.
fn is_case_file(file: &str) -> bool {
    file.strip_suffix(".toml").is_some_and(|stem| {
        (1..=64).contains(&stem.len()) && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

/// The files of a package, unread.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// `plugin.toml`.
    pub manifest: String,
    /// `plugin.wasm`.
    pub component: Vec<u8>,
    /// `config.schema.json`.
    pub schema: Option<String>,
    /// `README.md`.
    pub readme: Option<String>,
    /// The files below `cases/` by name, without the directory: `headers.toml`.
    pub cases: BTreeMap<String, String>,
}

impl Parts {
    /// Reads and checks every part.
    pub fn check(self) -> Result<Package, PackageError> {
        let bytes = self.write()?;
        Package::read(&bytes)
    }

    /// The package's bytes. The same parts give the same bytes; what the parts say is not looked at.
    pub fn write(&self) -> Result<Vec<u8>, PackageError> {
        let cases: Vec<(String, &[u8])> =
            self.cases.iter().map(|(file, text)| (format!("{CASES}{file}"), text.as_bytes())).collect();
        let mut rest: Vec<(&str, &[u8])> = cases.iter().map(|(name, content)| (name.as_str(), *content)).collect();
        rest.push((COMPONENT, &self.component));
        rest.extend(self.schema.as_deref().map(|text| (SCHEMA, text.as_bytes())));
        rest.extend(self.readme.as_deref().map(|text| (README, text.as_bytes())));
        rest.sort_unstable();
        // The manifest first: `tar -xO plugin.toml` and `head` find it at once.
        let files = std::iter::once((MANIFEST, self.manifest.as_bytes())).chain(rest);
        for (name, content) in files.clone() {
            let limit_bytes = limit_bytes(name).ok_or_else(|| PackageError::UnknownFile { name: name.into() })?;
            if content.len() > limit_bytes {
                return Err(PackageError::FileTooLarge { name: name.into(), size_bytes: content.len(), limit_bytes });
            }
        }
        if self.cases.len() > CASE_FILES {
            return Err(PackageError::TooManyCases { files: self.cases.len() });
        }
        archive::write(files)
    }

    /// Takes the files out of a package's bytes.
    fn read(bytes: &[u8]) -> Result<Self, PackageError> {
        match wasm_kind(bytes) {
            WasmKind::Component => return Err(PackageError::BareComponent),
            WasmKind::Module => return Err(PackageError::CoreModule),
            WasmKind::Unknown => return Err(PackageError::UnknownWasm),
            WasmKind::None => {}
        }
        if bytes.starts_with(&[0x1f, 0x8b]) {
            return Err(PackageError::Compressed);
        }
        let files = archive::read(bytes)?;
        let case_files = files.iter().filter(|(name, _)| name.starts_with(CASES)).count();
        if case_files > CASE_FILES {
            return Err(PackageError::TooManyCases { files: case_files });
        }
        let content = |name| files.iter().find(|(file, _)| file == name).map(|(_, content)| *content);
        let required = |name| content(name).ok_or(PackageError::Missing { name });
        let text = |name: &str, content: &[u8]| {
            let text = std::str::from_utf8(content).map_err(|_| PackageError::NotText { name: name.into() })?;
            Ok::<_, PackageError>(text.to_owned())
        };
        let mut cases = BTreeMap::new();
        for (name, content) in &files {
            if let Some(file) = name.strip_prefix(CASES) {
                cases.insert(file.to_owned(), text(name, content)?);
            }
        }
        let parts = Self {
            manifest: text(MANIFEST, required(MANIFEST)?)?,
            component: required(COMPONENT)?.to_owned(),
            schema: content(SCHEMA).map(|content| text(SCHEMA, content)).transpose()?,
            readme: content(README).map(|content| text(README, content)).transpose()?,
            cases,
        };
        let canonical = parts.write()?;
        if canonical != bytes {
            return Err(PackageError::NotCanonical { at: archive::first_difference(bytes, &canonical, &files) });
        }
        Ok(parts)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases: Vec<&String> = self.cases.keys().collect();
        f.debug_struct("Parts")
            .field("component_bytes", &self.component.len())
            .field("schema", &self.schema.is_some())
            .field("readme", &self.readme.is_some())
            .field("cases", &cases)
            .finish_non_exhaustive()
    }
}

/// A package whose every part can be used. Whether the component keeps the contract is for the gate to say.
#[derive(Debug)]
pub struct Package {
    /// What its author says about it.
    pub manifest: Manifest,
    /// What its configuration must be; without one any object is a configuration.
    pub schema: ConfigSchema,
    /// The cases that it must pass, in the order of their files.
    pub cases: Vec<Case>,
    /// Its files as they are.
    pub parts: Parts,
    /// Its name: the hash of its bytes.
    pub digest: PackageDigest,
    /// Its length, in bytes.
    pub size_bytes: usize,
}

impl Package {
    /// Reads a package. Takes time in proportion to its size: up to 64 MiB are hashed and compared.
    pub fn read(bytes: &[u8]) -> Result<Self, PackageError> {
        let parts = Parts::read(bytes)?;
        let mut problems = Vec::new();
        match wasm_kind(&parts.component) {
            WasmKind::Component => {}
            other => problems.push(Problem::Component(other)),
        }
        let manifest = Manifest::parse(&parts.manifest).map_err(|error| problems.push(error.into())).ok();
        let schema = match &parts.schema {
            Some(text) => ConfigSchema::parse(text).map_err(|error| problems.push(error.into())).ok(),
            None => Some(ConfigSchema::any()),
        };
        if let (Some(manifest), Some(schema)) = (&manifest, &schema) {
            // What the manifest leaves to the operator is missing here and no mistake.
            let _ = schema.check_defaults(&manifest.config).map_err(|error| problems.push(Problem::Defaults(error)));
        }
        let cases = cases::read_all(&parts.cases).map_err(|error| problems.push(error.into())).ok();
        if let (Some(manifest), Some(cases)) = (&manifest, &cases) {
            let _ = cases::check_hooks(cases, &manifest.hooks).map_err(|error| problems.push(error.into()));
        }
        match (manifest, schema, cases) {
            (Some(manifest), Some(schema), Some(cases)) if problems.is_empty() => {
                let (digest, size_bytes) = (PackageDigest::of(bytes), bytes.len());
                Ok(Self { manifest, schema, cases, parts, digest, size_bytes })
            }
            _ => Err(PackageError::Problems(problems.into())),
        }
    }
}

#[cfg(test)]
mod tests;
