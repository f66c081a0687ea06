//! Python environments: what a bundle's requirements mean, restored once by uv and kept by the hash of what determines them.

mod build;
pub mod environments;
pub mod installed;
mod requirements;
pub mod uv;

pub use environments::{Cached, NoUv, PythonEnvironments, RestoreError, RestoreRequest, Settings};
pub use installed::Package;
pub use requirements::RequirementsError;
pub use uv::{Uv, UvError};
