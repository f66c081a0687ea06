//! Plugin packages: what one holds, how it is read, written, signed, configured and tested.
//!
//! A package is one file: a manifest, a WebAssembly component, a schema for its configuration and cases that it must pass.
//! This room reads and writes them and says in full what is wrong with one. It knows the format only: it runs no component,
//! opens no file, keeps no table and asks no network. Everything it is given may be hostile; every size has a bound.

mod archive;
pub mod cases;
mod component;
mod fields;
mod keys;
mod manifest;
mod mistake;
mod package;
mod schema;
mod signature;

pub use archive::PACKAGE_BYTES;
pub use component::{WasmKind, wasm_kind};
pub use keys::{KeyError, KeyId, PublicKey, SigningKey};
pub use manifest::{BadContract, Contract, Defaults, MANIFEST_BYTES, Manifest, ManifestError};
pub use mistake::{Mistake, Mistakes};
pub use package::{CASE_FILES, COMPONENT_BYTES, Package, PackageError, Parts, Problem, Problems, README_BYTES};
pub use schema::{CONFIG_BYTES, ConfigError, ConfigSchema, SCHEMA_BYTES, SchemaError, Violation, Violations};
pub use signature::{Signature, SignatureError, TrustedKey, verify};
