//! `lectern plugin keygen`: a key to sign packages with.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use lectern_packages::SigningKey;

#[derive(Debug, Args)]
pub(in crate::cli) struct KeygenArgs {
    /// The file for the private key. It must not be there yet.
    #[arg(long, value_name = "FILE", default_value = "lectern-key.pem")]
    out: PathBuf,
}

pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<()> {
    let key = SigningKey::generate()?;
    let shown = args.out.display();
    // For its owner alone, and never over another key.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.out);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{shown} is there already, and a key is never overwritten: name another file with --out")
        }
        _ => anyhow::Error::new(error).context(format!("make {shown}")),
    })?;
    file.write_all(key.to_pem().as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("write {shown}"))?;
    let public = key.public();
    say!("wrote the private key to {shown}: whoever has it signs as you");
    say!("  id      {}", public.id());
    say!("  public  {public}");
    say!("\nServers take what it signed once it is trusted there:");
    say!("  lectern plugin trust {public} --comment NAME");
    Ok(())
}
