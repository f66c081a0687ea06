//! `lectern plugin sign`: puts a signature beside a package.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use lectern_packages::{Package, Signature, SigningKey};
use zeroize::Zeroizing;

use super::read_package_bytes;

#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    /// The package.
    file: PathBuf,
    /// The private key, as `lectern plugin keygen` makes it.
    #[arg(long, value_name = "KEY.pem")]
    key: PathBuf,
    /// The file for the signature; the package's name with `.sig`, unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &SignArgs) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.key).with_context(|| format!("read {}", args.key.display()))?;
    let text = Zeroizing::new(text);
    let key = SigningKey::from_pem(&text).with_context(|| format!("{} cannot be used", args.key.display()))?;
    let bytes = read_package_bytes(&args.file)?;
    // A signature says "this is mine": not of something that no server would take.
    let package = Package::read(&bytes).with_context(|| format!("{} cannot be used", args.file.display()))?;
    let out = args.out.clone().unwrap_or_else(|| signature_of(&args.file));
    std::fs::write(&out, Signature::of(&bytes, &key).to_string())
        .with_context(|| format!("write {}", out.display()))?;
    say!("signed {} {} with {}", package.manifest.name, package.manifest.version, key.public().id());
    say!("  signature  {}", out.display());
    Ok(())
}

/// `<file>.sig`, beside the package.
pub(super) fn signature_of(file: &std::path::Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}
