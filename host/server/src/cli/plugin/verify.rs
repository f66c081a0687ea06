//! `lectern plugin verify`: who signed a package, and whether it is as they signed it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use lectern_packages::{Package, PublicKey, TrustedKey, verify};

use super::read_package_bytes;
use super::sign::signature_of;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The package.
    file: PathBuf,
    /// Its signature; the package's name with `.sig`, unless given.
    #[arg(long, value_name = "FILE")]
    sig: Option<PathBuf>,
    /// A public key that may have signed it, as `lectern plugin keygen` prints it. May be given several times.
    #[arg(long, value_name = "ed25519:KEY", required = true)]
    trust: Vec<PublicKey>,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let bytes = read_package_bytes(&args.file)?;
    let file = args.sig.clone().unwrap_or_else(|| signature_of(&args.file));
    let signature = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.sig.is_none() => None,
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let trusted: Vec<TrustedKey> =
        args.trust.iter().map(|key| TrustedKey { name: "given with --trust".into(), key: *key }).collect();
    // Nothing of the package is read before its signature is verified.
    let key = verify(&bytes, signature.as_deref(), &trusted)?;
    let package = Package::read(&bytes).with_context(|| format!("{} cannot be used", args.file.display()))?;
    say!("{} {} is signed with {key}, and unchanged since", package.manifest.name, package.manifest.version);
    say!("  digest  {}", package.digest);
    Ok(ExitCode::SUCCESS)
}
