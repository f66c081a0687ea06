//! Why something is not a package, or one that cannot be used: each message says what to change.

use std::fmt;

use super::{CASE_FILES, COMPONENT, MANIFEST, SCHEMA};
use crate::archive::PACKAGE_BYTES;
use crate::cases::CasesError;
use crate::component::WasmKind;
use crate::manifest::ManifestError;
use crate::schema::{ConfigError, SchemaError};

/// Something that is not a package, or a package that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// It does not begin as one.
    #[error("not a plugin package: make one with `lectern plugin build`")]
    NotAPackage,
    /// A component alone.
    #[error("this is a bare component, not a package: `lectern plugin build` puts it into one with its manifest")]
    BareComponent,
    /// What the compiler makes before it is a component.
    #[error(
        "this is a core WebAssembly module: build it with `--target wasm32-wasip2`, then run `lectern plugin build`"
    )]
    CoreModule,
    /// WebAssembly of a kind that did not exist when this was written.
    #[error("this is WebAssembly, but neither a component nor a core module of a known version")]
    UnknownWasm,
    /// Somebody has compressed it.
    #[error(
        "this is compressed with gzip: packages are not, because the same files must give the same bytes; unpack it once"
    )]
    Compressed,
    /// It is too large.
    #[error("the package has {size_bytes} bytes, more than {PACKAGE_BYTES}")]
    TooLarge {
        /// Its length in bytes.
        size_bytes: usize,
    },
    /// Its end is missing.
    #[error("the package is cut off after {size_bytes} bytes: copy it again")]
    CutOff {
        /// What is there, in bytes.
        size_bytes: usize,
    },
    /// A header makes no sense.
    #[error("the package is damaged at byte {offset}: copy it again")]
    Damaged {
        /// Where.
        offset: usize,
    },
    /// A directory, a link, a device, an extended header.
    #[error("the package holds {name:?}, which is no plain file: make it with `lectern plugin build`, not with tar")]
    NotAFile {
        /// Its name.
        name: String,
    },
    /// A file that packages do not have.
    #[error(
        "the package holds {name:?}: there may be plugin.toml, plugin.wasm, config.schema.json, README.md and \
         cases/<name>.toml, with letters, digits, `-` and `_` in the name"
    )]
    UnknownFile {
        /// Its name.
        name: String,
    },
    /// A file twice.
    #[error("the package holds {name:?} twice")]
    Repeated {
        /// Its name.
        name: String,
    },
    /// A file is too long.
    #[error("{name} has {size_bytes} bytes, more than {limit_bytes}")]
    FileTooLarge {
        /// Its name.
        name: String,
        /// Its length in bytes.
        size_bytes: usize,
        /// The most that is allowed, in bytes.
        limit_bytes: usize,
    },
    /// Too many files of cases.
    #[error("the package holds {files} files of cases, more than {CASE_FILES}: one file may hold many cases")]
    TooManyCases {
        /// How many.
        files: usize,
    },
    /// A file that every package has.
    #[error("the package holds no {name}")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A file that must be text.
    #[error("{name} is not text in UTF-8")]
    NotText {
        /// Its name.
        name: String,
    },
    /// The right files, written in another way.
    #[error(
        "the package is not written as `lectern plugin build` writes it; the first difference is at {at}: build it again"
    )]
    NotCanonical {
        /// The file where it departs.
        at: String,
    },
    /// What its files say cannot be.
    #[error("{0}")]
    Problems(Problems),
}

/// What is wrong with one file of a package.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// `plugin.toml`.
    Manifest(ManifestError),
    /// `plugin.wasm` is this instead of a component.
    Component(WasmKind),
    /// `config.schema.json`.
    Schema(SchemaError),
    /// `[config]` in `plugin.toml` breaks the schema.
    Defaults(ConfigError),
    /// `cases/`.
    Cases(CasesError),
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl From<SchemaError> for Problem {
    fn from(error: SchemaError) -> Self {
        Self::Schema(error)
    }
}

impl From<CasesError> for Problem {
    fn from(error: CasesError) -> Self {
        Self::Cases(error)
    }
}

/// All that is wrong with a package's files: one line each, with the file's name before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl Problems {
    /// In the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, text) = match self {
            Self::Manifest(error) => (MANIFEST, error.to_string()),
            Self::Component(WasmKind::Module) => {
                (COMPONENT, "is a core module: build it with `--target wasm32-wasip2`".into())
            }
            Self::Component(_) => (COMPONENT, "is not a WebAssembly component".into()),
            Self::Schema(error) => (SCHEMA, error.to_string()),
            Self::Defaults(error) => ("plugin.toml [config]", error.to_string()),
            Self::Cases(error) => return write!(f, "{error}"),
        };
        for (at, line) in text.lines().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{file}: {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}
