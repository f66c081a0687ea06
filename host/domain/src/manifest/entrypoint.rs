//! Entry points and paths inside a bundle.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{ManifestError, fields};
use crate::{AppMode, PythonFramework};

/// Where content starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrypoint {
    /// A Python application.
    Python(PythonEntrypoint),
    /// A file of the bundle.
    File(BundlePath),
    /// The words of a mode that this version does not run.
    Other(String),
}

/// A Python application: `module[:object]`.
///
/// Publishers also name the file (`app.py`, `src/app.py:server`); that is the same as the module. The object may be dotted
/// (`server.app`) and may be a call without arguments (`create_app()`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEntrypoint {
    module: String,
    object: Option<String>,
}

/// The path of a file inside a bundle: relative, forward slashes, never leaves the bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(String);

const KEY: &str = "metadata.entrypoint";

impl Entrypoint {
    /// Reads an entry point as `mode` writes it; `text` is not empty.
    pub(super) fn parse(mode: AppMode, text: &str) -> Result<Self, ManifestError> {
        match mode {
            AppMode::PythonApi | AppMode::PythonFastapi => PythonEntrypoint::parse(text).map(Self::Python),
            AppMode::Api
            | AppMode::Nodejs
            | AppMode::QuartoShiny
            | AppMode::Shiny
            | AppMode::RmdShiny
            | AppMode::Static => BundlePath::parse(KEY, text).map(Self::File),
            _ => match PythonFramework::of(mode).map(PythonFramework::file_endings) {
                Some(None) => PythonEntrypoint::parse(text).map(Self::Python),
                // Their clients know of objects only: in a script there is nothing to name.
                Some(Some(_)) => {
                    let file = text.split_once(':').map_or(text, |(file, _)| file);
                    BundlePath::parse(KEY, file).map(Self::File)
                }
                None => Ok(Self::Other(text.to_owned())),
            },
        }
    }
}

impl PythonEntrypoint {
    /// Reads `module[:object]` in any of its forms.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let bad = |reason| ManifestError::BadValue { key: KEY, value: fields::shortened(text), reason };
        let (module, object) = match text.split_once(':') {
            Some((_, object)) if object.contains(':') => return Err(bad("it must be module or module:object")),
            Some((module, object)) => (module.trim(), Some(object.trim())),
            None => (text.trim(), None),
        };
        let module = match module.strip_suffix(".py") {
            Some(_) => {
                let path = BundlePath::parse(KEY, module)?;
                path.0.trim_end_matches(".py").replace('/', ".")
            }
            None => module.to_owned(),
        };
        let fits = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        if !module.split('.').all(|part| fits(part) && !part.contains(['/', '\\'])) {
            return Err(bad("the module must be a dotted name or a .py file of the bundle"));
        }
        if let Some(object) = object {
            let name = object.strip_suffix("()").unwrap_or(object);
            let identifier = |part: &str| fits(part) && part.chars().all(|c| c == '_' || c.is_alphanumeric());
            if !name.split('.').all(identifier) {
                return Err(bad("the object must be a dotted name, or one followed by ()"));
            }
        }
        Ok(Self { module, object: object.map(str::to_owned) })
    }

    /// Just a module.
    pub fn module_only(module: &str) -> Result<Self, ManifestError> {
        Self::parse(module).map(|read| Self { object: None, ..read })
    }

    /// The dotted module name.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The object in it; `None` means that `app`, `application`, `create_app` and `make_app` are tried in turn.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }
}

impl fmt::Display for PythonEntrypoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{}:{object}", self.module),
            None => f.write_str(&self.module),
        }
    }
}

impl BundlePath {
    /// Reads a path; `key` is how an error calls it. `./` in front and doubled slashes are dropped.
    pub(super) fn parse(key: &'static str, text: &str) -> Result<Self, ManifestError> {
        let bad = |reason| ManifestError::BadValue { key, value: fields::shortened(text), reason };
        if text.starts_with('/') || text.contains('\0') {
            return Err(bad("it must be a path relative to the bundle's root"));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() {
            return Err(bad("it must name a file"));
        }
        if parts.contains(&"..") {
            return Err(bad("it must not leave the bundle"));
        }
        Ok(Self(parts.join("/")))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Where the file is when the bundle is unpacked in `tree`.
    pub fn below(&self, tree: &Path) -> PathBuf {
        tree.join(&self.0)
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
